//! The help is the contract's text: every command, option and JSON key stands in it.

use crate::program::{Home, snapshot};
use std::collections::{BTreeMap, BTreeSet};

const COMMANDS: [&str; 42] = [
    "",
    "init",
    "push",
    "image",
    "mount",
    "extract",
    "ls",
    "cat",
    "show",
    "resolve",
    "log",
    "diff",
    "which",
    "why",
    "forget",
    "ref",
    "ref list",
    "ref log",
    "ref set",
    "ref delete",
    "inspect",
    "fetch",
    "pin",
    "pin list",
    "pin remove",
    "copy",
    "serve",
    "serve nbd",
    "serve http",
    "git",
    "git write",
    "status",
    "verify",
    "store",
    "store stats",
    "store reindex",
    "store compact",
    "store gc",
    "store policy",
    "store policy set",
    "completions",
    "man",
];

fn help(home: &Home, command: &str) -> String {
    let help = home.ok(command.split_whitespace().chain(["--help"]));
    // What clap leaves behind in empty lines is not worth a difference.
    help.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[test]
fn the_help_is_the_contract() {
    let home = Home::new();
    let mut all = String::new();
    for command in COMMANDS {
        all.push_str(&format!(
            "$ freestone {command}{}--help\n",
            if command.is_empty() { "" } else { " " }
        ));
        all.push_str(&help(&home, command));
        all.push('\n');
    }
    snapshot("help.txt", &all);
}

#[test]
fn no_command_is_missing_here() {
    let home = Home::new();
    home.ok(["man", "pages"]);
    let mut pages: BTreeSet<String> = COMMANDS
        .iter()
        .map(|command| format!("freestone {command}").trim().replace(' ', "-") + ".1")
        .collect();
    for page in home.names("pages") {
        assert!(pages.remove(&page), "the command of {page} is not in the list of this test");
    }
    assert!(pages.is_empty(), "no manual pages: {pages:?}");
}

#[test]
fn every_option_and_argument_is_described() {
    let home = Home::new();
    for command in COMMANDS {
        let help = help(&home, command);
        let lines: Vec<&str> = help.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let is_option = line.starts_with("  -") || line.starts_with("      --");
            let is_argument = line.starts_with("  <") || line.starts_with("  [");
            if is_option || is_argument {
                // On the line itself where all texts are short, else on the next.
                let same = line.trim_start().contains("  ");
                let next = lines.get(at + 1).is_some_and(|next| next.starts_with("          "));
                assert!(same || next, "{command}: {line}");
            }
        }
    }
}

/// The keys that a help text has in quotes.
fn documented(help: &str) -> BTreeSet<String> {
    let json = help.split("With --json").nth(1).unwrap_or_default();
    let json = json.split("\n\n").next().unwrap_or_default();
    json.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

fn keys(value: &serde_json::Value, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(object) => {
            for (key, value) in object {
                found.insert(key.clone());
                keys(value, found);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        _ => {}
    }
}

#[test]
fn every_json_key_is_documented_and_every_documented_one_is_there() {
    let home = Home::with_revisions();
    home.ok(["image", "main", "-o", "www.img"]);
    std::os::unix::fs::symlink("index.html", home.path("site/link")).unwrap();
    std::os::unix::fs::symlink("nowhere", home.path("site/dangling")).unwrap();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    // In the order of their doing: some need what others made.
    for line in [
        "init other",
        "push site --skip-special",
        "image main -o www.img --digest",
        "image ./site -o site.img --digest --skip-special",
        "extract main out",
        "ls -R main",
        "show main~1",
        "resolve main",
        "log -n 1 --stat",
        "diff main~1 main",
        "which site/index.html",
        "ref set live main",
        "ref list",
        "ref log main",
        "ref delete live",
        "inspect www.img --against main",
        "status",
        "verify",
        "store stats",
        "store compact --grace 0s",
        "store reindex",
        "git write site.git",
        "init host --upstream store",
        "-s host image main -n",
        "-s host fetch main --pin www",
        "-s host pin list",
        "-s host status",
        "-s host pin remove www",
        "init stick",
        "-s host copy main --to stick",
    ] {
        let mut words = line.trim_start_matches("-s host ").split(' ');
        let mut command = words.next().unwrap().to_owned();
        if matches!(&*command, "git" | "ref" | "store" | "pin") {
            command = format!("{command} {}", words.next().unwrap());
        }
        let answer = home.ok(line.split(' ').chain(["--json"]));
        for line in answer.lines() {
            keys(&serde_json::from_str(line).unwrap(), found.entry(command.clone()).or_default());
        }
    }
    for (command, mut found) in found {
        // Numbers are values, as in a table of counts.
        found.retain(|key| key.parse::<u64>().is_err());
        let mut documented = documented(&help(&home, &command));
        assert!(!documented.is_empty(), "{command}");
        let elsewhere: &[&str] = match &*command {
            // Entries are described at `ls`.
            "diff" => &["kind", "mtime", "size", "executable", "sha1", "content", "link"],
            // The names of folders and of kinds of records.
            "store stats" => {
                &["packs", "index", "refs", "chunk", "revision", "content record", "manifest node"]
            }
            // A pin is described at `pin list`.
            "status" => &["pin"],
            // The label.
            "show" => &["git.commit"],
            // What only broken images and stores have.
            "inspect" => &["rule", "what", "why", "path"],
            "verify" => &["object", "fault", "newer", "unreadable"],
            _ => &[],
        };
        for key in elsewhere {
            found.remove(*key);
            documented.remove(*key);
        }
        assert_eq!(found, documented, "{command}: what is there, what is documented");
    }
}

#[test]
fn completions_are_made_for_every_shell() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(home.ok(["completions", shell]).contains("reindex"), "{shell}");
    }
    assert!(home.fails(2, ["completions", "sh"]).contains("possible values"));
}
