//! Stores behind TLS, in a bucket and on a web server: that they work, and that who cannot be
//! trusted is not. The other side is OpenSSL.

use crate::ceph::{Ceph, variables};
use crate::program::{Home, ok, ran};
use crate::tls::{Authority, Tls, WebServer};
use freestone_format::hint;
use freestone_testkit::{Proxy, Weather, noise, text};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The program with Ceph's variables, but the server at `endpoint`.
fn at_endpoint(home: &Home, endpoint: &str, store: &str, arguments: &[&str]) -> Command {
    let mut command = home.command(arguments);
    command
        .envs(variables(0, "test"))
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("FREESTONE_STORE", store);
    command
}

/// A home with a site of which something is sent in parts.
fn site() -> Home {
    let home = Home::new();
    home.write("site/index.html", b"<h1>first</h1>\n");
    home.write("site/large.bin", &noise(9_500_000, 5));
    for file in 0..50 {
        home.write(format!("site/docs/{file}.txt"), &text(20_000, file));
    }
    home
}

#[test]
fn a_bucket_behind_tls_is_pushed_to_and_read() {
    let authority = Authority::new();
    let tls = Tls::before(Ceph::shared().port, &authority.sign("IP:127.0.0.1"));
    let endpoint = format!("https://127.0.0.1:{}", tls.port);
    let trusting = |home: &Home, arguments: &[&str]| {
        let mut command = at_endpoint(home, &endpoint, "s3://test/tls", arguments);
        ok(command.env("SSL_CERT_FILE", authority.certificate()))
    };
    let home = site();
    home.ok(["init"]);
    home.ok(["push", "site"]);
    trusting(&home, &["init"]);
    trusting(&home, &["push", "site"]);
    home.write("site/index.html", b"<h1>second</h1>\n");
    home.ok(["push", "site"]);
    trusting(&home, &["push", "site"]);
    home.ok(["image", "main", "-o", "right.img"]);
    let host = Home::new();
    trusting(&host, &["image", "main", "-o", "remote.img"]);
    assert!(host.read("remote.img") == home.read("right.img"));
    trusting(&host, &["verify", "--data"]);
    // And a host's store that follows it.
    trusting(&host, &["-s", "store", "init", "--upstream", "s3://test/tls"]);
    trusting(&host, &["-s", "store", "image", "main", "-o", "followed.img"]);
    assert!(host.read("followed.img") == home.read("right.img"));
}

/// A directory's store, as files of a web server.
#[test]
fn a_web_server_behind_tls_is_read() {
    let authority = Authority::new();
    let home = site();
    home.ok(["init"]);
    home.ok(["push", "site"]);
    home.write("site/index.html", b"<h1>second</h1>\n");
    home.ok(["push", "site", "--ref", "a/b"]);
    home.ok(["image", "main", "-o", "right.img"]);
    let web = WebServer::of(&home.path("store"));
    let tls = Tls::before(web.port, &authority.sign("DNS:localhost"));
    let url = format!("https://localhost:{}", tls.port);
    let host = Home::new();
    let over = |arguments: &[&str]| {
        let mut command = host.command(arguments);
        ok(command.env("FREESTONE_STORE", &url).env("SSL_CERT_FILE", authority.certificate()))
    };
    over(&["image", "main", "-o", "web.img"]);
    assert!(host.read("web.img") == home.read("right.img"));
    assert_eq!(over(&["cat", "a/b:index.html"]), "<h1>second</h1>\n");
    over(&["verify", "--data"]);
    over(&["-s", "store", "init", "--upstream", &url]);
    over(&["-s", "store", "image", "main", "-o", "followed.img"]);
    assert!(host.read("followed.img") == home.read("right.img"));
}

