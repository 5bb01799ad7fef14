//! gzip members, whole: written with their length in the header, read back only if that is where they end.
//!
//! Level 1, which is Vitess's default, is Intel ISA-L's where the processor is x86-64; libdeflate does the other levels and
//! other processors, and reads. MB/s of one core (EPYC with AVX-512; 111 MB of InnoDB pages and source text in blocks of
//! 1 MiB), with the stored size in per cent of the plain one:
//!
//! | level | ISA-L 1 | ISA-L 3 | libdeflate, same level | zlib-rs, same level | Vitess's pargzip |
//! |---|---|---|---|---|---|
//! | 1 | 499 · 28.2 | 283 · 27.2 | 266 · 26.7 | 235 · 36.1 | 28.7 |
//! | 2 | | | 192 · 26.3 | 152 · 27.2 | 26.9 |
//! | 3 | | | 138 · 25.8 | 127 · 26.0 | 26.2 |
//! | 6 | | | 104 · 24.8 (7: 62 · 24.5) | 64 · 24.5 | |
//! | 9 | | | 26 · 24.2 | 27 · 24.4 | |
//! | reading level 1 | 970 | | 1180 | 560 | |
//!
//! From 6 on, where size is what is asked for, libdeflate is asked for one level more, so that on this data no measured
//! level of ours is larger than zlib's by more than a part in a thousand. Of the crate over ISA-L only the call for a whole block is used: its streaming writer lost data at level 0
//! in every block of this measurement, and its streaming reader keeps a pointer into itself that moving it invalidates.
//! So streams that are not whole members are read by zlib-rs.

use std::io::{self, Write};

use bytes::Bytes;
use libdeflater::{CompressionLvl, Compressor, Decompressor};

use super::buffers::Buffers;

/// Magic, deflate, and a header of nothing else. Source: RFC 1952.
pub(super) const PLAIN_HEADER: [u8; 4] = [0x1f, 0x8b, 8, 0];

/// Magic, deflate, FEXTRA; no time, fastest, operating system unknown, and an extra field of 8 bytes: the subfield `VB`
/// with 4 bytes, which are the length of the whole member, header and trailer included, little-endian. Readers that do not
/// know the field skip it. It tells where the next member begins without reading this one.
pub(super) const OUR_HEADER: [u8; 16] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 4, 255, 8, 0, b'V', b'B', 4, 0];

/// With the length.
pub(super) const OUR_HEADER_LENGTH: usize = OUR_HEADER.len() + 4;

/// CRC-32 of what is plain, and its length.
pub(super) const TRAILER_LENGTH: usize = 8;

/// Writes members of one level. Its buffers serve one block after the other.
pub(super) struct Writer {
    deflate: Deflate,
    scratch: Vec<u8>,
}

enum Deflate {
    Stored,
    #[cfg(target_arch = "x86_64")]
    Isal,
    Libdeflate(Compressor),
}

impl Writer {
    /// `level` from 0 to 9.
    pub(super) fn new(level: i32) -> io::Result<Self> {
        let libdeflate = |level| match CompressionLvl::new(level) {
            Ok(level) => Ok(Deflate::Libdeflate(Compressor::new(level))),
            Err(_) => Err(io::Error::other("no such level")),
        };
        let deflate = match level {
            0 => Deflate::Stored,
            #[cfg(target_arch = "x86_64")]
            1 => Deflate::Isal,
            6..=8 => libdeflate(level + 1)?,
            other => libdeflate(other)?,
        };
        Ok(Self { deflate, scratch: Vec::new() })
    }

    pub(super) fn member(&mut self, block: &[u8]) -> io::Result<Bytes> {
        // Incompressible bytes become stored blocks of at most 64 KiB with 5 bytes each; libdeflate asks for less.
        let bound = block.len() + block.len() / 1000 + 1024;
        if self.scratch.len() < bound {
            self.scratch = vec![0; bound];
        }
        let length = self.deflate.deflate(block, &mut self.scratch)?;
        let whole = OUR_HEADER_LENGTH + length + TRAILER_LENGTH;
        let (Ok(whole_length), Ok(plain_length)) = (u32::try_from(whole), u32::try_from(block.len())) else {
            return Err(io::Error::other("a block of 4 GiB or more"));
        };
        let mut member = Vec::with_capacity(whole);
        member.extend_from_slice(&OUR_HEADER);
        member.extend_from_slice(&whole_length.to_le_bytes());
        member.extend_from_slice(&self.scratch[..length]);
        member.extend_from_slice(&crc32fast::hash(block).to_le_bytes());
        member.extend_from_slice(&plain_length.to_le_bytes());
        Ok(member.into())
    }
}

impl Deflate {
    fn deflate(&mut self, block: &[u8], into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Stored => {
                let room = into.len();
                let mut encoder = flate2::write::DeflateEncoder::new(into, flate2::Compression::none());
                encoder.write_all(block)?;
                Ok(room - encoder.finish()?.len())
            }
            #[cfg(target_arch = "x86_64")]
            Self::Isal => isal::compress_into(block, into, isal::CompressionLevel::One, isal::Codec::Deflate)
                .map_err(|error| io::Error::other(format!("ISA-L: {error:?}"))),
            Self::Libdeflate(compressor) => compressor.deflate_compress(block, into).map_err(io::Error::other),
        }
    }
}

/// What a member holds, if it is exactly one member that ends where `stored` ends and holds `plain` bytes; else `None`, and
/// only a reader that goes through the bytes in order can tell what they are.
///
/// libdeflate does not say where the member that it read ended, so this is shown otherwise: right behind it stood the
/// trailer that fits its content, and those 8 bytes are nowhere in `stored` but at its end.
pub(super) fn read_member(
    decompressor: &mut Decompressor,
    stored: &[u8],
    plain: usize,
    buffers: &Buffers,
) -> Option<Bytes> {
    let trailer = stored.get(stored.len().checked_sub(TRAILER_LENGTH)?..)?;
    let mut content = buffers.take(plain);
    let read = decompressor.gzip_decompress(stored, &mut content[..plain]);
    if read != Ok(plain)
        || !fits(trailer, &content[..plain])
        || memchr::memmem::find(stored, trailer) != Some(stored.len() - TRAILER_LENGTH)
    {
        buffers.give_back(content);
        return None;
    }
    Some(buffers.lend(content, plain))
}

fn fits(trailer: &[u8], content: &[u8]) -> bool {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    trailer[..4] == crc32fast::hash(content).to_le_bytes() && trailer[4..] == length.to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stored: &[u8], plain: usize) -> Option<Bytes> {
        read_member(&mut Decompressor::new(), stored, plain, &Buffers::default())
    }

    #[test]
    fn a_member_is_read_only_if_it_ends_where_the_bytes_end() {
        let content = [5; 1000];
        for level in 0..=9 {
            let member = Writer::new(level).unwrap().member(&content).unwrap();
            assert_eq!(read(&member, 1000).unwrap(), content.as_slice(), "level {level}");
            assert_eq!(read(&member, 999), None);
            assert_eq!(read(&member, 1001), None);
            assert_eq!(read(&member[..member.len() - 1], 1000), None);
            // The trailer of the second is right for the first as well.
            assert_eq!(read(&[&member[..], &member[..]].concat(), 1000), None);
            assert_eq!(read(&[&member[..], &member[member.len() - 8..]].concat(), 1000), None);
            assert_eq!(read(&[&member[..], b"x"].concat(), 1000), None);
        }
        assert_eq!(read(b"", 0), None);
    }
}
