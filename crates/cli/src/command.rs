//! The commands; one file each.

mod cat;
mod completions;
mod copy;
mod diff;
mod extract;
mod fetch;
mod forget;
#[cfg(feature = "git")]
mod git;
mod image;
mod init;
mod inspect;
mod log;
mod ls;
mod man;
mod mount;
mod pin;
mod push;
mod refs;
mod resolve;
mod serve;
mod show;
mod status;
mod store;
mod verify;
mod which;
mod why;

use crate::context::Context;
use crate::exit::Exit;
use clap::Subcommand;
use freestone_core::Result;

/// Declares the commands, in the order in which the help lists them.
macro_rules! commands {
    ($($(#[$attribute:meta])* $name:ident($module:ident)),+ $(,)?) => {
        /// The commands.
        #[derive(Subcommand)]
        pub enum Command {
            $($(#[$attribute])* $name($module::$name),)+
        }

        impl Command {
            /// Runs the command.
            ///
            /// # Errors
            /// The command failed.
            pub fn run(&self, context: &Context) -> Result<Exit> {
                match self {
                    $($(#[$attribute])* Self::$name(command) => command.run(context),)+
                }
            }
        }
    };
}

commands! {
    Init(init),
    Push(push),
    Image(image),
    Mount(mount),
    Extract(extract),
    Ls(ls),
    Cat(cat),
    Show(show),
    Resolve(resolve),
    Log(log),
    Diff(diff),
    Which(which),
    Why(why),
    Forget(forget),
    Ref(refs),
    #[cfg(feature = "git")]
    Git(git),
    Inspect(inspect),
    Fetch(fetch),
    Pin(pin),
    Serve(serve),
    Copy(copy),
    Status(status),
    Verify(verify),
    Store(store),
    Completions(completions),
    Man(man),
}
