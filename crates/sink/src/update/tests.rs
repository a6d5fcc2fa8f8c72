//! Every step of an update in turn is its last, with every power cut after it.

use super::*;
use crate::head::SECTOR_BYTES;
use freestone_core::{ChunkSource, Extent, ExtentSource, Id, digest};
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Mutex;

/// An image of fixed extents.
struct Toy {
    name: &'static str,
    extents: Vec<Extent>,
    chunks: HashMap<Id, Vec<u8>>,
    length: u64,
}

impl Toy {
    fn new(name: &'static str, parts: &[(u8, usize)]) -> Self {
        let mut toy = Self { name, extents: Vec::new(), chunks: HashMap::new(), length: 0 };
        let mut head = format!("toy {name}").into_bytes();
        head.resize(512, b'.');
        toy.push(512, ExtentSource::Inline(head));
        for (seed, length) in parts {
            toy.push(512, ExtentSource::Inline(vec![b'h' ^ seed; 512]));
            if *seed == 0 {
                toy.push(*length as u64, ExtentSource::Zeros);
            } else {
                let bytes: Vec<u8> =
                    (0..251).cycle().take(*length).map(|byte: u8| byte ^ seed).collect();
                let id = digest::plain(&bytes);
                toy.push(*length as u64, ExtentSource::Chunk(id));
                toy.chunks.insert(id, bytes);
            }
            toy.push(toy.length.next_multiple_of(512) - toy.length, ExtentSource::Zeros);
        }
        toy.push(toy.length.next_multiple_of(4096) + 4096 - toy.length, ExtentSource::Zeros);
        toy
    }

    fn push(&mut self, length: u64, source: ExtentSource) {
        if length > 0 {
            self.extents.push(Extent { offset: self.length, length, source });
            self.length += length;
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for extent in &self.extents {
            match &extent.source {
                ExtentSource::Inline(inline) => bytes.extend_from_slice(inline),
                ExtentSource::Zeros => bytes.resize(bytes.len() + to_usize(extent.length), 0),
                ExtentSource::Chunk(id) => bytes.extend_from_slice(&self.chunks[id]),
            }
        }
        bytes
    }
}

impl Plan for Toy {
    fn length(&self) -> u64 {
        self.length
    }
    fn extents(&self, range: Range<u64>, each: &mut dyn FnMut(Extent) -> Result<()>) -> Result<()> {
        let inside = |e: &&Extent| e.end() > range.start && e.offset < range.end;
        self.extents.iter().filter(inside).try_for_each(|extent| each(extent.clone()))
    }
    fn identity(&self) -> String {
        self.name.into()
    }
}

impl ChunkSource for Toy {
    fn chunk(&self, id: &Id, out: &mut [u8]) -> Result<()> {
        out.copy_from_slice(&self.chunks[id]);
        Ok(())
    }
}

/// A medium in memory that stops after some steps, and remembers what is durable.
struct Stopping {
    state: Mutex<State>,
    resizable: bool,
}

struct State {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Written and not synced: offsets and sectors, and a length.
    pending: Vec<Pending>,
    steps_left: usize,
    writes: u64,
}

#[derive(Clone)]
enum Pending {
    Write(u64, Vec<u8>),
    Length(u64),
}

impl Pending {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(length) => bytes.resize(to_usize(*length), 0),
            Self::Write(offset, data) => {
                let end = to_usize(*offset) + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[to_usize(*offset)..end].copy_from_slice(data);
            }
        }
    }
}

impl Stopping {
    fn new(bytes: Vec<u8>, resizable: bool, steps: usize) -> Self {
        let state = State {
            durable: bytes.clone(),
            now: bytes,
            pending: Vec::new(),
            steps_left: steps,
            writes: 0,
        };
        Self { state: Mutex::new(state), resizable }
    }

    fn step(&self) -> Result<std::sync::MutexGuard<'_, State>> {
        let mut state = self.state.lock().unwrap();
        match state.steps_left.checked_sub(1) {
            None => Err(Error::corrupt("stopped")),
            Some(left) => {
                state.steps_left = left;
                Ok(state)
            }
        }
    }
}

impl State {
    fn push(&mut self, pending: Pending) {
        pending.apply(&mut self.now);
        self.pending.push(pending);
    }
}

impl Medium for Stopping {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let state = self.state.lock().unwrap();
        out.copy_from_slice(&state.now[to_usize(offset)..][..out.len()]);
        Ok(())
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut state = self.step()?;
        state.writes += bytes.len() as u64;
        for (n, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
            state.push(Pending::Write(offset + (n * SECTOR_BYTES) as u64, sector.to_vec()));
        }
        Ok(())
    }
    fn zero(&self, offset: u64, length: u64) -> Result<()> {
        self.write_at(offset, &vec![0; to_usize(length)])
    }
    fn sync(&self) -> Result<()> {
        let mut state = self.step()?;
        state.pending.clear();
        state.durable = state.now.clone();
        Ok(())
    }
    fn is_resizable(&self) -> bool {
        self.resizable
    }
    fn set_length(&self, length: u64) -> Result<()> {
        assert!(self.resizable, "a device has the length that it has");
        self.step()?.push(Pending::Length(length));
        Ok(())
    }
}

