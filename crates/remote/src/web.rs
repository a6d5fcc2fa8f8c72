//! A store on a web server, read only: files by name, without listings.
//!
//! The hints (`docs/format.md`) say where to begin. The search for a ref's newest entry starts at
//! the number in its hint, so an old hint costs requests but never shows an old entry. The segments
//! are those in `index/latest`, the packs those that the segments name, the revisions those that
//! entries of refs name.

use crate::bucket::no_retries;
use crate::client::Connector;
use crate::object::{ObjectReader, RemoteObject, WHOLE_BYTES};
use crate::options::RemoteOptions;
use crate::retry::Requests;
use bytes::Bytes;
use freestone_backend::{Backend, Listed, Object};
use freestone_core::{Error, ErrorKind, Result, lock, shown};
use freestone_format::hint;
use freestone_format::pack;
use freestone_format::ref_entry::name_of_folder;
use freestone_format::ref_place::{RefPlace, key, place_of_key};
use freestone_format::segment::{Segment, parse_file_name};
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::http::HttpBuilder;
use object_store::path::Path;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};

/// The most bytes of a ref entry that are read.
const ENTRY_BYTES_MAX: u64 = 64 << 10;
/// The most entries of a ref that is listed. A server that returns something for every number is
/// not believed.
const ENTRIES_MAX: u64 = 1 << 24;
/// Entries that are read at the same time.
const ENTRIES_AT_ONCE: usize = 8;

/// A store on a web server.
pub struct Web {
    reader: Arc<ObjectReader>,
    /// Entries of refs that were read during the search for the newest.
    entries: Mutex<BTreeMap<String, Bytes>>,
    /// Whether the server answers for everything, once that was asked.
    answers_for_all: OnceLock<bool>,
}

