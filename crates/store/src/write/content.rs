//! Writing a content that is one chunk.

use super::bases::{self, Basis, CONTENT_DEPTH_MAX};
use super::encoding::choose;
use super::new_record::NewRecord;
use super::own_lane::SHARED;
use super::sample::is_text_like;
use super::similar::Sketch;
use super::writer::Writer;
use freestone_core::digest::plain;
use freestone_core::item::Content;
use freestone_core::limits::CONTENT_WHOLE_BYTES_MAX;
use freestone_core::{Id, Result, lock};
use freestone_format::record::RecordKind;

/// Contents that are tried as a base because they have much in common, in a long series.
const SIMILAR_TRIED: usize = 2;

impl Writer {
    /// Writes a content of up to 1 MiB, unless the store has it. `before` is the content that was
    /// at its path before, and that the store has: the most probable base.
    ///
    /// # Errors
    /// [`Refused`](freestone_core::ErrorKind::Refused) if another content has the same SHA-1; or
    /// reading or writing failed.
    pub fn put_content(&self, bytes: &[u8], before: Option<&Content>) -> Result<Content> {
        let mut hasher = (self.options.name_hasher)();
        hasher.update(bytes);
        let (size, id) = (bytes.len() as u64, plain(bytes));
        let content = Content { size, sha1: hasher.finish(), id };
        if before != Some(&content) {
            let before = before.filter(|before| before.size <= CONTENT_WHOLE_BYTES_MAX);
            self.put_chunk(&content, bytes, before.map(|before| &before.id))?;
        }
        Ok(content)
    }

    fn put_chunk(&self, content: &Content, bytes: &[u8], before: Option<&Id>) -> Result<()> {
        let Content { size, sha1, id } = *content;
        let is_named = self.check_sha1(&sha1, &id, &id)?;
        // It may be there only as a chunk of a large content, where no SHA-1 leads to it.
        if self.is_known(RecordKind::Chunk, &id, SHARED)? && (is_named || self.name(id, sha1)?) {
            return Ok(());
        }
        if self.only_counts(RecordKind::Chunk, id, size) {
            return Ok(());
        }
        let sketch = self.options.thorough.then(|| Sketch::of(bytes));
        loop {
            let bases = match &sketch {
                Some(sketch) => self.bases(before, sketch, bytes)?,
                None => self.basis(before)?.into_iter().collect(),
            };
            let encoded = choose(RecordKind::Chunk, bytes, bases, self.effort())?;
            let record = NewRecord::new(RecordKind::Chunk, id, size, &encoded);
            // If it fails, the pack of the base was sealed meanwhile, and there is another choice.
            if self.add_over(&record.named(Some((sha1, id))))? {
                break;
            }
        }
        if let Some(sketch) = sketch {
            lock(&self.likeness).add(id, &sketch, sketch.beginning());
        }
        Ok(())
    }

    /// Returns the base that a new version of the content `before` may have.
    fn basis(&self, before: Option<&Id>) -> Result<Option<Basis>> {
        let (Some(before), kind) = (before, RecordKind::Chunk) else { return Ok(None) };
        if let Some(lane) = &*lock(&self.shared)
            && let Some(basis) = lane.basis(kind, before, CONTENT_DEPTH_MAX, &self.records.packs)?
        {
            return Ok(Some(basis));
        }
        bases::listed(&self.records, kind, before)
    }

    /// Returns the bases that a content of a long series may have: what was at its path before, and
    /// what has most in common with it of the contents before it. Text that has no such base may
    /// have one that begins alike.
    fn bases(&self, before: Option<&Id>, sketch: &Sketch, bytes: &[u8]) -> Result<Vec<Basis>> {
        let mut found: Vec<Basis> = self.basis(before)?.into_iter().collect();
        let (similar, alike) = {
            let likeness = lock(&self.likeness);
            let alike: Vec<Id> = likeness.with_key(&sketch.beginning()).copied().collect();
            (likeness.similar(sketch, SIMILAR_TRIED), alike)
        };
        let is_text = is_text_like(bytes)?;
        if let Some(lane) = &*lock(&self.shared) {
            let (kind, packs) = (RecordKind::Chunk, &self.records.packs);
            for id in similar.iter().filter(|id| before != Some(id)) {
                found.extend(lane.basis(kind, id, CONTENT_DEPTH_MAX, packs)?);
            }
            if found.is_empty() && is_text {
                // It begins a chain of its own, which other contents are not to lengthen.
                for id in &alike {
                    found.extend(lane.first(kind, id, packs)?);
                }
            }
        }
        Ok(found)
    }
}
