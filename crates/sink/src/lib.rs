//! Where freestone images go: files, devices, streams
