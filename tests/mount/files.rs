//! The mount: what is seen in it, by whom, and how it ends.

use crate::mounting::{Mount, PATIENCE, may_mount};
use crate::program::{self, Home};
use freestone_testkit::cases;
use proptest::prelude::*;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Bytes without a pattern.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length.div_ceil(8)).flat_map(step).take(length).collect()
}

/// A home whose `main` has small files, compressed and raw large ones, and a hole.
fn home() -> Home {
    let home = Home::with_revisions();
    home.write("site/raw.bin", &noise(1, 5 << 20));
    home.write("site/text.txt", "a line of text, not always the same\n".repeat(90_000).as_bytes());
    home.write("site/hole.bin", &[noise(2, 70_000), vec![0; 3 << 20], noise(3, 9)].concat());
    for n in 0..300 {
        home.write(format!("site/many/{n:03}/page.html"), format!("page {n}\n").as_bytes());
    }
    home.ok(["push", "site"]);
    home
}

fn run(program: &str, arguments: &[&str], place: &Path) -> String {
    let output = Command::new(program).args(arguments).arg(place).output();
    let output = output.unwrap_or_else(|_| panic!("{program}: `scripts/setup --test`"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn images_and_trees_are_what_the_commands_write() {
    if !may_mount() {
        return;
    }
    let home = home();
    home.ok(["ref", "set", "team/live", "main~1"]);
    let [id, before] = ["main", "main~1"].map(|rev| home.ok(["resolve", rev]).trim().to_owned());
    home.ok(["image", "main", "-o", "main.img"]);
    home.ok(["image", "main~1", "-o", "before.img"]);
    let mount = Mount::start(&home, &["--mode", "640", "--owner", "7:8"]);
    let names = |name: &str| -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(mount.path(name))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let mut expected =
        vec![format!("{id}.tar"), format!("{before}.tar"), "main.tar".into(), "tree".into()];
    expected.push("team%2Flive.tar".into());
    expected.sort();
    assert_eq!(names(""), expected);
    assert_eq!(fs::read_link(mount.path("main.tar")).unwrap(), Path::new(&format!("{id}.tar")));
    for (name, written) in [
        (format!("{id}.tar"), "main.img"),
        ("main.tar".into(), "main.img"),
        ("main~1.tar".into(), "before.img"),
        ("team%2Flive.tar".into(), "before.img"),
        (format!("{}.tar", &before[..12]), "before.img"),
    ] {
        assert!(fs::read(mount.path(&name)).unwrap() == home.read(written), "{name}");
    }
    for name in ["none.tar", "main", "main.zip", &id, "tree/none", "tree/main/none"] {
        assert_eq!(fs::metadata(mount.path(name)).unwrap_err().kind(), ErrorKind::NotFound);
    }
    // The tree.
    run("diff", &["-r", home.path("site").to_str().unwrap()], &mount.path("tree/main"));
    assert_eq!(names("tree/main/many").len(), 300);
    assert!(names(&format!("tree/{before}")).contains(&"docs".to_owned()));
    let stat = fs::metadata(mount.path("tree/main/run.sh")).unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.gid()), (0o750, 7, 8));
    assert_eq!(stat.mtime().to_string(), program::NOW);
    let stat = fs::metadata(mount.path(format!("{id}.tar"))).unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.gid()), (0o640, 7, 8));
    assert_eq!(stat.len(), home.read("main.img").len() as u64);
    // Foreign readers.
    let image = mount.path("main.tar");
    let listed = |text: &str| text.lines().filter(|line| *line != "./").count();
    let by_tar = listed(&run("tar", &["-tf"], &image));
    assert_eq!(listed(&run("bsdtar", &["-tf"], &image)), by_tar);
    let program =
        "import sys,tarfile;print(len([m for m in tarfile.open(sys.argv[1]) if m.name!='.']))";
    assert_eq!(run("python3", &["-c", program], &image).trim(), by_tar.to_string());
}

#[test]
fn fat_images_are_read_through_the_mount() {
    if !may_mount() {
        return;
    }
    let home = home();
    let mount = Mount::start(&home, &[]);
    for ending in ["fat", "mirage.fat"] {
        let image = mount.path(format!("main.{ending}"));
        let copy = home.path(format!("copied-from-{ending}"));
        fs::create_dir(&copy).unwrap();
        run("/sbin/fsck.fat", &["-n"], &image);
        let image = image.to_str().unwrap();
        run("mcopy", &["-s", "-Q", "-n", "-i", image, "::/"], &copy);
        run("diff", &["-r", home.path("site").to_str().unwrap()], &copy);
    }
}

