//! Manifests in memory with their chunks, and the images of their plans.

use freestone_core::chunker::{Chunker, ContentPiece};
use freestone_core::digest::{plain, sha1};
use freestone_core::limits::CONTENT_WHOLE_BYTES_MAX;
use freestone_core::plan::{NodeKind, NodeSource};
use freestone_core::{Error, Extent, ExtentSource, Id, Plan, Result, Sha1, path};
use freestone_image::ReadAt;
use freestone_image::tar::strict::Member;
use freestone_image::tar::{TarOptions, TarPlan};
use freestone_manifest::content::{ContentItem, ContentRecord, ContentTreeBuilder};
use freestone_manifest::{Builder, Entry, EntryKind, MemoryNodes, NodeSink};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bytes of a file.
#[derive(Clone, Debug)]
pub enum Data {
    /// These.
    Bytes(Vec<u8>),
    /// This many bytes of [`noise`], or zeros for seed 0. A failing property shows it on one line.
    Noise(u64, usize),
    /// This many zeros, more than fit in memory.
    Hole(u64),
}

/// Files and directories for a manifest, in any order.
#[derive(Clone, Default)]
pub struct Site {
    directories: Vec<(Vec<u8>, i64)>,
    files: Vec<(Vec<u8>, bool, i64, Data)>,
}

/// One line a path.
impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, mtime) in &self.directories {
            writeln!(f, "{}/ {mtime}", path::display(path))?;
        }
        for (path, executable, mtime, data) in &self.files {
            writeln!(f, "{} {executable} {mtime} {data:?}", path::display(path))?;
        }
        Ok(())
    }
}

/// Bytes that do not repeat.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

impl Site {
    pub fn directory(mut self, path: impl Into<Vec<u8>>, mtime: i64) -> Self {
        self.directories.push((path.into(), mtime));
        self
    }

    pub fn file(self, path: impl Into<Vec<u8>>, bytes: impl Into<Vec<u8>>) -> Self {
        self.full_file(path, false, 1_600_000_000, Data::Bytes(bytes.into()))
    }

    pub fn full_file(
        mut self,
        path: impl Into<Vec<u8>>,
        executable: bool,
        mtime: i64,
        data: Data,
    ) -> Self {
        self.files.push((path.into(), executable, mtime, data));
        self
    }

    /// Builds the manifest, and adds the directories that were not given.
    pub fn build(self) -> Built {
        let mut chunks = HashMap::new();
        let mut nodes = MemoryNodes::default();
        let mut entries: HashMap<Vec<u8>, Entry> = HashMap::new();
        for (path, executable, mtime, data) in self.files {
            let (size, sha1, content) = store(data, &mut nodes, &mut chunks);
            let kind = EntryKind::File { executable, size, sha1, content };
            entries.insert(path.clone(), Entry { kind, ..Entry::directory(path, mtime) });
        }
        for (path, mtime) in self.directories {
            entries.insert(path.clone(), Entry::directory(path, mtime));
        }
        for path in entries.keys().cloned().collect::<Vec<_>>() {
            let mut below = &path[..];
            while let Some(parent) = path::parent(below) {
                entries
                    .entry(parent.to_vec())
                    .or_insert_with(|| Entry::directory(parent, 1_500_000_000));
                below = parent;
            }
        }
        let mut entries: Vec<_> = entries.into_values().collect();
        entries.sort_by(|a, b| path::compare(&a.path, &b.path));
        let mut builder = Builder::new(nodes);
        for entry in &entries {
            builder.push(entry.clone()).unwrap();
        }
        let (root, nodes) = builder.finish().unwrap();
        Built { nodes: Counted::new(nodes), chunks, entries, root: root.id }
    }
}

fn store(
    data: Data,
    nodes: &mut MemoryNodes,
    chunks: &mut HashMap<Id, Vec<u8>>,
) -> (u64, Sha1, Id) {
    let data = match data {
        Data::Noise(0, length) => Data::Bytes(vec![0; length]),
        Data::Noise(seed, length) => Data::Bytes(noise(seed, length)),
        data => data,
    };
    let bytes = match data {
        Data::Bytes(bytes) if bytes.len() as u64 <= CONTENT_WHOLE_BYTES_MAX => {
            let (name, id) = (sha1(&bytes), plain(&bytes));
            let size = bytes.len() as u64;
            chunks.insert(id, bytes);
            return (size, name, id);
        }
        Data::Bytes(bytes) => bytes,
        Data::Noise(..) => unreachable!("it was made bytes above"),
        Data::Hole(length) => return store_items(&[ContentItem::Zeros(length)], b"", nodes),
    };
    let mut items = Vec::new();
    let mut each = |piece: ContentPiece<'_>| {
        items.push(match piece {
            ContentPiece::Zeros(length) => ContentItem::Zeros(length),
            ContentPiece::Chunk(chunk) => {
                chunks.insert(plain(chunk), chunk.to_vec());
                ContentItem::Chunk(chunk.len() as u64, plain(chunk))
            }
        });
        Ok::<_, Error>(())
    };
    let mut chunker = Chunker::default();
    chunker.push(&bytes, &mut each).unwrap();
    chunker.finish(&mut each).unwrap();
    store_items(&items, &bytes, nodes)
}

