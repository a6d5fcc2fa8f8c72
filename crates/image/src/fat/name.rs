//! How FAT stores a name. A legal DOS name in upper case needs only a directory's short entry. All
//! other names have a long name before it, and the short entry has an *alias* of eight and three
//! characters.

use super::Profile;

/// The longest long name, in UTF-16 units.
const UNITS_MAX: usize = 255;
/// UTF-16 units of one slot of a long name.
pub(super) const SLOT_UNITS: usize = 13;

/// The eleven bytes of a short name: eight and three, padded with spaces, without the dot.
pub(super) type Short = [u8; 11];

/// A name that FAT can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// Its UTF-16 units; `None` if the short name is the whole name.
    pub(super) long: Option<Vec<u16>>,
    /// Its own short name, in upper case; `None` if it needs an alias.
    pub(super) own: Option<Short>,
    /// The name with its case folded. Readers cannot distinguish names for which this is equal.
    pub(super) folded: String,
}

/// Returns true for a byte that is legal in a short name. `+,;=[]` and spaces are legal in long
/// names only.
pub(super) fn is_short(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"!#$%&'()-@^_`{}~".contains(&byte)
}

/// Folds a name to upper case, letter by letter, as readers compare names. A letter whose upper
/// case has several letters stays.
pub(super) fn fold(name: &str) -> String {
    let upper = |c: char| {
        let mut upper = c.to_uppercase();
        match (upper.next(), upper.next()) {
            (Some(one), None) => one,
            _ => c,
        }
    };
    name.chars().map(upper).collect()
}

/// Returns the short name that is equal to `upper`, if there is one.
pub(super) fn short(upper: &str) -> Option<Short> {
    let (base, extension) = match upper.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (upper, ""),
    };
    if base.is_empty() || base.len() > 8 || extension.len() > 3 {
        return None;
    }
    let mut short = [b' '; 11];
    short[..base.len()].copy_from_slice(base.as_bytes());
    short[8..8 + extension.len()].copy_from_slice(extension.as_bytes());
    (base.bytes().chain(extension.bytes()).all(is_short)).then_some(short)
}

/// Returns true if MirageOS's reader searches for `name` by a short entry that it does not have:
/// the reader takes spaces for legal in short names, and drops a dot at the start.
fn misleads_mirage(name: &str) -> bool {
    name.len() <= 14
        && name.bytes().all(|byte| is_short(byte) || byte == b'.' || byte == b' ')
        && (name.starts_with('.') || name.contains(' '))
}

impl Name {
    /// Returns the stored form of `name`, or the reason why FAT cannot hold it.
    pub(super) fn of(name: &[u8], profile: Profile) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(name).map_err(|_| "is not UTF-8")?;
        if text.chars().any(char::is_control) {
            return Err("holds a control character");
        }
        if text.contains(['"', '*', ':', '<', '>', '?', '\\', '|']) {
            return Err("holds one of \" * : < > ? \\ |");
        }
        if text.contains(['\u{fffe}', '\u{ffff}']) {
            return Err("holds U+FFFE or U+FFFF, which are not characters");
        }
        if text.ends_with(['.', ' ']) {
            return Err("ends in a dot or a space");
        }
        if text.starts_with(' ') {
            return Err("begins with a space");
        }
        let units: Vec<u16> = text.encode_utf16().collect();
        if units.len() > UNITS_MAX {
            return Err("is longer than 255 UTF-16 units");
        }
        if profile == Profile::Mirage {
            if !text.is_ascii() {
                return Err("is not ASCII, and MirageOS cannot find it");
            }
            if misleads_mirage(text) {
                return Err("is a name for which MirageOS searches another one");
            }
        }
        let folded = fold(text);
        let own = short(&text.to_ascii_uppercase());
        let says_all = own.is_some() && !text.bytes().any(|byte| byte.is_ascii_lowercase());
        Ok(Self { long: (!says_all).then_some(units), own, folded })
    }

    /// Returns the number of directory slots that it takes, with its short entry.
    pub(super) fn slots(&self, profile: Profile) -> u32 {
        let units = self.long.as_ref().map(Vec::len);
        1 + units.map_or(0, |units| long_slots(units, profile))
    }
}

