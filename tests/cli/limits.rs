//! The program where the system gives it few threads or few open files.

use crate::program::{Home, Ran, ran};

/// A home whose site has files of all sizes, more than a push gives to one thread.
fn with_site() -> Home {
    let home = Home::with_revisions();
    for number in 0..300 {
        home.write(format!("site/many/{number}"), format!("{number}\n").as_bytes());
    }
    home.write("site/large", &freestone_testkit::noise(3 << 20, 1));
    home.ok(["push", "site"]);
    home
}

/// What a command says that could not be run within a limit, and which setting to raise.
fn check(what: &str, ran: &Ran, setting: &str) {
    match ran.code {
        Some(0) => {}
        Some(1 | 4) => {
            assert!(ran.err.contains("hint: ") && ran.err.contains(setting), "{what}: {}", ran.err);
        }
        code => panic!("{what}: {code:?} {}", ran.err),
    }
}

#[test]
fn commands_do_with_the_threads_that_there_are() {
    let home = with_site();
    for count in [1, 2, 3, 4, 6, 9, 14] {
        // New files of all sizes, so that each push reads, writes and seals.
        for number in 0..40 {
            home.write(format!("site/new/{number}"), format!("{count} {number}\n").as_bytes());
        }
        home.write("site/new/large", &freestone_testkit::noise(2 << 20, 100 + count));
        let mut tar = home.wrapped("tar", ["-cf", "site.tar", "-C", "site", "."]);
        assert!(tar.status().unwrap().success());
        let (image, directory) = (format!("{count}.img"), format!("{count}"));
        for arguments in [
            &["push", "site"][..],
            &["push", "site.tar", "--ref", "tar"],
            &["push", "site", "-n"],
            &["verify", "--data"],
            &["image", "main", "-o", &image],
            &["image", "./site", "-n"],
            &["extract", "main", &directory],
            &["diff", "main~1", "main"],
            &["status"],
            &["store", "compact", "--all"],
            &["store", "reindex"],
        ] {
            let ran = ran(&mut home.limited(&format!("--nproc={count}"), arguments));
            assert_eq!(ran.code, Some(0), "{count} threads: {arguments:?}: {}", ran.err);
        }
        assert_eq!(home.read(directory.clone() + "/new/7"), format!("{count} 7\n").as_bytes());
        home.ok(["inspect", &image, "--against", "main"]);
    }
    home.ok(["verify", "--data"]);
}

#[test]
fn commands_say_which_limit_of_open_files_to_raise() {
    let home = with_site();
    for count in [16, 20, 24, 32, 48] {
        home.write("site/new", format!("{count}\n").as_bytes());
        for arguments in [
            &["push", "site"][..],
            &["verify", "--data"],
            &["image", "main", "--force", "-o", "x.img"],
            &["image", "./site", "-n"],
            &["extract", "main", &count.to_string()],
            &["store", "compact", "--all"],
        ] {
            let ran = ran(&mut home.limited(&format!("--nofile={count}"), arguments));
            check(&format!("{count} files: {arguments:?}"), &ran, "ulimit -n");
        }
    }
    home.ok(["push", "site"]);
    home.ok(["verify", "--data"]);
}
