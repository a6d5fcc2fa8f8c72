//! The negotiation: the client chooses an export, and the two sides agree on features.

use super::wire::{
    ALLOCATION, ALLOCATION_ID, ContextQuery, ExportQuery, FIXED_NEWSTYLE, HELLO, NO_ZEROES, OPTION,
    OPTION_REPLY, READ_BYTES_MAX, broken, export, info, option, reply,
};
use crate::catalogue::{Catalogue, Export};
use crate::service::error_text;
use std::io::{self, Read, Write};

/// The longest data of an option that is parsed: an export's name and some requests about it.
const DATA_BYTES_MAX: u32 = 16 << 10;
/// The longest data of an option that is skipped; a client that sends more is disconnected.
const PASSED_BYTES_MAX: u32 = 1 << 20;
/// The longest error text that is sent to a client: the protocol allows 4096 bytes.
const REASON_CHARS_MAX: usize = 1000;
/// The number of options after which a client must have chosen an export.
const OPTIONS_MAX: usize = 200;
/// The number of options that a client may send for each listed export.
const OPTIONS_EACH: usize = 4;

/// The result of a negotiation.
pub struct Negotiated {
    /// The export that the client chose.
    pub export: Export,
    /// Whether replies to reads are structured.
    pub is_structured: bool,
    /// Whether the client may request block status.
    pub has_allocation: bool,
}

/// Returns the transmission flags of an export. Several connections are sure to read the same bytes
/// only if the requested name cannot be bound to another image between them.
fn flags(export: &Export, is_structured: bool) -> u16 {
    let mut flags = export::HAS_FLAGS | export::READ_ONLY | export::SEND_CACHE;
    if export.is_fixed {
        flags |= export::CAN_MULTI_CONN;
    }
    if is_structured {
        flags |= export::SEND_DF;
    }
    flags
}

/// A negotiation that is not finished.
struct Handshake<'a, S> {
    stream: &'a mut S,
    catalogue: &'a Catalogue,
    /// Whether the reply to EXPORT_NAME is sent without its 124 zeros.
    no_zeroes: bool,
    is_structured: bool,
    /// The name of the export that block status was requested for, as [`Export::name`].
    allocation_of: Option<String>,
}

/// Negotiates over `stream`; returns `None` if the client ends the negotiation without an export.
///
/// # Errors
/// The connection is lost, or the client breaks the protocol.
pub fn negotiate<S: Read + Write>(
    stream: &mut S,
    catalogue: &Catalogue,
) -> io::Result<Option<Negotiated>> {
    let mut hello = Vec::with_capacity(18);
    hello.extend(HELLO.to_be_bytes());
    hello.extend(OPTION.to_be_bytes());
    hello.extend((FIXED_NEWSTYLE | NO_ZEROES).to_be_bytes());
    stream.write_all(&hello)?;
    let mut client = [0; 4];
    stream.read_exact(&mut client)?;
    let client = u32::from_be_bytes(client);
    if client & !u32::from(FIXED_NEWSTYLE | NO_ZEROES) != 0 {
        return Err(broken("the client sets unknown handshake flags"));
    }
    let mut handshake = Handshake {
        stream,
        catalogue,
        no_zeroes: client & u32::from(NO_ZEROES) != 0,
        is_structured: false,
        allocation_of: None,
    };
    let (mut options, mut most) = (0, OPTIONS_MAX);
    while options < most {
        if let Some(end) = handshake.option()? {
            return Ok(end);
        }
        options += 1;
        // QEMU requests information about each listed export on the same connection.
        if options == OPTIONS_MAX {
            most = OPTIONS_MAX.max(OPTIONS_EACH * catalogue.names().len());
        }
    }
    Err(broken("the client sends too many options without choosing an export"))
}

/// The end of a negotiation: with an export, or without.
type End = Option<Negotiated>;

