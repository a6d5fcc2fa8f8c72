//! How a file system is mounted.

/// How a file system is mounted, and what it may hold.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// Whether users other than the one who mounts may look in.
    pub allow_other: bool,
    /// Whom everything belongs to.
    pub uid: u32,
    /// Whose group it is.
    pub gid: u32,
    /// The permissions of files. Directories can be searched by whoever can read.
    pub mode: u16,
    /// Take what is written to images and forget it, instead of refusing it.
    pub discard_writes: bool,
    /// Threads that serve requests, at least 1.
    pub threads: usize,
    /// Bytes of chunks that are kept because a part of them was read.
    pub cache_bytes: u64,
}

impl MountOptions {
    /// The permissions of directories.
    pub(crate) fn directory_mode(&self) -> u16 {
        let readable = self.mode & 0o444;
        readable | readable >> 2 | (self.mode & 0o200)
    }
}