/// A web server lists nothing: what leads to all that is there are the hints of whoever wrote it.
#[test]
fn whoever_wrote_a_store_all_of_it_is_found_on_a_web_server() {
    let authority = Authority::new();
    let home = site();
    home.ok(["init"]);
    let host = Home::new();
    let compare = |rev: &str, store: &str| {
        let web = WebServer::of(&home.path(store));
        let tls = Tls::before(web.port, &authority.sign("DNS:localhost"));
        let url = format!("https://localhost:{}", tls.port);
        let over = |arguments: &[&str]| {
            let mut command = host.command(arguments);
            ok(command.env("FREESTONE_STORE", &url).env("SSL_CERT_FILE", authority.certificate()))
        };
        let right = home.ok(["-s", store, "image", rev, "--digest"]);
        assert_eq!(over(&["image", rev, "--digest"]), right, "{store}");
        over(&["verify"]);
        over(&["ref", "list"])
    };
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        let author = ["-c", "user.name=A", "-c", "user.email=a@example.org"];
        ok(git.arg("-C").arg(home.path("site")).args(author).args(arguments));
    };
    // A series: no merge of segments comes along.
    git(&["init", "-q", "-b", "main"]);
    for n in 0..3 {
        home.write("site/index.html", format!("<h1>{n}</h1>\n").as_bytes());
        git(&["add", "-A"]);
        git(&["commit", "-q", "-m", "said"]);
        home.ok(["push", "--git", "site"]);
        compare("main", "store");
    }
    home.write("site/index.html", b"<h1>tar</h1>\n");
    ok(Command::new("tar").current_dir(home.path("")).args(["-cf", "site.tar", "site/index.html"]));
    home.ok(["push", "site.tar", "--ref", "tar"]);
    compare("tar", "store");
    // A copy, whose ref does not begin with its first entry.
    home.ok(["-s", "other", "init"]);
    home.ok(["copy", "main", "--to", "other"]);
    assert!(compare("main", "other").contains("main"));
    home.ok(["copy", "tar", "--to", "other"]);
    compare("tar", "other");
    // Segments that were replaced are not named any more.
    home.ok(["store", "compact", "--grace", "0"]);
    compare("main", "store");
    // A hint that says too much decides nothing.
    for number in ["7", "100000000000", "9223372036854775807", "18446744073709551615"] {
        home.write("store/refs/main/latest", &hint::encode(&[number.into()]));
        compare("main", "store");
    }
}

#[test]
fn who_cannot_be_trusted_is_not_and_why_is_said() {
    let (authority, other) = (Authority::new(), Authority::new());
    let port = Ceph::shared().port;
    let home = Home::new();
    ok(&mut at_endpoint(&home, &format!("http://127.0.0.1:{port}"), "s3://test/trust", &["init"]));
    let right = Tls::before(port, &authority.sign("IP:127.0.0.1"));
    let foreign = Tls::before(port, &authority.sign("DNS:s3.example.org"));
    let old = Tls::before(port, &authority.sign_long_ago("IP:127.0.0.1"));
    home.write("none.pem", b"no certificate\n");
    let (trusted, other) = (authority.certificate(), other.certificate());
    let none = home.path("none.pem");
    let cases: [(u16, Option<&Path>, &[&str]); 6] = [
        (right.port, None, &["no authority that this machine knows", "SSL_CERT_FILE"]),
        (right.port, Some(&other), &["no authority that this machine knows", "SSL_CERT_FILE"]),
        (
            foreign.port,
            Some(&trusted),
            &["is for another name", "s3.example.org", "name the server as its certificate does"],
        ),
        (old.port, Some(&trusted), &["out of date", "expired", "needs a new certificate"]),
        (port, Some(&trusted), &["does not speak TLS", "http://"]),
        (right.port, Some(&none), &["no HTTPS on this machine", "look at SSL_CERT_FILE"]),
    ];
    for (port, certificates, words) in cases {
        let server = format!("https://127.0.0.1:{port}");
        let says = |mut command: Command| {
            if let Some(certificates) = certificates {
                command.env("SSL_CERT_FILE", certificates);
            }
            let begun = Instant::now();
            let ran = ran(&mut command);
            assert_eq!(ran.code, Some(4), "{words:?}: {}", ran.err);
            for word in words.iter().chain(&["hint: "]) {
                assert!(ran.err.contains(word), "no {word:?} in: {}", ran.err);
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "{words:?}: tried for long");
        };
        says(at_endpoint(&home, &server, "s3://test/trust", &["status"]));
        says(at_endpoint(&home, "", &format!("{server}/test/trust"), &["status"]));
    }
    // The one that is right, to see that nothing else kept them from it.
    let server = format!("https://127.0.0.1:{}", right.port);
    let mut command = at_endpoint(&home, &server, "s3://test/trust", &["status"]);
    ok(command.env("SSL_CERT_FILE", &trusted));
}

