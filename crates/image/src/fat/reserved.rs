//! Names that Windows keeps for devices. FAT can hold them, and all other readers show them.

use super::Profile;
use freestone_core::path;

/// The devices of DOS that Windows looks for before it looks for a file, in any directory and with
/// any extension. See *Naming Files, Paths, and Namespaces* in Microsoft's documentation.
const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];

/// Returns true if Windows takes `name` for a device.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end_matches(' ').to_ascii_uppercase();
    let is_port = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT")).is_some_and(|n| {
        let mut characters = n.chars();
        matches!((characters.next(), characters.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
    });
    is_port || DEVICES.contains(&&*stem)
}

/// The names of an image that Windows takes for devices: how many there are, and the first.
#[derive(Clone, Debug, Default)]
pub(super) struct ReservedNames {
    count: u64,
    first: Option<String>,
}

impl ReservedNames {
    /// Counts the last part of `full`, if the readers of `profile` include Windows and the name is
    /// that of a device.
    pub(super) fn look_at(&mut self, full: &[u8], profile: Profile) {
        let name = full.rsplit(|byte| *byte == b'/').next().unwrap_or(full);
        if profile == Profile::Any && std::str::from_utf8(name).is_ok_and(is_device) {
            self.count += 1;
            self.first.get_or_insert_with(|| path::display(full));
        }
    }

    /// Returns a sentence about the names, if there are any.
    pub(super) fn note(&self) -> Option<String> {
        let first = self.first.as_ref()?;
        Some(match self.count {
            1 => {
                format!("{first}: Windows cannot open it, since its name is reserved for a device")
            }
            count => format!(
                "{first} and {} more: Windows cannot open them, since their names are reserved for \
                 devices",
                count - 1
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_recognised_with_any_extension_and_in_any_case() {
        for name in ["con", "NUL", "aux.js", "Prn.tar.gz", "COM1", "lpt9.txt", "com0", "COM¹.x"] {
            assert!(is_device(name), "{name}");
        }
        for name in ["", ".con", "cons", "co", "COM", "COM10", "lpt", "xcon", "aux-js", "con_.js"] {
            assert!(!is_device(name), "{name}");
        }
        assert!(is_device("con .txt") && is_device("conin$"));
    }

    #[test]
    fn they_are_counted_where_windows_reads() {
        let mut names = ReservedNames::default();
        assert_eq!(names.note(), None);
        for (path, profile) in
            [("a/con", Profile::Mirage), ("con/a", Profile::Any), ("js/aux.js", Profile::Any)]
        {
            names.look_at(path.as_bytes(), profile);
        }
        assert!(names.note().unwrap().starts_with("js/aux.js: Windows cannot open it"));
        names.look_at(b"nul", Profile::Any);
        assert!(names.note().unwrap().starts_with("js/aux.js and 1 more: Windows cannot"));
    }
}
