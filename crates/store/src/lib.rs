//! The store of freestone: packs, index segments, revisions, refs
