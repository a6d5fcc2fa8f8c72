//! Every rule, broken: the strict model says so, and the model of MirageOS's reader shows why.

mod own;
mod readers;

use freestone_image::Container;
use freestone_image::tar::strict::{Rule, check};
use std::collections::BTreeSet;

/// The rules that an image breaks.
fn broken(image: &Vec<u8>) -> BTreeSet<Rule> {
    let report = check(image, Container::File, &mut |_| Ok(())).unwrap();
    assert!(report.violations.count() <= 100);
    report.violations.kept().iter().map(|violation| violation.rule).collect()
}

#[test]
fn every_rule_has_an_archive_that_breaks_it() {
    let readers = readers::cases().into_iter().map(|case| case.rule);
    let own = own::cases().into_iter().map(|case| case.rule);
    assert_eq!(readers.chain(own).collect::<BTreeSet<_>>(), Rule::ALL.into_iter().collect());
}
