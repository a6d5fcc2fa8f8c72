//! The headers that an entry needs in a tar image, by the rules of layout `tar1`.
//!
//! The measure of an entry and the headers that the image format writes are both computed by
//! [`Shape::of`], so that they always agree.

use crate::limits::{
    ALIGNED_CONTENT_BYTES_MIN, PAX_PAYLOAD_BYTES_MAX, TAR_BLOCK_BYTES, USTAR_SIZE_MAX,
};
use crate::measure::Measure;

/// The longest name of a ustar header, which has 100 bytes for it.
const NAME_BYTES_MAX: usize = 100;
/// The longest prefix of a ustar header, which has 155 bytes for it.
const PREFIX_BYTES_MAX: usize = 155;

/// The way in which tar expresses an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The full name: the path, and a `/` after that of a directory.
    pub name: Vec<u8>,
    /// The index of the `/` that splits [`Self::name`] into ustar's prefix and name. `None` if the
    /// name field holds all of it, or [`Self::pax`] does.
    pub split: Option<usize>,
    /// The payload of the pax `x` header before the entry's own header, at most 512 bytes; empty if
    /// the entry needs none.
    pub pax: Vec<u8>,
    /// Whether [`Self::pax`] has the path.
    pub pax_path: bool,
    /// Whether [`Self::pax`] has the size.
    pub pax_size: bool,
}

impl Shape {
    /// Computes how tar expresses the entry `path`, a file of `size` bytes, or a directory if
    /// `size` is `None`. Returns `None` if tar cannot express it in a way that strict readers
    /// accept.
    pub fn of(path: &[u8], size: Option<u64>) -> Option<Self> {
        let mut name = path.to_vec();
        if size.is_none() {
            name.push(b'/');
        }
        let split = split(&name);
        let pax_path = name.len() > NAME_BYTES_MAX && split.is_none();
        let pax_size = size.is_some_and(|size| size > USTAR_SIZE_MAX);
        let mut pax = Vec::new();
        if pax_path {
            // POSIX wants UTF-8 in pax records. For any other path bsdtar ends with an error unless
            // this record says that the bytes are to be taken as they are.
            if std::str::from_utf8(&name).is_err() {
                pax.extend(pax_record(b"hdrcharset", b"BINARY"));
            }
            pax.extend(pax_record(b"path", &name));
        }
        if let Some(size) = size.filter(|_| pax_size) {
            pax.extend(pax_record(b"size", size.to_string().as_bytes()));
        }
        (pax.len() <= PAX_PAYLOAD_BYTES_MAX).then_some(Self {
            name,
            split,
            pax,
            pax_path,
            pax_size,
        })
    }

    /// Returns the number of 512-byte blocks before the entry's data, without fillers.
    pub fn header_blocks(&self) -> u64 {
        if self.pax.is_empty() { 1 } else { 3 }
    }
}

/// Returns the measure of the entry `path`, a file of `size` bytes, or a directory if `size` is
/// `None`.
pub fn measure(path: &[u8], size: Option<u64>) -> Measure {
    // Nearly every path fits the name field, and then there is nothing to compute.
    let headers = if path.len() < NAME_BYTES_MAX && size.unwrap_or(0) <= USTAR_SIZE_MAX {
        1
    } else {
        match Shape::of(path, size) {
            Some(shape) => shape.header_blocks(),
            None => return Measure::Inexpressible,
        }
    };
    let data = size.unwrap_or(0).div_ceil(TAR_BLOCK_BYTES);
    if is_aligned(size) { Measure::Reset(headers, data) } else { Measure::Rigid(headers + data) }
}

/// Returns true if the data of an entry of this size start at a multiple of 4096.
pub fn is_aligned(size: Option<u64>) -> bool {
    size.is_some_and(|size| size >= ALIGNED_CONTENT_BYTES_MIN)
}

