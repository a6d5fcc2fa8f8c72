//! Telling systemd that the program is ready.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends `state`, such as `READY=1`, to the service manager, if it asked for it (`sd_notify`(3)).
/// A failure is ignored: the manager then stops waiting, and reports it.
pub fn notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let Ok(socket) = UnixDatagram::unbound() else { return };
    // A name that begins with @ is not a path.
    let _ = match path.as_encoded_bytes().strip_prefix(b"@") {
        None => socket.send_to(state.as_bytes(), &path),
        Some(name) => SocketAddr::from_abstract_name(name)
            .and_then(|address| socket.send_to_addr(state.as_bytes(), &address)),
    };
}
