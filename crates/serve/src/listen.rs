//! Where servers listen: Unix sockets, TCP, and what systemd hands over.

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

/// The first descriptor that systemd hands over (`sd_listen_fds`(3)).
const SYSTEMD_FIRST: i32 = 3;

/// What the system may hold for a client that is slower than the server; it takes twice that, and
/// gives no more than its administrator allows (`net.core.wmem_max`).
const UNIX_SEND_BYTES: usize = 256 << 10;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket at this path.
    Unix(PathBuf),
    /// TCP at `HOST:PORT`.
    Tcp(String),
}

impl Address {
    /// Reads `unix:PATH` or `HOST:PORT`.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if it is neither.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            Error::new(ErrorKind::Usage, format!("{text:?} is no place to listen at"))
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

/// A socket that is listened at. Dropped, it is closed, and its file removed.
pub struct Listener {
    socket: OwnedFd,
    /// As `unix:PATH` or `HOST:PORT`.
    shown: String,
    /// The socket's file, with its inode, where this process made it.
    file: Option<(PathBuf, u64)>,
}

impl Listener {
    /// Listens at `address`.
    ///
    /// # Errors
    /// Somebody else does, or it cannot be done.
    pub fn bind(address: &Address) -> Result<Self> {
        match address {
            Address::Unix(path) => Self::bind_unix(path),
            Address::Tcp(text) => {
                let failed = |error| Error::io(format!("cannot listen at {text}"), error);
                let places: Vec<_> = text.to_socket_addrs().map_err(failed)?.collect();
                let listener = TcpListener::bind(&places[..]).map_err(failed)?;
                Self::of(listener.into(), None)
            }
        }
    }

    fn bind_unix(path: &Path) -> Result<Self> {
        let failed = |error| Error::io(format!("cannot listen at {}", path.display()), error);
        let is_socket = std::fs::symlink_metadata(path)
            .is_ok_and(|data| std::os::unix::fs::FileTypeExt::is_socket(&data.file_type()));
        if is_socket {
            match UnixStream::connect(path) {
                Ok(_) => {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        format!("{}: another server listens there", path.display()),
                    )
                    .hint("choose another path, or end that server"));
                }
                // Whoever made it died.
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

    fn of(socket: OwnedFd, file: Option<(PathBuf, u64)>) -> Result<Self> {
        let failed = |error: Errno| Error::io("cannot use the socket", error.into());
        // A client may be gone between the poll and the accept.
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

    /// The sockets that systemd hands to this process, if it does: `LISTEN_FDS` of them from
    /// descriptor 3 on, if `LISTEN_PID` is this process. To be called once, before anything else
    /// opens files at will.
    ///
    /// # Errors
    /// They are no sockets.
    pub fn from_systemd() -> Result<Vec<Self>> {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<i32>().ok());
        let pid = i32::try_from(std::process::id()).ok();
        if number("LISTEN_PID").is_none() || number("LISTEN_PID") != pid {
            return Ok(Vec::new());
        }
        let count = number("LISTEN_FDS").unwrap_or(0).clamp(0, 1024);
        let mut listeners = Vec::new();
        for at in SYSTEMD_FIRST..SYSTEMD_FIRST + count {
            // SAFETY: by the protocol these descriptors are open, and nobody's but ours.
            let socket = unsafe { OwnedFd::from_raw_fd(at) };
            let _ = rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC);
            listeners.push(
                Self::of(socket, None)
                    .map_err(|error| error.context(format!("descriptor {at} of LISTEN_FDS")))?,
            );
        }
        Ok(listeners)
    }

    /// The socket itself.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether it is a Unix socket.
    pub fn is_unix(&self) -> bool {
        self.shown.starts_with("unix:")
    }

    /// The next connection, if one waits.
    ///
    /// # Errors
    /// It cannot be taken: above all, there are too many open files.
    pub fn accept(&self) -> Result<Option<OwnedFd>, Errno> {
        match accept_with(&self.socket, SocketFlags::CLOEXEC) {
            Ok(socket) => {
                if self.is_unix() {
                    // Else server and client take turns every few replies.
                    let _ = sockopt::set_socket_send_buffer_size(&socket, UNIX_SEND_BYTES);
                } else {
                    // Best as they are, but as good without.
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

/// As `unix:PATH` or `HOST:PORT`, with the true port.
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

/// Waits until one of `listeners` has a connection, or `stop` can be read: then it is `None`.
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