#[test]
fn what_is_written_is_refused_or_forgotten() {
    if !may_mount() {
        return;
    }
    let home = home();
    home.ok(["image", "main", "-o", "main.img"]);
    let image = home.read("main.img");
    for options in [&[][..], &["--discard-writes"]] {
        let mount = Mount::start(&home, options);
        let open = || OpenOptions::new().read(true).write(true).open(mount.path("main.tar"));
        let mut file = open().unwrap();
        let mut head = vec![0; 4096];
        file.read_exact_at(&mut head, 0).unwrap();
        assert!(image.starts_with(&head));
        if options.is_empty() {
            assert_eq!(file.write(b"x").unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
            let error = file.set_len(0).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
        } else {
            file.write_all(&[0xff; 10_000]).unwrap();
            file.sync_all().unwrap();
            file.set_len(7).unwrap();
            let end = image.len() as u64;
            assert!(file.write_at(b"x", end).is_err(), "a device has an end");
        }
        assert!(fs::read(mount.path("main.tar")).unwrap() == image);
        let mut again = Vec::new();
        open().unwrap().read_to_end(&mut again).unwrap();
        assert!(again == image);
        for change in [
            fs::write(mount.path("new"), b""),
            fs::write(mount.path("tree/main/index.html"), b"x"),
            fs::remove_file(mount.path("main.tar")),
            fs::create_dir(mount.path("tree/main/new")),
            fs::rename(mount.path("main.tar"), mount.path("other")),
            fs::set_permissions(mount.path("tree/main"), fs::Permissions::from_mode(0o700)),
        ] {
            assert_eq!(change.unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
        }
    }
}

#[test]
fn a_link_follows_its_ref_and_what_is_open_stays() {
    if !may_mount() {
        return;
    }
    let home = home();
    home.ok(["image", "main", "-o", "old.img"]);
    let mut mount = Mount::start(&home, &[]);
    let before = File::open(mount.path("main.tar")).unwrap();
    home.write("site/index.html", &noise(9, 3 << 20));
    home.ok(["push", "site"]);
    home.ok(["image", "main", "-o", "new.img"]);
    let begun = Instant::now();
    while fs::read(mount.path("main.tar")).unwrap() != home.read("new.img") {
        assert!(begun.elapsed() < PATIENCE, "the link does not follow");
        std::thread::sleep(Duration::from_millis(50));
    }
    // Ended while something is open: the directory is free at once, what is open is read on.
    mount.signal("-TERM");
    let begun = Instant::now();
    while fs::read_dir(mount.path("")).unwrap().next().is_some() {
        assert!(begun.elapsed() < PATIENCE, "the directory is not free");
        std::thread::sleep(Duration::from_millis(10));
    }
    let old = home.read("old.img");
    let mut bytes = vec![0; old.len()];
    before.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes == old);
    drop(before);
    let (code, said) = mount.wait();
    assert_eq!(code, Some(0), "{said}");
}

/// The kernel ends what asks it for work in more than one way, once in some fifty times in a rare one.
#[test]
fn closing_the_last_file_of_a_mount_that_was_asked_to_end_ends_it_well() {
    if !may_mount() {
        return;
    }
    let home = home();
    home.ok(["image", "main", "-o", "old.img"]);
    let old = home.read("old.img");
    for _ in 0..cases(100, 2000) {
        let mut mount = Mount::start(&home, &[]);
        let open = File::open(mount.path("main.tar")).unwrap();
        mount.signal("-TERM");
        let begun = Instant::now();
        while fs::read_dir(mount.path("")).unwrap().next().is_some() {
            assert!(begun.elapsed() < PATIENCE, "the directory is not free");
        }
        let mut bytes = vec![0; 5000];
        open.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes == old[..5000]);
        drop(open);
        let (code, said) = mount.wait();
        assert_eq!(code, Some(0), "{said}");
    }
}

/// What is written to a mapping never comes to the file system, and would be what all others read.
#[test]
fn an_image_cannot_be_changed_through_a_mapping() {
    if !may_mount() {
        return;
    }
    let home = home();
    home.ok(["image", "main", "-o", "main.img"]);
    let mount = Mount::start(&home, &[]);
    let script = "import mmap, os, sys\n\
        file = os.open(sys.argv[1], os.O_RDWR)\n\
        assert os.pread(file, 4096, 0)\n\
        try:\n    mapped = mmap.mmap(file, 8192)\n\
        except OSError:\n    sys.exit()\n\
        mapped[0:4] = b'EVIL'\n";
    run("python3", &["-c", script], &mount.path("main.tar"));
    assert!(fs::read(mount.path("main.tar")).unwrap() == home.read("main.img"));
}

