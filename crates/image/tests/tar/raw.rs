//! Archives put together by hand, to break rules with.

/// Writes the checksum of a header.
pub fn sum(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// An archive in the making.
#[derive(Clone, Default)]
pub struct Raw(pub Vec<u8>);

impl Raw {
    /// Adds a header, and `data` padded to blocks.
    pub fn member(mut self, kind: u8, name: &[u8], data: &[u8]) -> Self {
        let mut header = vec![0; 512];
        header[..name.len()].copy_from_slice(name);
        header[100..107].copy_from_slice(if kind == b'5' { b"0000755" } else { b"0000644" });
        header[108..115].copy_from_slice(b"0000000");
        header[116..123].copy_from_slice(b"0000000");
        header[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
        header[136..147].copy_from_slice(b"00000000001");
        header[156] = kind;
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[329..336].copy_from_slice(b"0000000");
        header[337..344].copy_from_slice(b"0000000");
        sum(&mut header);
        self.0.extend(header);
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &str, data: &[u8]) -> Self {
        self.member(b'0', name.as_bytes(), data)
    }

    pub fn directory(self, name: &str) -> Self {
        self.member(b'5', name.as_bytes(), b"")
    }

    pub fn pax(self, records: &[u8]) -> Self {
        self.member(b'x', b"pax", records)
    }

    pub fn block(mut self, block: [u8; 512]) -> Self {
        self.0.extend(block);
        self
    }

    /// Changes the last header, which has no data after it, and corrects its checksum.
    pub fn patch(mut self, offset: usize, bytes: &[u8]) -> Self {
        let start = self.0.len() - 512;
        self.0[start + offset..start + offset + bytes.len()].copy_from_slice(bytes);
        sum(&mut self.0[start..]);
        self
    }

    /// Returns the archive with its end and a whole zero block.
    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len().next_multiple_of(4096) + 4096, 0);
        self.0
    }
}
