//! Collection: packs that nothing needs are removed, beside pushes and readers.
//!
//! What the refs keep is marked, record by record. Packs with nothing that is marked are condemned.
//! Packs that are mostly not needed are rewritten first: what is marked of them goes into new packs.
//! Then [`crate::sweep`] finds out, after a barrier on every ref, that they are still not needed,
//! and removes them. So the memory is a bit for each record, and nothing is locked.

mod doomed;
mod marks;
mod policy;
mod rewrite;

pub use freestone_format::policy::{Keep, Policy};
pub use policy::Why;

use crate::sweep::{self, Case, Damaged};
use freestone_core::{Error, Id, Result, Sha1, Watch};
use freestone_format::record::RecordKind;
use freestone_format::ref_entry::{self, RefEntry};
use freestone_store::fence::Collections;
use freestone_store::{Index, Records, Store, revisions};
use marks::{Avoided, Marks, Walker, uses};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// How to collect.
#[derive(Clone, Debug)]
pub struct GcOptions {
    /// What is kept, and which packs are written again.
    pub policy: Policy,
    /// How long packs stay after it is known that nothing needs them.
    pub grace: Duration,
    /// Now, in seconds since 1970: what `within` in the policy is counted back from.
    pub now: i64,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What is kept of a ref, and what is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptRef {
    /// The entries that are kept, with the reason, the newest first.
    pub kept: Vec<(u64, Id, Why)>,
    /// The entries that are not.
    pub dropped: Vec<(u64, Id)>,
}

/// What a collection did, or would do.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// What is kept of each ref.
    pub refs: BTreeMap<String, KeptRef>,
    /// Packs that nothing needs, and their bytes.
    pub dead: (u64, u64),
    /// Packs that were rewritten, and their bytes.
    pub rewritten: (u64, u64),
    /// Bytes of those that are needed, as they were stored.
    pub moved: u64,
    /// Packs that stay, and their bytes.
    pub staying: (u64, u64),
    /// Packs that are too young to be looked at, and their bytes.
    pub young: (u64, u64),
    /// Packs that were removed, and their bytes.
    pub removed: (u64, u64),
    /// Packs that are to be removed when the grace period is over, and their bytes.
    pub waiting: (u64, u64),
}

/// Collects what no ref of `store` needs. `watch` counts the revisions that are walked.
///
/// # Errors
/// Something that is kept is missing or damaged: then nothing is removed. The store cannot be read
/// or written to, or `watch` was cancelled: what was begun is taken up by the next collection.
pub fn gc(store: &Store, options: &GcOptions, watch: Watch<'_>) -> Result<Collected> {
    collect(store, options, false, watch)
}

