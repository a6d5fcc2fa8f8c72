//! The sockets that servers listen on: Unix sockets, TCP, and those that systemd passes.

use freestone_core::{Error, ErrorKind, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, accept_with, getsockname, sockopt};
use std::fmt;
use std::net::{TcpListener, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The first descriptor that systemd passes (`sd_listen_fds`(3)).
const SYSTEMD_FIRST: i32 = 3;

/// The send buffer for a client that is slower than the server. The system doubles it, and allows
/// no more than its administrator's limit (`net.core.wmem_max`).
const UNIX_SEND_BYTES: usize = 256 << 10;

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket at this path.
    Unix(PathBuf),
    /// TCP at `HOST:PORT`.
    Tcp(String),
}

impl Address {
    /// Parses `unix:PATH` or `HOST:PORT`.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if the text is neither.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            Error::new(ErrorKind::Usage, format!("{text:?} is not an address to listen on"))
                .hint("give unix:PATH or HOST:PORT, as in unix:/run/www.sock or 127.0.0.1:10809")
        };
        match text.strip_prefix("unix:") {
            Some("") => Err(wrong()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => match text.rsplit_once(':') {
                Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                    Ok(Self::Tcp(text.to_owned()))
                }
                _ => Err(wrong()),
            },
        }
    }
}

/// A listening socket. When it is dropped, it is closed and its file is removed.
pub struct Listener {
    socket: OwnedFd,
    /// The address as `unix:PATH` or `HOST:PORT`.
    shown: String,
    /// The socket's file and its inode, if this process created it.
    file: Option<(PathBuf, u64)>,
}

impl Listener {
    /// Listens on `address`.
    ///
    /// # Errors
    /// - [`ErrorKind::Conflict`] if another server listens on the Unix socket
    /// - the system cannot listen there
    pub fn bind(address: &Address) -> Result<Self> {
        match address {
            Address::Unix(path) => Self::bind_unix(path),
            Address::Tcp(text) => {
                let failed = |error| Error::io(format!("cannot listen on {text}"), error);
                let addresses: Vec<_> = text.to_socket_addrs().map_err(failed)?.collect();
                let listener = TcpListener::bind(&addresses[..]).map_err(failed)?;
                Self::of(listener.into(), None)
            }
        }
    }

