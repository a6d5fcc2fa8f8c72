//! What a failure of a file says.

use freestone_core::Error;
use std::io;
use std::path::Path;

pub(crate) fn storage(path: &Path, what: &str, error: io::Error) -> Error {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let name = path.display();
    match error.kind() {
        StorageFull | QuotaExceeded => {
            Error::io(format!("{name}: there is no room for the image"), error)
                .hint("make room on its file system; what stood there before is untouched")
        }
        FileTooLarge => Error::io(format!("{name}: its file system holds no file as long"), error),
        ReadOnlyFilesystem => Error::io(format!("{name}: its file system is read-only"), error),
        _ => Error::io(format!("{name}: {what}"), error),
    }
}
