//! Revisions of a store made to mislead: what they say is proven before it is believed.

use crate::program::Home;
use freestone_format::Revision;
use freestone_store::write::{Writer, WriterOptions, live_set};
use freestone_store::{Expect, Store};

/// Writes a revision that is that of `main` but for what `change` changes, and sets a ref to it.
fn with_lie(home: &Home, name: &str, change: impl FnOnce(&mut Revision)) {
    let store = Store::open(&home.path("store")).unwrap();
    let mut revision = store.resolve("main").unwrap().revision;
    change(&mut revision);
    let writer = Writer::new(&store, live_set(&store).unwrap(), WriterOptions::default());
    writer.put_revision(revision.id(), &revision).unwrap();
    writer.finish(Some(&revision)).unwrap();
    store.refs().set(name, revision.id(), Expect::Absent, revision.time).unwrap();
}

#[test]
fn totals_that_lie_are_damage_to_every_command() {
    let home = Home::with_revisions();
    with_lie(&home, "entries", |revision| revision.entries += 1);
    with_lie(&home, "bytes", |revision| revision.bytes = 1 << 50);
    with_lie(&home, "digest", |revision| revision.content_digest.0[0] ^= 1);
    home.write("site/new", b"new");
    for name in ["entries", "bytes", "digest"] {
        for arguments in [
            &["log", name, "--stat"][..],
            &["which", &format!("--since={name}"), "site/run.sh"],
            &["which", "site/run.sh"],
            &["ls", name],
            &["cat", &format!("{name}:run.sh")],
            &["diff", "main", name],
            &["diff", name, "main"],
            &["image", name, "-n"],
            &["image", name, "--format", "fat", "-n"],
            &["extract", name, "out"],
            &["git", "write", "clone.git"],
            &["push", "site", "--ref", name],
            &["verify"],
        ] {
            let ran = home.run(arguments);
            assert_eq!(ran.code, Some(3), "{arguments:?}: {} {}", ran.text(), ran.err);
            let said = format!("{}{}", ran.text(), ran.err);
            assert!(said.contains("is not what its manifest says"), "{arguments:?}: {said}");
        }
    }
}

/// A revision that says that it has what is pushed would keep another root.
#[test]
fn a_push_does_not_believe_that_it_is_up_to_date() {
    let home = Home::with_revisions();
    home.write("other/a", b"other");
    home.ok(["push", "other", "--ref", "other"]);
    let store = Store::open(&home.path("store")).unwrap();
    let other = store.resolve("other").unwrap().revision;
    with_lie(&home, "lie", |revision| {
        revision.content_digest = other.content_digest;
        (revision.entries, revision.bytes) = (other.entries, other.bytes);
    });
    let said = home.fails(3, ["push", "other", "--ref", "lie", "-m", "mine"]);
    assert!(said.contains("is not what its manifest says"), "{said}");
}
