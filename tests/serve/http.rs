//! `freestone serve http` and `--metrics` with the usual clients.

use crate::program::Home;
use crate::server::{self, Server, start, take, varied};
use crate::support::output;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

/// Starts `freestone serve http` with `arguments`.
fn serve(home: &Home, arguments: &[&str]) -> Server {
    let mut all = vec!["serve", "http", "--listen", "127.0.0.1:0"];
    all.extend(arguments);
    start(home.command(all))
}

fn curl(arguments: &[&str]) -> Vec<u8> {
    let ran = Command::new("curl").args(["-sS", "--max-time", "60"]).args(arguments).output();
    let ran = ran.unwrap();
    assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    ran.stdout
}

/// Returns the status line and the headers of a reply, in lower case.
fn head(arguments: &[&str]) -> String {
    let all = [&["-o", "/dev/null", "-D", "-"], arguments].concat();
    String::from_utf8(curl(&all)).unwrap().to_ascii_lowercase()
}

fn etag(url: &str) -> String {
    let head = head(&["-I", url]);
    let line = head.lines().find(|line| line.starts_with("etag: ")).unwrap();
    line["etag: ".len()..].trim().to_owned()
}

/// Content that was fetched from the upstream to be served stays on the host when the server ends.
#[test]
fn content_that_was_served_from_an_upstream_stays_on_the_host() {
    let home = Home::with_revisions();
    home.write("site/large", &[7; 3 << 20]);
    home.ok(["push", "site"]);
    let right = home.ok(["image", "main", "--digest"]);
    home.ok(["init", "host", "--upstream", "store"]);
    let server = serve(&home, &["-s", "host", "main"]);
    curl(&["-o", "/dev/null", &format!("http://{}/images/main.tar", server.place())]);
    assert!(server.end("TERM").0.success());
    fs::rename(home.path("store"), home.path("away")).unwrap();
    assert_eq!(home.ok(["-s", "host", "--offline", "image", "main", "--digest"]), right);
}

/// A running server finds contents by SHA-1 that were pushed or compacted later, and lists their
/// revisions.
#[test]
fn contents_pushed_while_the_server_runs_are_found() {
    let home = Home::with_revisions();
    let server = serve(&home, &["--all"]);
    let get = |path: &str| curl(&["--fail", &format!("http://{}/{path}", server.place())]);
    get("revisions");
    home.write("site/late", b"pushed late\n");
    home.ok(["push", "site"]);
    let sum = output(Command::new("sha1sum").arg(home.path("site/late")));
    let late = format!("contents/sha1/{}", &sum[..40]);
    assert_eq!(get(&late), b"pushed late\n");
    home.ok(["store", "compact", "--all", "--grace", "0"]);
    assert_eq!(get(&late), b"pushed late\n");
    let id = home.ok(["resolve", "main"]).trim().to_owned();
    assert!(String::from_utf8(get("revisions")).unwrap().contains(&id));
}

/// A listing returns where to continue, whatever the bytes of its last name are.
#[test]
fn a_listing_continues_after_a_name_that_is_not_utf8() {
    use std::os::unix::ffi::OsStringExt;
    let home = Home::with_revisions();
    for n in 0..1001 {
        let mut name = format!("many/{n:04}").into_bytes();
        name.extend((n == 999).then_some(0xff));
        home.write(std::path::PathBuf::from(std::ffi::OsString::from_vec(name)), b"x");
    }
    home.ok(["push", "many"]);
    let server = serve(&home, &["main"]);
    let url = format!("http://{}/revisions/main/tree/", server.place());
    let first: serde_json::Value = serde_json::from_slice(&curl(&[&url])).unwrap();
    assert_eq!(first["entries"].as_array().unwrap().len(), 1000);
    let after = first["after_encoded"].as_str().unwrap();
    let rest = curl(&[&format!("{url}?after={after}")]);
    let rest: serde_json::Value = serde_json::from_slice(&rest).unwrap();
    assert_eq!(rest["entries"][0]["path"], "1000");
    assert_eq!(rest["after_encoded"], serde_json::Value::Null);
}

