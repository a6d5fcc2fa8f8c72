//! Pushes a directory to a store, and creates the store if it does not exist:
//! `cargo run --release -p freestone-push --example directory -- DIR STORE`.

use freestone_core::item::ItemSource;
use freestone_core::{Error, Result, Watch, lock};
use freestone_push::{PushOptions, Source};
use freestone_source::directory::{self, DirectoryOptions};
use freestone_store::Store;
use std::path::PathBuf;
use std::sync::Mutex;

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(place), Some(root)) = (arguments.next(), arguments.next()) else {
        return Err(Error::refused("name a directory and a store"));
    };
    let store = if root.exists() { Store::open(&root)? } else { Store::init(&root)? };

    // A push asks for another walk only if it starts again, which it may with `retry`.
    let (walk, opener) = directory::open(&place, &DirectoryOptions::default())?;
    let walk = Mutex::new(Some(walk));
    let walk = || -> Result<Box<dyn ItemSource>> {
        let walk = lock(&walk).take();
        Ok(Box::new(walk.ok_or_else(|| Error::refused("the directory is walked once"))?))
    };

    let source = Source { walk: &walk, opener: &opener, key: None };
    let outcome = freestone_push::push(&store, &source, &PushOptions::default(), Watch::default())?;
    let entries = outcome.revision.entries;
    println!("{} has {entries} entries; {} bytes are new", outcome.id, outcome.bytes_stored);
    Ok(())
}