/// Does the same; after a takedown, pushes are stopped that began before it.
///
/// # Errors
/// As [`gc`].
pub(crate) fn collect(
    store: &Store,
    options: &GcOptions,
    is_takedown: bool,
    watch: Watch<'_>,
) -> Result<Collected> {
    if !options.dry_run {
        store.check_writable()?;
    }
    store.refresh();
    let backend = &**store.backend();
    let taken_down = Collections::list(backend)?.taken_down;
    let run = Run { store, options, taken_down: &taken_down, watch };
    let mut done = Collected::default();
    // What was begun before is ended first: its packs are not candidates again.
    if !options.dry_run {
        done.removed = run.sweep()?.removed;
        store.refresh();
    }
    // The packs are listed before the index: one that comes later is no candidate.
    let present = backend.list("packs")?;
    let index = Arc::new(Index::open(backend)?);
    let (condemned, _) = sweep::condemned(backend, &sweep::present(backend)?)?;
    let roots = run.roots(&mut done.refs)?;
    watch.set_total(roots.len() as u64);
    let none = HashSet::new();
    let mut marks = run.mark(&index, &roots, Avoided { own: &none, others: &condemned }, watch)?;

    let mut packs = Candidates::default();
    // The files' times are of the machine's clock.
    let now = freestone_backend::clock::now_ns() / 1_000_000_000;
    let uses = uses(&index, &marks)?;
    let doomed = doomed::packs(store, &run.records(&index), &marks, &taken_down)?;
    for listed in &present {
        let Some(id) = freestone_format::pack::id_of_object(&listed.name) else { continue };
        let used = uses.get(&id).copied().unwrap_or_default();
        // What was taken down goes at once.
        let is_doomed = doomed.contains(&id);
        let is_young =
            !is_doomed && listed.modified.saturating_add(options.policy.min_age.as_secs()) > now;
        let unused = listed.length.saturating_sub(used.live.1);
        let is_mostly_unused = u128::from(unused) * 100
            >= u128::from(listed.length) * u128::from(options.policy.unused_percent);
        let is_one = !condemned.contains(&id) && !is_young;
        match used.live.0 {
            _ if is_young => add(&mut done.young, listed.length),
            0 if is_one => drop(packs.dead.insert(id, listed.length)),
            // It has only what is needed, with a table.
            live if is_one && (is_doomed || (live < used.records && is_mostly_unused)) => {
                packs.rewritten.insert(id, listed.length);
            }
            _ => add(&mut done.staying, listed.length),
        }
    }
    run.settle(&index, &mut marks, &mut packs, &doomed, &mut done)?;
    let all: HashSet<Id> = packs.dead.keys().chain(packs.rewritten.keys()).copied().collect();
    packs.dead.values().for_each(|length| add(&mut done.dead, *length));
    packs.rewritten.values().for_each(|length| add(&mut done.rewritten, *length));
    if options.dry_run {
        let mut judge = |case: &Case<'_>| run.needed(case);
        let swept = sweep::sweep(store, options.grace, true, Damaged::Refused, &mut judge)?;
        done.waiting = swept.waiting;
        return Ok(done);
    }
    // Also of nothing, where a push may run that has what was taken down: the barrier stops it.
    if !all.is_empty() || is_takedown {
        if !packs.rewritten.is_empty() {
            let gone = packs.rewritten.keys().copied().collect();
            rewrite::rewrite(store, &index, &marks, &taken_down, &gone, &all, watch)?;
        }
        let mut all: Vec<Id> = all.into_iter().collect();
        all.sort_unstable();
        sweep::condemn(backend, &all)?;
    }
    let swept = run.sweep()?;
    done.waiting = swept.waiting;
    done.removed.0 += swept.removed.0;
    done.removed.1 = done.removed.1.saturating_add(swept.removed.1);
    run.remove_files(&roots)?;
    store.refresh();
    Ok(done)
}

/// Returns true if a pack has what only contents need that were taken down.
///
/// # Errors
/// The store lacks something or cannot be read, or `watch` was cancelled.
pub(crate) fn still_there(store: &Store, watch: Watch<'_>) -> Result<bool> {
    let taken_down = Collections::list(&**store.backend())?.taken_down;
    let options =
        GcOptions { policy: Policy::default(), grace: Duration::ZERO, now: 0, dry_run: true };
    let run = Run { store, options: &options, taken_down: &taken_down, watch };
    store.refresh();
    let (index, none) = (Arc::new(Index::open(&**store.backend())?), HashSet::new());
    let roots = run.roots(&mut BTreeMap::new())?;
    let avoided = Avoided { own: &none, others: &none };
    let marks = run.mark(&index, &roots, avoided, Watch::default())?;
    Ok(!doomed::packs(store, &run.records(&index), &marks, &taken_down)?.is_empty())
}

fn add(sum: &mut (u64, u64), bytes: u64) {
    *sum = (sum.0 + 1, sum.1.saturating_add(bytes));
}

/// Packs that may go, with their lengths.
#[derive(Default)]
struct Candidates {
    /// Nothing in them is needed.
    dead: BTreeMap<Id, u64>,
    /// Little in them is needed.
    rewritten: BTreeMap<Id, u64>,
}