fn run(new: &Toy, medium: &Stopping, old: Option<&Toy>) -> Result<Updated> {
    let control = Control { workers: NonZeroUsize::MIN, ..Control::default() };
    let held = medium.state.lock().unwrap().now.len() as u64;
    let base = old.map(|old| old as &dyn Plan).filter(|o| medium.can_hold(o.length(), held));
    in_place(&Image::new(new, new), medium, held, base, &control)
}

fn is_unfinished(bytes: &[u8]) -> bool {
    bytes.starts_with(b"freestone: this image is unfinished; ")
}

/// Returns some of the states that a power cut may leave: any part of what was not synced is lost.
fn survivors(state: &State) -> Vec<Vec<u8>> {
    let mut found = vec![state.durable.clone(), state.now.clone()];
    let count = state.pending.len();
    for seed in 0..8u64 {
        let mut bytes = state.durable.clone();
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for pending in &state.pending {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            if random.is_multiple_of(2) {
                pending.apply(&mut bytes);
            }
        }
        found.push(bytes);
    }
    for skipped in 0..count.min(40) {
        let mut bytes = state.durable.clone();
        let kept = state.pending.iter().enumerate().filter(|(at, _)| *at != skipped);
        kept.for_each(|(_, pending)| pending.apply(&mut bytes));
        found.push(bytes);
    }
    found
}

fn pairs() -> Vec<(Toy, Toy)> {
    let old = [(1, 700), (2, 9000), (0, 70_000), (3, 5000), (4, 100)];
    vec![
        // A change where sizes stay; one that shifts what follows; shorter; longer.
        (Toy::new("old", &old), Toy::new("new", &[old[0], (9, 9000), old[2], old[3], old[4]])),
        (Toy::new("old", &old), Toy::new("new", &[old[0], (2, 9600), old[2], old[3], old[4]])),
        (Toy::new("old", &old), Toy::new("new", &old[..2])),
        (Toy::new("old", &old), Toy::new("new", &[&old[..], &[(7, 30_000)]].concat())),
        (Toy::new("old", &old), Toy::new("new", &[(5, 80_000), old[4], (0, 9000)])),
    ]
}

#[test]
fn stopped_at_every_step_it_is_the_old_or_the_new_image_or_says_unfinished() {
    for (old, new) in pairs() {
        let (before, after) = (old.bytes(), new.bytes());
        for resizable in [true, false] {
            let mut start = before.clone();
            if !resizable {
                start.resize(before.len().max(after.len()) + 8192, 0xaa);
            }
            for (known, steps) in (0..).flat_map(|steps| [(true, steps), (false, steps)]) {
                let medium = Stopping::new(start.clone(), resizable, steps);
                let done = run(&new, &medium, Some(&old).filter(|_| known)).is_ok();
                let state = medium.state.into_inner().unwrap();
                let whole = |bytes: &[u8], image: &[u8]| {
                    bytes.starts_with(image) && (!resizable || bytes.len() == image.len())
                };
                for left in survivors(&state) {
                    let is_whole = whole(&left, &before) || whole(&left, &after);
                    assert!(is_whole || is_unfinished(&left), "step {steps} of {}", new.name);
                    if done {
                        assert!(whole(&left, &after));
                        continue;
                    }
                    // The next run finishes it.
                    let again = Stopping::new(left.clone(), resizable, usize::MAX);
                    let base = Some(&old).filter(|_| whole(&left, &before));
                    run(&new, &again, base).unwrap();
                    assert!(whole(&again.state.into_inner().unwrap().durable, &after));
                }
                if done && !known {
                    assert!(steps > 5);
                    break;
                }
            }
        }
    }
}

#[test]
fn only_what_differs_is_written_and_with_a_known_base_only_that_is_read() {
    let (old, new) = pairs().swap_remove(0);
    for base in [Some(&old), None] {
        let medium = Stopping::new(old.bytes(), true, usize::MAX);
        let updated = run(&new, &medium, base).unwrap();
        let state = medium.state.into_inner().unwrap();
        assert_eq!(state.durable, new.bytes());
        // Both heads, and the blocks with the rest of the 9,000 bytes.
        assert_eq!(updated.report.written, state.writes);
        assert!((8192 + 7000..8192 + 13_000).contains(&state.writes), "{}", state.writes);
        let read = updated.report.read;
        assert_eq!(read < 20_000, base.is_some(), "{read}");
        assert_eq!(updated.from.as_deref(), base.map(|old| old.name));
    }
    // The same again: nothing.
    let medium = Stopping::new(new.bytes(), true, 0);
    let updated = run(&new, &medium, Some(&new)).unwrap();
    assert!(updated.up_to_date && updated.report.written == 0);
}
