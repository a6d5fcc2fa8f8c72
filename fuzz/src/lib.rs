//! Feeds changed bytes to every decoder of freestone.
//!
//! A [`Target`] is a decoder, with valid inputs from the golden stores or made here. [`fuzz`] changes
//! these at random and gives them to the decoder, which must neither panic nor take long. What a
//! decoder accepts must have one encoding only, where the format says so. Changed inputs that are
//! still accepted are changed further.
//!
//! All that happens follows from a seed, so each failure can be repeated. The stable toolchain is
//! enough, since nothing measures which code an input reaches: where a hash would stop every
//! changed input, the target computes the hash again.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a target fails")]

mod goldens;
mod targets;

pub use goldens::Goldens;
pub use targets::TARGETS;

use freestone_testkit::{Dice, mutate};
use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// How long a decoder may take for one input. Inputs are of at most [`INPUT_BYTES_MAX`].
const INPUT_TIME_MAX: Duration = Duration::from_secs(5);
/// Inputs are cut to this length in bytes.
const INPUT_BYTES_MAX: usize = 64 << 10;
/// How many changed inputs of a target are kept because the decoder accepted them.
const KEPT_MAX: usize = 256;

/// A decoder that is fuzzed.
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// Decodes the bytes, checks what comes out, and returns whether the decoder accepted them.
    pub run: fn(&[u8]) -> bool,
    /// Returns valid inputs.
    pub seeds: fn(&Goldens) -> Vec<Vec<u8>>,
}

/// How many inputs a target was given.
#[derive(Clone, Copy, Debug, Default)]
pub struct FuzzReport {
    /// All inputs.
    pub cases: u64,
    /// Those that the decoder accepted.
    pub accepted: u64,
}

/// An input that made a target panic or take too long.
#[derive(Debug)]
pub struct FuzzFailure {
    /// The target's name.
    pub target: &'static str,
    /// The input's number, from 0; the valid inputs come first.
    pub case: u64,
    /// The input.
    pub input: Vec<u8>,
    /// The message of the panic, or the time that the input took.
    pub message: String,
}

impl fmt::Display for FuzzFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: the input {} fails: {}", self.target, self.case, self.message)
    }
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

/// Runs a target on one input, and returns whether the decoder accepted it.
///
/// # Errors
/// The target panicked or took too long: its message.
pub fn run(target: &Target, input: &[u8]) -> Result<bool, String> {
    let began = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let taken = began.elapsed();
    match outcome {
        Err(panic) => Err(message_of(&*panic)),
        Ok(_) if taken > INPUT_TIME_MAX => Err(format!("it took {} s", taken.as_secs())),
        Ok(is_accepted) => Ok(is_accepted),
    }
}

/// Gives a target its valid inputs, and then changed ones for as long as `goes_on` says so of the
/// number of inputs before.
///
/// # Errors
/// An input made the target fail.
pub fn fuzz(
    target: &Target,
    goldens: &Goldens,
    seed: u64,
    goes_on: impl Fn(u64) -> bool,
) -> Result<FuzzReport, Box<FuzzFailure>> {
    let mut report = FuzzReport::default();
    let mut inputs = (target.seeds)(goldens);
    assert!(!inputs.is_empty(), "{} has no valid inputs", target.name);
    for input in &inputs {
        if !report.take(target, input)? {
            return Err(report.failure(target, input, "it is valid, but not accepted".into()));
        }
    }
    let kept_max = inputs.len() + KEPT_MAX;
    let mut dice = Dice(seed);
    while goes_on(report.cases) {
        let mut input = inputs[dice.index(inputs.len())].clone();
        if dice.below(16) == 0 {
            // The beginning of one input, and the end of another.
            let other = &inputs[dice.index(inputs.len())];
            input.truncate(dice.index(input.len() + 1));
            input.extend_from_slice(&other[dice.index(other.len() + 1)..]);
        }
        mutate(&mut input, &mut dice);
        input.truncate(INPUT_BYTES_MAX);
        if report.take(target, &input)? && inputs.len() < kept_max {
            inputs.push(input);
        }
    }
    Ok(report)
}

impl FuzzReport {
    fn failure(&self, target: &Target, input: &[u8], message: String) -> Box<FuzzFailure> {
        let (target, case, input) = (target.name, self.cases, input.to_vec());
        Box::new(FuzzFailure { target, case, input, message })
    }

    /// Runs a target on the next input, and returns whether the decoder accepted it.
    fn take(&mut self, target: &Target, input: &[u8]) -> Result<bool, Box<FuzzFailure>> {
        match run(target, input) {
            Ok(is_accepted) => {
                self.cases += 1;
                self.accepted += u64::from(is_accepted);
                Ok(is_accepted)
            }
            Err(message) => Err(self.failure(target, input, message)),
        }
    }
}
