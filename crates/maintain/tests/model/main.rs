//! A model of collection beside pushes: every interleaving of a few processes is searched, each of
//! whose steps is one operation on the storage, and each of which may stop for ever before any of
//! them. `docs/format.md`, *Collection*, has the steps in words.
//!
//! The rules hold in all states. Without any one of them, data is lost, and the search says how.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod search;
mod state;

use search::{Outcome, search};
use state::{Kind, Rules, State};

fn run(rules: Rules, processes: &[Kind]) -> Outcome {
    let outcome = search(&State::new(processes), rules);
    match &outcome {
        Outcome::Holds { states } => eprintln!("{processes:?}: holds in all {states} states"),
        Outcome::Lost { states, trace } => {
            eprintln!(
                "{rules:?}, {processes:?}: lost after {} steps, {states} states",
                trace.len()
            );
            trace.iter().for_each(|step| eprintln!("    {step}"));
        }
    }
    outcome
}

fn holds(processes: &[Kind]) {
    let outcome = run(Rules::default(), processes);
    assert!(matches!(outcome, Outcome::Holds { states } if states > 100), "{outcome:?}");
}

fn loses(rules: Rules, processes: &[Kind]) {
    let outcome = run(rules, processes);
    assert!(matches!(outcome, Outcome::Lost { .. }), "{rules:?}: {outcome:?}");
}

#[test]
fn a_push_and_a_sweeper() {
    holds(&[Kind::Push(0, 1), Kind::Sweep]);
    holds(&[Kind::Push(1, 1), Kind::Sweep]);
}

#[test]
fn two_pushes_and_a_sweeper() {
    holds(&[Kind::Push(0, 1), Kind::Push(0, 1), Kind::Sweep]);
    holds(&[Kind::Push(0, 1), Kind::Push(1, 1), Kind::Sweep]);
}

#[test]
fn a_push_and_two_sweepers() {
    holds(&[Kind::Push(0, 1), Kind::Sweep, Kind::Sweep]);
    holds(&[Kind::Push(1, 1), Kind::Sweep, Kind::Sweep]);
}

#[test]
fn a_push_a_sweeper_and_a_compactor() {
    holds(&[Kind::Push(0, 1), Kind::Sweep, Kind::Compact]);
    holds(&[Kind::Sweep, Kind::Compact, Kind::Compact]);
}

#[test]
fn without_intents_data_is_lost() {
    loses(Rules { intents: false, ..Rules::default() }, &[Kind::Push(0, 1), Kind::Sweep]);
}

#[test]
fn with_names_that_come_back_data_is_lost() {
    let rules = Rules { fresh_names: false, ..Rules::default() };
    loses(rules, &[Kind::Push(0, 1), Kind::Sweep]);
}

#[test]
fn without_barriers_data_is_lost() {
    loses(Rules { barriers: false, ..Rules::default() }, &[Kind::Push(0, 1), Kind::Sweep]);
}

#[test]
fn without_place_0_a_new_ref_loses_data() {
    loses(Rules { unborn: false, ..Rules::default() }, &[Kind::Push(1, 1), Kind::Sweep]);
}

#[test]
fn without_a_look_at_what_is_closed_data_is_lost() {
    // One collection is enough, but a content has to be dropped and pushed again.
    let processes = [Kind::Push(0, 1), Kind::Push(0, 0), Kind::Sweep, Kind::Sweep];
    let rules = Rules { collections_max: 1, ..Rules::default() };
    assert!(matches!(run(rules, &processes), Outcome::Holds { .. }));
    loses(Rules { looks_at_closed: false, ..rules }, &processes);
}

#[test]
fn without_a_look_for_packs_that_are_gone_data_is_lost() {
    let rules = Rules { looks_for_packs: false, ..Rules::default() };
    loses(rules, &[Kind::Push(0, 1), Kind::Sweep]);
}

#[test]
fn with_copies_that_others_condemn_data_is_lost() {
    let rules = Rules { others_count: true, ..Rules::default() };
    loses(rules, &[Kind::Sweep, Kind::Compact]);
}
