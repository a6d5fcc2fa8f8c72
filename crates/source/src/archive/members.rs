//! Reads the members of an archive, one after the other.

use super::extended::{extended, skip_sparse_map};
use super::input::{BLOCK, Input, Shared};
use super::member::{Member, MemberFields, malformed, member};
use freestone_core::wire::to_usize;
use freestone_core::{Error, Result, lock};
use std::sync::{Arc, Mutex};
use tar::{EntryType, Header};

/// A reader of members.
pub(super) struct Members {
    input: Shared,
    /// The offset of the next header.
    next: u64,
    ended: bool,
}

impl Members {
    pub(super) fn new(input: Input) -> Self {
        Self { input: Arc::new(Mutex::new(input)), next: 0, ended: false }
    }

    pub(super) fn input(&self) -> &Shared {
        &self.input
    }

    /// Returns the next member. Skips the bytes of the previous one that were not read.
    pub(super) fn next(&mut self) -> Result<Option<Member>> {
        let mut said = MemberFields::default();
        // Whether a header was read that belongs to the next one.
        let mut awaits = false;
        while !self.ended {
            let mut input = lock(&self.input);
            skip(&mut input, self.next)?;
            let mut block = [0; BLOCK];
            let length = input.read(&mut block)?;
            let is_first = self.next == 0;
            if length < BLOCK {
                return Err(match length {
                    0 if is_first => Error::refused(format!(
                        "{} is empty, which a tar archive is not",
                        input.name
                    )),
                    _ if is_first => no_archive(&input),
                    // A writer that was killed usually stops at exactly this point.
                    0 if !awaits => input.has_no_end(),
                    _ => input.ends_early(),
                });
            }
            if block == [0; BLOCK] {
                if awaits {
                    return Err(input.ends_early());
                }
                self.ended = true;
                // The rest is read, so that a program that writes it into a pipe does not fail.
                while input.read(&mut block)? == BLOCK {}
                break;
            }
            let header = Header::from_byte_slice(&block);
            if !is_sound(header) {
                let at = self.next;
                return Err(if is_first {
                    no_archive(&input)
                } else {
                    Error::corrupt(format!("{}: no valid header at byte {at}", input.name))
                });
            }
            let kind = header.entry_type();
            let own_size =
                header.entry_size().map_err(|_| malformed(&input, "a size", self.next))?;
            let size = match kind {
                EntryType::XHeader
                | EntryType::XGlobalHeader
                | EntryType::GNULongName
                | EntryType::GNULongLink => own_size,
                _ => said.size.unwrap_or(own_size),
            };
            if kind == EntryType::GNUSparse {
                skip_sparse_map(&mut input, header)?;
            }
            let end = input.at.checked_add(size).and_then(|end| end.checked_next_multiple_of(512));
            self.next = end.ok_or_else(|| malformed(&input, "a size", self.next))?;
            // A global header may be the last: git's archive of an empty tree has nothing else.
            awaits |= matches!(
                kind,
                EntryType::XHeader | EntryType::GNULongName | EntryType::GNULongLink
            );
            match kind {
                EntryType::XHeader => extended(&mut input, size)?.pax(&mut said, &input)?,
                EntryType::GNULongName => said.path = Some(extended(&mut input, size)?.text()),
                EntryType::GNULongLink => said.link = Some(extended(&mut input, size)?.text()),
                // A global header is not about a path, and the name of a volume is not one.
                EntryType::XGlobalHeader => {}
                _ if kind.as_byte() == b'V' => {}
                _ => return member(header, said, size, &input).map(Some),
            }
        }
        Ok(None)
    }
}

fn no_archive(input: &Input) -> Error {
    Error::refused(format!("{} is not a tar archive", input.name))
        .hint("a directory is pushed by its path, and a git repository with --git")
}

fn is_sound(header: &Header) -> bool {
    let bytes = header.as_bytes();
    let sum = |byte: &u8| u32::from(*byte);
    let without = bytes[..148].iter().chain(&bytes[156..]).map(sum).sum::<u32>() + 8 * 32;
    header.cksum().is_ok_and(|said| said == without)
}

