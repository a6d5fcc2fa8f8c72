//! What every backend must do, as one suite that each of them runs.
//!
//! | suite | for backends that |
//! |---|---|
//! | [`writable`] | many may write to at once |
//! | [`writable_alone`] | one may write to: where a server ignores conditions |
//! | [`readable`] | can be read |
//! | [`findable`] | can be read by who knows the names, and list a store's folders alone |

use freestone_backend::{Backend, Created, Listed, Object};
use freestone_core::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;

use crate::noise;

/// Threads that make the objects of a long listing.
const MAKERS: usize = 8;

/// Returns true if two things are the same; says which are not.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) {
    assert!(found == expected, "{what}: found {found:?}, expected {expected:?}");
}

/// Runs the suite for backends that many may write to at once, on an empty one. `large` is the
/// length of the largest object, `many` the number of objects of the longest listing.
///
/// # Panics
/// If the backend does something else than it must.
///
/// # Errors
/// It fails.
pub fn writable(backend: &dyn Backend, large: usize, many: usize) -> Result<()> {
    writable_alone(backend, large, many)?;
    races(backend)
}

/// Runs the suite for backends that one may write to, as [`writable`].
///
/// # Panics
/// If the backend does something else than it must.
///
/// # Errors
/// It fails.
pub fn writable_alone(backend: &dyn Backend, large: usize, many: usize) -> Result<()> {
    backend.prepare()?;
    let mut objects = BTreeMap::new();
    for (name, length) in [
        ("format", 17),
        ("empty/none", 0),
        ("packs/ab/one.pack", 4096),
        ("packs/ab/two.pack", 300_000),
        ("packs/cd/three.pack", 1),
        ("packsaside/no.pack", 3),
        ("refs/a%2Fb/7fffffffffffffff", 100),
        ("refs/main/7ffffffffffffffe", 100),
        ("refs/main/7fffffffffffffff", 100),
    ] {
        let bytes = noise(length, length as u64 + 7);
        same(name, backend.create(name, &bytes)?, Created::New);
        same(name, backend.create(name, b"something else")?, Created::Existed);
        objects.insert(name.to_owned(), bytes);
    }
    readable(backend, &objects)?;
    spools(backend, large)?;
    hints(backend)?;
    removal(backend)?;
    std::thread::scope(|scope| {
        let makers: Vec<_> = (0..MAKERS)
            .map(|maker| {
                scope.spawn(move || {
                    let mut own = (maker..many).step_by(MAKERS);
                    own.try_for_each(|number| {
                        backend.create(&format!("many/{number:05}"), &[]).map(drop)
                    })
                })
            })
            .collect();
        makers.into_iter().filter_map(|maker| maker.join().ok()).collect::<Result<()>>()
    })?;
    let listed = backend.list("many")?;
    same("a long listing", listed.len(), many);
    assert!(listed.is_sorted(), "a long listing is not sorted");
    begins(backend, "many", &listed)?;
    backend.settle("packs")?;
    backend.settle("nothing")
}

/// Runs the suite for reading on a backend that holds `objects`, among others.
///
/// # Panics
/// If the backend does something else than it must.
///
/// # Errors
/// It fails.
pub fn readable(backend: &dyn Backend, objects: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    findable(backend, objects)?;
    for (name, bytes) in objects {
        let folder = name.rsplit_once('/').map(|(folder, _)| folder);
        if let Some(folder) = folder {
            let listed = backend.list(folder)?;
            let found = listed.iter().find(|listed| listed.name == *name);
            same(name, found.map(|listed| listed.length), Some(bytes.len() as u64));
        }
    }
    for folder in ["packs", "packs/ab", "refs", "refs/main"] {
        let inside = format!("{folder}/");
        let expected: Vec<&String> =
            objects.keys().filter(|name| name.starts_with(&inside)).collect();
        let listed = backend.list(folder)?;
        let found: Vec<&String> = listed.iter().map(|listed| &listed.name).collect();
        same(folder, found, expected);
        begins(backend, folder, &listed)?;
    }
    same("a folder that is not there", backend.list("nothing")?.len(), 0);
    same("its beginning", backend.list_first("nothing", 3)?.len(), 0);
    Ok(())
}

/// Runs the suite for reading by name on a backend that holds `objects`, among others.
///
/// # Panics
/// If the backend does something else than it must.
///
/// # Errors
/// It fails.
pub fn findable(backend: &dyn Backend, objects: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    for (name, bytes) in objects {
        let length = bytes.len() as u64;
        same(name, backend.get(name, length)?.as_ref(), Some(bytes));
        if length > 0 {
            let error = backend.get(name, length - 1).err();
            same(name, error.map(|error| error.kind()), Some(ErrorKind::Corrupt));
        }
        let object = backend.open(name)?;
        let object = object.ok_or_else(|| Error::not_found(format!("{name} cannot be opened")))?;
        reads(name, &*object, bytes)?;
        reads(name, &*backend.open_listed(name, length)?, bytes)?;
        reads_ranges(name, bytes, &|offset, out| backend.read_range(name, offset, out))?;
    }
    absent(backend, "packs/ab/none.pack")
}

