//! `freestone mount`.

mod background;
mod catalogue;
mod owner;

use crate::context::Context;
use crate::exit::{self, Exit};
use crate::location;
use crate::systemd;
use crate::values::{name, size};
use background::Background;
use catalogue::Catalogue;
use clap::Args;
use freestone_core::{Error, ErrorKind, Result};
use freestone_mount::{MountOptions, Mounted};
use owner::Owner;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use std::io::{ErrorKind as IoKind, Read};
use std::num::NonZeroUsize;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// How often to check whether the mount was unmounted by another program.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Mount the store: images and files of all revisions, without writing any of them
///
/// The image of each revision is a file named after the revision's id, and each ref is a link to
/// one: a guest that has an image open keeps exactly that image, whatever is pushed later. An image
/// can be opened for writing, because some virtual machine monitors insist on it, but writes are
/// refused.
///
/// Files are served until the directory is unmounted, or SIGINT or SIGTERM arrives. After a signal
/// the directory is free at once, and files that are still open are served until they are closed; a
/// second signal ends that too.
#[derive(Args)]
#[command(after_long_help = after_help())]
pub struct Mount {
    /// Directory to mount at
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// Let other users read the files too. Users other than root need user_allow_other in
    /// /etc/fuse.conf
    #[arg(long)]
    allow_other: bool,

    /// Owner of all files, by names or numbers. Default: the user who mounts
    #[arg(long, value_name = "USER[:GROUP]", value_parser = Owner::parse)]
    owner: Option<Owner>,

    /// Permissions of files, in octal. Directories can be searched by everyone who can read them
    #[arg(long, value_name = "MODE", default_value = "644", value_parser = mode)]
    mode: u16,

    /// Accept writes to images and discard them, instead of refusing them
    #[arg(long)]
    discard_writes: bool,

    /// Memory for contents of which a part was read
    #[arg(long, value_name = "N", default_value = "64M", value_parser = size::argument)]
    cache: u64,

    /// Serve in the background; return when it is mounted
    #[arg(short, long)]
    background: bool,
}

fn mode(text: &str) -> Result<u16, String> {
    let mode = u16::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o666 && mode & 0o111 == 0);
    mode.ok_or_else(|| "give read and write permissions in octal, such as 444 or 640".to_owned())
}

fn after_help() -> String {
    format!(
        "\
In the directory:
  ID.tar          the image of a revision, by its whole id; ID.fat and ID.mirage.fat as well
  REF.tar         link to the image of the revision that the ref names; / in a ref is written %2F
  tree/ID/…       the files of a revision
  tree/REF        link to the files of the revision that the ref names
Any other REV works in place of a ref, as in main~1.tar, but is not listed.

Examples:
  freestone mount /mnt/freestone
  freestone mount -b --allow-other --mode 444 /mnt/freestone
  umount /mnt/freestone

In a systemd service, use Type=notify. If a part of a file cannot be read, only reads of that part
fail, and the reason is printed on standard error.

{}

{}",
        name::TEXT,
        size::TEXT
    )
}

impl Mount {
    /// Runs the command.
    ///
    /// # Errors
    /// The store cannot be opened, or the directory cannot be mounted at.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        if context.output.is_json() {
            return Err(Error::new(ErrorKind::Usage, "mount has no output; --json cannot be used"));
        }
        let background = Background::child();
        if self.background && background.is_none() {
            return Background::start(&self.directory, context);
        }
        // The path is made absolute, because in the background the working directory is /.
        let revisions = Catalogue::open(match context.store_location()?.directory() {
            Some(path) => context.store_in(&location::absolute(path)?)?.store,
            None => context.store()?,
        })?;
        // Watched from here on, so that a signal never leaves a half-mounted directory.
        let mut signals = Signals::watch()?;
        let mounted = freestone_mount::mount(
            Box::new(revisions),
            &self.directory,
            self.options(context),
            Box::new(|error| eprint!("{}", exit::describe(error))),
        )?;
        context.interrupt.serve_on();
        match background {
            Some(background) => background.ready()?,
            None => {
                context.output.note(format_args!("mounted at {}", mounted.directory().display()));
                systemd::notify("READY=1");
            }
        }
        if signals.wait(&mounted) {
            mounted.end()?;
            if !mounted.is_over() {
                context.output.note(
                    "unmounted; files that are still open are served until they are closed, \
                     or until the next signal",
                );
            }
        }
        mounted.wait()?;
        Ok(Exit::Done)
    }

    fn options(&self, context: &Context) -> MountOptions {
        let mine = Owner::mine();
        let owner = self.owner.unwrap_or(mine);
        MountOptions {
            allow_other: self.allow_other,
            uid: owner.uid,
            gid: owner.gid.unwrap_or(mine.gid.unwrap_or(0)),
            mode: self.mode,
            discard_writes: self.discard_writes,
            // Several, so that a thread that waits for the disk does not block reads from memory.
            threads: context.workers().max(NonZeroUsize::new(4).unwrap_or(NonZeroUsize::MIN)).get(),
            cache_bytes: self.cache,
        }
    }
}

/// A socket that becomes readable when a signal asks for the end.
struct Signals(UnixStream);

impl Signals {
    fn watch() -> Result<Self> {
        let wrong = |error| Error::io("cannot watch signals", error);
        let (reading, writing) = UnixStream::pair().map_err(wrong)?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let writing = writing.try_clone().map_err(wrong)?;
            pipe::register(signal, writing).map_err(wrong)?;
        }
        reading.set_read_timeout(Some(LOOK_EVERY)).map_err(wrong)?;
        Ok(Self(reading))
    }

    /// Waits for a signal, and returns true, or until another program has unmounted it, and returns
    /// false.
    fn wait(&mut self, mounted: &Mounted) -> bool {
        loop {
            match self.0.read(&mut [0]) {
                Err(error) if matches!(error.kind(), IoKind::WouldBlock | IoKind::Interrupted) => {
                    if mounted.is_over() {
                        return false;
                    }
                }
                _ => return true,
            }
        }
    }
}