impl Web {
    /// Returns the store below `url`. No request is made yet.
    ///
    /// # Errors
    /// `url` is not a URL.
    pub fn new(url: &str, options: RemoteOptions) -> Result<Self> {
        let store = HttpBuilder::new()
            .with_url(url)
            .with_retry(no_retries())
            .with_http_connector(Connector::new(&options)?)
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Usage, format!("store {}: {error}", shown::url(url)))
            })?;
        let endpoint = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        let requests = Requests::new(options, url.into(), endpoint).hiding_missing();
        let reader = Arc::new(ObjectReader { store: Arc::new(store), requests });
        Ok(Self { reader, entries: Mutex::default(), answers_for_all: OnceLock::new() })
    }

    /// Returns the path of the object `name`.
    fn path(name: &str) -> Result<Path> {
        Path::parse(name).map_err(|error| {
            Error::new(ErrorKind::Usage, format!("{name:?} cannot be a name: {error}"))
        })
    }

    /// Returns the object `name` of known length; `kept` are its first bytes.
    fn object(&self, name: &str, length: u64, kept: Option<Bytes>) -> Result<RemoteObject> {
        Ok(RemoteObject {
            reader: self.reader.clone(),
            name: name.into(),
            path: Self::path(name)?,
            length,
            kept: Mutex::new(kept.map(|bytes| (0, bytes))),
        })
    }

    /// Reads the lines of a folder's hint; none if it is missing or cut off.
    async fn hint(&self, folder: &str) -> Result<Vec<String>> {
        let name = format!("{folder}/{}", hint::NAME);
        let path = Self::path(&name)?;
        let found = self.reader.start(&name, &path, hint::BYTES_MAX).await?;
        let lines = found.as_ref().and_then(|(bytes, _)| hint::decode(bytes));
        Ok(lines.unwrap_or_default().into_iter().map(str::to_owned).collect())
    }

    /// Returns true if place `place` of a ref exists. Keeps what it read.
    async fn has_place(&self, folder: &str, place: u64) -> Result<bool> {
        let name = format!("refs/{folder}/{}", key(place));
        let Some((bytes, _)) =
            self.reader.start(&name, &Self::path(&name)?, ENTRY_BYTES_MAX).await?
        else {
            return Ok(false);
        };
        let is_place = name_of_folder(folder)
            .is_some_and(|name| RefPlace::decode(&name, place, &bytes).is_ok());
        if !is_place && self.answers_for_all().await? {
            let requests = &self.reader.requests;
            return Err(Error::new(
                ErrorKind::Storage,
                format!("{}: the server answers 200 for what is not there", requests.place()),
            )
            .hint("let it answer 404 for a missing file, without a page in its place"));
        }
        // One that is damaged is there: whoever reads it says so.
        lock(&self.entries).insert(name, bytes);
        Ok(true)
    }

    /// Returns true if the server answers even for a name that nothing can have. Asks once.
    async fn answers_for_all(&self) -> Result<bool> {
        if let Some(known) = self.answers_for_all.get() {
            return Ok(*known);
        }
        let mut random = [0; 8];
        // Without randomness the name is one that nobody uses all the same.
        let _ = getrandom::fill(&mut random);
        let name = format!("probe/missing-{:016x}", u64::from_le_bytes(random));
        let found = self.reader.start(&name, &Self::path(&name)?, ENTRY_BYTES_MAX).await?;
        Ok(*self.answers_for_all.get_or_init(|| found.is_some()))
    }

    /// Returns a ref's newest place, 0 if it has no other. Searches in growing steps from the hint
    /// on, then by bisection.
    async fn newest(&self, folder: &str) -> Result<u64> {
        let lines = self.hint(&format!("refs/{folder}")).await?;
        let hinted: u64 = lines.first().and_then(|line| line.parse().ok()).unwrap_or(0);
        // A hint decides nothing: one that is ahead of the ref is ignored.
        let mut found = match hinted > 0 && self.has_place(folder, hinted).await? {
            true => hinted,
            false => 0,
        };
        let mut step = 1;
        let mut beyond = loop {
            let Some(next) = found.checked_add(step) else { break u64::MAX };
            if !self.has_place(folder, next).await? {
                break next;
            }
            found = next;
            step *= 2;
        };
        while beyond - found > 1 {
            let middle = found + (beyond - found) / 2;
            match self.has_place(folder, middle).await? {
                true => found = middle,
                false => beyond = middle,
            }
        }
        Ok(found)
    }

    /// Returns a ref's first place after place 0; `newest` is its last. Copies do not begin with 1,
    /// but after their first place no ref has a gap.
    async fn first(&self, folder: &str, newest: u64) -> Result<u64> {
        if newest <= 1 || self.has_place(folder, 1).await? {
            return Ok(1);
        }
        let (mut missing, mut there) = (1, newest);
        while there - missing > 1 {
            let middle = missing + (there - missing) / 2;
            match self.has_place(folder, middle).await? {
                true => there = middle,
                false => missing = middle,
            }
        }
        Ok(there)
    }

    /// Lists the places of a ref, but for place 0, which says nothing.
    async fn list_ref(&self, folder: &str) -> Result<Vec<Listed>> {
        let newest = self.newest(folder).await?;
        if newest > ENTRIES_MAX {
            let place = self.reader.requests.place();
            let what = format!("{place}: refs/{folder} has more than {ENTRIES_MAX} entries");
            return Err(Error::new(ErrorKind::Storage, what)
                .hint("the server seems to answer for entries that are not there"));
        }
        let first = self.first(folder, newest).await?;
        let entry =
            |n| Listed { name: format!("refs/{folder}/{}", key(n)), length: 0, modified: 0 };
        Ok((first..=newest).map(entry).collect())
    }

    /// Lists the places of all refs that the hint names.
    async fn list_refs(&self) -> Result<Vec<Listed>> {
        let mut listed = Vec::new();
        for folder in self.hint("refs").await? {
            if name_of_folder(&folder).is_some() {
                listed.extend(self.list_ref(&folder).await?);
            }
        }
        Ok(listed)
    }

    /// Lists the segments that the hint names.
    async fn list_index(&self) -> Result<Vec<Listed>> {
        let lines = self.hint("index").await?;
        let segment = |line: &String| {
            let (name, length) = line.split_once(' ')?;
            parse_file_name(name)?;
            Some(Listed {
                name: format!("index/{name}"),
                length: length.parse().ok()?,
                modified: 0,
            })
        };
        Ok(lines.iter().filter_map(segment).collect())
    }

    /// Lists the packs that the segments name.
    fn list_packs(&self) -> Result<Vec<Listed>> {
        let mut packs = BTreeSet::new();
        for listed in self.reader.requests.run(self.list_index())? {
            let segment = Segment::open(self.open_listed(&listed.name, listed.length)?.map()?)?;
            for at in 0..segment.pack_count() {
                let pack = segment.pack(at)?;
                let name = pack::object_name(&pack.id);
                packs.insert(Listed { name, length: pack.length, modified: 0 });
            }
        }
        Ok(packs.into_iter().collect())
    }

    /// Lists the revisions that entries of refs name.
    async fn list_revisions(&self) -> Result<Vec<Listed>> {
        let entries = self.list_refs().await?.into_iter().map(|entry| async move {
            let path = Self::path(&entry.name)?;
            let found = self.reader.start(&entry.name, &path, ENTRY_BYTES_MAX).await?;
            Ok::<_, Error>(found.and_then(|(bytes, _)| {
                let (folder, key) = entry.name.strip_prefix("refs/")?.split_once('/')?;
                let name = name_of_folder(folder)?;
                RefPlace::decode(&name, place_of_key(key)?, &bytes).ok()?.entry?.revision()
            }))
        });
        let ids: BTreeSet<_> = stream::iter(entries)
            .buffer_unordered(ENTRIES_AT_ONCE)
            .try_filter_map(|id| async move { Ok(id) })
            .try_collect()
            .await?;
        let revision = |id| Listed { name: format!("revisions/{id}"), length: 0, modified: 0 };
        Ok(ids.into_iter().map(revision).collect())
    }
}

