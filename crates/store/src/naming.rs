//! Making a ref name a revision that is there already.
//!
//! No ref may have named the revision so far, and a collection may remove it meanwhile. So what it
//! needs is looked for, as a push does with what it finds.

use crate::fence::Collections;
use crate::read::records::Records;
use crate::refs::{Expect, Refs, check_expected};
use crate::store::Store;
use crate::write::live_set;
use freestone_core::limits::CONTENT_WHOLE_BYTES_MAX;
use freestone_core::plan::{NodeKind, NodeSource};
use freestone_core::{Error, Id, Result};
use freestone_format::record::RecordKind;
use freestone_format::ref_entry::{RefAction, RefEntry, check_name_of_user};
use freestone_format::ref_place::RefPlace;
use freestone_format::revision::Revision;
use freestone_manifest::{EntryKind, Items, Node};
use std::collections::HashSet;

impl Store {
    /// Makes ref `name` name the revision `id`. `time` is in seconds since 1970.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](freestone_core::ErrorKind::Conflict) if the ref is not what is
    /// expected, or another writer was first; [`ErrorKind::Missing`](freestone_core::ErrorKind) if
    /// the store does not have all of the revision; or the store cannot be read or written.
    pub fn set_ref(&self, name: &str, id: Id, expect: Expect, time: i64) -> Result<RefEntry> {
        check_name_of_user(name)?;
        let head = self.refs().begin(name)?;
        check_expected(name, head.entry.as_ref(), expect)?;
        self.set_ref_after(name, &head, id, time)
    }

    /// Does the same for a ref whose newest place is `head`.
    ///
    /// # Errors
    /// As [`Self::set_ref`].
    pub fn set_ref_after(
        &self,
        name: &str,
        head: &RefPlace,
        id: Id,
        time: i64,
    ) -> Result<RefEntry> {
        self.set_after(&self.refs(), name, head, id, time)
    }

    /// Makes the pin `name`, which is `hosts/HOST/NAME`, name the revision `id`. `refs` are those of
    /// the store that keeps the revision: where this store follows an upstream, the upstream's.
    ///
    /// # Errors
    /// As [`Self::set_ref`].
    pub fn set_pin(&self, refs: &Refs, name: &str, id: Id, time: i64) -> Result<RefEntry> {
        let head = refs.begin(name)?;
        self.set_after(refs, name, &head, id, time)
    }

    fn set_after(
        &self,
        refs: &Refs,
        name: &str,
        head: &RefPlace,
        id: Id,
        time: i64,
    ) -> Result<RefEntry> {
        refs.settle(None)?;
        let collections = Collections::list(&**self.backend())?;
        if !collections.are_none() {
            self.check_all_of(&id)?;
        }
        refs.append(name, head, RefAction::Set(id), time, &mut || self.check_all_of(&id))
    }

    /// Checks that something new may depend on all that revision `id` needs.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`](freestone_core::ErrorKind) if not; or the store cannot be read.
    pub fn check_all_of(&self, id: &Id) -> Result<()> {
        let records = live_set(self)?;
        let mut bytes = Vec::new();
        if !records.has(RecordKind::Revision, id)?
            || !records.read(RecordKind::Revision, id, &mut bytes)?
        {
            return Err(collected(id));
        }
        let mut open = vec![Revision::decode(&bytes)?.root];
        let mut seen: HashSet<Id> = HashSet::new();
        while let Some(node) = open.pop() {
            if !seen.insert(node) {
                continue;
            }
            if !records.has(RecordKind::ManifestNode, &node)? {
                return Err(collected(id));
            }
            match Node::decode(&records.node(NodeKind::Manifest, &node)?)?.items {
                Items::Children(children) => open.extend(children.iter().map(|child| child.id)),
                Items::Entries(entries) => {
                    for entry in &entries {
                        if let EntryKind::File { size, content, .. } = &entry.kind
                            && !records.index.is_taken_down(content)
                            && !has_content(&records, content, *size)?
                        {
                            return Err(collected(id));
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// Returns true if the store has a content: a content that is listed has all its chunks.
fn has_content(records: &Records, id: &Id, size: u64) -> Result<bool> {
    let kind = match size {
        0..=CONTENT_WHOLE_BYTES_MAX => RecordKind::Chunk,
        _ => RecordKind::ContentRecord,
    };
    records.has(kind, id)
}

fn collected(id: &Id) -> Error {
    Error::missing(format!("revision {id} is not whole: a collection has removed a part of it"))
        .hint("push its content again")
}
