//! Repositories for tests.
#![allow(dead_code, reason = "each program of tests uses its part")]

use flate2::Compression;
use flate2::write::ZlibEncoder;
use freestone_core::digest::sha1;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A repository with a working tree.
pub struct Site(tempfile::TempDir);

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut git = Command::new("git");
    git.current_dir(folder).args(arguments);
    for (key, value) in [
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_CONFIG_SYSTEM", "/dev/null"),
        ("GIT_AUTHOR_NAME", "A U"),
        ("GIT_AUTHOR_EMAIL", "a@example.org"),
        ("GIT_COMMITTER_NAME", "A U"),
        ("GIT_COMMITTER_EMAIL", "a@example.org"),
    ] {
        git.env(key, value);
    }
    git.output().unwrap_or_else(|error| panic!("git: {error}; `scripts/setup --test` installs it"))
}

/// Runs git, and returns what it prints.
pub fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns the commit that a name means to git.
pub fn commit_of_git(folder: &Path, name: &str) -> Option<String> {
    let parse = |name: &str| {
        let output = run(folder, &["rev-parse", "--verify", "--end-of-options", name]);
        let id = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(id)
    };
    // A brace at the end would make another name of one with a log. Else it says what is wanted, of
    // several objects that begin with the same digits.
    let id = match name.contains("@{") {
        true => parse(&format!("{}^{{commit}}", parse(name)?))?,
        false => parse(&format!("{name}^{{commit}}"))?,
    };
    // A whole id is printed even if there is no such object.
    let is_there = run(folder, &["cat-file", "-e", &format!("{id}^{{commit}}")]);
    is_there.status.success().then_some(id)
}

/// Writes a loose object to the directory of objects `folder`, and returns its id.
pub fn put(folder: &Path, kind: &str, bytes: &[u8]) -> String {
    let whole = [format!("{kind} {}\0", bytes.len()).as_bytes(), bytes].concat();
    let id = sha1(&whole).to_string();
    put_as(folder, &id, &whole);
    id
}

/// Writes bytes, header and all, as the loose object `id`.
pub fn put_as(folder: &Path, id: &str, whole: &[u8]) {
    let place = folder.join(&id[..2]).join(&id[2..]);
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    let _ = std::fs::remove_file(&place);
    let mut out = ZlibEncoder::new(std::fs::File::create(&place).unwrap(), Compression::fast());
    out.write_all(whole).unwrap();
    out.finish().unwrap();
}

/// Returns the bytes of a tree of entries: mode, name, id.
pub fn tree(entries: &[(&str, &str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (mode, name, id) in entries {
        bytes.extend(format!("{mode} {name}\0").bytes());
        bytes.extend((0..20).map(|at| u8::from_str_radix(&id[2 * at..2 * at + 2], 16).unwrap()));
    }
    bytes
}

impl Site {
    /// Makes an empty one.
    pub fn new() -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        site.git(&["init", "-q", "-b", "main", "."]);
        site
    }

    /// Returns its path.
    pub fn path(&self) -> PathBuf {
        self.0.path().into()
    }

    /// Runs git in it.
    pub fn git(&self, arguments: &[&str]) -> String {
        git(self.0.path(), arguments)
    }

    /// Writes a file.
    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Commits all that there is, and returns the commit.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A", "-f"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.head()
    }

    /// Returns the commit that is checked out.
    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Writes a loose object, and returns its id.
    pub fn put(&self, kind: &str, bytes: &[u8]) -> String {
        put(&self.0.path().join(".git/objects"), kind, bytes)
    }

    /// Writes a commit of a tree, makes it that of `main`, and returns its id.
    pub fn commit_tree(&self, tree: &str) -> String {
        let text = format!("tree {tree}\nauthor a <a> 1 +0000\ncommitter a <a> 1 +0000\n\nm");
        let commit = self.put("commit", text.as_bytes());
        let place = self.0.path().join(".git/refs/heads/main");
        let _ = std::fs::remove_file(&place);
        std::fs::write(place, format!("{commit}\n")).unwrap();
        commit
    }
}