impl Backend for Web {
    fn place(&self) -> String {
        self.reader.requests.place().into()
    }

    fn is_far(&self) -> bool {
        true
    }

    fn lists_by_hints(&self) -> bool {
        true
    }

    fn read_only(&self) -> Error {
        Error::refused(format!("{} can only be read", self.place()))
            .hint("push to the store that its files come from: a directory, or s3://BUCKET/PREFIX")
    }

    fn prepare(&self) -> Result<()> {
        Err(self.read_only())
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let mut listed = match folder.split_once('/') {
            None if folder == "packs" => self.list_packs()?,
            None => self.reader.requests.run(async {
                match folder {
                    "index" => self.list_index().await,
                    "refs" => self.list_refs().await,
                    "revisions" => self.list_revisions().await,
                    _ => Ok(Vec::new()),
                }
            })?,
            Some(("refs", folder)) => self.reader.requests.run(self.list_ref(folder))?,
            Some((top, _)) => {
                let mut listed = self.list(top)?;
                listed.retain(|listed| {
                    listed.name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
                });
                listed
            }
        };
        listed.sort_unstable();
        Ok(listed)
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn Object>>> {
        let kept = lock(&self.entries).remove(name);
        if let Some(bytes) = kept {
            return Ok(Some(Box::new(self.object(name, bytes.len() as u64, Some(bytes))?)));
        }
        let path = Self::path(name)?;
        let found = self.reader.requests.run(self.reader.start(name, &path, WHOLE_BYTES))?;
        let Some((bytes, length)) = found else { return Ok(None) };
        Ok(Some(Box::new(self.object(name, length, Some(bytes))?)))
    }

    fn open_listed(&self, name: &str, length: u64) -> Result<Box<dyn Object>> {
        Ok(Box::new(self.object(name, length, None)?))
    }

    fn read_range(&self, name: &str, offset: u64, out: &mut [u8]) -> Result<()> {
        self.reader.fill(name, &Self::path(name)?, offset, out)
    }

    fn settle(&self, _: &str) -> Result<()> {
        Ok(())
    }
}