impl<S: Read + Write> Handshake<'_, S> {
    /// Receives and answers the next option; returns `Some` if it was the last.
    fn option(&mut self) -> io::Result<Option<End>> {
        let mut head = [0; 16];
        self.stream.read_exact(&mut head)?;
        let mut fields = super::wire::FieldReader(&head);
        let (magic, option, length) = (fields.u64(), fields.u32(), fields.u32());
        let (Some(OPTION), Some(option), Some(length)) = (magic, option, length) else {
            return Err(broken("an option does not begin with its magic number"));
        };
        if length > DATA_BYTES_MAX {
            if length > PASSED_BYTES_MAX || option == option::EXPORT_NAME {
                return Err(broken("an option is far too long"));
            }
            io::copy(&mut self.stream.take(length.into()), &mut io::sink())?;
            self.refuse(option, reply::ERR_TOO_BIG, "the option's data is too long")?;
            return Ok(None);
        }
        let mut data = vec![0; length as usize];
        self.stream.read_exact(&mut data)?;
        match option {
            option::EXPORT_NAME => return self.export_name(&data).map(Some),
            option::ABORT => {
                // A client that aborts may disconnect before it is sent.
                let _ = self.reply(option, reply::ACK, &[]);
                return Ok(Some(None));
            }
            option::LIST if data.is_empty() => self.list()?,
            option::STRUCTURED_REPLY if data.is_empty() => {
                self.is_structured = true;
                self.reply(option, reply::ACK, &[])?;
            }
            option::LIST | option::STRUCTURED_REPLY => {
                self.refuse(option, reply::ERR_INVALID, "this option takes no data")?;
            }
            option::INFO | option::GO => {
                let found = self.information(option, &data)?;
                if option == option::GO && found.is_some() {
                    return Ok(Some(found));
                }
            }
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => {
                self.contexts(option, &data)?;
            }
            _ => self.refuse(
                option,
                reply::ERR_UNSUPPORTED,
                "this server does not support this option",
            )?,
        }
        Ok(None)
    }

    /// Sends a reply of `kind` to `option`.
    fn reply(&mut self, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
        let mut out = Vec::with_capacity(20 + data.len());
        out.extend(OPTION_REPLY.to_be_bytes());
        out.extend(option.to_be_bytes());
        out.extend(kind.to_be_bytes());
        out.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend(data);
        self.stream.write_all(&out)
    }

    /// Sends an error reply to `option`.
    fn refuse(&mut self, option: u32, error: u32, why: &str) -> io::Result<()> {
        self.reply(option, error, why.as_bytes())
    }

    /// Returns the export called `name`, or sends an error reply.
    fn find(&mut self, option: u32, name: &[u8]) -> io::Result<Option<Export>> {
        let found = match std::str::from_utf8(name) {
            Ok(name) => self.catalogue.find(name),
            Err(_) => Ok(None),
        };
        match found {
            Ok(Some(export)) => return Ok(Some(export)),
            Ok(None) => self.refuse(option, reply::ERR_UNKNOWN, "no export has this name")?,
            Err(error) => {
                let shown = String::from_utf8_lossy(name);
                self.catalogue.service().failed(&format!("export {shown:?}"), 0, &error);
                let why: String = error_text(&error).chars().take(REASON_CHARS_MAX).collect();
                self.refuse(option, reply::ERR_POLICY, &why)?;
            }
        }
        Ok(None)
    }

    /// Answers EXPORT_NAME.
    fn export_name(&mut self, name: &[u8]) -> io::Result<End> {
        // This option has no error reply: the server can only disconnect.
        let found = std::str::from_utf8(name).ok().map(|name| self.catalogue.find(name));
        let Some(Ok(Some(export))) = found else {
            return Err(broken("no export has the requested name"));
        };
        let mut out = Vec::with_capacity(134);
        out.extend(export.image.length().to_be_bytes());
        out.extend(flags(&export, self.is_structured).to_be_bytes());
        if !self.no_zeroes {
            out.resize(out.len() + 124, 0);
        }
        self.stream.write_all(&out)?;
        Ok(Some(self.end(export)))
    }

    /// Ends the negotiation with `export`.
    fn end(&self, export: Export) -> Negotiated {
        let has_allocation = self.allocation_of.as_ref() == Some(&export.name);
        Negotiated { export, is_structured: self.is_structured, has_allocation }
    }

    /// Answers LIST.
    fn list(&mut self) -> io::Result<()> {
        for name in self.catalogue.names() {
            let length = u32::try_from(name.len()).unwrap_or(u32::MAX).to_be_bytes();
            self.reply(option::LIST, reply::SERVER, &[&length, name.as_bytes()].concat())?;
        }
        self.reply(option::LIST, reply::ACK, &[])
    }

    /// Answers INFO and GO; returns the end of the negotiation that GO would choose.
    fn information(&mut self, option: u32, data: &[u8]) -> io::Result<End> {
        let Some(asked) = ExportQuery::parse(data) else {
            self.refuse(option, reply::ERR_INVALID, "the option's data is malformed")?;
            return Ok(None);
        };
        let Some(export) = self.find(option, asked.name)? else { return Ok(None) };
        let mut out = Vec::new();
        out.extend(info::EXPORT.to_be_bytes());
        out.extend(export.image.length().to_be_bytes());
        out.extend(flags(&export, self.is_structured).to_be_bytes());
        self.reply(option, reply::INFO, &out)?;
        out.clear();
        out.extend(info::BLOCK_SIZE.to_be_bytes());
        // The minimum, preferred and maximum lengths of a read.
        for size in [1, 4096, READ_BYTES_MAX] {
            out.extend(size.to_be_bytes());
        }
        self.reply(option, reply::INFO, &out)?;
        for (kind, text) in
            [(info::NAME, export.name.clone()), (info::DESCRIPTION, export.image.identity())]
        {
            if asked.infos.contains(&kind) {
                let out = [&kind.to_be_bytes(), text.as_bytes()].concat();
                self.reply(option, reply::INFO, &out)?;
            }
        }
        self.reply(option, reply::ACK, &[])?;
        Ok(Some(self.end(export)))
    }

    /// Answers LIST_META_CONTEXT and SET_META_CONTEXT.
    fn contexts(&mut self, option: u32, data: &[u8]) -> io::Result<()> {
        let is_set = option == option::SET_META_CONTEXT;
        if is_set {
            self.allocation_of = None;
        }
        let Some(asked) = ContextQuery::parse(data) else {
            return self.refuse(option, reply::ERR_INVALID, "the option's data is malformed");
        };
        if !self.is_structured {
            let why = "block status needs structured replies";
            return self.refuse(option, reply::ERR_INVALID, why);
        }
        let Some(export) = self.find(option, asked.name)? else { return Ok(()) };
        let is_asked =
            |query: &&[u8]| *query == ALLOCATION.as_bytes() || (!is_set && *query == b"base:");
        let lists_all = !is_set && asked.queries.is_empty();
        if lists_all || asked.queries.iter().any(is_asked) {
            if is_set {
                self.allocation_of = Some(export.name);
            }
            let out = [&ALLOCATION_ID.to_be_bytes(), ALLOCATION.as_bytes()].concat();
            self.reply(option, reply::META_CONTEXT, &out)?;
        }
        self.reply(option, reply::ACK, &[])
    }
}
