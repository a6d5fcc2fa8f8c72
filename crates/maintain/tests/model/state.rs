//! The storage and the processes of the model.
//!
//! There are two contents: 0, which ref 0 names at the beginning, and 1, which only a dead pack has.
//! What is lost is a content that the newest entry of a ref names and no pack has.

use std::collections::{BTreeMap, BTreeSet};

/// A pack: what it has, and which it is of those with the same.
pub type Pack = (u8, u8);

/// The newest name of a pack that a run may use: it bounds how often pushes begin again.
const NAMES_MAX: u8 = 4;
/// The most places of a ref.
const PLACES_MAX: usize = 5;

/// Which rules are kept.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Packs are condemned before they are removed.
    pub intents: bool,
    /// What was condemned never comes back under its name.
    pub fresh_names: bool,
    /// A sweeper puts a barrier on each ref.
    pub barriers: bool,
    /// A push begins a new ref before it looks at what is condemned.
    pub unborn: bool,
    /// One that created an intent or a verdict looks whether its number is closed.
    pub looks_at_closed: bool,
    /// A push that finds a barrier looks whether what it depends on is still there.
    pub looks_for_packs: bool,
    /// Copies in packs that other collections condemn count.
    pub others_count: bool,
    /// The highest number of a collection.
    pub collections_max: u8,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            intents: true,
            fresh_names: true,
            barriers: true,
            unborn: true,
            looks_at_closed: true,
            looks_for_packs: true,
            others_count: false,
            collections_max: 2,
        }
    }
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Sets this ref to this content.
    Push(u8, u8),
    /// Removes what no ref needs.
    Sweep,
    /// Copies a pack, and removes it.
    Compact,
}

/// A collection.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Collection {
    intent: Option<BTreeSet<Pack>>,
    verdict: Option<BTreeSet<Pack>>,
}

/// Where a process is, and what it knows.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Process {
    pub kind: Kind,
    step: &'static str,
    /// The collection that it works on.
    n: u8,
    /// The newest place of the ref that it has seen, or how many refs have their barriers.
    head: usize,
    /// The content that the ref named there.
    named: Option<u8>,
    /// The pack that a push depends on, or that is copied.
    pack: Option<Pack>,
    /// Packs that count as absent for it, or that it removes.
    packs: BTreeSet<Pack>,
    /// The refs that a sweeper listed.
    refs: BTreeSet<u8>,
}

/// The storage, and all processes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct State {
    packs: BTreeSet<Pack>,
    /// Of each ref, what each place names; a barrier names what the place before it names. The
    /// second of the pair says that it is a barrier.
    refs: BTreeMap<u8, Vec<(Option<u8>, bool)>>,
    collections: BTreeMap<u8, Collection>,
    closed: u8,
    /// The next name of a pack.
    next: u8,
    pub processes: Vec<Process>,
}

impl State {
    /// Returns the beginning of a run of `processes`.
    pub fn new(processes: &[Kind]) -> Self {
        let process = |kind: &Kind| Process {
            kind: *kind,
            step: "begin",
            n: 0,
            head: 0,
            named: None,
            pack: None,
            packs: BTreeSet::new(),
            refs: BTreeSet::new(),
        };
        Self {
            packs: [(0, 0), (1, 0)].into(),
            refs: [(0, vec![(Some(0), false)])].into(),
            collections: BTreeMap::new(),
            closed: 0,
            next: 1,
            processes: processes.iter().map(process).collect(),
        }
    }

    /// Returns true if a ref names what no pack has.
    pub fn is_lost(&self) -> bool {
        let newest = self.refs.values().filter_map(|places| places.last()?.0);
        let mut newest = newest.peekable();
        newest.any(|content| !self.packs.iter().any(|pack| pack.0 == content))
    }

    /// Returns the packs that count as absent, by the collections but `except`.
    fn condemned(&self, except: u8) -> BTreeSet<Pack> {
        let open = self.collections.iter().filter(|(n, _)| **n > self.closed && **n != except);
        let lists = open.filter_map(|(_, one)| one.verdict.as_ref().or(one.intent.as_ref()));
        lists.flatten().copied().collect()
    }

