//! A stream of xbstream (or MariaDB's mbstream) taken apart without writing anything: whether it is whole.
//!
//! The format: chunks, one after the other. Each begins with `XBSTCK01`, a byte of flags, a byte of its type, the length of a
//! path (4 bytes, little-endian like all numbers) and the path. `E` ends the file of that path. `P` adds to it: the length of
//! the payload (8 bytes), its offset in the file (8), its CRC-32 (4), the payload. `S` is a `P` with holes: the number of
//! holes (4 bytes) before its length, and the holes (8 bytes each) before its payload. Source: Percona XtraBackup
//! `storage/innobase/xtrabackup/src/xbstream.h` and `xbstream_read.cc`, MariaDB `extra/mariabackup/xbstream.h`.

use std::collections::BTreeSet;

const MAGIC: &[u8; 8] = b"XBSTCK01";
/// Magic, flags, type, length of the path.
const HEAD: usize = 8 + 1 + 1 + 4;
/// More than any path; a chunk that says more is none.
const PATH_MAX: usize = 4096;

/// Reads a stream as it comes.
#[derive(Debug, Default)]
pub struct Walk {
    /// Bytes that are not enough yet for what comes next.
    pending: Vec<u8>,
    next: Next,
    /// Files that were begun and not ended.
    open: BTreeSet<Vec<u8>>,
    /// Bytes of the stream before `pending`.
    at: u64,
}

#[derive(Debug, Default)]
enum Next {
    #[default]
    Head,
    /// The path, and what follows it up to the payload, of a chunk of this type.
    Rest { kind: u8, path: usize },
    /// The holes of a sparse chunk.
    Holes { bytes: u64, payload: u64 },
    /// So many more bytes; the checksum of all of them, where it is known what it is over.
    Payload { left: u64, expected: Option<u32>, crc: crc32fast::Hasher, path: Vec<u8> },
    /// A type of chunk that we do not know: nothing can be said of the rest.
    Unknown { kind: u8 },
}

/// A place in the stream where it is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Bytes of the stream before it.
    pub at: u64,
    pub what: String,
}

