//! Where members and frames end, found without decompressing them.
//!
//! zstd and lz4 say so in the headers of their blocks; so do gzip members that we wrote, in their header. For other gzip the
//! next header is looked for that is the same as this member's (Go's writers, Vitess's pargzip among them, write one
//! header only), which may be wrong: whoever reads the part finds out. A part is at most [`PLAIN_MAX`] and [`STORED_MAX`]
//! bytes; all else is left to the reader that goes through the bytes in order.
//!
//! Sources: RFC 1952; RFC 8878, 3.1.1; lz4 `doc/lz4_Frame_format.md`.

use super::{Codec, gzip, lz4};

/// The most that a part may hold, decompressed: the largest block that [`super::Compression::block_size`] asks for, now and
/// in earlier versions.
pub(super) const PLAIN_MAX: usize = 4 << 20;

/// The most that a part may have, compressed: incompressible blocks grow a little.
pub(super) const STORED_MAX: usize = PLAIN_MAX + (64 << 10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The first `stored` bytes are a member or a frame. It holds `plain` bytes: exactly (gzip, zstd), at most (lz4).
    Part { stored: usize, plain: usize },
    /// More bytes are needed to tell.
    More,
    /// Not to be told, or too large.
    Unknown,
}

/// Looks at the beginning of what has not been cut yet, and remembers how far it came.
#[derive(Debug)]
pub(super) struct Cutter {
    codec: Codec,
    /// Where the next block begins (zstd, lz4), or where to look for the next header (gzip); 0 before the header is read.
    at: usize,
    plain: usize,
}

/// The end of the bytes so far, or something that is no part.
type Stop = Cut;

fn word(bytes: &[u8], at: usize) -> Result<u32, Stop> {
    match bytes.get(at..at + 4) {
        Some(&[a, b, c, d]) => Ok(u32::from_le_bytes([a, b, c, d])),
        _ => Err(Cut::More),
    }
}

fn byte(bytes: &[u8], at: usize) -> Result<u8, Stop> {
    bytes.get(at).copied().ok_or(Cut::More)
}

fn length(number: impl TryInto<usize>) -> usize {
    number.try_into().unwrap_or(usize::MAX)
}

impl Cutter {
    pub(super) fn new(codec: Codec) -> Self {
        Self { codec, at: 0, plain: 0 }
    }

    /// `pending` begins where the last part ended, and is what it was at the last look, or longer. `ended`: nothing will
    /// follow.
    pub(super) fn next(&mut self, pending: &[u8], ended: bool) -> Cut {
        let found = match self.codec {
            Codec::Gzip(_) => self.gzip(pending, ended),
            Codec::Zstd => Self::skippable(pending).unwrap_or_else(|| self.zstd(pending)),
            Codec::Lz4 => Self::skippable(pending).unwrap_or_else(|| self.lz4(pending)),
            Codec::None | Codec::External => Err(Cut::Unknown),
        };
        match found {
            Ok((stored, _)) if stored > pending.len() && stored <= STORED_MAX && !ended => Cut::More,
            Ok((stored, plain)) if stored <= pending.len() && stored <= STORED_MAX && plain <= PLAIN_MAX => {
                *self = Self::new(self.codec);
                Cut::Part { stored, plain }
            }
            Err(Cut::More) if !ended && pending.len() <= STORED_MAX => Cut::More,
            _ => Cut::Unknown,
        }
    }

    fn gzip(&mut self, bytes: &[u8], ended: bool) -> Result<(usize, usize), Stop> {
        if bytes.len() < gzip::OUR_HEADER_LENGTH + gzip::TRAILER_LENGTH && !ended {
            return Err(Cut::More);
        }
        let end = if bytes.starts_with(&gzip::OUR_HEADER) {
            length(word(bytes, gzip::OUR_HEADER.len())?)
        } else {
            self.next_like_this(bytes, ended)?
        };
        let Some(before_length) = end.checked_sub(4) else { return Err(Cut::Unknown) };
        if end > bytes.len() {
            return Ok((end, 0));
        }
        Ok((end, length(word(bytes, before_length)?)))
    }