    /// Returns the states that may come next if process `at` takes a step, each with what it did.
    pub fn steps(&self, at: usize, rules: Rules) -> Vec<(String, Self)> {
        match self.processes[at].kind {
            Kind::Push(name, content) => self.push(at, name, content, rules),
            Kind::Sweep | Kind::Compact => self.sweep(at, rules),
        }
    }

    /// Returns the state after `change`, in which process `at` is at `step`.
    fn after(
        &self,
        at: usize,
        step: &'static str,
        said: impl Into<String>,
        change: impl FnOnce(&mut Self, &mut Process),
    ) -> (String, Self) {
        let mut next = self.clone();
        let mut process = next.processes[at].clone();
        process.step = step;
        change(&mut next, &mut process);
        next.processes[at] = process;
        (said.into(), next)
    }

    #[allow(clippy::too_many_lines, reason = "a table of steps, each of a few lines")]
    fn push(&self, at: usize, name: u8, content: u8, rules: Rules) -> Vec<(String, Self)> {
        let me = &self.processes[at];
        let places = self.refs.get(&name).cloned().unwrap_or_default();
        match me.step {
            "begin" => {
                let is_new = places.is_empty() && rules.unborn;
                vec![self.after(
                    at,
                    "head",
                    if is_new { "creates place 0" } else { "finds the ref" },
                    |s, _| {
                        if is_new {
                            s.refs.insert(name, vec![(None, true)]);
                        }
                    },
                )]
            }
            "head" => vec![self.after(at, "condemned", "reads the newest place", |_, p| {
                p.head = places.len();
                p.named = places.last().and_then(|place| place.0);
            })],
            "condemned" => {
                let condemned = if rules.intents { self.condemned(0) } else { BTreeSet::new() };
                vec![self.after(at, "look", "reads what is condemned", |_, p| p.packs = condemned)]
            }
            "look" => {
                let found =
                    self.packs.iter().filter(|pack| pack.0 == content && !me.packs.contains(*pack));
                let found: Vec<Pack> = found.copied().collect();
                if let Some(pack) = found.first() {
                    return vec![self.after(at, "entry", format!("finds {pack:?}"), |_, p| {
                        p.pack = Some(*pack);
                        p.packs.clear();
                    })];
                }
                if self.next > NAMES_MAX {
                    return Vec::new();
                }
                let pack = (content, if rules.fresh_names { self.next } else { 0 });
                vec![self.after(at, "entry", format!("writes {pack:?}"), |s, p| {
                    s.next += u8::from(rules.fresh_names);
                    s.packs.insert(pack);
                    p.pack = Some(pack);
                    p.packs.clear();
                })]
            }
            "entry" => {
                if places.len() >= PLACES_MAX {
                    return Vec::new();
                }
                if places.len() == me.head {
                    // If the answer is lost, the same entry is found at its place.
                    return vec![self.after(at, "end", "creates its entry", |s, _| {
                        s.refs.entry(name).or_default().push((Some(content), false));
                    })];
                }
                let is_barrier = places[me.head..].iter().all(|place| place.1);
                let (step, said) = match is_barrier {
                    true => ("again", "finds a barrier"),
                    false => ("end", "loses to another push"),
                };
                vec![self.after(at, step, said, |_, p| {
                    p.head = places.len();
                    if step == "end" {
                        p.pack = None;
                    }
                })]
            }
            "again" => {
                let condemned = self.condemned(0);
                let stands = me.pack.is_none_or(|pack| !condemned.contains(&pack));
                let (step, said) = match stands {
                    true if rules.looks_for_packs => {
                        ("there", "sees that its pack is not condemned")
                    }
                    true => ("entry", "sees that its pack is not condemned"),
                    false => ("look", "sees that its pack is condemned"),
                };
                vec![self.after(at, step, said, |_, p| {
                    if !stands {
                        p.packs = condemned;
                    }
                })]
            }
            "there" => {
                let (step, said) = match me.pack.is_none_or(|pack| self.packs.contains(&pack)) {
                    true => ("entry", "sees that its pack is there"),
                    false => ("condemned", "sees that its pack is gone"),
                };
                vec![self.after(at, step, said, |_, _| {})]
            }
            _ => Vec::new(),
        }
    }

