//! The paths that came before, to find those that come twice or too late.
//!
//! In an archive in manifest order, it is enough to remember the directories on the way to the last
//! member. Only an archive of another order, which another program wrote, needs a set of all paths.
//! The set holds hashes, about 24 bytes for each path.

use super::members::{Members, NextItem};
use super::rule::TarRule;
use super::spelling;
use crate::hash::short_hash;
use crate::read::ReadAt;
use crate::violation::Violations;
use freestone_core::limits::PATH_BYTES_MAX;
use freestone_core::{Result, path};
use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;

/// The state of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    File,
    Directory,
    /// Something below it came, but not its own header.
    Implied,
}

/// The paths that came before.
enum Memory {
    /// In manifest order so far: the last member, and the directories or files on the way to it.
    Way(Vec<(Vec<u8>, bool)>),
    /// In any order.
    Set(HashMap<[u8; 16], Known>),
}

/// The paths of an archive, in the order of its members.
pub(super) struct Seen(Memory);

impl Seen {
    pub(super) fn new() -> Self {
        Self(Memory::Way(Vec::new()))
    }

    /// Adds the member at `offset`, and the rules that it breaks by coming here.
    pub(super) fn add<R: ReadAt + ?Sized>(
        &mut self,
        image: &R,
        offset: u64,
        member: (&[u8], bool),
        violations: &mut Violations,
    ) -> Result<()> {
        let (member_path, is_directory) = member;
        if let Memory::Way(way) = &mut self.0 {
            if way.last().is_none_or(|(last, _)| path::compare(last, member_path).is_lt()) {
                while way.last().is_some_and(|(last, _)| !path::is_below(member_path, last)) {
                    way.pop();
                }
                if way.last().is_some_and(|(_, is_directory)| !is_directory) {
                    let what = "it is below a file";
                    violations.add(TarRule::OneKind, offset, Some(member_path), what);
                }
                way.push((member_path.to_vec(), is_directory));
                return Ok(());
            }
            self.0 = Memory::Set(Self::all_before(image, offset)?);
        }
        if let Memory::Set(set) = &mut self.0 {
            add_to_set(set, offset, member, violations);
        }
        Ok(())
    }

    /// Collects the paths of all members before `end`, by walking over them again.
    fn all_before<R: ReadAt + ?Sized>(image: &R, end: u64) -> Result<HashMap<[u8; 16], Known>> {
        let (mut set, mut ignored) = (HashMap::new(), Violations::default());
        let mut members = Members::new(image);
        loop {
            match members.next(&mut ignored)? {
                NextItem::Member(member) if member.offset < end => {
                    if let Some((path, is_directory)) = spelling::path(&member.name) {
                        add_to_set(&mut set, member.offset, (path, is_directory), &mut ignored);
                    }
                }
                NextItem::Global(_) => {}
                _ => return Ok(set),
            }
        }
    }
}

/// Adds a member to the set of all paths, and the rules that it breaks by coming here.
fn add_to_set(
    set: &mut HashMap<[u8; 16], Known>,
    offset: u64,
    (member_path, is_directory): (&[u8], bool),
    violations: &mut Violations,
) {
    let now = if is_directory { Known::Directory } else { Known::File };
    let broken = match (set.insert(short_hash(member_path), now), now) {
        (None, _) => None,
        (Some(Known::File), Known::File) => Some((TarRule::FileOnce, "the file came before")),
        (Some(Known::Directory), Known::Directory) => {
            Some((TarRule::DirectoryOnce, "the directory came before"))
        }
        (Some(Known::Implied), Known::Directory) => {
            Some((TarRule::DirectoryFirst, "something below it came before"))
        }
        (Some(_), Known::File) => Some((TarRule::OneKind, "it was a directory before")),
        (Some(_), _) => Some((TarRule::OneKind, "it was a file before")),
    };
    if let Some((rule, what)) = broken {
        violations.add(rule, offset, Some(member_path), what);
    }
    // A path that is too long breaks another rule already, and would take long here.
    let mut below = if member_path.len() <= PATH_BYTES_MAX { member_path } else { &[] };
    while let Some(parent) = path::parent(below) {
        match set.entry(short_hash(parent)) {
            MapEntry::Vacant(new) => {
                new.insert(Known::Implied);
            }
            // All directories above it are in the set, too.
            MapEntry::Occupied(known) => {
                if matches!(known.get(), Known::File) {
                    let what = "it is below a file";
                    violations.add(TarRule::OneKind, offset, Some(member_path), what);
                }
                break;
            }
        }
        below = parent;
    }
}
