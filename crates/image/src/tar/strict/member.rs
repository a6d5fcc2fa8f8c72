//! The files and directories of an archive, as readers see them.

/// A file or directory of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its path, without a leading `./` or `/` and without a directory's `/`.
    pub path: Vec<u8>,
    /// Whether readers take it for a directory.
    pub is_directory: bool,
    /// Whether its owner may execute it, or enter the directory.
    pub executable: bool,
    /// Last change, in seconds since 1970.
    pub mtime: i64,
    /// Its length in bytes; 0 for a directory.
    pub size: u64,
    /// The offset of its data, in bytes from the image's start.
    pub data: u64,
}
