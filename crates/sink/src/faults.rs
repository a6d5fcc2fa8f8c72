//! The errors of a failed file operation.

use freestone_core::Error;
use std::io;
use std::path::Path;

/// Creates the error of a failed operation on the target `path`, with a text of its own for what the
/// user can mend. `what` says which operation failed.
pub(crate) fn storage(path: &Path, what: &str, error: io::Error) -> Error {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let name = path.display();
    match error.kind() {
        StorageFull | QuotaExceeded => {
            Error::io(format!("{name}: there is no room for the image"), error)
                .hint("make room on its file system; an older file at this path is unchanged")
        }
        FileTooLarge => {
            Error::io(format!("{name}: its file system cannot hold a file of this length"), error)
        }
        ReadOnlyFilesystem => Error::io(format!("{name}: its file system is read-only"), error),
        _ => Error::io(format!("{name}: {what}"), error),
    }
}