fn store_items(items: &[ContentItem], bytes: &[u8], nodes: &mut MemoryNodes) -> (u64, Sha1, Id) {
    let mut tree = ContentTreeBuilder::new(&mut *nodes);
    for item in items {
        tree.push(*item).unwrap();
    }
    let (level, top, _) = tree.finish().unwrap();
    let record = ContentRecord {
        chunker: freestone_manifest::content::CHUNKER,
        length: items.iter().map(ContentItem::length).sum(),
        sha1: sha1(bytes),
        blake3: plain(bytes),
        level,
        top,
    };
    nodes.put(NodeKind::ContentRecord, record.id(), &record.encode()).unwrap();
    (record.length, record.sha1, record.id())
}

/// Nodes that count how often they are read.
#[derive(Clone)]
pub struct Counted {
    nodes: Arc<MemoryNodes>,
    reads: Arc<AtomicU64>,
}

impl Counted {
    fn new(nodes: MemoryNodes) -> Self {
        Self { nodes: Arc::new(nodes), reads: Arc::default() }
    }

    /// Returns how many nodes were read since the last call.
    pub fn reads(&self) -> u64 {
        self.reads.swap(0, Ordering::Relaxed)
    }
}

impl NodeSource for Counted {
    fn node(&self, kind: NodeKind, id: &Id) -> Result<Arc<[u8]>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.nodes.node(kind, id)
    }
}

/// A manifest and all its chunks.
pub struct Built {
    pub nodes: Counted,
    pub chunks: HashMap<Id, Vec<u8>>,
    pub entries: Vec<Entry>,
    pub root: Id,
}

impl Built {
    pub fn plan(&self, options: TarOptions) -> Result<TarPlan<Counted>> {
        TarPlan::open(self.nodes.clone(), &self.root, options)
    }

    /// Returns all extents of the image, and checks that they follow each other and cover it.
    pub fn extents(&self, plan: &dyn Plan) -> Vec<Extent> {
        let mut extents: Vec<Extent> = Vec::new();
        plan.extents(0..plan.length(), &mut |extent| {
            assert_eq!(extents.last().map_or(0, Extent::end), extent.offset);
            assert_ne!(extent.length, 0);
            if let ExtentSource::Inline(bytes) = &extent.source {
                assert_eq!(bytes.len() as u64, extent.length);
            }
            extents.push(extent);
            Ok(())
        })
        .unwrap();
        assert_eq!(extents.last().map_or(0, Extent::end), plan.length());
        extents
    }

    /// Returns the bytes of the image.
    pub fn image(&self, options: TarOptions) -> Vec<u8> {
        let plan = self.plan(options).unwrap();
        let mut bytes = vec![0; usize::try_from(plan.length()).unwrap()];
        Image { plan: &plan, built: self }.read_at(0, &mut bytes).unwrap();
        bytes
    }

    /// Returns what a reader must see.
    pub fn members(&self) -> Vec<Member> {
        self.entries
            .iter()
            .map(|entry| Member {
                path: entry.path.clone(),
                is_directory: entry.is_directory(),
                executable: !matches!(entry.kind, EntryKind::File { executable: false, .. }),
                mtime: entry.mtime,
                size: entry.size().unwrap_or(0),
                data: 0,
            })
            .collect()
    }

    /// Returns the bytes of the file at `path`.
    pub fn content(&self, path: &[u8]) -> Vec<u8> {
        let entry = self.entries.iter().find(|entry| entry.path == path).unwrap();
        let EntryKind::File { size, content, .. } = entry.kind else { return Vec::new() };
        let mut bytes = Vec::new();
        freestone_manifest::content::pieces(
            &self.nodes,
            &content,
            size,
            None,
            0..size,
            &mut |piece| {
                match piece.source {
                    ExtentSource::Chunk(id) => bytes.extend(&self.chunks[&id]),
                    _ => bytes.resize(bytes.len() + usize::try_from(piece.length).unwrap(), 0),
                }
                Ok(())
            },
        )
        .unwrap();
        bytes
    }
}

/// The image of a plan, made where it is read.
pub struct Image<'a> {
    pub plan: &'a dyn Plan,
    pub built: &'a Built,
}

impl ReadAt for Image<'_> {
    fn length(&self) -> u64 {
        self.plan.length()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let end = offset + out.len() as u64;
        assert!(end <= self.length(), "a reader reads beyond the image");
        self.plan.extents(offset..end, &mut |extent| {
            let from = extent.offset.max(offset);
            let length = usize::try_from(extent.end().min(end) - from).unwrap();
            let target = &mut out[usize::try_from(from - offset).unwrap()..][..length];
            let skipped = usize::try_from(from - extent.offset).unwrap();
            match &extent.source {
                ExtentSource::Zeros => target.fill(0),
                ExtentSource::Inline(bytes) => target.copy_from_slice(&bytes[skipped..][..length]),
                ExtentSource::Chunk(id) => {
                    let chunk = &self.built.chunks[id];
                    assert_eq!(chunk.len() as u64, extent.length);
                    target.copy_from_slice(&chunk[skipped..][..length]);
                }
            }
            Ok(())
        })
    }
}
