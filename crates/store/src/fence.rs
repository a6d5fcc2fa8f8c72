//! What a push must know of collections: which packs are condemned, so that nothing may depend on
//! them any more. `docs/format.md`, *Collection*, has the rules and says why they hold.

use freestone_backend::Backend;
use freestone_core::{Id, Result, Sha1};
use freestone_format::condemned::{self, Stage};
use freestone_format::forgotten::TakenDown;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// The objects of the collections of a store, as they were listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collections {
    /// The collection up to which all are over; 0 if there is none.
    pub closed: u64,
    /// The stages of the later ones.
    pub open: BTreeMap<u64, BTreeSet<Stage>>,
    /// The names of objects of those that are over, but for the newest that says so.
    pub left_over: Vec<String>,
    /// Contents that were taken down: nothing new may have them.
    pub taken_down: BTreeMap<Id, Sha1>,
}

impl Collections {
    /// Lists the collections of a store.
    ///
    /// # Errors
    /// Listing failed.
    pub fn list(backend: &dyn Backend) -> Result<Self> {
        let listed = backend.list("gc")?;
        let objects: Vec<(u64, Stage, &str)> = listed
            .iter()
            .filter_map(|l| condemned::of_object(&l.name).map(|(n, stage)| (n, stage, &*l.name)))
            .collect();
        let closed = objects.iter().filter(|(_, stage, _)| *stage == Stage::Closed);
        let closed = closed.map(|(n, ..)| *n).max().unwrap_or(0);
        let taken_down = listed.iter().filter_map(|l| TakenDown::of_object(&l.name));
        let taken_down = taken_down.map(|taken| (taken.content, taken.sha1)).collect();
        let mut found = Self { closed, taken_down, ..Self::default() };
        for (n, stage, name) in objects {
            if n > closed {
                found.open.entry(n).or_default().insert(stage);
            } else if (n, stage) != (closed, Stage::Closed) {
                found.left_over.push(name.to_owned());
            }
        }
        Ok(found)
    }

    /// Returns true if nothing was ever collected, and nothing is being.
    pub fn are_none(&self) -> bool {
        self.closed == 0 && self.open.is_empty()
    }

    /// Returns the packs that count as absent: those of a verdict, and those of an intent that has
    /// no verdict. Only packs that are `wanted` are returned. A verdict that is damaged counts as
    /// the whole of its intent.
    ///
    /// # Errors
    /// A list cannot be read, or is damaged where nothing else says the same.
    pub fn condemned(
        &self,
        backend: &dyn Backend,
        is_wanted: &mut dyn FnMut(&Id) -> bool,
    ) -> Result<HashSet<Id>> {
        let mut all = HashSet::new();
        for (n, stages) in &self.open {
            let found = match stages.contains(&Stage::Verdict) {
                true => match read_list(backend, *n, Stage::Verdict, is_wanted) {
                    Err(error) if error.is_damage() && stages.contains(&Stage::Intent) => {
                        read_list(backend, *n, Stage::Intent, is_wanted)?
                    }
                    found => found?,
                },
                false => read_list(backend, *n, Stage::Intent, is_wanted)?,
            };
            all.extend(found.unwrap_or_default());
        }
        Ok(all)
    }
}

/// Reads the list of a collection, as far as its packs are wanted; `None` if it is gone: then the
/// collection is over.
///
/// # Errors
/// It cannot be read, or is damaged.
pub fn read_list(
    backend: &dyn Backend,
    n: u64,
    stage: Stage,
    is_wanted: &mut dyn FnMut(&Id) -> bool,
) -> Result<Option<Vec<Id>>> {
    let name = condemned::object_name(n, stage);
    let Some(object) = backend.open(&name)? else { return Ok(None) };
    let mut read = |at: u64, out: &mut [u8]| object.read_at(at, out);
    let packs = condemned::decode_in_pieces(stage, object.length(), &mut read, is_wanted);
    packs.map(Some).map_err(|error| {
        error.context(name).hint(
            "`freestone store compact --all` rewrites every pack that it may name, and ends the \
             collection",
        )
    })
}