/// Returns what comes first of a folder, all of which is listed.
fn begins(backend: &dyn Backend, folder: &str, listed: &[Listed]) -> Result<()> {
    for count in [1, 2, listed.len(), listed.len() + 1] {
        let first = backend.list_first(folder, count)?;
        assert!(first.len() >= count.min(listed.len()), "{folder}: fewer than {count} come first");
        assert!(listed.starts_with(&first), "{folder}: something else comes first");
    }
    Ok(())
}

fn absent(backend: &dyn Backend, name: &str) -> Result<()> {
    assert!(backend.open(name)?.is_none(), "{name} is not there and can be opened");
    same(name, backend.get(name, 10)?, None);
    // It may be found out when it is opened, or when it is read.
    let mut byte = [0];
    let read = backend.open_listed(name, 10).and_then(|object| object.read_at(0, &mut byte));
    same(name, read.err().map(|error| error.kind()), Some(ErrorKind::NotFound));
    let map = backend.open_listed(name, 10).and_then(|object| object.map());
    same(name, map.err().map(|error| error.kind()), Some(ErrorKind::NotFound));
    let range = backend.read_range(name, 0, &mut byte);
    same(name, range.err().map(|error| error.kind()), Some(ErrorKind::NotFound));
    Ok(())
}

fn reads(name: &str, object: &dyn Object, bytes: &[u8]) -> Result<()> {
    same(name, object.length(), bytes.len() as u64);
    reads_ranges(name, bytes, &|offset, out| object.read_at(offset, out))?;
    let map = object.map()?;
    same(name, map.length(), bytes.len() as u64);
    reads_ranges(name, bytes, &|offset, out| map.read_at(offset, out))?;
    Ok(())
}

fn reads_ranges(
    name: &str,
    bytes: &[u8],
    read: &dyn Fn(u64, &mut [u8]) -> Result<()>,
) -> Result<()> {
    let length = bytes.len();
    let step = (length / 5).max(1);
    for start in (0..length).step_by(step).chain([length.saturating_sub(1), length]) {
        for wanted in [0, 1, 16, step, length - start] {
            let mut out = vec![0; wanted.min(length - start)];
            read(start as u64, &mut out)?;
            assert!(out == bytes[start..start + out.len()], "{name}: other bytes at {start}");
        }
        let mut beyond = vec![0; length - start + 1];
        let error = read(start as u64, &mut beyond).err();
        same(name, error.map(|error| error.kind()), Some(ErrorKind::Corrupt));
    }
    Ok(())
}

fn spools(backend: &dyn Backend, large: usize) -> Result<()> {
    for length in [0, 1, 70_000, large] {
        let bytes = noise(length, 99);
        let name = format!("packs/ef/{length}.pack");
        for expected in [Created::New, Created::Existed] {
            let spool = backend.spool()?;
            // Written in any order.
            let (front, back) = bytes.split_at(length / 2);
            let write = |bytes, at: usize| spool.file().write_all_at(bytes, at as u64);
            let written = write(back, length / 2).and_then(|()| write(front, 0));
            assert!(written.is_ok(), "a spool cannot be written: {written:?}");
            same(&name, backend.publish(spool, &name)?, expected);
        }
        assert!(
            backend.get(&name, length as u64)?.as_deref() == Some(&bytes[..]),
            "{name} differs"
        );
        backend.remove(&name)?;
    }
    drop(backend.spool()?);
    Ok(())
}

fn hints(backend: &dyn Backend) -> Result<()> {
    for text in ["one", "another, longer", "3"] {
        backend.hint("refs/main/latest", text.as_bytes())?;
        same("a hint", backend.get("refs/main/latest", 100)?, Some(text.into()));
    }
    backend.remove("refs/main/latest")
}

/// Checks that of many who create the same object at once, one does.
fn races(backend: &dyn Backend) -> Result<()> {
    for round in 0..4 {
        let name = &format!("refs/raced/{round}");
        let outcomes: Vec<(usize, Result<Created>)> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..16)
                .map(|racer| {
                    scope.spawn(move || (racer, backend.create(name, &[racer_byte(racer); 50])))
                })
                .collect();
            racers.into_iter().filter_map(|racer| racer.join().ok()).collect()
        });
        let mut winners = Vec::new();
        for (racer, outcome) in outcomes {
            if outcome? == Created::New {
                winners.push(racer);
            }
        }
        same("the number of winners", winners.len(), 1);
        same("the winner's bytes", backend.get(name, 50)?, Some(vec![racer_byte(winners[0]); 50]));
    }
    Ok(())
}

fn racer_byte(racer: usize) -> u8 {
    u8::try_from(racer).unwrap_or(u8::MAX)
}

fn removal(backend: &dyn Backend) -> Result<()> {
    backend.create("index/gone", b"1")?;
    backend.remove("index/gone")?;
    backend.remove("index/gone")?;
    same("a listing after removal", backend.list("index")?.len(), 0);
    absent(backend, "index/gone")?;
    same("made again", backend.create("index/gone", b"2")?, Created::New);
    same("made again", backend.get("index/gone", 1)?, Some(b"2".to_vec()));
    backend.remove("index/gone")
}
