//! `freestone serve http`.

use super::lifecycle;
use super::options::ServeOptions;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::JSON_SEE;
use crate::values::name;
use crate::values::size;
use clap::Args;
use freestone_core::Result;
use freestone_serve::{Server, http};
use rustix::fd::AsFd;

/// The default address, for local clients only.
const LISTEN_DEFAULT: &str = "127.0.0.1:8080";

/// Serve images and files over HTTP
///
///   /images/NAME.tar           the image of a revision, by its id or a name that was given
///   /revisions                 the revisions that are served, as JSON
///   /revisions/REV             a revision, as JSON
///   /revisions/REV/tree/PATH   a file; for a directory, its entries as JSON
///   /contents/sha1/HEX         the content with this SHA-1 (with --all)
///   /refs                      the revisions that the names are bound to, as JSON
///
/// In these paths REV is a whole id or a name that was given; / in it is written %2F.
///
/// Ranges, If-Range and strong ETags allow block drivers to read images, such as those of QEMU and
/// nbdkit that use curl.
#[derive(Args)]
#[command(verbatim_doc_comment, after_long_help = after_help())]
pub struct Http {
    #[command(flatten)]
    options: ServeOptions,

    /// Name of this machine that clients on it use, such as a proxy; may be repeated. On loopback
    /// addresses, requests for other names with a dot are refused
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
}

fn after_help() -> String {
    let examples = "\
Examples:
  freestone serve http main                          at 127.0.0.1:8080
  curl -r 0-1023 http://127.0.0.1:8080/images/main.tar
  curl http://127.0.0.1:8080/revisions/main/tree/index.html
  qemu-img convert -O raw http://127.0.0.1:8080/images/main.tar www.img

With --json, when it is ready: {\"listening\": [], \"metrics\" or null, \"exports\": [], \"revisions\":
{NAME: id}}";
    format!("{examples}\n{JSON_SEE}\n\n{}\n\n{}", name::TEXT, size::TEXT)
}

impl Http {
    /// Runs the command.
    ///
    /// # Errors
    /// A name does not name a revision, or an address cannot be listened on.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let (end, again) = context.interrupt.for_server()?;
        let listeners = self.options.listeners(LISTEN_DEFAULT)?;
        let (catalogue, follower) = self.options.catalogue(None, context)?;
        let site = http::Site::new(catalogue.clone(), self.options.workers()?);
        let site = site.with_hosts(self.hosts.clone());
        let server = Server::new(site, self.options.connections_max());
        let metrics = self.options.metrics(&catalogue)?;
        lifecycle::bind_at_hangup(&catalogue, again, |_| ())?;
        context.interrupt.serve_on();
        lifecycle::ready(&catalogue, &listeners, metrics, context)?;
        server.run(listeners, end.as_fd())?;
        lifecycle::end(&catalogue, follower.as_ref());
        Ok(Exit::Done)
    }
}