/// Splits at the first `/` with at most 100 bytes after it, if at most 155 bytes are before it.
fn split(name: &[u8]) -> Option<usize> {
    if name.len() <= NAME_BYTES_MAX {
        return None;
    }
    let earliest = name.len() - NAME_BYTES_MAX - 1;
    let at = earliest + name[earliest..].iter().position(|byte| *byte == b'/')?;
    (0 < at && at <= PREFIX_BYTES_MAX && at + 1 < name.len()).then_some(at)
}

/// Returns a pax record, `LENGTH KEY=VALUE\n`. The decimal length counts its own digits, too.
pub fn pax_record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut digits = 1;
    while (rest + digits).to_string().len() > digits {
        digits += 1;
    }
    let mut record = (rest + digits).to_string().into_bytes();
    record.push(b' ');
    record.extend_from_slice(key);
    record.push(b'=');
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pax_records_count_themselves() {
        for length in [0, 1, 80, 88, 89, 90, 91, 92, 93, 94, 500, 502, 987, 988, 989, 990] {
            let record = pax_record(b"path", &vec![b'x'; length]);
            let text = String::from_utf8(record.clone()).unwrap();
            assert_eq!(text.split(' ').next().unwrap().parse(), Ok(record.len()));
        }
    }

    #[test]
    fn long_names_move_to_the_prefix_then_to_pax_then_nowhere() {
        let file = |path: &[u8]| Shape::of(path, Some(0));
        assert!(file(&[b'x'; 100]).unwrap().pax.is_empty());
        assert!(file(&[b'x'; 101]).unwrap().pax_path);
        assert_eq!(Shape::of(&[b'x'; 100], None).unwrap().header_blocks(), 3);
        let mut path = vec![b'p'; 155];
        path.push(b'/');
        path.extend([b'n'; 100]);
        assert_eq!(file(&path).unwrap().split, Some(155));
        path.push(b'n');
        assert!(file(&path).unwrap().pax_path);
        assert_eq!(file(&[b'x'; 502]).unwrap().pax.len(), 512);
        assert_eq!(file(&[b'x'; 503]), None);
        assert_eq!(measure(&[b'x'; 503], Some(0)), Measure::Inexpressible);
    }

    #[test]
    fn a_path_in_pax_that_is_not_utf_8_is_declared() {
        let pax = |path: &[u8], size| Shape::of(path, Some(size)).map(|shape| shape.pax);
        let declared = b"21 hdrcharset=BINARY\n111 path=\xff\xff";
        assert!(pax(&[0xff; 101], 0).unwrap().starts_with(declared));
        assert!(pax(&[0xff; 101], 1 << 33).unwrap().ends_with(b"\n19 size=8589934592\n"));
        assert!(pax("é".repeat(60).as_bytes(), 0).unwrap().starts_with(b"130 path="));
        // A name in the ustar header has no charset.
        assert_eq!(pax(&[0xff; 100], 0).unwrap(), b"");
        assert_eq!(pax(&[0xff; 481], 0).unwrap().len(), 512);
        assert_eq!(pax(&[0xff; 482], 0), None);
        assert_eq!(measure(&[0xff; 482], Some(0)), Measure::Inexpressible);
    }

    #[test]
    fn sizes_beyond_octal_stand_in_pax() {
        assert!(!Shape::of(b"a", Some(USTAR_SIZE_MAX)).unwrap().pax_size);
        assert!(Shape::of(b"a", Some(USTAR_SIZE_MAX + 1)).unwrap().pax_size);
        assert_eq!(measure(b"a", Some(USTAR_SIZE_MAX + 1)), Measure::Reset(3, 1 << 24));
    }

    #[test]
    fn measures_follow_the_sizes() {
        assert_eq!(measure(b"d", None), Measure::Rigid(1));
        assert_eq!(measure(b"f", Some(0)), Measure::Rigid(1));
        assert_eq!(measure(b"f", Some(512)), Measure::Rigid(2));
        assert_eq!(measure(b"f", Some(513)), Measure::Rigid(3));
        assert_eq!(measure(b"f", Some(65_535)), Measure::Rigid(129));
        assert_eq!(measure(b"f", Some(65_536)), Measure::Reset(1, 128));
    }
}
