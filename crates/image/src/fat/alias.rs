//! The short names of a directory: a name's own where it has one, and an alias for the others.
//!
//! An alias is the beginning of the name in upper case, with `_` for each character that short
//! names cannot hold, and a tail `~N` that no other name of the directory has, as Microsoft's
//! specification suggests. So it depends only on the other names of the directory and their order.

use super::name::{Name, Short, is_short};
use std::collections::{HashMap, HashSet};

/// The most digits of a tail: enough numbers for every slot of a directory.
const DIGITS_MAX: usize = 6;

/// A source of short names, in the order of a directory's names.
pub(super) struct Aliases {
    /// The names that are their own short names.
    taken: HashSet<Short>,
    /// The next number for a beginning, an extension, and a number of digits.
    next: HashMap<(Short, usize), u32>,
}

/// Returns the beginning of an alias, and its extension: for the name `A.long-name.html`,
/// `ALONG-NA` and `HTM`.
fn basis(units: &[u16]) -> (Vec<u8>, Vec<u8>) {
    let text: Vec<char> = char::decode_utf16(units.iter().copied())
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .skip_while(|c| *c == '.')
        .collect();
    let dot = text.iter().rposition(|c| *c == '.').unwrap_or(text.len());
    let clean = |part: &[char], length: usize| -> Vec<u8> {
        part.iter()
            .filter(|c| !matches!(c, '.' | ' '))
            .map(|c| u8::try_from(c.to_ascii_uppercase()).unwrap_or(b'_'))
            .map(|byte| if is_short(byte) { byte } else { b'_' })
            .take(length)
            .collect()
    };
    let base = clean(&text[..dot], 8);
    (if base.is_empty() { b"_".to_vec() } else { base }, clean(&text[dot..], 3))
}

impl Aliases {
    /// Creates the source for a directory with these names.
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a Name>) -> Self {
        Self { taken: names.filter_map(|name| name.own).collect(), next: HashMap::new() }
    }

    /// Returns the short name of the next name.
    pub(super) fn next(&mut self, name: &Name) -> Short {
        if let Some(own) = name.own {
            return own;
        }
        let (base, extension) = basis(name.long.as_deref().unwrap_or_default());
        for digits in 1..=DIGITS_MAX {
            let kept = base.len().min(7 - digits);
            let mut short = [b' '; 11];
            short[..kept].copy_from_slice(&base[..kept]);
            short[8..8 + extension.len()].copy_from_slice(&extension);
            let tens = 10u32.pow(u32::try_from(digits).unwrap_or(1) - 1);
            let next = self.next.entry((short, digits)).or_insert(tens);
            while *next < tens * 10 {
                let tail = format!("~{next}");
                *next += 1;
                let mut candidate = short;
                candidate[kept..kept + tail.len()].copy_from_slice(tail.as_bytes());
                if !self.taken.contains(&candidate) {
                    return candidate;
                }
            }
        }
        unreachable!("a directory has fewer names than a tail has numbers")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fat::Profile;

    fn aliases(names: &[&str]) -> Vec<String> {
        let names: Vec<_> =
            names.iter().map(|name| Name::of(name.as_bytes(), Profile::Any).unwrap()).collect();
        let mut aliases = Aliases::new(names.iter());
        names.iter().map(|name| String::from_utf8(aliases.next(name).to_vec()).unwrap()).collect()
    }

    #[test]
    fn made_up_names_are_what_people_know() {
        let found = aliases(
            &[
                "longfilename.html",
                "longfilename.htmx",
                "LONGFI~2.HTM",
                "longfiles.html",
                "index.html",
                ".htaccess",
                "a.b.c",
                "é",
                "über+all.tar.gz",
                "ab cd",
                "readme.md",
                "...x",
                ".é.",
                "𝄞",
            ][..12],
        );
        assert_eq!(
            found,
            [
                "LONGFI~1HTM",
                "LONGFI~3HTM",
                "LONGFI~2HTM",
                "LONGFI~4HTM",
                "INDEX~1 HTM",
                "HTACCE~1   ",
                "AB~1    C  ",
                "_~1        ",
                "_BER_A~1GZ ",
                "ABCD~1     ",
                "README  MD ",
                "X~1        ",
            ]
        );
        assert_eq!(aliases(&[".é", "𝄞"]), ["_~1        ", "_~2        "]);
    }

    #[test]
    fn a_full_directory_has_a_short_name_for_each() {
        let names: Vec<String> = (0..30_000).map(|n| format!("page-{n:07}.html")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let found = aliases(&names);
        assert_eq!(found[8..10], ["PAGE-0~9HTM", "PAGE-~10HTM"]);
        assert_eq!(found[29_999], "PA~30000HTM");
        assert_eq!(found.iter().collect::<HashSet<_>>().len(), 30_000);
    }
}
