//! lz4 streams: frames one after the other.
//!
//! Source: the LZ4 frame format description (lz4 `doc/lz4_Frame_format.md`). `lz4_flex` decodes a frame; what is added here
//! is what it leaves open: that a frame which ends early is an error (its decoder takes the end of the input between two
//! blocks for the end of the frame), skippable frames, and what may follow a frame.

use std::io::{self, Read};

use lz4_flex::frame::FrameDecoder;

use super::pipe::Inlet;

const MAGIC: u32 = 0x184D_2204;
const LEGACY_MAGIC: u32 = 0x184C_2102;
const SKIPPABLE_MAGIC: std::ops::RangeInclusive<u32> = 0x184D_2A50..=0x184D_2A5F;

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
