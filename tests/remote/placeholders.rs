//! Empty objects whose keys end in `/`, by which consoles and file systems over S3 show folders.

use crate::ceph::{Ceph, variables};
use crate::program::Home;
use crate::s3::{backend, ok};
use crate::support::output;
use freestone_core::Id;
use freestone_remote::RemoteOptions;
use freestone_store::{Expect, Store};
use std::process::Command;

/// Makes an empty object of any key, as other programs do.
fn put(port: u16, key: &str) {
    let variables = variables(port, "test");
    let value = |name: &str| variables.iter().find(|(key, _)| key == name).unwrap().1.clone();
    let user = format!("{}:{}", value("AWS_ACCESS_KEY_ID"), value("AWS_SECRET_ACCESS_KEY"));
    let mut curl = Command::new("curl");
    curl.args(["-sSf", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", &user]);
    curl.args([
        "-H",
        "x-amz-content-sha256: UNSIGNED-PAYLOAD",
        "-H",
        "Content-Length: 0",
        "-X",
        "PUT",
    ]);
    output(curl.arg(format!("{}/test/{key}", value("AWS_ENDPOINT_URL"))));
}

#[test]
fn a_store_with_placeholders_of_folders_is_used_as_without() {
    let port = Ceph::shared().port;
    let home = Home::new();
    home.write("site/index.html", b"hello");
    put(port, "shown/");
    ok(&home, port, "shown", &["init"]);
    ok(&home, port, "shown", &["push", "site"]);
    for folder in ["packs", "index", "refs", "refs/main", "revisions", "probe", "tmp", "gc"] {
        put(port, &format!("shown/{folder}/"));
    }
    for inside in ["refs/main/x", "refs/other", "index/x", "packs/x", "revisions/x", "gc/x"] {
        put(port, &format!("shown/{inside}/"));
    }
    for n in 0..12 {
        home.write("site/n", format!("{n}").as_bytes());
        ok(&home, port, "shown", &["push", "site"]);
    }
    assert_eq!(ok(&home, port, "shown", &["log", "main"]).lines().count(), 13);
    assert_eq!(ok(&home, port, "shown", &["ref", "list"]).lines().count(), 1);
    for command in [
        &["status"][..],
        &["verify", "--data"],
        &["store", "stats"],
        &["store", "compact", "--all", "--grace", "0"],
        &["store", "reindex"],
        &["verify", "--data"],
        &["image", "main", "-o", "direct.img"],
    ] {
        ok(&home, port, "shown", command);
    }
    ok(&home, port, "shown", &["init", "--upstream", "s3://test/shown", "host"]);
    ok(&home, port, "shown", &["-s", "host", "image", "main", "-o", "host.img"]);
    assert!(home.read("host.img") == home.read("direct.img"));
}

/// The placeholder of a ref's folder sorts before its entries, and does not cost more.
#[test]
fn the_newest_entry_beside_a_placeholder_costs_a_short_page() {
    let port = Ceph::shared().port;
    let store = Store::init_backend(backend(port, "cost", RemoteOptions::default()), None).unwrap();
    let entries = 30;
    for n in 0..entries {
        store.refs().set("main", Id([n; 32]), Expect::Any, i64::from(n)).unwrap();
    }
    put(port, "cost/refs/main/");
    let options = RemoteOptions::default();
    let traffic = options.traffic.clone();
    let refs = Store::open_backend(backend(port, "cost", options), None).unwrap().refs();
    let before = traffic.stats();
    assert_eq!(refs.current("main").unwrap(), Some(Id([entries - 1; 32])));
    let after = traffic.stats();
    assert_eq!(after.requests - before.requests, 2, "the beginning of a listing, and the entry");
    assert!(after.received - before.received < 5000);
}