impl Walk {
    /// The next bytes of the stream.
    ///
    /// # Errors
    /// When they are none of a stream that is whole.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Wrong> {
        while !bytes.is_empty() {
            if let Next::Unknown { .. } = self.next {
                return Ok(());
            }
            bytes = match &self.next {
                Next::Holes { .. } | Next::Payload { .. } => self.pass(bytes)?,
                _ => self.gather(bytes)?,
            };
        }
        Ok(())
    }

    /// The end of the stream. What could not be checked, one sentence.
    ///
    /// # Errors
    /// When it may not end here.
    pub fn end(self) -> Result<Option<String>, Wrong> {
        let wrong = |what: String| Wrong { at: self.at, what };
        match &self.next {
            Next::Unknown { kind } => {
                let kind = char::from(*kind);
                Ok(Some(format!(
                    "from byte {} on the stream holds what is not known here (a chunk of type {kind:?}): the rest of it was \
                     not taken apart",
                    self.at
                )))
            }
            Next::Head if self.pending.is_empty() => match self.open.first() {
                None => Ok(None),
                Some(path) => Err(wrong(format!("it ends before its file {} does", String::from_utf8_lossy(path)))),
            },
            _ => Err(wrong("it ends in the middle of a chunk".to_owned())),
        }
    }

    fn wrong(&self, what: impl Into<String>) -> Wrong {
        Wrong { at: self.at, what: what.into() }
    }

    /// Takes what is missing of a head, or of what follows it.
    fn gather<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Wrong> {
        let wanted = match self.next {
            Next::Rest { kind, path } => path + fixed(kind),
            _ => HEAD,
        };
        let taken = (wanted - self.pending.len()).min(bytes.len());
        let (now, later) = bytes.split_at(taken);
        self.pending.extend_from_slice(now);
        if self.pending.len() == wanted {
            let piece = std::mem::take(&mut self.pending);
            self.next = match self.next {
                Next::Rest { kind, path } => self.rest(kind, path, &piece)?,
                _ => self.head(&piece)?,
            };
            // Where a chunk is wrong is told by where its head begins.
            if !matches!(self.next, Next::Unknown { .. }) {
                self.at += piece.len() as u64;
            }
        }
        Ok(later)
    }

    fn head(&self, head: &[u8]) -> Result<Next, Wrong> {
        if !head.starts_with(MAGIC) {
            return Err(self.wrong("there is no chunk of xbstream where one must begin"));
        }
        let (kind, path) = (head[9], usize::try_from(number(&head[10..14])).unwrap_or(usize::MAX));
        if !matches!(kind, b'P' | b'S' | b'E') {
            return Ok(Next::Unknown { kind });
        }
        if path == 0 || path > PATH_MAX {
            return Err(self.wrong(format!("a chunk has a path of {path} bytes")));
        }
        Ok(Next::Rest { kind, path })
    }

    fn rest(&mut self, kind: u8, path: usize, piece: &[u8]) -> Result<Next, Wrong> {
        let (path, fixed) = piece.split_at(path);
        if kind == b'E' {
            // A file without a byte has this chunk only.
            self.open.remove(path);
            return Ok(Next::Head);
        }
        self.open.insert(path.to_vec());
        let (holes, fixed) = if kind == b'S' { (number(&fixed[..4]), &fixed[4..]) } else { (0, fixed) };
        let (payload, checksum) = (number(&fixed[..8]), number(&fixed[16..20]));
        if kind == b'S' {
            return Ok(Next::Holes { bytes: holes * 8, payload }.or_next(path));
        }
        let expected = u32::try_from(checksum).ok();
        let path = path.to_vec();
        Next::Payload { left: payload, expected, crc: crc32fast::Hasher::new(), path }.settled(self.at)
    }

    /// Passes over holes and payload.
    fn pass<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Wrong> {
        let (left, counted) = match &mut self.next {
            Next::Holes { bytes, .. } => (bytes, None),
            Next::Payload { left, crc, .. } => (left, Some(crc)),
            _ => return Ok(bytes),
        };
        let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
        let (now, later) = bytes.split_at(taken);
        *left -= taken as u64;
        if let Some(crc) = counted {
            crc.update(now);
        }
        let next = std::mem::take(&mut self.next);
        self.next = next.settled(self.at)?;
        self.at += taken as u64;
        Ok(later)
    }
}

impl Next {
    /// Without holes it is the payload's turn at once.
    fn or_next(self, path: &[u8]) -> Self {
        match self {
            Self::Holes { bytes: 0, payload } => Self::of_sparse(payload, path),
            other => other,
        }
    }

    /// What the checksum of a chunk with holes is over differs between versions: only its length is followed.
    fn of_sparse(payload: u64, path: &[u8]) -> Self {
        match payload {
            0 => Self::Head,
            left => Self::Payload { left, expected: None, crc: crc32fast::Hasher::new(), path: path.to_vec() },
        }
    }

    /// When all of it has passed, what comes next.
    fn settled(self, at: u64) -> Result<Self, Wrong> {
        match self {
            Self::Holes { bytes: 0, payload } => Ok(Self::of_sparse(payload, &[])),
            Self::Payload { left: 0, expected, crc, path } => {
                let found = crc.finalize();
                match expected.filter(|expected| *expected != found) {
                    None => Ok(Self::Head),
                    Some(expected) => {
                        let path = String::from_utf8_lossy(&path).into_owned();
                        let what =
                            format!("a part of {path} hashes to {found:08x}, and the stream says {expected:08x}");
                        Err(Wrong { at, what })
                    }
                }
            }
            other => Ok(other),
        }
    }
}

/// Bytes after the path and before holes and payload.
fn fixed(kind: u8) -> usize {
    match kind {
        b'E' => 0,
        b'S' => 4 + 8 + 8 + 4,
        _ => 8 + 8 + 4,
    }
}