#[test]
fn curl_reads_images_whole_and_by_range() {
    let (home, image) = varied();
    let id = home.ok(["resolve", "main"]).trim().to_owned();
    let server = serve(&home, &["main"]);
    let by_name = format!("http://{}/images/main.tar", server.place());
    let by_id = format!("http://{}/images/{id}.tar", server.place());
    for url in [&by_name, &by_id] {
        assert!(curl(&[url]) == image);
    }
    let length = image.len();
    for (range, start, end) in [
        ("0-0", 0, 1),
        ("511-4096", 511, 4097),
        ("1000000-5000000", 1_000_000, 5_000_001),
        ("-1000", length - 1000, length),
    ] {
        assert!(curl(&["-r", range, &by_id]) == image[start..end], "{range}");
        let head = head(&["-r", range, &by_id]);
        assert!(head.contains(" 206 "), "{head}");
        assert!(head.contains(&format!("content-range: bytes {start}-{}/{length}", end - 1)));
    }
    assert!(head(&["-r", &format!("{length}-"), &by_id]).contains(" 416 "));
    let first = head(&["-I", &by_id]);
    assert!(first.contains(&format!("content-length: {length}")) && first.contains("immutable"));
    assert!(first.contains("accept-ranges: bytes"));
    assert!(head(&["-I", &by_name]).contains("no-cache"));

    let etag = etag(&by_id);
    let conditional =
        |name: &str, tag: &str| head(&["-r", "0-9", "-H", &format!("{name}: {tag}"), &by_id]);
    assert!(conditional("If-Range", &etag).contains(" 206 "));
    assert!(conditional("If-Range", "\"other\"").contains(" 200 "));
    assert!(conditional("If-Range", "Sun, 22 Nov 2026 13:00:00 GMT").contains(" 200 "));
    assert!(conditional("If-None-Match", &etag).contains(" 304 "));
    assert!(conditional("If-None-Match", "\"other\"").contains(" 206 "));
}

#[test]
fn block_drivers_read_images() {
    let (home, image) = varied();
    let server = serve(&home, &["main"]);
    let url = format!("http://{}/images/main.tar", server.place());
    let written = home.path("written.img");
    // JSON names the driver, so that QEMU does not guess a format from the ending.
    let file = format!(r#"json:{{"driver":"raw","file":{{"driver":"http","url":"{url}"}}}}"#);
    output(Command::new("qemu-img").args(["compare", "-F", "raw", &file]).arg(&written));
    let copy = home.path("copy.img");
    output(
        Command::new("nbdkit")
            .args(["-U", "-", "curl", &url, "--run"])
            .arg(format!("nbdcopy \"$uri\" '{}'", copy.display())),
    );
    assert!(fs::read(copy).unwrap() == image);
}

#[test]
fn files_revisions_and_refs_are_found() {
    let home = Home::with_revisions();
    home.write("site/a b/é.txt", b"far away\n");
    home.ok(["push", "site", "--ref", "other/branch"]);
    let server = serve(&home, &["main", "other/branch"]);
    let url = |path: &str| format!("http://{}{path}", server.place());
    let json =
        |path: &str| -> serde_json::Value { serde_json::from_slice(&curl(&[&url(path)])).unwrap() };
    let status = |path: &str| head(&[&url(path)]).split(' ').nth(1).unwrap().to_owned();

    assert_eq!(curl(&[&url("/revisions/main/tree/index.html")]), b"<h1>second</h1>\n");
    let deep = curl(&[&url("/revisions/main/tree/docs/deep/b.txt")]);
    assert_eq!(deep, home.read("site/docs/deep/b.txt"));
    let encoded = curl(&[&url("/revisions/other%2Fbranch/tree/a%20b/%C3%A9.txt")]);
    assert_eq!(encoded, b"far away\n");
    let head = head(&["-I", &url("/revisions/main/tree/index.html")]);
    // One second after the first revision, because both have the same time.
    assert!(head.contains("last-modified: tue, 14 nov 2023 22:13:21 gmt"), "{head}");

    let top = json("/revisions/main/tree");
    let names: Vec<&str> =
        top["entries"].as_array().unwrap().iter().map(|e| e["path"].as_str().unwrap()).collect();
    assert_eq!(names, ["docs", "index.html", "run.sh"]);
    let docs = json("/revisions/main/tree/docs/?after=a");
    assert_eq!(docs["entries"][0]["path"], "deep");
    assert_eq!(docs["entries"].as_array().unwrap().len(), 1);

    let id = home.ok(["resolve", "main"]).trim().to_owned();
    assert_eq!(json("/revisions/main")["revision"], id);
    assert_eq!(json("/revisions/main")["message"], "the second\n\nat length");
    assert_eq!(json("/revisions")["revisions"].as_array().unwrap().len(), 2);
    assert_eq!(json("/refs")["served"]["main"], id);

    // Other revisions are not served, by any name.
    let first = home.ok(["resolve", "main~1"]).trim().to_owned();
    let sha1 = "/contents/sha1/7448d8798a4380162d4b56f9b452e2f6f9e24e7a";
    for path in [&format!("/images/{first}.tar"), &format!("/revisions/{first}"), sha1] {
        assert_eq!(status(path), "404", "{path}");
    }
    for path in
        ["/", "/images/main.zip", "/revisions/main/tree/../x", "/revisions/main/tree/%2e%2e"]
    {
        assert_eq!(status(path), if path == "/" { "200" } else { "404" }, "{path}");
    }
    drop(server);

    let server = serve(&home, &["--all"]);
    let url = |path: &str| format!("http://{}{path}", server.place());
    assert_eq!(curl(&[&url(&format!("/revisions/{first}/tree/docs/a.txt"))]), b"a\n");
    let sha1 = freestone_core::digest::sha1(b"a\n");
    assert_eq!(curl(&[&url(&format!("/contents/sha1/{sha1}"))]), b"a\n");
}

#[test]
fn one_connection_sends_many_requests() {
    let home = Home::with_revisions();
    let server = serve(&home, &["main"]);
    let mut stream = TcpStream::connect(server.place()).unwrap();
    stream.set_read_timeout(Some(server::PATIENCE)).unwrap();
    // Three at once; the second is for an address that has nothing.
    let paths = ["/revisions/main/tree/index.html", "/none", "/revisions/main/tree/run.sh"];
    for path in paths {
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    }
    for (status, body) in [("200", "<h1>second</h1>\n"), ("404", ""), ("200", "#!/bin/sh\n")] {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(take(&mut stream, 1));
        }
        let head = String::from_utf8(head).unwrap();
        assert_eq!(head.split(' ').nth(1), Some(status));
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        let found = take(&mut stream, length.parse().unwrap());
        if status == "200" {
            assert_eq!(found, body.as_bytes());
        }
    }
    write!(stream, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.starts_with("HTTP/1.1 413 "), "{rest}");
}

