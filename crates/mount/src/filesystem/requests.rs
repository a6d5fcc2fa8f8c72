//! The kernel's requests. Each that would change something fails with `EROFS`.

use super::FileSystem;
use crate::attributes::cache_time;
use crate::inodes::{Inode, TOP};
use crate::listing::OpenDirectory;
use freestone_core::lock;
use freestone_core::wire::to_usize;
use fuser::{
    BsdFileFlags, Errno, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs,
    ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use std::cell::RefCell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

/// The inode number in a listing, whose entries have not been looked up.
const UNKNOWN_NUMBER: u64 = 0xffff_ffff;
/// The longest name that `statfs` reports.
const NAME_BYTES_MAX: u32 = 255;
/// The number of background requests, such as reading ahead, that the kernel may have in flight.
const BACKGROUND_MAX: u16 = 64;

thread_local! {
    /// The buffer for a thread's replies to reads; it grows to the longest read of the kernel.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl FileSystem {
    /// Returns true if inode `number` is an image.
    fn is_image(&self, number: INodeNo) -> bool {
        matches!(self.inodes.get(number.0), Some(Inode::Image { .. }))
    }

    /// Returns true if changes to inode `number` are accepted and discarded.
    fn discards(&self, number: INodeNo) -> bool {
        self.options.discard_writes && self.is_image(number)
    }

    /// Replies with the attributes of inode `number`.
    fn reply_attributes(&self, number: INodeNo, reply: ReplyAttr) {
        let Some(inode) = self.inodes.get(number.0) else { return reply.error(Errno::ESTALE) };
        match self.attributes(number.0, &inode) {
            Ok(Some(attributes)) => reply.attr(&cache_time(&inode), &attributes),
            Ok(None) => reply.error(Errno::ENOENT),
            Err(error) => reply.error(self.errno(&error)),
        }
    }
}

impl Filesystem for FileSystem {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // Look-ups and listings of one directory in parallel, where the kernel can.
        let _ = config.add_capabilities(InitFlags::FUSE_PARALLEL_DIROPS);
        let _ = config.set_max_background(BACKGROUND_MAX);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let Some(parent) = self.inodes.get(parent.0) else { return reply.error(Errno::ESTALE) };
        let found = match self.find(&parent, name) {
            Ok(Some(inode)) => inode,
            Ok(None) => return reply.error(Errno::ENOENT),
            Err(error) => return reply.error(self.errno(&error)),
        };
        let ttl = cache_time(&found);
        let number = self.inodes.look_up(found.clone());
        match self.attributes(number, &found) {
            Ok(Some(attributes)) => return reply.entry(&ttl, &attributes, Generation(0)),
            Ok(None) => reply.error(Errno::ENOENT),
            Err(error) => reply.error(self.errno(&error)),
        }
        // The kernel did not receive the inode.
        self.inodes.forget(number, 1);
    }

    fn forget(&self, _: &Request, number: INodeNo, count: u64) {
        self.inodes.forget(number.0, count);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.reply_attributes(number, reply);
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        if self.discards(number) {
            return self.reply_attributes(number, reply);
        }
        reply.error(Errno::EROFS);
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        let Some(inode) = self.inodes.get(number.0) else { return reply.error(Errno::ESTALE) };
        match self.target(&inode) {
            Ok(Some(target)) => reply.data(target.as_bytes()),
            Ok(None) => reply.error(Errno::ENOENT),
            Err(error) => reply.error(self.errno(&error)),
        }
    }

    fn open(&self, _: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let Some(inode) = self.inodes.get(number.0) else { return reply.error(Errno::ESTALE) };
        let writes = flags.acc_mode() != OpenAccMode::O_RDONLY;
        if writes && !matches!(inode, Inode::Image { .. }) {
            return reply.error(Errno::EROFS);
        }
        let plan = match self.bytes(&inode) {
            Ok(Some(plan)) => plan,
            Ok(None) => return reply.error(Errno::EISDIR),
            Err(error) => return reply.error(self.errno(&error)),
        };
        let handle = self.handle();
        lock(&self.files).insert(handle, plan);
        // Discarded writes must not stay in the page cache. Direct I/O also refuses a shared
        // mapping that is writable, which would write to the page cache.
        let options =
            if writes { FopenFlags::FOPEN_DIRECT_IO } else { FopenFlags::FOPEN_KEEP_CACHE };
        reply.opened(FileHandle(handle), options | FopenFlags::FOPEN_NOFLUSH);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let plan = lock(&self.files).get(&handle.0).cloned();
        let Some(plan) = plan else { return reply.error(Errno::EBADF) };
        BUFFER.with_borrow_mut(|buffer| {
            let size = to_usize(size.into());
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            match self.read(&*plan, offset, &mut buffer[..size]) {
                Ok(count) => reply.data(&buffer[..count]),
                Err(error) => reply.error(self.errno(&error)),
            }
        });
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.inodes.get(number.0) {
            Some(Inode::Image { length, .. }) if self.options.discard_writes => {
                // As on a block device, nothing can be written after the end.
                let left = length.saturating_sub(offset);
                let taken = u32::try_from(left.min(data.len() as u64)).unwrap_or(u32::MAX);
                if taken == 0 && !data.is_empty() {
                    return reply.error(Errno::ENOSPC);
                }
                reply.written(taken);
            }
            _ => reply.error(Errno::EROFS),
        }
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        lock(&self.files).remove(&handle.0);
        reply.ok();
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let Some(inode) = self.inodes.get(number.0) else { return reply.error(Errno::ESTALE) };
        match self.listing(&inode) {
            Ok(Some(listing)) => {
                let handle = self.handle();
                lock(&self.directories).insert(handle, Arc::new(Mutex::new(listing)));
                reply.opened(FileHandle(handle), FopenFlags::empty());
            }
            Ok(None) => reply.error(Errno::ENOTDIR),
            Err(error) => reply.error(self.errno(&error)),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listing = lock(&self.directories).get(&handle.0).cloned();
        let Some(listing) = listing else { return reply.error(Errno::EBADF) };
        for (at, name, ino) in [(0, ".", number.0), (1, "..", TOP)] {
            if offset <= at && reply.add(INodeNo(ino), at + 1, FileType::Directory, name) {
                return reply.ok();
            }
        }
        let from = offset.saturating_sub(2);
        let unknown = INodeNo(UNKNOWN_NUMBER);
        // The offset of an entry is that of the next one, and `.` and `..` come first.
        let mut add = |n: u64, name: &OsStr, kind| !reply.add(unknown, n + 3, kind, name);
        let listed = match &mut *lock(&listing) {
            OpenDirectory::Tree(directory) => {
                directory.list(from, &mut |n, name, kind| add(n, OsStr::from_bytes(name), kind))
            }
            OpenDirectory::Names(names) => {
                let first = to_usize(from).min(names.len());
                let numbered = (from..).zip(&names[first..]);
                let _ = numbered
                    .take_while(|(n, (name, kind))| add(*n, OsStr::new(name), *kind))
                    .count();
                Ok(())
            }
        };
        match listed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(self.errno(&error)),
        }
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        lock(&self.directories).remove(&handle.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(0, 0, 0, 0, 0, 4096, NAME_BYTES_MAX, 4096);
    }

    fn fallocate(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: i32,
        reply: ReplyEmpty,
    ) {
        if self.discards(number) { reply.ok() } else { reply.error(Errno::EROFS) }
    }

    fn mknod(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn mkdir(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn unlink(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn rmdir(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn symlink(&self, _: &Request, _: INodeNo, _: &OsStr, _: &Path, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn rename(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: INodeNo,
        _: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EROFS);
    }

    fn link(&self, _: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn create(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        reply.error(Errno::EROFS);
    }

    fn setxattr(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: &[u8],
        _: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EROFS);
    }

    fn removexattr(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }
}
