//! The options of a mount.

/// The options of a mount.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// Whether users other than the one that mounts have access.
    pub allow_other: bool,
    /// The user that owns all files.
    pub uid: u32,
    /// The group that owns all files.
    pub gid: u32,
    /// The permissions of files. A user that can read files can also search directories.
    pub mode: u16,
    /// Whether writes to images are accepted and discarded instead of refused.
    pub discard_writes: bool,
    /// The number of threads that serve requests, at least 1.
    pub threads: usize,
    /// The size in bytes of the cache of chunks that were read in part.
    pub cache_bytes: u64,
}

impl MountOptions {
    /// Returns the permissions of directories.
    pub(crate) fn directory_mode(&self) -> u16 {
        let readable = self.mode & 0o444;
        readable | readable >> 2 | (self.mode & 0o200)
    }
}
