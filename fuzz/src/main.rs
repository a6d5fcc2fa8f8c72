//! The command line of the fuzzer: see `scripts/fuzz`.

#![allow(clippy::unwrap_used, reason = "a tool of developers ends at what it cannot do")]

use freestone_fuzz::{Goldens, TARGETS, Target, fuzz, run};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "usage: freestone-fuzz SECONDS [TARGET [SEED]]
       freestone-fuzz --input FILE TARGET
       freestone-fuzz --list";

/// Returns the checkout's top folder. Cargo says where this package is.
fn checkout() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("run by cargo")).join("..")
}

fn named<'a>(name: Option<&String>) -> Option<&'a [Target]> {
    match name {
        None => Some(TARGETS),
        Some(name) => {
            let at = TARGETS.iter().position(|target| target.name == name)?;
            TARGETS.get(at..=at)
        }
    }
}

/// Fuzzes each of the targets for an equal part of the time.
fn fuzz_all(targets: &[Target], time: Duration, seed: u64) -> ExitCode {
    let goldens = Goldens::read(&checkout());
    let part = time / u32::try_from(targets.len()).unwrap();
    let mut exit = ExitCode::SUCCESS;
    for target in targets {
        let began = Instant::now();
        match fuzz(target, &goldens, seed, |_| began.elapsed() < part) {
            Ok(report) => println!(
                "{:16}{:>10} inputs, {:>9} accepted",
                target.name, report.cases, report.accepted
            ),
            Err(failure) => {
                let path = std::env::temp_dir()
                    .join(format!("freestone-fuzz-{}-{}", failure.target, failure.case));
                std::fs::write(&path, &failure.input).unwrap();
                eprintln!("{failure}");
                eprintln!("again: scripts/fuzz --input {} {}", path.display(), failure.target);
                exit = ExitCode::FAILURE;
            }
        }
    }
    exit
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage = || {
        eprintln!("{USAGE}");
        ExitCode::from(2)
    };
    match arguments.first().map(String::as_str) {
        Some("--list") => {
            TARGETS.iter().for_each(|target| println!("{}", target.name));
            ExitCode::SUCCESS
        }
        Some("--input") => match (arguments.get(1), named(arguments.get(2))) {
            (Some(file), Some([target])) => match run(target, &std::fs::read(file).unwrap()) {
                Ok(is_accepted) => {
                    println!("{}", if is_accepted { "accepted" } else { "not accepted" });
                    ExitCode::SUCCESS
                }
                Err(message) => {
                    eprintln!("{}: {message}", target.name);
                    ExitCode::FAILURE
                }
            },
            _ => usage(),
        },
        Some(seconds) => {
            let seed = arguments.get(2).map_or(Ok(1), |seed| seed.parse());
            match (seconds.parse(), named(arguments.get(1)), seed) {
                (Ok(seconds), Some(targets), Ok(seed)) => {
                    fuzz_all(targets, Duration::from_secs(seconds), seed)
                }
                _ => usage(),
            }
        }
        None => usage(),
    }
}
