//! FAT's timestamps, which freestone writes in UTC: steps of two seconds, from 1980 to 2107.

/// 1980-01-01 and 2107-12-31 23:59:58, in seconds since 1970.
const FIRST: i64 = 315_532_800;
const LAST: i64 = 4_354_819_198;

/// Returns date and time as a directory entry holds them: years from 1980, months and days from 1
/// in 7, 4 and 5 bits; hours, minutes and half seconds in 5, 6 and 5 bits. Earlier and later times
/// become the first or the last time that FAT can hold.
pub(super) fn encode(mtime: i64) -> (u16, u16) {
    let seconds = mtime.clamp(FIRST, LAST);
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": years that begin in March.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let date = (year - 1980) << 9 | month << 5 | day;
    let time = (of_day / 3600) << 11 | (of_day / 60 % 60) << 5 | (of_day % 60 / 2);
    let bits = |value: i64| u16::try_from(value).expect("the fields have 16 bits together");
    (bits(date), bits(time))
}

/// Returns the seconds since 1970 of a date and time; `None` if there is no such date or time.
pub(super) fn decode(date: u16, time: u16) -> Option<i64> {
    let (year, month, day) =
        (i64::from(date >> 9) + 1980, i64::from(date >> 5 & 15), i64::from(date & 31));
    let (hour, minute, second) =
        (i64::from(time >> 11), i64::from(time >> 5 & 63), i64::from(time & 31) * 2);
    let in_march_year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (in_march_year / 400, in_march_year % 400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let days =
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    // A date that does not exist decodes to another one.
    (encode(seconds) == (date, time)).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_cut_to_two_seconds_and_to_what_fat_can_say() {
        let date = |year: u16, month: u16, day: u16| (year - 1980) << 9 | month << 5 | day;
        let time = |hour: u16, minute: u16, second: u16| hour << 11 | minute << 5 | (second / 2);
        for (mtime, expected) in [
            (0, (date(1980, 1, 1), 0)),
            (FIRST, (date(1980, 1, 1), 0)),
            (951_827_696, (date(2000, 2, 29), time(12, 34, 56))),
            (951_827_697, (date(2000, 2, 29), time(12, 34, 56))),
            (1_700_000_000, (date(2023, 11, 14), time(22, 13, 20))),
            (LAST, (date(2107, 12, 31), time(23, 59, 58))),
            (LAST + 1, (date(2107, 12, 31), time(23, 59, 58))),
            (i64::MAX, (date(2107, 12, 31), time(23, 59, 58))),
        ] {
            assert_eq!(encode(mtime), expected, "{mtime}");
        }
    }

    #[test]
    fn every_day_comes_back_and_nothing_else_is_a_date() {
        let mut known = std::collections::HashSet::new();
        for day in (FIRST..=LAST).step_by(86_400) {
            let (date, time) = encode(day);
            assert_eq!(decode(date, time), Some(day));
            known.insert(date);
        }
        assert_eq!(known.len(), 46_751);
        for date in 0..=u16::MAX {
            assert_eq!(decode(date, 0).is_some(), known.contains(&date), "{date}");
        }
        for time in [24 << 11, 60 << 5, 30] {
            assert_eq!(decode(0x21, time), None);
        }
    }
}