#[test]
fn prometheus_reads_the_metrics() {
    let (home, image) = varied();
    let id = home.ok(["resolve", "main"]).trim().to_owned();
    let listen = format!("unix:{}", home.path("nbd.sock").display());
    let mut command = home.command([
        "serve",
        "nbd",
        "main",
        "--listen",
        &listen,
        "--metrics",
        "127.0.0.1:0",
        "--json",
    ]);
    command.env("FREESTONE_STORE", "store");
    let server = start(command);
    let said: serde_json::Value = serde_json::from_str(&server.places[0]).unwrap();
    let url = format!("http://{}/metrics", said["metrics"].as_str().unwrap());
    let uri = format!("nbd+unix:///main?socket={}", home.path("nbd.sock").display());
    output(Command::new("nbdcopy").arg(uri).arg(home.path("copy.img")));
    let text = String::from_utf8(curl(&[&url])).unwrap();
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name} in\n{text}"))
            .rsplit(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    let sent = value("freestone_sent_bytes_total{protocol=\"nbd\"}");
    assert!(sent > 1e7 && sent <= image.len() as f64, "{sent}");
    assert!(value("freestone_requests_total{protocol=\"nbd\"}") > 10.0);
    assert!(value("freestone_connections_total{protocol=\"nbd\"}") >= 1.0);
    assert!(value("freestone_proven_bytes_total") > 9e6);
    assert_eq!(value(&format!("freestone_served_info{{name=\"main\",revision=\"{id}\"}}")), 1.0);
    // The parser of Prometheus's own library accepts it.
    let script = "import sys; from prometheus_client.parser import text_string_to_metric_families as f; \
                  print(len(list(f(sys.stdin.read()))))";
    // Debian's Python has that library.
    let mut python = Command::new("/usr/bin/python3");
    python
        .args(["-c", script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut python = python.spawn().unwrap();
    python.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let read = python.wait_with_output().unwrap();
    assert!(read.status.success());
    assert!(String::from_utf8(read.stdout).unwrap().trim().parse::<u32>().unwrap() >= 12);
}

/// The same bytes have the same ETag, whatever revision they are of, and a condition on either the
/// ETag or the date is heeded. Ranges are for GET only.
#[test]
fn conditions_are_about_the_bytes() {
    let home = Home::with_revisions();
    let server = serve(&home, &["main", "--all"]);
    let url = |path: &str| format!("http://{}{path}", server.place());
    let first = home.ok(["resolve", "main"]).trim().to_owned();
    home.ok(["push", "site", "-m", "the same files again"]);
    let second = home.ok(["resolve", "main"]).trim().to_owned();
    assert_ne!(first, second);
    let by_id = |id: &str| url(&format!("/images/{id}.tar"));
    let tag = etag(&by_id(&first));
    assert_eq!(etag(&by_id(&second)), tag);
    assert_ne!(etag(&url(&format!("/images/{first}.fat"))), tag);
    for (name, value, status) in [
        ("If-Match", &tag[..], " 200 "),
        ("If-Match", "\"other\"", " 412 "),
        ("If-None-Match", &tag, " 304 "),
        ("If-None-Match", "*", " 304 "),
    ] {
        let head = head(&["-H", &format!("{name}: {value}"), &by_id(&second)]);
        assert!(head.contains(status), "{name}: {value}: {head}");
    }
    let whole = head(&["-I", "-r", "0-9", &by_id(&first)]);
    assert!(whole.contains(" 200 ") && !whole.contains("content-range"), "{whole}");

    let file = url("/revisions/main/tree/index.html");
    let known = String::from_utf8(curl(&["-o", "/dev/null", "-D", "-", &file])).unwrap();
    let date = known.lines().find_map(|line| line.strip_prefix("Last-Modified: ")).unwrap();
    for (name, value, status) in [
        ("If-Modified-Since", date.trim(), " 304 "),
        ("If-Modified-Since", "Thu, 01 Jan 1970 00:00:00 GMT", " 200 "),
        ("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT", " 412 "),
    ] {
        let head = head(&["-H", &format!("{name}: {value}"), &file]);
        assert!(head.contains(status), "{name}: {value}: {head}");
    }
    let listing = url("/revisions");
    let tag = etag(&listing);
    assert!(head(&["-H", &format!("If-None-Match: {tag}"), &listing]).contains(" 304 "));
}

#[test]
fn other_host_names_are_refused_on_loopback() {
    let home = Home::with_revisions();
    let server = serve(&home, &["main", "--host", "www.example.org"]);
    let url = format!("http://{}/refs", server.place());
    for (host, status) in [
        ("localhost", " 200 "),
        ("www.example.org:8080", " 200 "),
        ("rebound.example.com", " 421 "),
    ] {
        let head = head(&["-H", &format!("Host: {host}"), &url]);
        assert!(head.contains(status), "{host}: {head}");
    }
}

/// A listing is cut by its bytes, and continues where it was cut.
#[test]
fn a_listing_of_long_names_is_bounded_and_continues() {
    let home = Home::new();
    let folder = format!("site/{}", "d".repeat(200));
    for at in 0..900 {
        home.write(format!("{folder}/{at:03}{}", "\u{1}".repeat(190)), b"");
    }
    home.ok(["init"]);
    home.ok(["push", "site"]);
    let server = serve(&home, &["main"]);
    let base = format!("http://{}/revisions/main/tree/{}", server.place(), "d".repeat(200));
    let (mut names, mut after) = (0, String::new());
    for _ in 0..20 {
        let bytes = curl(&[&format!("{base}?after={after}")]);
        assert!(bytes.len() < 300 << 10, "{} bytes", bytes.len());
        let listing: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        names += listing["entries"].as_array().unwrap().len();
        match listing["after_encoded"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(names, 900);
}

/// Since browsers are told to believe the types, they are right for what pages are made of. What
/// could run scripts in the server's name is only downloaded.
#[test]
fn the_type_of_a_file_is_that_of_its_name() {
    let home = Home::new();
    let types = [
        ("a.css", "text/css; charset=utf-8"),
        ("b.min.JS", "text/javascript; charset=utf-8"),
        ("c.png", "image/png"),
        ("d.woff2", "font/woff2"),
        ("e.txt", "text/plain; charset=utf-8"),
        ("f.html", "application/octet-stream"),
        ("g.svg", "application/octet-stream"),
        ("css", "application/octet-stream"),
        ("dir.css/h", "application/octet-stream"),
    ];
    types.iter().for_each(|(name, _)| home.write(format!("site/{name}"), b"x"));
    home.ok(["init"]);
    home.ok(["push", "site"]);
    let server = serve(&home, &["main"]);
    for (name, kind) in types {
        let url = format!("http://{}/revisions/main/tree/{name}", server.place());
        let head = head(&["-I", &url]).to_lowercase();
        assert!(head.contains(&format!("content-type: {kind}\r\n")), "{name}: {head}");
        assert!(head.contains("x-content-type-options: nosniff\r\n"), "{name}: {head}");
    }
}
