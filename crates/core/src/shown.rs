//! Text that comes from elsewhere (a store, a server, an archive, a name) on its way to a terminal,
//! a log or a client.
//!
//! Such text may hold characters that a terminal obeys instead of showing them, or that make text
//! look like another. They are written as the bytes of their UTF-8, each as `\xNN`. A URL may hold
//! a password or a token, which is left out.
//!
//! [`line()`] is for everything that takes one line, [`lines`] for a text that may have several,
//! and [`json`] for JSON, whose own escapes leave some of these characters. Everything that is
//! printed passes one of them at the place where it is printed, so no message needs to think of it.

use std::borrow::Cow;
use std::fmt::Write as _;

/// What stands in place of a secret.
const LEFT_OUT: &str = "…";

/// Returns true if `c` is not to reach a terminal, a log or a client as it is: control characters
/// (C0, DEL and C1), the separators of lines and paragraphs, and what Unicode calls `Bidi_Control`.
pub const fn is_unsafe(c: char) -> bool {
    matches!(c,
        '\0'..='\u{1f}'
        | '\u{7f}'..='\u{9f}'
        | '\u{61c}'
        | '\u{200e}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}')
}

/// Appends `c` to `out`, as `\xNN` for each of its bytes if it is unsafe.
pub(crate) fn push(out: &mut String, c: char) {
    if !is_unsafe(c) {
        return out.push(c);
    }
    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
        let _ = write!(out, "\\x{byte:02x}");
    }
}

/// Returns `text` for one line: each unsafe character is escaped, a newline too.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_unsafe)
}

/// Returns `text` for several lines: as [`line()`], but newlines stay.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && is_unsafe(c))
}

/// Returns `json`, the text of a JSON value, with `\uNNNN` in place of unsafe characters, which can
/// only be in its strings. JSON itself requires that only of C0. The value stays the same.
pub fn json(json: &str) -> Cow<'_, str> {
    let is_unsafe = |c: char| c > '\u{7e}' && is_unsafe(c);
    if !json.chars().any(is_unsafe) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        match is_unsafe(c) {
            // None of them is beyond the first plane.
            true => _ = write!(out, "\\u{:04x}", u32::from(c)),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

fn escaped(text: &str, is_unsafe: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) { push(&mut out, c) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// Returns a URL as messages show it: without a user and a password, and without the values of a
/// query or a fragment, which may be tokens. What is not a URL is returned as it is.
///
/// ```
/// use freestone_core::shown;
/// assert_eq!(shown::url("https://user:pass@host/a?token=1"), "https://…@host/a?…");
/// assert_eq!(shown::url("https://host:8443/a"), "https://host:8443/a");
/// assert_eq!(shown::url("/srv/a@b?c"), "/srv/a@b?c");
/// ```
pub fn url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let mut out = format!("{scheme}://");
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // A password may have a / that should have been escaped: then the @ comes later.
    let may_have_user = authority.contains(['@', ':']);
    let rest = match rest.rsplit_once('@').filter(|_| may_have_user) {
        Some((_, rest)) => {
            out.push_str(LEFT_OUT);
            out.push('@');
            rest
        }
        None => rest,
    };
    match rest.find(['?', '#']) {
        Some(at) => {
            out.push_str(&rest[..=at]);
            out.push_str(LEFT_OUT);
        }
        None => out.push_str(rest),
    }
    out
}

/// Returns `text` with every URL in it as [`url`] shows it. For messages whose parts come from
/// libraries, which know nothing of secrets.
pub fn without_secrets(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for word in text.split_inclusive(char::is_whitespace) {
        let bare = word.trim_end();
        // Signs of the sentence around the URL.
        let end = bare.trim_end_matches([':', ',', ';', '.', ')', '"', '\'', '`', '…']).len();
        let start = bare[..end].find("://").map_or(end, |at| {
            let is_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
            bare[..at].trim_end_matches(is_scheme).len()
        });
        let (shown, is_cut) = match url(&bare[start..end]) {
            shown if shown == bare[start..end] => (shown, false),
            shown => (shown, true),
        };
        out.push_str(&word[..start]);
        out.push_str(&shown);
        let rest = &word[end..];
        out.push_str(if is_cut { rest.trim_start_matches('…') } else { rest });
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_all_else_stays() {
        for safe in ["", "é\\ ü 漢字 🙂 שלום", "a\u{200d}b", "\u{a0}"] {
            assert_eq!(line(safe), safe);
            assert!(matches!(line(safe), Cow::Borrowed(_)));
        }
        let is_listed = |c: u32| {
            (c < 0x20)
                || (0x7f..0xa0).contains(&c)
                || [0x61c, 0x200e, 0x200f].contains(&c)
                || (0x2028..=0x202e).contains(&c)
                || (0x2066..=0x2069).contains(&c)
        };
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            let shown = line(&c.to_string()).into_owned();
            assert_eq!(shown.starts_with("\\x"), is_listed(u32::from(c)), "{c:?}");
            assert!(!shown.chars().any(is_unsafe), "{c:?}");
        }
        assert_eq!(
            line("\x1b]0;x\x07\u{9b}\u{202e}\n"),
            "\\x1b]0;x\\x07\\xc2\\x9b\\xe2\\x80\\xae\\x0a"
        );
        assert_eq!(lines("a\n\tb\r"), "a\n\\x09b\\x0d");
        let value = "{\"a\":\"\\u0007é\u{7f}\u{9b}\u{202e}\"}\n";
        assert_eq!(json(value), "{\"a\":\"\\u0007é\\u007f\\u009b\\u202e\"}\n");
    }

    #[test]
    fn secrets_of_urls_are_left_out() {
        for (given, shown) in [
            ("https://user:SECRET@host/a", "https://…@host/a"),
            ("https://SECRET@host", "https://…@host"),
            ("s3://user:SECRET@bucket/x", "s3://…@bucket/x"),
            ("https://user:SEC/RET@host/a", "https://…@host/a"),
            ("https://user:SEC@RET@host/a", "https://…@host/a"),
            ("https://user:SEC?RET@host/a", "https://…@host/a"),
            ("https://host/a?token=SECRET", "https://host/a?…"),
            ("https://host?SECRET#SECRET", "https://host?…"),
            ("https://host/a#SECRET", "https://host/a#…"),
            ("https://host:1/a", "https://host:1/a"),
            ("https://host/a@b", "https://host/a@b"),
            ("", ""),
        ] {
            assert_eq!(url(given), shown);
            assert_eq!(without_secrets(given), shown);
            assert_eq!(without_secrets(shown), shown);
            let text = format!("caused by: ({given}), \"{given}\": and {given}\n");
            let expected = format!("caused by: ({shown}), \"{shown}\": and {shown}\n");
            assert_eq!(without_secrets(&text), expected);
        }
        assert_eq!(without_secrets("no URL: why?"), "no URL: why?");
    }
}
