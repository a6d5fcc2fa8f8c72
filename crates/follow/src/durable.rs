//! Files of the cache that are replaced as a whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes a file beside `path`, to which it is to be renamed. With `sync` its bytes are durable.
/// Returns its path.
pub(crate) fn write_beside(path: &Path, bytes: &[u8], sync: bool) -> io::Result<PathBuf> {
    let number = u64::from_le_bytes(freestone_backend::random());
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".new-{number:016x}"));
    let beside = PathBuf::from(beside);
    let mut file = File::create_new(&beside)?;
    let written = file.write_all(bytes).and_then(|()| if sync { file.sync_data() } else { Ok(()) });
    match written {
        Ok(()) => Ok(beside),
        Err(error) => {
            let _ = fs::remove_file(&beside);
            Err(error)
        }
    }
}

/// Replaces a file. With `sync` its bytes are durable; its name is once its directory is synced.
pub(crate) fn replace_file(path: &Path, bytes: &[u8], sync: bool) -> io::Result<()> {
    let beside = write_beside(path, bytes, sync)?;
    fs::rename(&beside, path).inspect_err(|_| drop(fs::remove_file(&beside)))
}
