//! The image that a file or device already holds.

use freestone_core::{Plan, Result};
use freestone_image::{HEAD_BYTES, Identity, identify};
use freestone_manifest::Tree;
use freestone_store::Store;

/// Returns the plan of the image that begins with `head`, if `store` has its manifest.
///
/// # Errors
/// The store cannot be read. It is not an error if the store lacks the manifest, or a part of it:
/// the plan is then unknown.
pub(super) fn base(
    head: &[u8; HEAD_BYTES],
    store: Option<&Store>,
) -> Result<Option<Box<dyn Plan>>> {
    let (Identity::Image(name), Some(store)) = (identify(head), store) else { return Ok(None) };
    let manifest = Tree::open(store.records()?, &name.root);
    Ok(manifest.and_then(|manifest| name.format.plan(manifest)).ok())
}
