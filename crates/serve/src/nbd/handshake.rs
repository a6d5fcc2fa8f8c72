//! The negotiation: which export, and what client and server can do.

use super::wire::{
    ALLOCATION, ALLOCATION_ID, ContextQuery, ExportQuery, FIXED_NEWSTYLE, HELLO, NO_ZEROES, OPTION,
    OPTION_REPLY, READ_BYTES_MAX, broken, export, info, option, reply,
};
use crate::catalogue::{Catalogue, Export};
use std::io::{self, Read, Write};

/// Data of an option that is read at all: an export's name and some questions about it.
const DATA_BYTES_MAX: u32 = 16 << 10;
/// Data that is passed over; who sends more is no client.
const PASSED_BYTES_MAX: u32 = 1 << 20;
/// Of an error that a client is told: the protocol allows texts of 4096 bytes.
const REASON_CHARS_MAX: usize = 1000;
/// Options before a client has to come to an end.
const OPTIONS_MAX: usize = 200;
/// Options that a client may take for each export that was listed.
const OPTIONS_EACH: usize = 4;

/// What was negotiated.
pub struct Negotiated {
    pub export: Export,
    /// Whether replies to reads are structured.
    pub is_structured: bool,
    /// Whether block status was asked for.
    pub has_allocation: bool,
}

/// What an export can do, in the protocol's flags. Several connections show the same only if the
/// name that they asked for cannot change its meaning between them.
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

struct Handshake<'a, S> {
    stream: &'a mut S,
    catalogue: &'a Catalogue,
    no_zeroes: bool,
    is_structured: bool,
    /// The export that block status was asked for, by its own name.
    allocation_of: Option<String>,
}

/// Negotiates over `stream`; `None` if the client leaves in good order.
///
/// # Errors
/// The stream fails, or the client breaks the protocol.
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
        return Err(broken("the client has flags that nobody knows"));
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
        // QEMU asks for each export on the same connection.
        if options == OPTIONS_MAX {
            most = OPTIONS_MAX.max(OPTIONS_EACH * catalogue.names().len());
        }
    }
    Err(broken("the client never comes to an end with its options"))
}

/// How a negotiation ends: with an export, or without.
type End = Option<Negotiated>;

impl<S: Read + Write> Handshake<'_, S> {
    /// Takes the next option; `Some` if it was the last.
    fn option(&mut self) -> io::Result<Option<End>> {
        let mut head = [0; 16];
        self.stream.read_exact(&mut head)?;
        let mut fields = super::wire::FieldReader(&head);
        let (magic, option, length) = (fields.u64(), fields.u32(), fields.u32());
        let (Some(OPTION), Some(option), Some(length)) = (magic, option, length) else {
            return Err(broken("an option does not begin as one"));
        };
        if length > DATA_BYTES_MAX {
            if length > PASSED_BYTES_MAX || option == option::EXPORT_NAME {
                return Err(broken("an option is far too long"));
            }
            io::copy(&mut self.stream.take(length.into()), &mut io::sink())?;
            self.refuse(option, reply::ERR_TOO_BIG, "that is too long")?;
            return Ok(None);
        }
        let mut data = vec![0; length as usize];
        self.stream.read_exact(&mut data)?;
        match option {
            option::EXPORT_NAME => return self.export_name(&data).map(Some),
            option::ABORT => {
                // Who aborts may not wait for the answer.
                let _ = self.reply(option, reply::ACK, &[]);
                return Ok(Some(None));
            }
            option::LIST if data.is_empty() => self.list()?,
            option::STRUCTURED_REPLY if data.is_empty() => {
                self.is_structured = true;
                self.reply(option, reply::ACK, &[])?;
            }
            option::LIST | option::STRUCTURED_REPLY => {
                self.refuse(option, reply::ERR_INVALID, "this option has no data")?;
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
            _ => self.refuse(option, reply::ERR_UNSUPPORTED, "this server does not know that")?,
        }
        Ok(None)
    }

    fn reply(&mut self, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
        let mut out = Vec::with_capacity(20 + data.len());
        out.extend(OPTION_REPLY.to_be_bytes());
        out.extend(option.to_be_bytes());
        out.extend(kind.to_be_bytes());
        out.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend(data);
        self.stream.write_all(&out)
    }

    fn refuse(&mut self, option: u32, error: u32, why: &str) -> io::Result<()> {
        self.reply(option, error, why.as_bytes())
    }

    /// The export called `name`; else it is said why there is none.
    fn find(&mut self, option: u32, name: &[u8]) -> io::Result<Option<Export>> {
        let found = match std::str::from_utf8(name) {
            Ok(name) => self.catalogue.find(name),
            Err(_) => Ok(None),
        };
        match found {
            Ok(Some(export)) => return Ok(Some(export)),
            Ok(None) => {
                self.refuse(option, reply::ERR_UNKNOWN, "nothing of that name is served")?
            }
            Err(error) => {
                let shown = String::from_utf8_lossy(name);
                self.catalogue.service().failed(&format!("export {shown:?}"), 0, &error);
                let why: String = error.to_string().chars().take(REASON_CHARS_MAX).collect();
                self.refuse(option, reply::ERR_POLICY, &why)?;
            }
        }
        Ok(None)
    }

    fn export_name(&mut self, name: &[u8]) -> io::Result<End> {
        // This option has no way to say no but hanging up.
        let found = std::str::from_utf8(name).ok().map(|name| self.catalogue.find(name));
        let Some(Ok(Some(export))) = found else {
            return Err(broken("nothing is served under the name that was asked for"));
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

    fn end(&self, export: Export) -> Negotiated {
        let has_allocation = self.allocation_of.as_ref() == Some(&export.name);
        Negotiated { export, is_structured: self.is_structured, has_allocation }
    }

    fn list(&mut self) -> io::Result<()> {
        for name in self.catalogue.names() {
            let length = u32::try_from(name.len()).unwrap_or(u32::MAX).to_be_bytes();
            self.reply(option::LIST, reply::SERVER, &[&length, name.as_bytes()].concat())?;
        }
        self.reply(option::LIST, reply::ACK, &[])
    }

    fn information(&mut self, option: u32, data: &[u8]) -> io::Result<End> {
        let Some(asked) = ExportQuery::parse(data) else {
            self.refuse(option, reply::ERR_INVALID, "the option's data is no question")?;
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
        // Any read is right, whole blocks are best, and nothing is longer.
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

    fn contexts(&mut self, option: u32, data: &[u8]) -> io::Result<()> {
        let is_set = option == option::SET_META_CONTEXT;
        if is_set {
            self.allocation_of = None;
        }
        let Some(asked) = ContextQuery::parse(data) else {
            return self.refuse(option, reply::ERR_INVALID, "the option's data is no question");
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