    #[allow(clippy::too_many_lines, reason = "a table of steps, each of a few lines")]
    fn sweep(&self, at: usize, rules: Rules) -> Vec<(String, Self)> {
        let me = &self.processes[at];
        match me.step {
            "begin" => self.choose(at, rules),
            "intent" => {
                let is_free = self.collections.get(&me.n).is_none_or(|one| one.intent.is_none());
                if !is_free {
                    return vec![self.after(at, "begin", "finds its number taken", |_, p| {
                        p.packs.clear();
                        p.pack = None;
                    })];
                }
                let create = |step, said: &str| {
                    self.after(at, step, format!("{said} {} {:?}", me.n, me.packs), |s, p| {
                        s.collections.entry(p.n).or_default().intent = Some(p.packs.clone());
                    })
                };
                // One whose answer is lost is taken for that of another sweeper.
                let lost = create("begin", "creates intent, and hears nothing of it,");
                let lost = (lost.0, {
                    let mut state = lost.1;
                    state.processes[at].packs.clear();
                    state.processes[at].pack = None;
                    state
                });
                vec![create("intent made", "creates intent"), lost]
            }
            "intent made" => {
                let is_void = rules.looks_at_closed && self.closed >= me.n;
                let (step, said) = match is_void {
                    true => ("begin", "finds its intent void"),
                    false => ("refs", "finds its intent valid"),
                };
                vec![self.after(at, step, said, |s, p| {
                    p.packs.clear();
                    if is_void {
                        s.drop_objects(p.n, true, false);
                    }
                })]
            }
            "refs" => vec![self.after(at, "barriers", "lists the refs", |s, p| {
                p.refs = s.refs.keys().copied().collect();
                p.head = 0;
            })],
            "barriers" => {
                let Some(name) = me.refs.iter().nth(me.head).copied().filter(|_| rules.barriers)
                else {
                    return vec![self.after(at, "judge", "goes on to the verdict", |_, _| {})];
                };
                if self.refs[&name].len() >= PLACES_MAX {
                    return Vec::new();
                }
                vec![self.after(at, "barriers", format!("puts a barrier on ref {name}"), |s, p| {
                    p.head += 1;
                    let places = s.refs.entry(name).or_default();
                    let named = places.last().and_then(|place| place.0);
                    places.push((named, true));
                })]
            }
            "judge" => vec![self.judge(at, rules)],
            "verdict" => {
                let one = self.collections.get(&me.n);
                if one.is_none_or(|one| one.verdict.is_none()) {
                    return vec![self.after(
                        at,
                        "verdict made",
                        format!("creates verdict {} {:?}", me.n, me.packs),
                        |s, p| {
                            s.collections.entry(p.n).or_default().verdict = Some(p.packs.clone());
                        },
                    )];
                }
                vec![self.after(at, "read", "finds another verdict", |_, p| p.packs.clear())]
            }
            "verdict made" => {
                let is_void = rules.looks_at_closed && self.closed >= me.n;
                let (step, said) = match is_void {
                    true => ("end", "finds its verdict void"),
                    false => ("remove", "finds its verdict valid"),
                };
                vec![self.after(at, step, said, |s, p| {
                    if is_void {
                        p.packs.clear();
                        s.drop_objects(p.n, false, true);
                    }
                })]
            }
            "read" => match self.collections.get(&me.n).and_then(|one| one.verdict.clone()) {
                Some(packs) => {
                    vec![self.after(at, "remove", "reads the verdict", |_, p| p.packs = packs)]
                }
                None => vec![self.after(at, "end", "finds the collection over", |_, _| {})],
            },
            "remove" => match me.packs.first().copied() {
                Some(pack) => {
                    vec![self.after(at, "remove", format!("removes {pack:?}"), |s, p| {
                        p.packs.remove(&pack);
                        s.packs.remove(&pack);
                    })]
                }
                None if !rules.intents => vec![self.after(at, "end", "ends", |_, _| {})],
                None if self.collections.keys().any(|n| *n > self.closed && *n < me.n) => {
                    vec![self.after(
                        at,
                        "end",
                        "leaves it to the next that ends those before",
                        |_, _| {},
                    )]
                }
                None => vec![self.after(at, "clear", format!("closes {}", me.n), |s, p| {
                    s.closed = s.closed.max(p.n);
                })],
            },
            "clear" => vec![self.after(at, "end", "removes the objects that are over", |s, p| {
                let closed = s.closed;
                s.collections.retain(|n, _| *n > closed);
                p.n = 0;
                p.refs.clear();
                p.head = 0;
            })],
            _ => Vec::new(),
        }
    }

