//! lz4 streams: frames one after the other.
//!
//! Source: the LZ4 frame format description (lz4 `doc/lz4_Frame_format.md`). Whole frames with independent blocks are written
//! and read here, over `lz4_flex`'s blocks: its frames copy every byte twice more and clear their buffers for each frame
//! (measured: 490 MB/s a core read by its frames, 2500 by its blocks). Anything else is read by its frame decoder, in order.
//! What is added there is what it leaves open: that a frame which ends early is an error (its decoder takes the end of the
//! input between two blocks for the end of the frame), skippable frames, and what may follow a frame.

mod runs;

use std::io::{self, Read};

use bytes::Bytes;
use lz4_flex::block;
use lz4_flex::frame::FrameDecoder;
use twox_hash::XxHash32;

use super::buffers::Buffers;
use super::cut::Cut;
use super::pipe::Inlet;
use runs::Readable;

const MAGIC: u32 = 0x184D_2204;
const LEGACY_MAGIC: u32 = 0x184C_2102;
pub(super) const SKIPPABLE_MAGIC: std::ops::RangeInclusive<u32> = 0x184D_2A50..=0x184D_2A5F;

/// A block's length; the bit above says that it is not compressed.
pub(super) const LENGTH_MASK: u32 = 0x7fff_ffff;

/// The largest block that there is.
const BLOCK_MAX: usize = 4 << 20;

/// The largest block that we write.
const OUR_BLOCK: usize = 1 << 20;

/// Of a frame with independent blocks and no dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// In bytes, the magic number included.
    pub(super) length: usize,
    pub(super) block_max: usize,
    block_checksums: bool,
    content_checksum: bool,
    content_size: Option<u64>,
}

impl Header {
    /// # Errors
    /// [`Cut::More`] when the bytes end within it, [`Cut::Unknown`] when it is not such a header.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Cut> {
        let &[a, b, c, d, flags, sizes, ..] = bytes else { return Err(Cut::More) };
        // Version 01, independent blocks; a reserved bit, a dictionary; reserved bits.
        if u32::from_le_bytes([a, b, c, d]) != MAGIC || flags & 0xe3 != 0x60 || sizes & 0x8f != 0 || sizes < 0x40 {
            return Err(Cut::Unknown);
        }
        let has_size = flags & 0x08 != 0;
        let end = if has_size { 14 } else { 6 };
        let checksum = *bytes.get(end).ok_or(Cut::More)?;
        if XxHash32::oneshot(0, &bytes[4..end]).to_le_bytes()[1] != checksum {
            return Err(Cut::Unknown);
        }
        let content_size = bytes[6..end].try_into().ok().map(u64::from_le_bytes);
        Ok(Self {
            length: end + 1,
            block_max: BLOCK_MAX >> (2 * (7 - (sizes >> 4))),
            block_checksums: flags & 0x10 != 0,
            content_checksum: flags & 0x04 != 0,
            content_size,
        })
    }

    /// The bytes behind each block.
    pub(super) fn block_checksum(self) -> usize {
        if self.block_checksums { 4 } else { 0 }
    }

    /// The bytes behind the end mark.
    pub(super) fn content_checksum(self) -> usize {
        if self.content_checksum { 4 } else { 0 }
    }
}

/// How often a chunk is cut for readers that it would mislead; what is left then is not compressed.
const CUTS: usize = 8;

/// A frame of independent blocks of 1 MiB with a content checksum: what Vitess's own writer writes but for the blocks, which
/// are 4 MiB there. A reader makes room for a whole one. Every block is one that Vitess can read, see [`runs`].
pub(super) fn write_frame(content: &[u8], scratch: &mut Vec<u8>) -> io::Result<Bytes> {
    const FLAGS_AND_SIZES: [u8; 2] = [0x64, 0x60];
    // lz4_flex asks for a tenth more than it is given, and 20 bytes.
    let bound = content.len() + content.len() / 8 + 256;
    if scratch.len() < bound {
        *scratch = vec![0; bound];
    }
    let mut end = 7;
    scratch[..4].copy_from_slice(&MAGIC.to_le_bytes());
    scratch[4..6].copy_from_slice(&FLAGS_AND_SIZES);
    scratch[6] = XxHash32::oneshot(0, &FLAGS_AND_SIZES).to_le_bytes()[1];
    for plain in content.chunks(OUR_BLOCK) {
        end += write_blocks(plain, &mut scratch[end..])?;
    }
    let mut frame = Vec::with_capacity(end + 8);
    frame.extend_from_slice(&scratch[..end]);
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(&XxHash32::oneshot(0, content).to_le_bytes());
    Ok(frame.into())
}

