//! Serving in the background: the program starts itself again, and waits until the new process has
//! mounted the directory, so that errors are still reported in the foreground.

use crate::context::Context;
use crate::exit::Exit;
use freestone_core::{Error, ErrorKind, Result};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The environment variable that is set for the process that serves.
const CHILD: &str = "FREESTONE_MOUNT_CHILD";
/// The line that this process prints when the directory is mounted.
const READY: &[u8] = b"mounted\n";

/// The process that serves in the background.
pub(super) struct Background;

impl Background {
    /// Returns a value if this is that process.
    pub(super) fn child() -> Option<Self> {
        std::env::var_os(CHILD).map(|_| Self)
    }

    /// Starts that process, and waits until it is mounted.
    pub(super) fn start(directory: &Path, context: &Context) -> Result<Exit> {
        let wrong = |error| Error::io("cannot run in the background", error);
        let program = std::env::current_exe().map_err(wrong)?;
        let mut child = Command::new(program)
            .args(std::env::args_os().skip(1))
            .env(CHILD, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(wrong)?;
        let mut printed = Vec::new();
        if let Some(mut stdout) = child.stdout.take() {
            // It ends when the child has closed it: mounted, or failed.
            stdout.read_to_end(&mut printed).map_err(wrong)?;
        }
        if printed == READY {
            context.output.note(format_args!("mounted at {}", directory.display()));
            return Ok(Exit::Done);
        }
        let status = child.wait().map_err(wrong)?;
        match status.code() {
            // It has printed the reason.
            Some(code) => std::process::exit(code),
            None => {
                let signal = status.signal().unwrap_or(0);
                let what = format!("the background process was killed by signal {signal}");
                Err(Error::new(ErrorKind::Failed, what))
            }
        }
    }

    /// Tells the waiting process that it is mounted, and detaches from the terminal and the working
    /// directory.
    pub(super) fn ready(self) -> Result<()> {
        let wrong = |error| Error::io("cannot run in the background", error);
        // If these fail, the process stays attached, which does no harm.
        let _ = rustix::process::setsid();
        let _ = std::env::set_current_dir("/");
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(READY).and_then(|()| stdout.flush()).map_err(wrong)?;
        let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null");
        let null = null.map_err(wrong)?;
        let wrong = |errno: rustix::io::Errno| wrong(errno.into());
        rustix::stdio::dup2_stdin(&null).map_err(wrong)?;
        rustix::stdio::dup2_stderr(&null).map_err(wrong)?;
        rustix::stdio::dup2_stdout(&null).map_err(wrong)
    }
}
