//! What the tests of the program share: running it and others, and comparing trees.
#![allow(dead_code, reason = "each program of tests uses its part")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard};

/// Waits until no other test of this program holds the machine, and holds it until the guard is
/// dropped. For tests that measure time, and for those that keep all processors busy for long:
/// the tests of a program run side by side.
pub fn whole_machine() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    freestone_core::lock(&MACHINE)
}

/// A folder for a test's files: in memory, where there is room, since tests write gigabytes. (A
/// container often has 64 MiB.)
pub fn scratch() -> tempfile::TempDir {
    const ROOM_MIN: u64 = 4 << 30;
    let memory = Path::new("/dev/shm");
    let has_room = rustix::fs::statvfs(memory)
        .is_ok_and(|found| found.f_bavail.saturating_mul(found.f_frsize) >= ROOM_MIN);
    if has_room { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// The processor time that a command takes, as far as samples tell.
pub fn processor_time(command: &mut Command) -> std::time::Duration {
    let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    let mut ticks = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
        if let Some((_, fields)) = text.rsplit_once(')') {
            // utime and stime are the 14th and 15th field of all.
            let fields = fields.split_whitespace().skip(11).take(2);
            let sum: u64 = fields.map(|field| field.parse::<u64>().unwrap()).sum();
            ticks = ticks.max(sum);
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(child.wait().unwrap().success());
    std::time::Duration::from_millis(ticks * 10)
}

/// The program, with a store.
pub fn freestone(store: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freestone"));
    command.arg("-s").arg(store).env_remove("FREESTONE_REF").env_remove("SOURCE_DATE_EPOCH");
    // The caches of a store are next to it, and not among those of this machine's user.
    let mut caches = std::path::absolute(store).unwrap().into_os_string();
    caches.push(".caches");
    command.env("XDG_CACHE_HOME", caches);
    command
}

/// What a command prints; panics with what it says if it fails or is not there.
pub fn output(command: &mut Command) -> String {
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => {
            panic!("{command:?}: {error}; `scripts/setup --test` installs what is missing")
        }
    };
    assert!(
        output.status.success(),
        "{command:?} failed: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a finished command printed.
pub fn output_bytes(output: Output) -> Vec<u8> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Runs git in a folder, without the user's configuration.
pub fn git(folder: &Path, arguments: &[&str]) -> String {
    output(
        Command::new("git")
            .current_dir(folder)
            .args(arguments)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null"),
    )
}

/// A file as git sees it: whether it is executable, and its blob id.
pub type GitTree = BTreeMap<Vec<u8>, (bool, String)>;

/// The files of a commit.
pub fn git_tree_of(repository: &Path, commit: &str) -> GitTree {
    let listed = git(repository, &["ls-tree", "-r", "-z", commit]);
    listed
        .split_terminator('\0')
        .map(|line| {
            let (what, path) = line.split_once('\t').unwrap();
            let mut words = what.split(' ');
            let mode = words.next().unwrap();
            assert!(mode == "100644" || mode == "100755", "{line}");
            let blob = words.nth(1).unwrap();
            (path.as_bytes().to_vec(), (mode == "100755", blob.to_string()))
        })
        .collect()
}

/// The files of a folder, as git would see them.
pub fn git_tree_in(folder: &Path) -> GitTree {
    let mut tree = GitTree::new();
    collect(folder, &mut Vec::new(), &mut tree);
    tree
}

fn collect(folder: &Path, prefix: &mut Vec<u8>, tree: &mut GitTree) {
    use std::os::unix::ffi::OsStrExt;
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let length = prefix.len();
        prefix.extend_from_slice(entry.file_name().as_bytes());
        if entry.file_type().unwrap().is_dir() {
            prefix.push(b'/');
            collect(&entry.path(), prefix, tree);
        } else {
            let mut blob = format!("blob {}\0", entry.metadata().unwrap().len()).into_bytes();
            let executable = entry.metadata().unwrap().permissions().mode() & 0o100 != 0;
            blob.extend(fs::read(entry.path()).unwrap());
            tree.insert(
                prefix.clone(),
                (executable, freestone_core::digest::sha1(&blob).to_string()),
            );
        }
        prefix.truncate(length);
    }
}

/// The lengths of all files below a folder, added up.
pub fn file_lengths(folder: &Path) -> u64 {
    let mut sum = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        sum += match entry.file_type().unwrap().is_dir() {
            true => file_lengths(&entry.path()),
            false => entry.metadata().unwrap().len(),
        };
    }
    sum
}