/// A chunk as one block, or as several where one would mislead a reader; gives the bytes that were filled.
fn write_blocks(mut plain: &[u8], room: &mut [u8]) -> io::Result<usize> {
    let mut end = 0;
    for _ in 0..CUTS {
        let length = block::compress_into(plain, &mut room[end + 4..]).map_err(io::Error::other)?;
        if length >= plain.len() {
            break;
        }
        match runs::readable(&room[end + 4..end + 4 + length], plain) {
            Some(Readable::AsItIs) => return Ok(end + seal(&mut room[end..], length, 0)?),
            Some(Readable::Instead(block)) if block.len() < plain.len() => {
                room[end + 4..end + 4 + block.len()].copy_from_slice(&block);
                return Ok(end + seal(&mut room[end..], block.len(), 0)?);
            }
            Some(Readable::CutAfter(length)) if length < plain.len() => {
                let (first, rest) = plain.split_at(length);
                end += store(first, &mut room[end..])?;
                plain = rest;
            }
            _ => break,
        }
    }
    Ok(end + store(plain, &mut room[end..])?)
}

/// A block that is not compressed.
fn store(plain: &[u8], room: &mut [u8]) -> io::Result<usize> {
    room[4..4 + plain.len()].copy_from_slice(plain);
    seal(room, plain.len(), !LENGTH_MASK)
}

/// Writes the word before a block that is in its place.
fn seal(room: &mut [u8], length: usize, flag: u32) -> io::Result<usize> {
    let word = u32::try_from(length).map_err(io::Error::other)? | flag;
    room[..4].copy_from_slice(&word.to_le_bytes());
    Ok(4 + length)
}

/// What a frame holds, `most` bytes at most, if `stored` is exactly one (or a skippable one); else `None`.
pub(super) fn read_frame(stored: &[u8], most: usize, buffers: &Buffers) -> Option<Bytes> {
    if SKIPPABLE_MAGIC.contains(&word(stored, 0)?) {
        let length = usize::try_from(word(stored, 4)?).ok()?;
        return (length.checked_add(8)? == stored.len()).then(Bytes::new);
    }
    let header = Header::parse(stored).ok()?;
    let mut content = buffers.take(most);
    if let Some(length) = read_blocks(header, stored, &mut content[..most]) {
        return Some(buffers.lend(content, length));
    }
    buffers.give_back(content);
    None
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn read_blocks(header: Header, stored: &[u8], content: &mut [u8]) -> Option<usize> {
    let (mut at, mut filled) = (header.length, 0);
    loop {
        let block = word(stored, at)?;
        at += 4;
        if block == 0 {
            break;
        }
        let length = usize::try_from(block & LENGTH_MASK).ok().filter(|length| *length <= header.block_max)?;
        let bytes = stored.get(at..at + length)?;
        at += length;
        if header.block_checksums {
            if XxHash32::oneshot(0, bytes) != word(stored, at)? {
                return None;
            }
            at += 4;
        }
        if block > LENGTH_MASK {
            content.get_mut(filled..filled + length)?.copy_from_slice(bytes);
            filled += length;
        } else {
            let room = content.len().min(filled + header.block_max);
            filled += block::decompress_into(bytes, &mut content[filled..room]).ok()?;
        }
    }
    if header.content_checksum {
        if XxHash32::oneshot(0, &content[..filled]) != word(stored, at)? {
            return None;
        }
        at += 4;
    }
    let is_as_told = header.content_size.is_none_or(|size| size == filled as u64);
    (at == stored.len() && is_as_told).then_some(filled)
}

pub(super) struct Lz4Frames {
    state: State,
}

enum State {
    Between(Inlet),
    Inside(FrameDecoder<io::Chain<io::Cursor<[u8; 4]>, Inlet>>),
    /// Ended, or failed.
    Over,
}

impl Lz4Frames {
    pub(super) fn new(stored: Inlet) -> Self {
        Self { state: State::Between(stored) }
    }
}

impl Read for Lz4Frames {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            match std::mem::replace(&mut self.state, State::Over) {
                State::Over => return Ok(0),
                State::Between(stored) => match begin_frame(stored)? {
                    Some(decoder) => self.state = State::Inside(decoder),
                    None => return Ok(0),
                },
                State::Inside(mut decoder) => {
                    let length = decoder.read(into)?;
                    if length > 0 {
                        self.state = State::Inside(decoder);
                        return Ok(length);
                    }
                    let (_, stored) = decoder.into_inner().into_inner();
                    // A whole frame is read to its last byte and no further.
                    if stored.has_ended() {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.state = State::Between(stored);
                }
            }
        }
    }
}

