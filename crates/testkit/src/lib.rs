//! Faulty, recording and crashing backends and generators for freestone's tests
