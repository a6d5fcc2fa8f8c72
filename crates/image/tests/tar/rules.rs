//! Every rule, broken: the strict model says so, and the model of MirageOS's reader shows why.

mod own;
mod readers;

use freestone_image::Container;
use freestone_image::tar::strict::{TarRule, check};
use std::collections::BTreeSet;

/// Returns the rules that an image breaks.
fn broken(image: &Vec<u8>) -> BTreeSet<TarRule> {
    let report = check(image, Container::File, &mut |_| Ok(())).unwrap();
    assert!(report.violations.count() <= 100);
    report
        .violations
        .kept()
        .iter()
        .map(|violation| TarRule::named(violation.rule).unwrap())
        .collect()
}

#[test]
fn every_rule_has_an_archive_that_breaks_it() {
    let readers = readers::cases().into_iter().map(|case| case.rule);
    let own = own::cases().into_iter().map(|case| case.rule);
    assert_eq!(readers.chain(own).collect::<BTreeSet<_>>(), TarRule::ALL.iter().copied().collect());
}
