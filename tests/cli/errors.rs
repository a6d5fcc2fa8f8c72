//! What is said when something cannot be done, and the exit codes.

use crate::program::{Home, Ran, snapshot};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// A list of runs and what each said; paths of this run are made equal in all.
struct Said<'a> {
    home: &'a Home,
    text: String,
}

impl Said<'_> {
    fn of(&mut self, arguments: &[&str]) {
        let ran = self.home.run(arguments);
        self.ran(&arguments.join(" "), &ran);
    }

    fn ran(&mut self, line: &str, ran: &Ran) {
        let home = self.home.path("");
        let home = home.to_str().unwrap().trim_end_matches('/');
        let err = ran.err.replace(home, "HOME");
        let code = ran.code.unwrap();
        self.text.push_str(&format!("$ freestone {line}\n{err}[{code}]\n\n"));
        assert_ne!(code, 0, "{line}");
        assert!(ran.out.is_empty(), "{line}");
        assert!(err.starts_with("freestone: "), "{line}: {err}");
    }
}

/// Runs that fail, each a line.
const FAILING: &str = "\
imag
push
image main
image main -o x.img --size 1MB
image main -o x.img --size 1M --pad-to 1M
image main -o x.img --size 1000
image main -o x.img --size 8K
image main -o x.img --align 512
image main -o x.img --mtime 0
image main -o plain
image main -o full
image main -o no/such/x.img
image main -o /dev/nulll
image main -o - --json
image main:index.html -o x.img
image main:nothing -o x.img
image other -o x.img
image site -o x.img
image ./nothing -o x.img
image ./plain -o x.img
-s ftp://host/store status
-s s3:///prefix status
-s nothing status
--config bad.toml status
--config missing.toml status
init
init full
-s a init b
push nothing
push plain
push store
push site --ref a:b
push site -l novalue
push site -l a=1 -l a=2
push site --exclude a[b
push site --exclude-from missing
push site --expect main~1
push site --expect none
push site --no-ref --retry
push site --mtime tomorrow
extract main full
extract main plain
extract main no/such/place
extract main:index.html out
cat main
cat main:docs
cat main:../x
cat sha1:0000000000000000000000000000000000000000
cat sha1:00
cat main:index.html --json
ls :docs
show main:docs
resolve main~7
resolve main@7
resolve abc
resolve 0000000000
resolve commit:00000000
resolve commit:xyz
resolve a|b
which missing
which plain
ref log other
ref set latest main
ref set main main~1 --expect none
ref delete other
inspect missing
inspect full
inspect plain --against main
-q -v status";

#[test]
fn errors_say_what_and_what_to_do() {
    let home = Home::with_revisions();
    home.write("plain", b"not an image\n");
    home.write("full/x", b"x");
    home.write("bad.toml", b"ref = \"main\"\nsotre = \"x\"\n");
    let mut said = Said { home: &home, text: String::new() };
    for line in FAILING.lines() {
        said.of(&line.split(' ').collect::<Vec<_>>());
    }
    for (variable, value, arguments) in [
        ("SOURCE_DATE_EPOCH", "yesterday", ["push", "site"]),
        ("FREESTONE_STORE", "http://example.org/store", ["status", "-v"]),
    ] {
        let output = home.command(arguments).env(variable, value).output().unwrap();
        let line = format!("{}  # with {variable}={value}", arguments.join(" "));
        said.ran(&line, &Ran::of(output));
    }
    let mut bare = home.command(["status"]);
    bare.env_remove("FREESTONE_STORE").env_remove("HOME").env("STATE_DIRECTORY", "/nonexistent/s");
    said.ran("status  # with STATE_DIRECTORY", &Ran::of(bare.output().unwrap()));
    snapshot("errors.txt", &said.text);
    assert_eq!(home.read("plain"), b"not an image\n");
    assert!(!home.path("x.img").exists());
}

#[test]
fn everything_that_cannot_be_pushed_is_listed() {
    let home = Home::with_revisions();
    for (link, text) in [("dangling", "nowhere"), ("out", "/etc/passwd"), ("dir", "docs")] {
        std::os::unix::fs::symlink(text, home.path("site").join(link)).unwrap();
    }
    let mut said = Said { home: &home, text: String::new() };
    said.of(&["push", "site"]);
    said.of(&["image", "./site", "-n"]);
    snapshot("refused.txt", &said.text);
    let pushed = home.run(["push", "site", "--skip-special"]);
    assert_eq!(pushed.code, Some(0));
    assert!(pushed.err.contains("skipped dangling: a link that leads nowhere\n"), "{}", pushed.err);
    assert!(pushed.err.contains("up to date"), "{}", pushed.err);
}

/// Runs the program without the right of root to read everything.
fn run_bound_by_modes(home: &Home, arguments: &[&str]) -> Ran {
    let mut command = home.command(arguments);
    if fs::metadata(home.path("")).unwrap().uid() == 0 {
        let program = command.get_program().to_owned();
        command = home.wrapped("setpriv", ["--bounding-set=-dac_override,-dac_read_search"]);
        command.arg(program).args(arguments);
    }
    Ran::of(command.output().unwrap())
}

#[test]
fn everything_that_cannot_be_read_is_listed_beside_what_is_refused() {
    let home = Home::with_revisions();
    for number in 0..40 {
        home.write(format!("site/docs/{number:02}"), format!("{number}").as_bytes());
        home.set_mode(format!("site/docs/{number:02}"), 0o000);
    }
    home.write("site/closed/x", b"x");
    home.set_mode("site/closed", 0o000);
    home.write("site/listed/x", b"x");
    home.set_mode("site/listed", 0o444);
    home.write("site/z/after", &[b'z'; 3 << 20]);
    home.set_mode("site/z/after", 0o000);
    let before = home.names("store/revisions");
    for arguments in [&["push", "site"][..], &["image", "./site", "-o", "x.img"]] {
        let ran = run_bound_by_modes(&home, arguments);
        assert_eq!(ran.code, Some(4), "{arguments:?}: {}", ran.err);
        let mut lines = ran.err.lines();
        assert_eq!(lines.next(), Some("freestone: 43 paths cannot be read:"));
        assert_eq!(
            lines.next(),
            Some("  closed cannot be opened: Permission denied (os error 13)")
        );
        for number in 0..40 {
            let line = format!(
                "  file docs/{number:02} cannot be opened: Permission denied (os error 13)"
            );
            assert_eq!(lines.next(), Some(&*line), "{arguments:?}");
        }
        assert_eq!(
            lines.next(),
            Some("  listed/x cannot be looked at: Permission denied (os error 13)")
        );
        let last = "  file z/after cannot be opened: Permission denied (os error 13)";
        assert_eq!(lines.next(), Some(last));
        let hint = "  hint: make readable what is not, or leave it out with --exclude";
        assert_eq!(lines.next(), Some(hint));
        assert_eq!(lines.next(), None);
        // What is refused is told first; leaving that out does not leave out what cannot be read.
        std::os::unix::fs::symlink("nowhere", home.path("site/dangling")).unwrap();
        let ran = run_bound_by_modes(&home, arguments);
        assert_eq!(ran.code, Some(7), "{arguments:?}: {}", ran.err);
        assert!(ran.err.starts_with(
            "freestone: one path cannot be pushed:\n  dangling: a link that leads nowhere\n\
             43 paths cannot be read:\n"
        ));
        let ran = run_bound_by_modes(&home, &[arguments, &["--skip-special"]].concat());
        assert_eq!(ran.code, Some(4), "{arguments:?}: {}", ran.err);
        fs::remove_file(home.path("site/dangling")).unwrap();
    }
    assert!(!home.path("x.img").exists());
    assert_eq!(home.names("store/revisions"), before);
    for name in ["site/closed", "site/listed"] {
        home.set_mode(name, 0o755);
    }
}

#[test]
fn a_damaged_store_ends_in_exit_code_3() {
    let home = Home::with_revisions();
    let mut packs = Vec::new();
    for folder in fs::read_dir(home.path("store/packs")).unwrap() {
        for pack in fs::read_dir(folder.unwrap().path()).unwrap() {
            packs.push(pack.unwrap().path());
        }
    }
    for pack in packs {
        let mut bytes = fs::read(&pack).unwrap();
        bytes[20..].iter_mut().step_by(64).for_each(|byte| *byte ^= 1);
        let mut permissions = fs::metadata(&pack).unwrap().permissions();
        #[allow(clippy::permissions_set_readonly_false, reason = "the file goes with its folder")]
        permissions.set_readonly(false);
        fs::set_permissions(&pack, permissions).unwrap();
        fs::write(&pack, bytes).unwrap();
    }
    for arguments in [
        &["ls", "main"][..],
        &["image", "main", "-o", "x.img"],
        &["extract", "main", "out"],
        &["verify"],
        &["verify", "--data", "--json"],
    ] {
        let ran = home.run(arguments);
        assert_eq!(ran.code, Some(3), "{arguments:?}: {}", ran.err);
    }
    assert!(!home.path("x.img").exists() && !home.path("out").exists());
}

#[test]
fn a_closed_output_is_no_error_but_for_an_image_that_is_not_whole() {
    let home = Home::with_revisions();
    home.write("site/large", &vec![7; 3 << 20]);
    home.ok(["push", "site"]);
    for (arguments, code) in [(&["cat", "main:large"][..], 0), (&["image", "main", "-o", "-"], 1)] {
        let mut command = home.command(arguments);
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(output.stderr.is_empty());
    }
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ran = Ran::of(home.command(["cat", "main:large"]).stdout(full).output().unwrap());
    assert_eq!(ran.code, Some(4), "{}", ran.err);
}
