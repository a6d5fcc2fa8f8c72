//! Each target on a few inputs, always the same ones. `scripts/fuzz` tries more.

use freestone_fuzz::{Goldens, TARGETS, fuzz};
use freestone_testkit::cases;
use std::path::PathBuf;

#[test]
fn no_target_fails_on_a_few_inputs() {
    let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let goldens = Goldens::read(&package.join(".."));
    let count = u64::from(cases(2_000, 200_000));
    for target in TARGETS {
        let report = fuzz(target, &goldens, 1, |cases| cases < count);
        let report = report.unwrap_or_else(|failure| panic!("{failure}: {:?}", failure.input));
        println!("{}: {report:?}", target.name);
    }
}