    /// Returns the states after a sweeper has listed the collections, or a compactor has copied.
    fn choose(&self, at: usize, rules: Rules) -> Vec<(String, Self)> {
        let me = &self.processes[at];
        let open = self.collections.iter().find(|(n, _)| **n > self.closed);
        // What is open is taken up, or left alone for its grace period.
        let mut taken_up = Vec::new();
        if let (Some((n, one)), Kind::Sweep) = (open, me.kind) {
            let step = if one.verdict.is_some() { "read" } else { "refs" };
            taken_up
                .push(self.after(at, step, format!("takes up collection {n}"), |_, p| p.n = *n));
            if one.verdict.is_none() {
                return taken_up;
            }
        }
        let newest = self.collections.keys().copied().max().unwrap_or(0).max(self.closed);
        if newest >= rules.collections_max {
            return taken_up;
        }
        if me.kind == Kind::Compact {
            let live = self.packs.difference(&self.condemned(0)).copied().collect::<Vec<Pack>>();
            if self.next > NAMES_MAX {
                return Vec::new();
            }
            let copy = |pack: &Pack| {
                let new = (pack.0, self.next);
                self.after(at, "intent", format!("copies {pack:?} to {new:?}"), |s, p| {
                    s.next += 1;
                    s.packs.insert(new);
                    p.pack = Some(*pack);
                    p.packs = [*pack].into();
                    p.n = newest + 1;
                })
            };
            return taken_up.into_iter().chain(live.iter().map(copy)).collect();
        }
        let needed: BTreeSet<u8> =
            self.refs.values().filter_map(|places| places.last()?.0).collect();
        let free: BTreeSet<Pack> = self.packs.difference(&self.condemned(0)).copied().collect();
        let dead = free.iter().filter(|pack| !needed.contains(&pack.0)).copied().collect();
        let mut choices: Vec<BTreeSet<Pack>> = vec![dead];
        if rules.intents {
            // Whatever is chosen is safe.
            choices.push(free);
        }
        choices.retain(|packs| !packs.is_empty());
        choices.dedup();
        let step = if rules.intents { "intent" } else { "remove" };
        let choose = |packs: BTreeSet<Pack>| {
            self.after(at, step, format!("chooses {packs:?}"), |_, p| {
                p.packs = packs;
                p.n = newest + 1;
            })
        };
        taken_up.into_iter().chain(choices.into_iter().map(choose)).collect()
    }

    /// Returns the state after a sweeper has found out what is needed.
    fn judge(&self, at: usize, rules: Rules) -> (String, Self) {
        let me = &self.processes[at];
        let intent = self.collections.get(&me.n).and_then(|one| one.intent.clone());
        let intent = intent.unwrap_or_default();
        let others = if rules.others_count { BTreeSet::new() } else { self.condemned(me.n) };
        // The refs that were listed, and no others.
        let newest = me.refs.iter().filter_map(|name| self.refs.get(name)?.last()?.0);
        let mut needed: BTreeSet<Pack> = BTreeSet::new();
        for content in newest {
            let copies: Vec<Pack> =
                self.packs.iter().filter(|pack| pack.0 == content).copied().collect();
            let outside =
                copies.iter().any(|pack| !intent.contains(pack) && !others.contains(pack));
            let own = copies.iter().find(|pack| intent.contains(*pack) && !others.contains(*pack));
            let own = own.or_else(|| copies.iter().find(|pack| intent.contains(*pack)));
            if !outside {
                needed.extend(own);
            }
        }
        let removed = intent.difference(&needed).copied().collect();
        self.after(at, "verdict", "finds out what is needed", |_, p| p.packs = removed)
    }

    fn drop_objects(&mut self, n: u8, intent: bool, verdict: bool) {
        if let Some(one) = self.collections.get_mut(&n) {
            if intent {
                one.intent = None;
            }
            if verdict {
                one.verdict = None;
            }
            if one.intent.is_none() && one.verdict.is_none() {
                self.collections.remove(&n);
            }
        }
    }
}