    /// Listens on a Unix socket, in the place of one that a dead server left.
    fn bind_unix(path: &Path) -> Result<Self> {
        let failed = |error| Error::io(format!("cannot listen on {}", path.display()), error);
        let is_socket = std::fs::symlink_metadata(path)
            .is_ok_and(|data| std::os::unix::fs::FileTypeExt::is_socket(&data.file_type()));
        if is_socket {
            match UnixStream::connect(path) {
                Ok(_) => {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        format!("{}: another server listens there", path.display()),
                    )
                    .hint("choose another path, or stop that server"));
                }
                // The server that created it is dead.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(failed)?;
                }
                Err(_) => {}
            }
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let inode = std::fs::symlink_metadata(path).map_err(failed)?.ino();
        let path = std::path::absolute(path).map_err(failed)?;
        Self::of(listener.into(), Some((path, inode)))
    }

    /// Takes over a listening socket, and makes it non-blocking.
    fn of(socket: OwnedFd, file: Option<(PathBuf, u64)>) -> Result<Self> {
        let failed = |error: Errno| Error::io("cannot use the socket", error.into());
        // A client may disconnect between the poll and the accept.
        rustix::io::ioctl_fionbio(&socket, true).map_err(failed)?;
        let address = getsockname(&socket).map_err(failed)?;
        let shown = match address.address_family() {
            AddressFamily::UNIX => {
                let address = rustix::net::SocketAddrUnix::try_from(address).map_err(failed)?;
                let path = address.path_bytes().unwrap_or_default();
                format!("unix:{}", String::from_utf8_lossy(path))
            }
            _ => std::net::SocketAddr::try_from(address).map_err(failed)?.to_string(),
        };
        let shown = match &file {
            Some((path, _)) => format!("unix:{}", path.display()),
            None => shown,
        };
        Ok(Self { socket, shown, file })
    }

    /// Takes over the sockets that systemd passes to this process: `LISTEN_FDS` of them from
    /// descriptor 3 on, if `LISTEN_PID` is this process. Must be called at most once, before the
    /// process opens other files.
    ///
    /// # Errors
    /// A descriptor is not a socket.
    pub fn from_systemd() -> Result<Vec<Self>> {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<i32>().ok());
        let pid = i32::try_from(std::process::id()).ok();
        if number("LISTEN_PID").is_none() || number("LISTEN_PID") != pid {
            return Ok(Vec::new());
        }
        let count = number("LISTEN_FDS").unwrap_or(0).clamp(0, 1024);
        let mut listeners = Vec::new();
        for at in SYSTEMD_FIRST..SYSTEMD_FIRST + count {
            // SAFETY: by the protocol these descriptors are open, and nothing else owns them.
            let socket = unsafe { OwnedFd::from_raw_fd(at) };
            let _ = rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC);
            listeners.push(
                Self::of(socket, None)
                    .map_err(|error| error.context(format!("descriptor {at} of LISTEN_FDS")))?,
            );
        }
        Ok(listeners)
    }

    /// Returns the socket itself.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Returns the path of the socket's file, if this process created it.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|(path, _)| &**path)
    }

    /// Returns true if this is a Unix socket.
    pub fn is_unix(&self) -> bool {
        self.shown.starts_with("unix:")
    }

    /// Accepts the next connection, if one waits.
    ///
    /// # Errors
    /// The system cannot accept it, such as when too many files are open.
    pub fn accept(&self) -> Result<Option<OwnedFd>, Errno> {
        match accept_with(&self.socket, SocketFlags::CLOEXEC) {
            Ok(socket) => {
                if self.is_unix() {
                    // With a small buffer, server and client would wait for each other after a few
                    // replies.
                    let _ = sockopt::set_socket_send_buffer_size(&socket, UNIX_SEND_BYTES);
                } else {
                    // Useful, but a connection without them works as well.
                    let _ = sockopt::set_tcp_nodelay(&socket, true);
                    let _ = sockopt::set_socket_keepalive(&socket, true);
                }
                Ok(Some(socket))
            }
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Writes the address as `unix:PATH` or `HOST:PORT`, with the port that the system chose.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some((path, inode)) = &self.file
            && std::fs::symlink_metadata(path).is_ok_and(|data| data.ino() == *inode)
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Waits until listeners have connections, and returns the indices of these listeners; `None` if
/// `stop` is readable.
///
/// # Errors
/// The system cannot wait.
pub fn wait(listeners: &[Listener], stop: BorrowedFd<'_>) -> Result<Option<Vec<usize>>> {
    let mut fds: Vec<PollFd<'_>> = listeners
        .iter()
        .map(Listener::socket)
        .chain([stop])
        .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
        .collect();
    match poll(&mut fds, None) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(Error::io("cannot wait for connections", error.into())),
    }
    let ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
    if fds.last().is_some_and(ready) {
        return Ok(None);
    }
    Ok(Some((0..listeners.len()).filter(|at| ready(&fds[*at])).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_unix_paths_or_hosts_with_ports() {
        assert_eq!(Address::parse("unix:/a:1").unwrap(), Address::Unix("/a:1".into()));
        for tcp in ["127.0.0.1:10809", "[::1]:0", "localhost:80"] {
            assert_eq!(Address::parse(tcp).unwrap(), Address::Tcp(tcp.into()));
        }
        for wrong in ["", "unix:", "localhost", ":80", "a:b", "a:99999", "/run/x"] {
            assert_eq!(Address::parse(wrong).unwrap_err().kind(), ErrorKind::Usage, "{wrong}");
        }
    }

    #[test]
    fn a_dead_servers_socket_is_taken_over_and_a_living_ones_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let address = Address::Unix(path.clone());
        // Closed without being removed, as a killed process leaves it.
        drop(UnixListener::bind(&path).unwrap());
        let listener = Listener::bind(&address).unwrap();
        assert_eq!(Listener::bind(&address).err().unwrap().kind(), ErrorKind::Conflict);
        drop(listener);
        assert!(!path.exists());
        std::fs::write(&path, "a file of somebody's").unwrap();
        assert!(Listener::bind(&address).is_err());
        assert!(path.exists());
    }
}
