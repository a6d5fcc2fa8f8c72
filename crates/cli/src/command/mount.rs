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
use freestone_mount::{Mounted, Options};
use freestone_store::Store;
use owner::Owner;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use std::io::{ErrorKind as IoKind, Read};
use std::num::NonZeroUsize;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// How often it is looked whether somebody else has unmounted it.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Show images and trees of all revisions as files, without writing any of them
///
/// Each revision's image is a file named after its id, each ref a link to one: a guest that has an
/// image open keeps that very image, whatever is pushed. The file can be opened for reading and
/// writing, as some monitors insist on; what is written is refused.
///
/// It serves until it is unmounted or gets SIGINT or SIGTERM. Then the directory is free at once,
/// and what is still open is served until it is closed; a second signal ends that too.
#[derive(Args)]
#[command(after_long_help = after_help())]
pub struct Mount {
    /// Where to: a directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// Let other users look in too; who is not root needs user_allow_other in /etc/fuse.conf
    #[arg(long)]
    allow_other: bool,

    /// Whom everything belongs to, by names or numbers; else who mounts it
    #[arg(long, value_name = "USER[:GROUP]", value_parser = Owner::parse)]
    owner: Option<Owner>,

    /// The permissions of files, in octal; directories can be searched by whoever can read
    #[arg(long, value_name = "MODE", default_value = "644", value_parser = mode)]
    mode: u16,

    /// Take what is written to images and forget it, instead of refusing it
    #[arg(long)]
    discard_writes: bool,

    /// How much content is kept because a part of it was read
    #[arg(long, value_name = "N", default_value = "64M", value_parser = size::argument)]
    cache: u64,

    /// Return when it is mounted, and serve in the background
    #[arg(short, long)]
    background: bool,
}

fn mode(text: &str) -> Result<u16, String> {
    let mode = u16::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o666 && mode & 0o111 == 0);
    mode.ok_or_else(|| "give permissions to read and write in octal, as in 444 or 640".to_owned())
}

fn after_help() -> String {
    format!(
        "\
In the directory:
  ID.tar          the image of a revision, by its whole id; one for each format
  REF.tar         a link to the image of what the ref names now; a / in a ref is written %2F
  tree/ID/…       what is in a revision
  tree/REF        a link to it
Any other REV works as well as a ref, as in main~1.tar, but is not listed.

Examples:
  freestone mount /mnt/freestone
  freestone mount -b --allow-other --mode 444 /mnt/freestone
  umount /mnt/freestone

A service of systemd has Type=notify. What cannot be read is an error for that part of a file alone,
and is told on the standard error.

{}

{}",
        name::TEXT,
        size::TEXT
    )
}

impl Mount {
    pub fn run(&self, context: &Context) -> Result<Exit> {
        if context.output.is_json() {
            return Err(Error::new(ErrorKind::Usage, "mount gives no answer, not even as JSON"));
        }
        let background = Background::child();
        if self.background && background.is_none() {
            return Background::start(&self.directory, context);
        }
        // By their whole paths: in the background there is no other directory than /.
        let revisions = Catalogue::open(match context.store_location()?.directory() {
            Some(path) => Store::open_with(&location::absolute(path)?, &context.opening())?,
            None => context.store()?,
        })?;
        // From here on, so that a signal finds nothing half mounted.
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
                    "unmounted; what is still open is served until it is closed, \
                     or until the next signal",
                );
            }
        }
        mounted.wait()?;
        Ok(Exit::Done)
    }

    fn options(&self, context: &Context) -> Options {
        let mine = Owner::mine();
        let owner = self.owner.unwrap_or(mine);
        Options {
            allow_other: self.allow_other,
            uid: owner.uid,
            gid: owner.gid.unwrap_or(mine.gid.unwrap_or(0)),
            mode: self.mode,
            discard_writes: self.discard_writes,
            // One that waits for the disk must not keep the others from what is in memory.
            threads: context.workers().max(NonZeroUsize::new(4).unwrap_or(NonZeroUsize::MIN)).get(),
            cache_bytes: self.cache,
        }
    }
}

/// The signals that ask for the end, as something to wait for.
struct Signals(UnixStream);

impl Signals {
    fn watch() -> Result<Self> {
        let wrong = |error| Error::io("the signals cannot be watched", error);
        let (reading, writing) = UnixStream::pair().map_err(wrong)?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let writing = writing.try_clone().map_err(wrong)?;
            pipe::register(signal, writing).map_err(wrong)?;
        }
        reading.set_read_timeout(Some(LOOK_EVERY)).map_err(wrong)?;
        Ok(Self(reading))
    }

    /// Waits for a signal, true, or for the mount's end by other means, false.
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
