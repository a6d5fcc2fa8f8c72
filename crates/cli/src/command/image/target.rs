//! What a file or device holds already.

use freestone_core::{Plan, Result};
use freestone_image::{HEAD_BYTES, Identity, identify};
use freestone_manifest::Tree;
use freestone_store::Store;

/// The layout of the image that `head` is of, if `store` has its manifest.
///
/// # Errors
/// The store cannot be read. A manifest that it does not have, or only in part, is no error: then
/// the layout is not known.
pub(super) fn base(
    head: &[u8; HEAD_BYTES],
    store: Option<&Store>,
) -> Result<Option<Box<dyn Plan>>> {
    let (Identity::Image(name), Some(store)) = (identify(head), store) else { return Ok(None) };
    let manifest = Tree::open(store.records()?, &name.root);
    Ok(manifest.and_then(|manifest| name.format.plan(manifest)).ok())
}