/// As when a server is started anew under a guest that still reads.
#[test]
fn a_mount_that_ends_late_leaves_the_next_one_alone() {
    if !may_mount() {
        return;
    }
    let home = home();
    let mut before = Mount::start(&home, &[]);
    let open = File::open(before.path("main.tar")).unwrap();
    before.signal("-TERM");
    let begun = Instant::now();
    while fs::read_dir(before.path("")).unwrap().next().is_some() {
        assert!(begun.elapsed() < PATIENCE, "the directory is not free");
    }
    let mut next = Mount::start(&home, &[]);
    open.read_exact_at(&mut [0; 5000], 0).unwrap();
    drop(open);
    let (code, said) = before.wait();
    assert_eq!(code, Some(0), "{said}");
    assert!(next.path("main.tar").exists());
    let (code, said) = next.end();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_dead_mount_is_cleared_and_a_live_one_is_refused() {
    if !may_mount() {
        return;
    }
    let home = home();
    let mut dead = Mount::start(&home, &[]);
    dead.signal("-KILL");
    dead.wait();
    // Older kernels answer for a moment yet what they have in mind of it.
    let begun = Instant::now();
    loop {
        match fs::metadata(dead.path("")) {
            Err(error) if error.kind() == ErrorKind::NotConnected => break,
            other => assert!(begun.elapsed() < PATIENCE, "the dead mount answers {other:?}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut mount = Mount::start(&home, &[]);
    assert!(mount.path("main.tar").exists());
    let said = home.fails(7, ["mount", "mnt"]);
    assert!(said.contains("mounted there already"), "{said}");
    let (code, said) = mount.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(home.names("mnt").is_empty());
    home.fails(5, ["mount", "nowhere"]);
    home.fails(7, ["mount", "site/index.html"]);
    // In the background: it returns when it is mounted, and goes when it is unmounted.
    home.ok(["mount", "--background", "mnt"]);
    assert!(home.names("mnt").contains(&"main.tar".to_owned()));
    // It is busy for a moment where a process that another test just forked has it open.
    let begun = Instant::now();
    while !Command::new("umount").arg(home.path("mnt")).status().unwrap().success() {
        assert!(begun.elapsed() < PATIENCE, "it cannot be unmounted");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(home.names("mnt").is_empty());
    home.fails(5, ["mount", "-b", "nowhere"]);
}

#[test]
fn damage_is_an_error_for_its_part_alone() {
    if !may_mount() {
        return;
    }
    let home = home();
    home.ok(["image", "main", "-o", "main.img"]);
    // In the middle of the largest pack lies raw content.
    let mut packs: Vec<_> = Vec::new();
    for folder in fs::read_dir(home.path("store/packs")).unwrap() {
        packs
            .extend(fs::read_dir(folder.unwrap().path()).unwrap().map(|pack| pack.unwrap().path()));
    }
    let pack = packs.into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(&pack).unwrap();
    let at = file.metadata().unwrap().len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    let mut mount = Mount::start(&home, &[]);
    let image = home.read("main.img");
    let mounted = File::open(mount.path("main.tar")).unwrap();
    let (mut failed, mut right) = (0, 0);
    let mut part = [0; 4096];
    for (n, expected) in image.chunks(4096).enumerate() {
        match mounted.read_exact_at(&mut part[..expected.len()], n as u64 * 4096) {
            Ok(()) => {
                assert!(part[..expected.len()] == *expected, "block {n}");
                right += 1;
            }
            Err(_) => failed += 1,
        }
    }
    assert!((1..=2048).contains(&failed) && right > failed, "{failed} of {right}");
    drop(mounted);
    let (code, said) = mount.end();
    assert_eq!(code, Some(0));
    assert!(said.contains("damaged") && said.contains("pack"), "{said}");
}

#[test]
fn any_range_is_that_of_the_written_image() {
    if !may_mount() {
        return;
    }
    let home = home();
    home.ok(["image", "main", "-o", "main.img"]);
    let image = home.read("main.img");
    // A cache that holds next to nothing, too.
    for cache in ["64M", "0"] {
        let mount = Mount::start(&home, &["--cache", cache]);
        let file = File::open(mount.path("main.tar")).unwrap();
        let length = image.len();
        let ranges = prop::collection::vec((0..length, 1..600_000usize), 8);
        proptest!(ProptestConfig::with_cases(16), |(ranges in ranges)| {
            std::thread::scope(|scope| {
                for (start, count) in ranges {
                    let (file, image) = (&file, &image);
                    scope.spawn(move || {
                        let end = length.min(start + count);
                        let mut bytes = vec![0; end - start];
                        file.read_exact_at(&mut bytes, start as u64).unwrap();
                        assert!(bytes == image[start..end], "{start}..{end}");
                    });
                }
            });
        });
    }
}
