//! What tests read of the checkout, and beside it.

use std::path::PathBuf;

/// Returns the top folder of the checkout: tests run in the folder of their package, two levels
/// below. It is asked for when they run, since several checkouts may share what was built.
pub fn top() -> PathBuf {
    std::fs::canonicalize("../..").expect("the checkout is there")
}

/// Returns the bundle of a real site's repository, if it is there; if not, this says so.
pub fn corpus() -> Option<PathBuf> {
    let bundle = top().join("../shared/corpus/mirage-www-content.bundle");
    if !bundle.exists() {
        eprintln!("{} is not there: nothing is tested on the real site", bundle.display());
        return None;
    }
    Some(bundle)
}
