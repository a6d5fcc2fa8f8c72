//! The files and directories that version control keeps inside a working directory. A push leaves
//! them out, of a directory, an archive and a commit alike.

use freestone_core::Result;

/// Names that are left out at any depth, for files and directories: a working directory may refer
/// to its repository by a file.
///
/// `.gitignore`, `.gitattributes`, `.well-known` and all other names stay.
pub const VERSION_CONTROL_NAMES: [&str; 4] = [".git", ".fossil", ".fslckout", "_FOSSIL_"];

/// Names of directories that are left out at any depth. A file of such a name stays.
pub const VERSION_CONTROL_DIRECTORIES: [&str; 5] = [".bzr", ".hg", ".jj", ".pijul", ".svn"];

/// Names of directories that are left out at any depth if they hold the file or directory that the
/// program keeps there. Others are pages with such a name.
pub const VERSION_CONTROL_MARKED: [(&str, &str); 2] = [("CVS", "Entries"), ("_darcs", "patches")];

/// Returns true if `name` belongs to version control, whatever is in it.
pub fn owns(name: &[u8], is_directory: bool) -> bool {
    // All of them begin with one of two bytes, and hardly any other name does.
    let is_one_of = |names: &[&str]| names.iter().any(|known| known.as_bytes() == name);
    matches!(name.first(), Some(b'.' | b'_'))
        && (is_one_of(&VERSION_CONTROL_NAMES)
            || is_directory && is_one_of(&VERSION_CONTROL_DIRECTORIES))
}

/// Returns the name by which a directory `name` is known as one of version control, if that is in
/// it; `None` for all other directories.
pub fn mark_of(name: &[u8]) -> Option<&'static str> {
    let known = VERSION_CONTROL_MARKED.iter().find(|(known, _)| known.as_bytes() == name);
    known.map(|(_, mark)| *mark)
}

/// Returns true if the entry `name` belongs to version control. `holds` tells whether a directory
/// holds a name.
///
/// # Errors
/// `holds` failed.
pub fn owns_entry(
    name: &[u8],
    is_directory: bool,
    holds: impl FnOnce(&str) -> Result<bool>,
) -> Result<bool> {
    match mark_of(name).filter(|_| is_directory) {
        Some(mark) => holds(mark),
        None => Ok(owns(name, is_directory)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_names_are_version_controls_and_no_others() {
        for name in VERSION_CONTROL_NAMES {
            assert!(owns(name.as_bytes(), true) && owns(name.as_bytes(), false), "{name}");
        }
        for name in VERSION_CONTROL_DIRECTORIES {
            assert!(owns(name.as_bytes(), true) && !owns(name.as_bytes(), false), "{name}");
        }
        for (name, mark) in VERSION_CONTROL_MARKED {
            let owned = |is_directory, holds: bool| {
                let holds = |found: &str| {
                    assert_eq!(found, mark);
                    Ok(holds)
                };
                owns_entry(name.as_bytes(), is_directory, holds).unwrap()
            };
            assert!(owned(true, true) && !owned(true, false) && !owned(false, true), "{name}");
        }
        for name in [".well-known", ".gitignore", ".gitattributes", ".github", "git", "cvs", ".g"] {
            assert!(!owns(name.as_bytes(), true) && !owns(name.as_bytes(), false), "{name}");
        }
    }
}