fn skip(input: &mut Input, to: u64) -> Result<()> {
    let mut buffer = [0; 16 << 10];
    while input.at < to {
        let length = to_usize(to - input.at).min(buffer.len());
        if input.read(&mut buffer[..length])? < length {
            return Err(input.ends_early());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::extended::SPARSE_BLOCKS_MAX;
    use super::super::member::MemberKind;
    use super::*;
    use crate::report::Reason;
    use freestone_core::ErrorKind;

    /// Returns a header and the bytes after it.
    fn told(path: &[u8], kind: u8, data: &[u8]) -> Vec<u8> {
        let mut header = Header::new_gnu();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path);
        header.set_mode(0o644);
        header.set_size(data.len() as u64);
        header.set_entry_type(EntryType::new(kind));
        sealed(header, data)
    }

    fn sealed(mut header: Header, data: &[u8]) -> Vec<u8> {
        header.set_cksum();
        let mut bytes = [header.as_bytes(), data].concat();
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }

    fn pax(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
        let record = |(key, value): &(&[u8], &[u8])| {
            let rest = [b" ", *key, b"=", *value, b"\n"].concat();
            let with = |digits: usize| (rest.len() + digits).to_string();
            let length = (1..).map(with).zip(1..).find(|(text, digits)| text.len() == *digits);
            [length.unwrap().0.into_bytes(), rest].concat()
        };
        told(b"pax", b'x', &fields.iter().flat_map(record).collect::<Vec<u8>>())
    }

    fn members(bytes: &[u8]) -> Result<Vec<Member>> {
        let bytes = std::io::Cursor::new(bytes.to_vec());
        let mut members = Members::new(Input::open("x.tar", Box::new(bytes))?);
        std::iter::from_fn(|| members.next().transpose()).collect()
    }

    fn paths(parts: &[Vec<u8>]) -> Vec<String> {
        let members = members(&[&parts.concat()[..], &[0; 1024]].concat()).unwrap();
        members.iter().map(|member| String::from_utf8(member.path.clone()).unwrap()).collect()
    }

    fn refusal(bytes: &[u8]) -> Error {
        members(bytes).err().unwrap()
    }

    const ZEROS: [u8; BLOCK] = [0; BLOCK];

    #[test]
    fn an_archive_without_an_end_mark_was_cut_off() {
        let whole = [told(b"a", b'0', b"a"), told(b"b", b'0', b"b")].concat();
        for cut in [1024, whole.len()] {
            let error = refusal(&whole[..cut]);
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert_eq!(error.to_string(), format!("x.tar ends without an end mark, at byte {cut}"));
            let hint = error.hint_text().unwrap();
            assert!(hint.contains("`(cat FILE; head -c 1024 /dev/zero) | freestone push -`"));
        }
        // One block of zeros is enough; a part of one is not.
        assert_eq!(members(&[&whole[..], &ZEROS].concat()).unwrap().len(), 2);
        assert!(members(&[&whole[..], &ZEROS[1..]].concat()).is_err());
        assert_eq!(members(&ZEROS).unwrap().len(), 0);
        assert_eq!(refusal(b"").to_string(), "x.tar is empty, which a tar archive is not");
    }

    #[test]
    fn how_to_add_end_marks_is_told_for_compressed_archives_too() {
        let zstd = zstd::encode_all(&told(b"a", b'0', b"a")[..], 1).unwrap();
        assert!(refusal(&zstd).hint_text().unwrap().contains("`(zstd -dc FILE; head"));
    }

    #[test]
    fn no_archive_ends_behind_a_header_that_tells_of_the_next() {
        let (first, named) = (told(b"a", b'0', b"a"), [(&b"path"[..], &b"b"[..])]);
        for header in [pax(&named), told(b"long", b'L', b"b\0"), told(b"long", b'K', b"b\0")] {
            for end in [&[][..], &ZEROS, &[ZEROS; 2].concat()] {
                let error = refusal(&[&first[..], &header, end].concat());
                assert_eq!(error.kind(), ErrorKind::Corrupt);
                let said = error.to_string();
                assert!(said.contains("ends in the middle of a member"), "{said}");
            }
        }
        // Git writes this for an empty tree; without its last blocks it has no end mark.
        let global = told(b"pax_global_header", b'g', b"12 comment=\n");
        assert_eq!(members(&[&global[..], &ZEROS].concat()).unwrap().len(), 0);
        assert!(refusal(&global).to_string().contains("without an end mark"));
        // As when archives are concatenated.
        let last = [&first[..], &global, &global, &ZEROS].concat();
        assert_eq!(members(&last).unwrap().len(), 1);
        // A header for the next member still applies after the name of a volume.
        let volume = [pax(&named), told(b"volume", b'V', b""), ZEROS.to_vec()].concat();
        assert!(refusal(&volume).to_string().contains("in the middle of a member"));
    }

    #[test]
    fn pax_values_may_hold_newlines() {
        let fields: [(&[u8], &[u8]); 4] = [
            (b"SCHILY.xattr.user.x", b"\n\n7 a=b\n\0\xff"),
            (b"SCHILY.acl.access", b"user::rw-\ngroup::r--\n"),
            (b"path", b"new\nline"),
            (b"comment", &[b'\n'; 2000]),
        ];
        assert_eq!(paths(&[pax(&fields), told(b"a", b'0', b"a")]), ["new\nline"]);
    }

    #[test]
    fn malformed_pax_records_are_errors() {
        for payload in [&b"6 a=b"[..], b"+6 a=b\n"] {
            let header = told(b"pax", b'x', payload);
            let error = refusal(&[header, told(b"a", b'0', b"a"), ZEROS.to_vec()].concat());
            assert!(error.to_string().contains("a pax field that is not valid"), "{payload:?}");
        }
    }

    #[test]
    fn pax_fields_without_a_value_are_as_if_they_were_not_there() {
        let fields: [(&[u8], &[u8]); 3] = [(b"path", b""), (b"linkpath", b""), (b"size", b"")];
        let link = {
            let mut header = Header::new_gnu();
            header.as_mut_bytes()[0] = b'l';
            header.as_mut_bytes()[157] = b'a';
            header.set_size(0);
            header.set_entry_type(EntryType::Symlink);
            sealed(header, b"")
        };
        let parts = [pax(&fields), told(b"a", b'0', b"abc"), pax(&fields), link, ZEROS.to_vec()];
        let found = members(&parts.concat()).unwrap();
        assert_eq!((&found[0].path[..], found[0].size), (&b"a"[..], 3));
        assert!(matches!(&found[1].what, MemberKind::Link(text) if text == b"a"));
        // The same for the name of a sparse file.
        let sparse: [(&[u8], &[u8]); 1] = [(b"GNU.sparse.name", b"")];
        assert_eq!(paths(&[pax(&sparse), told(b"s", b'0', b"")]), ["s"]);
    }

    /// Returns a sparse file whose map continues in `count` blocks, which look like members.
    fn sparse(count: usize, ends: bool) -> Vec<u8> {
        let mut header = Header::new_gnu();
        header.as_mut_bytes()[0] = b's';
        header.set_size(3);
        header.set_entry_type(EntryType::GNUSparse);
        header.as_mut_bytes()[482] = u8::from(count > 0);
        let mut bytes = sealed(header, b"");
        for left in (0..count).rev() {
            let mut block = told(b"injected", b'0', b"");
            block[504] = u8::from(left > 0 || !ends);
            bytes.extend(block);
        }
        bytes.extend(b"abc");
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }

    #[test]
    fn the_map_of_a_sparse_file_is_passed_over() {
        for count in [0, 1, 2, 50] {
            let found = [sparse(count, true), told(b"next", b'0', b"n"), ZEROS.to_vec()].concat();
            let found = members(&found).unwrap();
            assert_eq!(found.len(), 2, "{count}");
            assert!(matches!(found[0].what, MemberKind::Refused(Reason::Sparse)));
            assert_eq!((&found[0].path[..], &found[1].path[..]), (&b"s"[..], &b"next"[..]));
        }
        let cut = sparse(2, false);
        assert!(refusal(&cut[..1024]).to_string().contains("in the middle of a member"));
        // The most blocks that a map may have, and one more.
        let most = [sparse(SPARSE_BLOCKS_MAX, true), ZEROS.to_vec()].concat();
        assert_eq!(members(&most).unwrap().len(), 1);
        let more = [sparse(SPARSE_BLOCKS_MAX, false), ZEROS.to_vec()].concat();
        assert!(refusal(&more).to_string().contains("s has a map of more than 65536 blocks"));
        // In other formats the flag is a byte of the path.
        let mut header = Header::new_ustar();
        header.as_mut_bytes()[..1].copy_from_slice(b"s");
        header.as_mut_bytes()[345..490].fill(b'p');
        header.set_size(0);
        header.set_entry_type(EntryType::GNUSparse);
        let error = refusal(&[sealed(header, b""), ZEROS.to_vec()].concat());
        assert!(
            error.to_string().contains("/s is a sparse file in a tar format without sparse files")
        );
    }

    #[test]
    fn a_file_whose_path_ends_in_a_slash_is_a_directory() {
        for kind in [0, b'0', b'7'] {
            let long = [told(b"long", b'L', b"d/\0"), told(b"e", kind, b"")].concat();
            for member in [told(b"d/", kind, b""), long] {
                let found = members(&[&member[..], &ZEROS].concat()).unwrap();
                assert!(matches!(found[0].what, MemberKind::Directory), "{kind}");
            }
        }
        let found = members(&[told(b"d", 0, b""), ZEROS.to_vec()].concat()).unwrap();
        assert!(matches!(found[0].what, MemberKind::File { .. }));
    }
}
