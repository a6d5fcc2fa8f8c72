//! Times as people write and read them, and `SOURCE_DATE_EPOCH` for reproducible builds.

use freestone_core::limits::MTIME_MAX;
use freestone_core::{Error, ErrorKind, Result};
use jiff::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the current time, in seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(MTIME_MAX)
}

/// Returns the time in `SOURCE_DATE_EPOCH`, if that is set.
///
/// # Errors
/// [`ErrorKind::Usage`] if its value is not a time.
pub fn source_date_epoch() -> Result<Option<i64>> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    let Some(value) = std::env::var_os(NAME).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let seconds = value.to_str().and_then(|text| text.parse().ok()).filter(in_range);
    seconds.map(Some).ok_or_else(|| {
        let value = value.display();
        Error::new(ErrorKind::Usage, format!("{NAME} is {value:?}, which is not a time"))
            .hint(format!("set it to seconds since 1970, 0 to {MTIME_MAX}, or unset it"))
    })
}

fn in_range(seconds: &i64) -> bool {
    (0..=MTIME_MAX).contains(seconds)
}

/// Parses seconds since 1970, or a time such as `2026-05-04T12:00:00Z`, for clap.
///
/// # Errors
/// The text is not valid; the error is a message for people.
pub fn argument(text: &str) -> Result<i64, String> {
    let seconds = match text.strip_prefix('@').unwrap_or(text).parse() {
        Ok(seconds) => Some(seconds),
        Err(_) => text.parse::<Timestamp>().ok().map(Timestamp::as_second),
    };
    seconds.filter(in_range).ok_or_else(|| {
        format!("give seconds since 1970, 0 to {MTIME_MAX}, or a time such as 2026-05-04T12:00:00Z")
    })
}

/// Renders a time for people, in UTC.
pub fn show(seconds: i64) -> String {
    match Timestamp::from_second(seconds) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        Err(_) => format!("{seconds} s"),
    }
}

/// Renders a duration for people.
pub fn show_duration(duration: std::time::Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_dates() {
        assert_eq!(argument("0"), Ok(0));
        assert_eq!(argument("@1700000000"), Ok(1_700_000_000));
        assert_eq!(argument("2023-11-14T22:13:20Z"), Ok(1_700_000_000));
        assert_eq!(argument("2023-11-15T00:13:20+02:00"), Ok(1_700_000_000));
        for wrong in ["", "-1", "8589934592", "yesterday", "2023-11-14", "1.5"] {
            assert!(argument(wrong).is_err(), "{wrong}");
        }
        assert_eq!(show(1_700_000_000), "2023-11-14 22:13:20Z");
    }
}
