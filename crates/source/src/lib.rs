//! What freestone pushes: a directory as one stream of items
