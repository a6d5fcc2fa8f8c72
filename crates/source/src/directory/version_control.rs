//! The files and directories that version control keeps inside a working directory. A push leaves
//! them out.

/// Names that are left out at any depth, for files and directories: a working directory may refer
/// to its repository by a file.
///
/// `.gitignore`, `.gitattributes`, `.well-known` and all other names stay.
pub const VERSION_CONTROL_NAMES: [&str; 4] = [".git", ".fossil", ".fslckout", "_FOSSIL_"];

/// Names of directories that are left out at any depth. A file of such a name stays.
pub const VERSION_CONTROL_DIRECTORIES: [&str; 7] =
    [".bzr", ".hg", ".jj", ".pijul", ".svn", "CVS", "_darcs"];

/// Returns true if `name` belongs to version control.
pub(crate) fn owns(name: &[u8], is_directory: bool) -> bool {
    // All of them begin with one of three bytes, and hardly any other name does.
    matches!(name.first(), Some(b'.' | b'_' | b'C'))
        && (VERSION_CONTROL_NAMES.iter().any(|known| known.as_bytes() == name)
            || is_directory
                && VERSION_CONTROL_DIRECTORIES.iter().any(|known| known.as_bytes() == name))
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
        for name in [".well-known", ".gitignore", ".gitattributes", ".github", "git", "cvs", ".g"] {
            assert!(!owns(name.as_bytes(), true) && !owns(name.as_bytes(), false), "{name}");
        }
    }
}
