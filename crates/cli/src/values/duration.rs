//! Lengths of time on the command line.

use std::time::Duration;

/// Parses a number of seconds, or a number with `s`, `m`, `h` or `d`.
///
/// # Errors
/// It is something else, or too long.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("give a number of seconds, or a number with m, h or d".into()),
    };
    let count: u64 =
        digits.parse().map_err(|_| "give a number of seconds, or a number with m, h or d")?;
    count.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| "the time is too long".into())
}

/// Returns the text of a length of time that [`duration`] parses to the same: in the largest unit
/// that divides it.
pub fn show(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "m")];
    let unit = units.into_iter().find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{seconds}s"), |(unit, name)| format!("{}{name}", seconds / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_parsed_to_the_same() {
        for (seconds, text) in [(0, "0s"), (90, "90s"), (120, "2m"), (7200, "2h"), (86_400, "1d")] {
            assert_eq!(show(Duration::from_secs(seconds)), text);
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("30m"), Ok(Duration::from_secs(1800)));
        assert_eq!(duration("2d"), Ok(Duration::from_secs(172_800)));
        for bad in ["", "h", "1w", "-1", "1.5h", "99999999999999999999", "999999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