    fn next_like_this(&mut self, bytes: &[u8], ended: bool) -> Result<usize, Stop> {
        let header = bytes.get(..10).filter(|header| header.starts_with(&gzip::PLAIN_HEADER)).ok_or(Cut::Unknown)?;
        let from = self.at.max(header.len());
        for found in memchr::memmem::find_iter(&bytes[from..], header).map(|found| from + found) {
            // Compressed data may hold gzip of others; what stands before it is hardly ever a length.
            let plain = length(word(bytes, found - 4)?);
            if plain <= PLAIN_MAX && found <= plain + plain / 1000 + 1024 {
                return Ok(found);
            }
        }
        self.at = bytes.len().saturating_sub(header.len() - 1).max(header.len());
        if ended { Ok(bytes.len()) } else { Err(Cut::More) }
    }

    /// A frame that holds nothing, of zstd or of lz4.
    fn skippable(bytes: &[u8]) -> Option<Result<(usize, usize), Stop>> {
        match word(bytes, 0) {
            Ok(magic) if lz4::SKIPPABLE_MAGIC.contains(&magic) => {
                Some(word(bytes, 4).map(|content| (length(content).saturating_add(8), 0)))
            }
            Ok(_) => None,
            Err(stop) => Some(Err(stop)),
        }
    }

    fn zstd(&mut self, bytes: &[u8]) -> Result<(usize, usize), Stop> {
        let descriptor = byte(bytes, 4)?;
        if self.at == 0 {
            (self.at, self.plain) = zstd_header(bytes)?;
        }
        loop {
            let header =
                u32::from_le_bytes([byte(bytes, self.at)?, byte(bytes, self.at + 1)?, byte(bytes, self.at + 2)?, 0]);
            // Of a repeated byte only one is there, whatever the length.
            let content = match header >> 1 & 3 {
                0 | 2 => length(header >> 3),
                1 => 1,
                _ => return Err(Cut::Unknown),
            };
            let end = self.at + 3 + content;
            if header & 1 == 1 {
                let checksum = if descriptor & 4 == 0 { 0 } else { 4 };
                return Ok((end + checksum, self.plain));
            }
            self.at = end;
            if self.at > STORED_MAX {
                return Err(Cut::Unknown);
            }
        }
    }

    fn lz4(&mut self, bytes: &[u8]) -> Result<(usize, usize), Stop> {
        let header = lz4::Header::parse(bytes)?;
        self.at = self.at.max(header.length);
        loop {
            let block = word(bytes, self.at)?;
            if block == 0 {
                return Ok((self.at + 4 + header.content_checksum(), self.plain));
            }
            let content = length(block & lz4::LENGTH_MASK);
            // A byte of lz4 stands for at most 255.
            self.plain +=
                if block > lz4::LENGTH_MASK { content } else { header.block_max.min(content.saturating_mul(255)) };
            self.at += 4 + content + header.block_checksum();
            if self.at > STORED_MAX || self.plain > PLAIN_MAX {
                return Err(Cut::Unknown);
            }
        }
    }
}

/// Where the first block begins, and how many bytes the frame holds.
fn zstd_header(bytes: &[u8]) -> Result<(usize, usize), Stop> {
    const MAGIC: u32 = 0xFD2F_B528;
    let descriptor = byte(bytes, 4)?;
    let is_single_segment = descriptor & 0x20 != 0;
    let size_bytes = match descriptor >> 6 {
        0 if is_single_segment => 1,
        // The length is not told.
        0 => return Err(Cut::Unknown),
        other => 1 << other,
    };
    // A reserved bit, and the id of a dictionary.
    if word(bytes, 0)? != MAGIC || descriptor & 0x0b != 0 {
        return Err(Cut::Unknown);
    }
    let size_at = if is_single_segment { 5 } else { 6 };
    // A window above 2^27 is left to the reader that looks at it.
    if !is_single_segment && byte(bytes, 5)? > (27 - 10) << 3 {
        return Err(Cut::Unknown);
    }
    let mut size = [0; 8];
    size[..size_bytes].copy_from_slice(bytes.get(size_at..size_at + size_bytes).ok_or(Cut::More)?);
    let size = length(u64::from_le_bytes(size)).saturating_add(if size_bytes == 2 { 256 } else { 0 });
    if size > PLAIN_MAX { Err(Cut::Unknown) } else { Ok((size_at + size_bytes, size)) }
}