/// Up to 8 bytes, little-endian.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chunk as xbstream writes it.
    fn chunk(kind: u8, path: &str, payload: &[u8]) -> Vec<u8> {
        let mut chunk =
            [&MAGIC[..], &[0, kind], &u32::try_from(path.len()).unwrap().to_le_bytes(), path.as_bytes()].concat();
        if kind == b'S' {
            chunk.extend(1u32.to_le_bytes());
        }
        if kind != b'E' {
            chunk.extend((payload.len() as u64).to_le_bytes());
            chunk.extend(0u64.to_le_bytes());
            chunk.extend(crc32fast::hash(payload).to_le_bytes());
        }
        if kind == b'S' {
            chunk.extend([9; 8]);
        }
        chunk.extend(payload);
        chunk
    }

    fn stream() -> Vec<u8> {
        [
            chunk(b'P', "ibdata1", &[7; 500]),
            chunk(b'P', "t/a.ibd", b"rows"),
            chunk(b'S', "t/a.ibd", b"more"),
            chunk(b'E', "t/a.ibd", b""),
            chunk(b'P', "ibdata1", b""),
            chunk(b'E', "ibdata1", b""),
            chunk(b'E', "t/empty.ibd", b""),
        ]
        .concat()
    }

    /// Fed in pieces of so many bytes.
    fn walk(stream: &[u8], piece: usize) -> Result<Option<String>, String> {
        let mut walk = Walk::default();
        let walked = stream.chunks(piece).try_for_each(|bytes| walk.feed(bytes));
        walked.and_then(|()| walk.end()).map_err(|Wrong { at: _, what }| what)
    }

    #[test]
    fn a_whole_stream_is_whole_however_it_comes() {
        for piece in [1, 3, 64, 10_000] {
            assert_eq!(walk(&stream(), piece), Ok(None), "{piece}");
        }
        assert_eq!(walk(b"", 1), Ok(None));
    }

    #[test]
    fn a_stream_that_is_cut_anywhere_is_not() {
        let whole = stream();
        // The last chunk, of a file without a byte, can be missed by nobody.
        let last = chunk(b'E', "t/empty.ibd", b"").len();
        for length in (1..whole.len()).filter(|length| *length != whole.len() - last) {
            assert!(walk(&whole[..length], 100).is_err(), "{length}");
        }
    }

    #[test]
    fn a_byte_that_changed_is_found_where_it_is_payload_or_structure() {
        let whole = chunk(b'P', "ibdata1", &[7; 50]);
        let ended = [whole.clone(), chunk(b'E', "ibdata1", b"")].concat();
        assert_eq!(walk(&ended, 7), Ok(None));
        for at in (0..8).chain(whole.len() - 54..whole.len()) {
            let mut broken = ended.clone();
            broken[at] ^= 1;
            assert!(walk(&broken, 7).is_err(), "byte {at}");
        }
    }

    #[test]
    fn blocks_in_another_order_are_no_stream() {
        let whole = stream();
        let (first, second) = whole.split_at(200);
        assert!(walk(&[second, first].concat(), 50).is_err());
    }

    #[test]
    fn what_is_not_known_is_said_and_no_damage() {
        let newer = [chunk(b'P', "a", b"x"), chunk(b'E', "a", b""), chunk(b'R', "b", b"y")].concat();
        let said = walk(&newer, 5).unwrap().unwrap();
        assert!(said.contains("type 'R'"), "{said}");
    }

    #[test]
    fn where_it_is_wrong_is_told_as_a_place_in_the_stream() {
        let mut broken = stream();
        let first = chunk(b'P', "ibdata1", &[7; 500]).len();
        broken[first] = b'Y';
        let mut walk = Walk::default();
        let Err(Wrong { at, .. }) = walk.feed(&broken) else { panic!() };
        assert_eq!(at, first as u64);
    }
}