struct Run<'a> {
    store: &'a Store,
    options: &'a GcOptions,
    taken_down: &'a BTreeMap<Id, Sha1>,
    watch: Watch<'a>,
}

/// Revisions that are kept. Those with `false` may be incomplete, since an earlier collection did
/// not keep them.
type Roots = BTreeMap<Id, bool>;

impl Run<'_> {
    /// Returns the revisions that the refs keep, and says of each ref what that is.
    fn roots(&self, refs: &mut BTreeMap<String, KeptRef>) -> Result<Roots> {
        let (mut roots, forgotten) = (Roots::new(), self.store.forgotten()?);
        for name in self.store.refs().names()? {
            let log = self.store.refs().log(&name)?;
            let keep = self.options.policy.of(&name);
            // A pin keeps what it names now.
            let pin = Keep { last: Some(1), ..Keep::default() };
            let keep = if name.starts_with(ref_entry::PINS) { &pin } else { keep };
            let revision = |at: usize| {
                let id = log.get(at).and_then(RefEntry::revision)?;
                self.store.revision(&id).ok().flatten()
            };
            let why = policy::kept(keep, &log, self.options.now, revision);
            let collected = self.store.refs().collected(&name)?;
            let of = refs.entry(name).or_default();
            for (entry, why) in log.iter().zip(why) {
                let Some(id) = entry.revision() else { continue };
                let is_wanted = |why: &Why| *why == Why::Newest || !forgotten.contains(&id);
                let why = why.filter(is_wanted);
                let Some(why) = why else {
                    of.dropped.push((entry.n, id));
                    continue;
                };
                of.kept.push((entry.n, id, why));
                *roots.entry(id).or_default() |= why == Why::Newest || !collected.may_lack(entry.n);
            }
        }
        Ok(roots)
    }

    /// Marks what revisions need, where that is outside of `avoided` if there is a choice.
    /// `counted` counts them.
    ///
    /// What an uncertain revision lacks may be what a certain one needs, too: so the certain ones
    /// come first, and each marks all that it can.
    fn mark(
        &self,
        index: &Arc<Index>,
        roots: &Roots,
        avoided: Avoided<'_>,
        counted: Watch<'_>,
    ) -> Result<Marks> {
        let records = self.records(index);
        let mut marks = Marks::default();
        let mut walker = self.walker(&records, &mut marks, avoided);
        for is_certain in [true, false] {
            for (id, _) in roots.iter().filter(|(_, certain)| **certain == is_certain) {
                match walker.revision(id) {
                    Err(error) if error.is_damage() && !is_certain => {}
                    outcome => outcome.map_err(|error| error.context(format!("revision {id}")))?,
                }
                counted.step(1)?;
            }
            if is_certain {
                self.check_present(index, walker.marks)?;
            }
        }
        Ok(marks)
    }

    /// Checks that the packs are there in which something is marked.
    fn check_present(&self, index: &Index, marks: &Marks) -> Result<()> {
        let there = sweep::present(&**self.store.backend())?;
        let mut uses = uses(index, marks)?.into_iter();
        let gone = uses.find(|(id, used)| used.live.0 > 0 && !there.contains_key(id));
        gone.map_or(Ok(()), |(id, _)| {
            Err(Error::missing(format!("pack {id} is gone, and what is in it is needed"))
                .hint(marks::LACKS))
        })
    }

    fn walker<'b>(
        &'b self,
        records: &'b Records,
        marks: &'b mut Marks,
        avoided: Avoided<'b>,
    ) -> Walker<'b> {
        let (taken_down, watch) = (self.taken_down, self.watch);
        Walker { records, avoided, taken_down, marks, watch }
    }

    fn records(&self, index: &Arc<Index>) -> Records {
        Records { index: index.clone(), packs: self.store.packs().clone() }
    }

    /// Takes from the candidates what is needed by contents that packs list that stay.
    fn settle(
        &self,
        index: &Arc<Index>,
        marks: &mut Marks,
        packs: &mut Candidates,
        doomed: &HashSet<Id>,
        done: &mut Collected,
    ) -> Result<()> {
        let (records, none) = (self.records(index), HashSet::new());
        let avoided = Avoided { own: &none, others: &none };
        loop {
            let gone: HashSet<Id> =
                packs.dead.keys().chain(packs.rewritten.keys()).copied().collect();
            let mut walker = self.walker(&records, marks, avoided);
            let any = walker.listed_contents(&gone)?;
            let uses = uses(index, marks)?;
            let before = packs.dead.len();
            let rewritten = &mut packs.rewritten;
            packs.dead.retain(|id, length| {
                let is_dead = uses.get(id).is_none_or(|used| used.live.0 == 0);
                match is_dead {
                    true => {}
                    false if doomed.contains(id) => drop(rewritten.insert(*id, *length)),
                    false => add(&mut done.staying, *length),
                }
                is_dead
            });
            if !any && before == packs.dead.len() {
                let live = packs.rewritten.keys().filter_map(|id| uses.get(id));
                done.moved = live.fold(0, |sum, used| sum.saturating_add(used.live.1));
                return Ok(());
            }
        }
    }

    /// Takes up all collections that are not over.
    fn sweep(&self) -> Result<sweep::Swept> {
        let mut judge = |case: &Case<'_>| self.needed(case);
        sweep::sweep(self.store, self.options.grace, false, Damaged::Refused, &mut judge)
    }

    /// Returns which condemned packs are needed, by what the refs keep now.
    fn needed(&self, case: &Case<'_>) -> Result<HashSet<Id>> {
        let (condemned, avoided) =
            (case.condemned, Avoided { own: case.condemned, others: case.others });
        self.store.refresh();
        let index = Arc::new(Index::open(&**self.store.backend())?);
        let mut refs = BTreeMap::new();
        let roots = self.roots(&mut refs)?;
        // From the beginning: what was marked before may have been marked where it was then.
        let mut marks = self.mark(&index, &roots, avoided, Watch::default())?;
        // Before the verdict: else nobody would know that what it removes is no loss.
        self.note_collected(&refs)?;
        let records = self.records(&index);
        loop {
            let uses = uses(&index, &marks)?;
            let is_needed = |id: &&Id| uses.get(id).is_some_and(|used| used.live.0 > 0);
            let needed: HashSet<Id> = condemned.iter().filter(is_needed).copied().collect();
            let gone: HashSet<Id> = condemned.difference(&needed).copied().collect();
            let mut walker = self.walker(&records, &mut marks, avoided);
            if !walker.listed_contents(&gone)? {
                return Ok(needed);
            }
        }
    }

    /// Notes of each ref which entries need not have their revisions any more.
    fn note_collected(&self, refs: &BTreeMap<String, KeptRef>) -> Result<()> {
        for (name, of) in refs {
            if let Some(dropped) = of.dropped.iter().map(|(n, _)| *n).max() {
                let kept: Vec<u64> = of.kept.iter().map(|(n, ..)| *n).collect();
                self.store.refs().set_collected(name, dropped.saturating_add(1), &kept)?;
            }
        }
        Ok(())
    }

    /// Removes the files of revisions whose records are gone.
    fn remove_files(&self, roots: &Roots) -> Result<()> {
        let backend = &**self.store.backend();
        let index = Index::open(backend)?;
        for id in revisions::with_files(backend)? {
            let is_listed = index.find(RecordKind::Revision, &id, &mut |_| Ok(true))?;
            if !is_listed && !roots.contains_key(&id) {
                revisions::remove_file(backend, &id)?;
            }
        }
        Ok(())
    }
}
