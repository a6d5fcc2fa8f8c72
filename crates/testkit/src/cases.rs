//! How many cases a property is tried on.

/// Returns `usual` cases, or `long` ones with `FREESTONE_LONG=1`. A `PROPTEST_CASES` in the environment takes
/// precedence over both, and over any number that a test asks for.
pub fn cases(usual: u32, long: u32) -> u32 {
    if std::env::var_os("FREESTONE_LONG").is_some() { long } else { usual }
}