/// Returns the number of slots of a long name with this many UTF-16 units, which are at most 255. A
/// NUL and 0xFFFF fill the last slot. MirageOS's reader requires the NUL even if the units fill the
/// slots.
pub(super) fn long_slots(units: usize, profile: Profile) -> u32 {
    let with_end = match profile {
        Profile::Any => units,
        Profile::Mirage => units + 1,
    };
    u32::try_from(with_end.div_ceil(SLOT_UNITS)).expect("255 units take 20 slots")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> Name {
        Name::of(name.as_bytes(), Profile::Any).unwrap()
    }

    #[test]
    fn short_names_say_all_only_in_upper_case() {
        for (name, own, is_long) in [
            ("README", Some(b"README     "), false),
            ("README.TXT", Some(b"README  TXT"), false),
            ("A-1~2.B_", Some(b"A-1~2   B_ "), false),
            ("readme.txt", Some(b"README  TXT"), true),
            ("Readme", Some(b"README     "), true),
            ("12345678.123", Some(b"12345678123"), false),
            ("123456789", None, true),
            ("A.HTML", None, true),
            ("A.B.C", None, true),
            (".A", None, true),
            ("A B", None, true),
            ("A+B", None, true),
            ("é", None, true),
            ("ı", None, true),
        ] {
            let name = of(name);
            assert_eq!(name.own.as_ref(), own, "{name:?}");
            assert_eq!(name.long.is_some(), is_long, "{name:?}");
        }
    }

    #[test]
    fn the_reason_why_fat_cannot_hold_a_name_is_given() {
        let long = "x".repeat(256);
        let pairs = "𝄞".repeat(128);
        for (name, fault) in [
            (&b"\xff"[..], "UTF-8"),
            (b"a\nb", "control"),
            (b"a\x7f", "control"),
            ("\u{85}".as_bytes(), "control"),
            (b"a:b", "one of"),
            (b"a\\b", "one of"),
            ("\u{ffff}".as_bytes(), "U+FFFF"),
            (b"a.", "dot"),
            (b"a ", "space"),
            (b" a", "space"),
            (long.as_bytes(), "255"),
            (pairs.as_bytes(), "255"),
        ] {
            assert!(Name::of(name, Profile::Any).unwrap_err().contains(fault));
        }
        assert_eq!(of(&"x".repeat(255)).slots(Profile::Any), 21);
        assert_eq!(of(&"𝄞".repeat(127)).slots(Profile::Any), 21);
    }

    #[test]
    fn the_strict_profile_refuses_what_its_reader_cannot_find() {
        for name in ["é", ".HTA", "..A", "A B", ".1"] {
            assert!(Name::of(name.as_bytes(), Profile::Mirage).is_err(), "{name}");
            assert!(Name::of(name.as_bytes(), Profile::Any).is_ok(), "{name}");
        }
        for name in [".htaccess", "a b", "README", "A.B.C", "ABCDEFGHIJ KLMNO"] {
            assert!(Name::of(name.as_bytes(), Profile::Mirage).is_ok(), "{name}");
        }
    }

    #[test]
    fn names_that_fill_their_slots_take_one_more_in_the_strict_profile() {
        for (length, any, mirage) in [(1, 2, 2), (12, 2, 2), (13, 2, 3), (14, 3, 3), (26, 3, 4)] {
            let name = of(&"x".repeat(length.max(9)));
            let name = if length < 9 { of("x") } else { name };
            assert_eq!((name.slots(Profile::Any), name.slots(Profile::Mirage)), (any, mirage));
        }
        assert_eq!(of("X").slots(Profile::Mirage), 1);
    }

    #[test]
    fn folding_is_by_single_letters() {
        assert_eq!(fold("straße"), "STRAßE");
        assert_eq!(fold("ÉéſK"), "ÉÉSK");
    }
}
