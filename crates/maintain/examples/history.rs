//! Pushes the first-parent history of a git repository, revision by revision, and says what the
//! store's bytes are spent on: `history REPOSITORY STORE [COMMITS]`.
//!
//! It goes by the program `git`, from trees in memory: what is measured is the store alone.

#![allow(clippy::unwrap_used, reason = "what fails here fails the measurement")]

use freestone_core::Watch;
use freestone_maintain::{self as maintain, CompactOptions};
use freestone_push::PushOptions;
use freestone_store::Store;
use freestone_testkit::{MemorySource, push_tree};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn git(repository: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git").arg("-C").arg(repository).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Gives blobs by their ids, each asked for once.
struct Blobs {
    child: Child,
    known: HashMap<String, Vec<u8>>,
}

impl Blobs {
    fn get(&mut self, id: &str) -> Vec<u8> {
        if let Some(bytes) = self.known.get(id) {
            return bytes.clone();
        }
        writeln!(self.child.stdin.as_mut().unwrap(), "{id}").unwrap();
        let mut out = BufReader::with_capacity(1, self.child.stdout.as_mut().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let length: usize = line.split_whitespace().nth(2).unwrap().parse().unwrap();
        let mut bytes = vec![0; length + 1];
        out.read_exact(&mut bytes).unwrap();
        bytes.pop();
        self.known.insert(id.into(), bytes.clone());
        bytes
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (repository, root) = (Path::new(&arguments[0]), Path::new(&arguments[1]));
    let count: usize = arguments.get(2).map_or(usize::MAX, |count| count.parse().unwrap());
    let store = Store::init(root).unwrap();
    let child = Command::new("git")
        .arg("-C")
        .arg(repository)
        .args(["cat-file", "--batch"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut blobs = Blobs { child, known: HashMap::new() };
    let mut spent = Duration::ZERO;
    let log = git(repository, &["log", "--first-parent", "--reverse", "--format=%H %ct %s"]);
    for line in log.lines().take(count) {
        let mut words = line.splitn(3, ' ');
        let (commit, time) = (words.next().unwrap(), words.next().unwrap());
        let mut tree = MemorySource::default();
        for line in git(repository, &["ls-tree", "-r", commit]).lines() {
            let (head, path) = line.split_once('\t').unwrap();
            tree.set(path, blobs.get(head.split(' ').nth(2).unwrap()));
        }
        let mut options = PushOptions {
            time: time.parse().unwrap(),
            message: words.next().map(String::from),
            ..PushOptions::default()
        };
        options.labels.insert("git.commit".into(), commit.into());
        let start = Instant::now();
        push_tree(&store, &tree, &options).unwrap();
        spent += start.elapsed();
    }
    drop(blobs.child.stdin.take());
    blobs.child.wait().unwrap();
    println!("pushed in {spent:.2?}");
    say(&store);
    let start = Instant::now();
    let options = CompactOptions { grace: Duration::ZERO, ..CompactOptions::default() };
    let done = maintain::compact(&store, &options, Watch::default()).unwrap();
    println!("compacted in {:.2?}: {done:?}", start.elapsed());
    say(&store);
}

fn say(store: &Store) {
    let stats = maintain::stats(store, Watch::default()).unwrap();
    let (stored, logical) = (stats.stored(), stats.logical);
    let stats = freestone_maintain::Stats { growth: Vec::new(), ..stats };
    println!("stored {stored} of {logical}: {stats:?}");
}
