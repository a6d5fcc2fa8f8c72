//! A search through all states that can be reached, the nearest first.

use crate::state::{Rules, State};
use std::collections::{HashMap, VecDeque};

/// States after which a search gives up.
const STATES_MAX: usize = 6_000_000;

/// What a search found.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing is lost in any state.
    Holds { states: usize },
    /// Something is lost, after these steps.
    Lost { states: usize, trace: Vec<String> },
}

/// Searches all states that can be reached from `first`.
pub fn search(first: &State, rules: Rules) -> Outcome {
    let mut numbers: HashMap<State, u32> = HashMap::new();
    // Of each state: the one before it, and the process that took the step.
    let mut before: Vec<(u32, u8)> = vec![(0, 0)];
    let mut open: VecDeque<State> = VecDeque::new();
    numbers.insert(first.clone(), 0);
    open.push_back(first.clone());
    while let Some(state) = open.pop_front() {
        let number = numbers[&state];
        if state.is_lost() {
            return Outcome::Lost {
                states: numbers.len(),
                trace: trace(first, rules, &before, number),
            };
        }
        for process in 0..state.processes.len() {
            for (_, next) in state.steps(process, rules) {
                if !numbers.contains_key(&next) {
                    let new = u32::try_from(numbers.len()).unwrap();
                    assert!(numbers.len() < STATES_MAX, "too many states");
                    before.push((number, u8::try_from(process).unwrap()));
                    numbers.insert(next.clone(), new);
                    open.push_back(next);
                }
            }
        }
    }
    Outcome::Holds { states: numbers.len() }
}

/// Returns the steps that lead to the state of this number.
fn trace(first: &State, rules: Rules, before: &[(u32, u8)], last: u32) -> Vec<String> {
    let mut path = Vec::new();
    let mut at = last;
    while at != 0 {
        let (previous, process) = before[at as usize];
        path.push(process);
        at = previous;
    }
    path.reverse();
    // A process may have more than one next step; those that lead on are tried in turn.
    let mut tries = vec![(first.clone(), Vec::new())];
    for process in path {
        let mut next = Vec::new();
        for (state, said) in tries {
            for (step, after) in state.steps(process.into(), rules) {
                let mut said: Vec<String> = said.clone();
                said.push(format!(
                    "{:?} {process}: {step}",
                    state.processes[usize::from(process)].kind
                ));
                next.push((after, said));
            }
        }
        tries = next;
    }
    let lost = tries.into_iter().find(|(state, _)| state.is_lost());
    lost.map(|(_, said)| said).unwrap_or_default()
}