type Decoder = FrameDecoder<io::Chain<io::Cursor<[u8; 4]>, Inlet>>;

/// The decoder of the next frame, `None` at the end of the input.
fn begin_frame(mut stored: Inlet) -> io::Result<Option<Decoder>> {
    loop {
        let mut magic = [0; 4];
        let first = stored.read(&mut magic)?;
        if first == 0 {
            return Ok(None);
        }
        stored.read_exact(&mut magic[first..])?;
        match u32::from_le_bytes(magic) {
            MAGIC => return Ok(Some(FrameDecoder::new(io::Cursor::new(magic).chain(stored)))),
            number if SKIPPABLE_MAGIC.contains(&number) => skip(&mut stored)?,
            LEGACY_MAGIC => return Err(io::Error::new(io::ErrorKind::InvalidData, "a legacy lz4 frame")),
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "no lz4 frame begins where one should")),
        }
    }
}

fn skip(stored: &mut Inlet) -> io::Result<()> {
    let mut length = [0; 4];
    stored.read_exact(&mut length)?;
    let length = u64::from(u32::from_le_bytes(length));
    let skipped = io::copy(&mut stored.take(length), &mut io::sink())?;
    if skipped == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Stretches that are alike and stretches that are not, by which runs of literals of all lengths begin anywhere.
    fn content() -> impl Strategy<Value = Vec<u8>> {
        let stretch = prop_oneof![
            (1_usize..9_000, any::<u64>()).prop_map(|(length, seed)| noise(length, seed)),
            (1_usize..90, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
            Just(b"the same words again and again".to_vec()),
        ];
        proptest::collection::vec(stretch, 0..60).prop_map(|stretches| stretches.concat())
    }

    fn noise(length: usize, mut seed: u64) -> Vec<u8> {
        std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 56) as u8
        })
        .take(length)
        .collect()
    }

    /// The compressed blocks of a frame.
    fn blocks(frame: &[u8]) -> Vec<&[u8]> {
        let (mut at, mut found) = (7, Vec::new());
        loop {
            let word = word(frame, at).unwrap();
            let length = usize::try_from(word & LENGTH_MASK).unwrap();
            at += 4;
            if word == 0 {
                return found;
            }
            if word & !LENGTH_MASK == 0 {
                found.push(&frame[at..at + length]);
            }
            at += length;
        }
    }

    fn assert_reads_back_and_misleads_nobody(content: &[u8]) {
        let frame = write_frame(content, &mut Vec::new()).unwrap();
        let mut read = Vec::new();
        FrameDecoder::new(&frame[..]).read_to_end(&mut read).unwrap();
        assert!(read == content, "{} bytes do not read back", content.len());
        assert!(blocks(&frame).into_iter().all(|block| !runs::misleads_a_reader(block)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_frame_reads_back_and_no_block_misleads_a_reader(content in content()) {
            assert_reads_back_and_misleads_nobody(&content);
        }
    }

    #[test]
    fn a_run_that_would_mislead_a_reader_begins_elsewhere_or_ends_its_block() {
        let words = b"a match: a match: a match: a match: a match: ".repeat(4);
        // First in its block, where no match is before it, and after a match, at each place.
        let mut compressed = 0;
        for shift in 0..16 {
            let content = [&words[..160 + shift], &noise(2048, 7), &words, &noise(20_000, 8), &words].concat();
            let raw = block::compress(&content);
            compressed += usize::from(runs::misleads_a_reader(&raw));
            assert_reads_back_and_misleads_nobody(&content);
        }
        assert!(compressed > 0, "lz4_flex itself writes such blocks");
        let first = [noise(4096, 9), words.clone(), noise(4096, 9), words].concat();
        assert!(runs::misleads_a_reader(&block::compress(&first)));
        assert_reads_back_and_misleads_nobody(&first);
        let frame = write_frame(&first, &mut Vec::new()).unwrap();
        assert!(frame.len() < first.len(), "what follows the first run is compressed");
    }
}
