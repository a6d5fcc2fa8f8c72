//! That a large content has all its tree names, and is what its record says.

use super::Verifier;
use super::manifests::Checked;
use freestone_core::digest::{PlainHasher, sha1_hasher};
use freestone_core::plan::NodeKind;
use freestone_core::{Error, Id, Result, Sha1};
use freestone_format::record::RecordKind;
use freestone_manifest::content::{ContentItem, ContentNode, ContentRecord};
use freestone_store::Records;
use std::collections::HashMap;

impl Verifier<'_> {
    /// Checks a content of which an entry says `size` and `sha1`.
    pub(super) fn content(
        &self,
        records: &Records,
        content: &Id,
        size: u64,
        sha1: &Sha1,
        checked: &mut Checked,
    ) -> Result<()> {
        self.node(NodeKind::ContentRecord, content)?;
        let record = ContentRecord::read(records, content)?;
        if record.length != size || record.sha1 != *sha1 {
            return Err(Error::corrupt(format!("content {content} does not agree with its entry")));
        }
        let key = self.keys.of(RecordKind::ContentRecord, content);
        if !checked.contents.insert(key) {
            return Ok(());
        }
        self.content_tree(records, &record)?;
        if self.options.data { whole(records, content, &record) } else { Ok(()) }
    }

    /// Checks every node of a content's tree once: one that names few nodes very often would
    /// take for ever else.
    fn content_tree(&self, records: &Records, record: &ContentRecord) -> Result<()> {
        let mut seen: HashMap<Id, (u64, u8)> = HashMap::new();
        let mut open = vec![(record.top, (record.length, record.level))];
        while let Some((id, said)) = open.pop() {
            let wrong =
                || Error::corrupt(format!("content node {id} does not agree with its parent"));
            match seen.get(&id) {
                Some(before) if *before == said => continue,
                Some(_) => return Err(wrong()),
                None => {}
            }
            self.node(NodeKind::Content, &id)?;
            let node = ContentNode::read(records, &id)?;
            if (node.length(), node.level()) != (Some(said.0), said.1) {
                return Err(wrong());
            }
            seen.insert(id, said);
            match node {
                ContentNode::Leaf(items) => {
                    for item in items {
                        if let ContentItem::Chunk(length, id) = item {
                            self.chunk(&id, length)?;
                        }
                    }
                }
                ContentNode::Inner(level, children) => {
                    open.extend(children.into_iter().map(|(length, id)| (id, (length, level - 1))));
                }
            }
        }
        Ok(())
    }
}

/// Hashes a large content as a whole.
fn whole(records: &Records, content: &Id, record: &ContentRecord) -> Result<()> {
    let mut sha1 = sha1_hasher();
    let mut blake3 = PlainHasher::default();
    records.read_content(content, record.length, None, &mut |bytes| {
        sha1.update(bytes);
        blake3.update(bytes);
        Ok(())
    })?;
    if sha1.finish() == record.sha1 && blake3.finish() == record.blake3 {
        return Ok(());
    }
    Err(Error::corrupt(format!(
        "content {content} has not the SHA-1 and BLAKE3 that its record says"
    )))
}