/// Where nothing is said, the system's authorities are believed, and they alone.
#[test]
fn the_systems_authorities_are_believed() {
    if std::env::var_os("FREESTONE_NO_LOOP").is_some() {
        return;
    }
    let authority = Authority::new();
    let port = Ceph::shared().port;
    let home = Home::new();
    let plain = format!("http://127.0.0.1:{port}");
    ok(&mut at_endpoint(&home, &plain, "s3://test/system", &["init"]));
    let tls = Tls::before(port, &authority.sign("IP:127.0.0.1"));
    let endpoint = format!("https://127.0.0.1:{}", tls.port);
    // Where Debian has them, in a mount namespace of the command's own.
    let certificates = home.path("certificates");
    std::fs::create_dir(&certificates).unwrap();
    std::fs::copy(authority.certificate(), certificates.join("ca-certificates.crt")).unwrap();
    let inside = "mount --bind \"$1\" /etc/ssl/certs && exec \"$2\" status";
    let status = at_endpoint(&home, &endpoint, "s3://test/system", &["status"]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", inside, "sh"]).arg(&certificates);
    command.arg(status.get_program()).current_dir(home.path("")).env_clear();
    command.envs(status.get_envs().filter_map(|(key, value)| Some((key, value?))));
    ok(&mut command);
    std::fs::remove_file(certificates.join("ca-certificates.crt")).unwrap();
    let without = ran(&mut command);
    assert_eq!(without.code, Some(4), "{}", without.err);
    assert!(without.err.contains("install its certificates"), "{}", without.err);
}

/// What changes on the way is found out by TLS, and asked for again.
#[test]
fn no_weather_makes_a_wrong_byte_behind_tls() {
    let authority = Authority::new();
    let tls = Tls::before(Ceph::shared().port, &authority.sign("IP:127.0.0.1"));
    let home = site();
    let run = |port: u16, arguments: &[&str]| {
        let endpoint = format!("https://127.0.0.1:{port}");
        let mut command = at_endpoint(&home, &endpoint, "s3://test/tls-weather", arguments);
        ran(command.env("SSL_CERT_FILE", authority.certificate()))
    };
    for arguments in [&["init"][..], &["push", "site"], &["image", "main", "-o", "right.img"]] {
        let ran = run(tls.port, arguments);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
    }
    let right = home.read("right.img");
    let bad = Weather { delay: 200, drop: 30, truncate: 30, corrupt: 30, ..Weather::default() };
    let (mut done, mut corrupted) = (0, 0);
    for seed in 0..6 {
        let proxy = Proxy::before(tls.port, bad, seed).unwrap();
        let _ = std::fs::remove_file(home.path("bad.img"));
        let ran = run(proxy.port(), &["image", "main", "-o", "bad.img"]);
        match ran.code {
            Some(0) => {
                assert!(home.read("bad.img") == right, "a wrong byte with seed {seed}");
                done += 1;
            }
            // The first connection of all may be the one that is damaged.
            code => {
                assert_eq!(code, Some(4), "{}", ran.err);
                assert!(!home.path("bad.img").exists(), "half an image with seed {seed}");
            }
        }
        corrupted += proxy.happened().corrupted.load(Ordering::Relaxed);
    }
    assert!(done >= 4 && corrupted > 0, "{done} done, {corrupted} bits flipped");
}
