//! ZooKeeper: a snapshot ends with the Adler-32 of all before it, and each record of a transaction log begins with its own
//! (source: ZooKeeper's `SnapStream`, `FileSnap` and `FileTxnLog`).

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;

use super::{Check, HeldBack, Learned};

const SNAPSHOT_MAGIC: &[u8; 4] = b"ZKSN";
const LOG_MAGIC: &[u8; 4] = b"ZKLG";
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// A long, and the string "/" with its length.
const SEAL: usize = 13;
/// The server's own limit for one record (jute.maxbuffer) is 1 MiB by default; people raise it.
const LONGEST_RECORD: usize = 512 << 20;

/// Adler-32, as zlib has it.
#[derive(Clone, Copy, Debug)]
pub struct Adler {
    a: u32,
    b: u32,
}

impl Default for Adler {
    fn default() -> Self {
        Self { a: 1, b: 0 }
    }
}

impl Adler {
    pub fn update(&mut self, bytes: &[u8]) {
        const MODULUS: u32 = 65521;
        // As many as fit before a sum of 32 bits could run over.
        for piece in bytes.chunks(5552) {
            for byte in piece {
                self.a += u32::from(*byte);
                self.b += self.a;
            }
            self.a %= MODULUS;
            self.b %= MODULUS;
        }
    }

    pub fn value(self) -> u64 {
        u64::from(self.b) << 16 | u64::from(self.a)
    }
}

/// A file `snapshot.<zxid>`, plain or gzipped.
#[derive(Default)]
pub struct ZookeeperSnapshot {
    /// Until it is known what it is.
    begun: Vec<u8>,
    body: Option<Body>,
}

enum Body {
    Plain(Sealed),
    Gzip(Box<MultiGzDecoder<Sealed>>),
}

#[derive(Default)]
struct Sealed {
    sum: Adler,
    held: HeldBack<SEAL>,
    begin: Vec<u8>,
}

impl Write for Sealed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let missing = SNAPSHOT_MAGIC.len().saturating_sub(self.begin.len()).min(bytes.len());
        self.begin.extend_from_slice(&bytes[..missing]);
        let sum = &mut self.sum;
        self.held.push(bytes, |bytes| sum.update(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sealed {
    fn finish(&self) -> Result<Learned, String> {
        if self.begin != SNAPSHOT_MAGIC {
            return Err("it does not begin as a snapshot of ZooKeeper".to_owned());
        }
        let cut = || "it ends without the checksum that ZooKeeper puts at its end".to_owned();
        let seal = self.held.last().ok_or_else(cut)?;
        let (sum, end) = seal.split_at(8);
        if end != [0, 0, 0, 1, b'/'] {
            return Err(cut());
        }
        let expected = sum.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        if self.sum.value() == expected {
            Ok(Learned::default())
        } else {
            Err("its bytes do not have the checksum that stands at its end".to_owned())
        }
    }
}

impl ZookeeperSnapshot {
    fn pass(&mut self, chunk: &[u8]) -> Result<(), String> {
        let passed = match &mut self.body {
            Some(Body::Plain(sealed)) => sealed.write_all(chunk),
            Some(Body::Gzip(decoder)) => decoder.write_all(chunk),
            None => Ok(()),
        };
        passed.map_err(|error| format!("it cannot be decompressed: {error}"))
    }
}

impl Check for ZookeeperSnapshot {
    fn take(&mut self, chunk: &[u8]) -> Result<(), String> {
        if self.body.is_some() {
            return self.pass(chunk);
        }
        self.begun.extend_from_slice(chunk);
        if self.begun.len() < SNAPSHOT_MAGIC.len() {
            return Ok(());
        }
        let begun = std::mem::take(&mut self.begun);
        self.body = Some(if begun.starts_with(&GZIP_MAGIC) {
            Body::Gzip(Box::new(MultiGzDecoder::new(Sealed::default())))
        } else if begun.starts_with(SNAPSHOT_MAGIC) {
            Body::Plain(Sealed::default())
        } else {
            return Err(
                "it does not begin as a snapshot of ZooKeeper (one compressed by snappy cannot be checked: set \
                        snapshot.compression.method to gz, or leave it out)"
                    .to_owned(),
            );
        });
        self.pass(&begun)
    }

    fn finish(self: Box<Self>) -> Result<Learned, String> {
        match self.body {
            Some(Body::Plain(sealed)) => sealed.finish(),
            Some(Body::Gzip(decoder)) => {
                decoder.finish().map_err(|error| format!("it is cut short: {error}"))?.finish()
            }
            None => Err("it is empty".to_owned()),
        }
    }
}

/// A file `log.<zxid>`, without the zeros that a server reserves behind its last record.
#[derive(Default)]
pub struct ZookeeperLog {
    records: LogRecords,
}

impl Check for ZookeeperLog {
    fn take(&mut self, chunk: &[u8]) -> Result<(), String> {
        self.records.take(chunk)
    }

    fn finish(self: Box<Self>) -> Result<Learned, String> {
        let LogRecords { pending, whole, ended, .. } = self.records;
        // What was stored ends with a whole record.
        if whole < 16 || !pending.is_empty() || ended {
            return Err("it is cut short".to_owned());
        }
        Ok(Learned::default())
    }
}

/// The records of a transaction log as they come.
#[derive(Default)]
pub struct LogRecords {
    pending: Vec<u8>,
    /// Bytes up to the end of the last record that is whole.
    pub whole: u64,
    /// Its zxid.
    pub last: Option<u64>,
    /// What comes after the last record has begun: zeros that are reserved for more, or a record that was never finished.
    pub ended: bool,
}

const HEADER: usize = 16;

impl LogRecords {
    /// # Errors
    /// For what is no log, and for a record that is there to its end and whose checksum is another. One without its end is
    /// being written, or was when the server died: a server that starts on it takes the log to end before it.
    pub fn take(&mut self, chunk: &[u8]) -> Result<(), String> {
        if self.ended {
            return Ok(());
        }
        self.pending.extend_from_slice(chunk);
        let mut at = 0;
        if self.whole == 0 {
            if self.pending.len() < HEADER {
                return Ok(());
            }
            if !self.pending.starts_with(LOG_MAGIC) {
                return Err("it does not begin as a transaction log of ZooKeeper".to_owned());
            }
            at = HEADER;
        }
        let end = loop {
            match self.record(at) {
                Ok(Some(length)) => at += length,
                Ok(None) => break Ok(()),
                Err(problem) => break Err(problem),
            }
        };
        // What was whole before a record that is not counts all the same.
        self.whole += at as u64;
        self.pending.drain(..at);
        if self.ended {
            self.pending.clear();
        }
        end
    }

    /// The length of the record at this place, when it is there to its end: a checksum, a length, the bytes, and `B`.
    fn record(&mut self, at: usize) -> Result<Option<usize>, String> {
        let bytes = &self.pending[at..];
        let number = |from: usize, to: usize| bytes[from..to].iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
        if bytes.len() < 12 {
            return Ok(None);
        }
        let (sum, length) = (number(0, 8), number(8, 12));
        if length == 0 {
            self.ended = true;
            return Ok(None);
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > LONGEST_RECORD {
            return Err(format!("a record of it has {length} bytes"));
        }
        let end = 12 + length;
        if bytes.len() <= end {
            return Ok(None);
        }
        if bytes[end] != b'B' {
            self.ended = true;
            return Ok(None);
        }
        let mut adler = Adler::default();
        adler.update(&bytes[12..end]);
        if adler.value() != sum {
            return Err("a record of it does not have its checksum".to_owned());
        }
        // clientId (8), cxid (4), zxid (8).
        if length >= 20 {
            self.last = Some(number(24, 32));
        }
        Ok(Some(end + 1))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    pub fn snapshot(content: &[u8]) -> Vec<u8> {
        let mut bytes = [SNAPSHOT_MAGIC.as_slice(), &[0, 0, 0, 2], &[0xff; 8], content].concat();
        let mut adler = Adler::default();
        adler.update(&bytes);
        bytes.extend_from_slice(&adler.value().to_be_bytes());
        bytes.extend_from_slice(&[0, 0, 0, 1, b'/']);
        bytes
    }

    pub fn log(zxids: &[u64]) -> Vec<u8> {
        let mut bytes = [LOG_MAGIC.as_slice(), &[0, 0, 0, 2], &[0; 8]].concat();
        for zxid in zxids {
            let record = [&[1; 8][..], &[2; 4], &zxid.to_be_bytes(), &[3; 30]].concat();
            let mut adler = Adler::default();
            adler.update(&record);
            bytes.extend_from_slice(&adler.value().to_be_bytes());
            bytes.extend_from_slice(&u32::try_from(record.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(&record);
            bytes.push(b'B');
        }
        bytes
    }

    fn verdict(check: Box<dyn Check>, stored: &[u8]) -> Result<Learned, String> {
        let mut check = check;
        for chunk in stored.chunks(7) {
            check.take(chunk)?;
        }
        check.finish()
    }

    #[test]
    fn the_sum_is_that_of_zlib() {
        let mut adler = Adler::default();
        adler.update(b"Wikipedia");
        assert_eq!(adler.value(), 0x11E6_0398);
    }

    #[test]
    fn a_whole_snapshot_passes_plain_and_gzipped_and_a_cut_or_changed_one_does_not() {
        let whole = snapshot(&[9; 3000]);
        let of = |stored: &[u8]| verdict(Box::<ZookeeperSnapshot>::default(), stored);
        assert_eq!(of(&whole), Ok(Learned::default()));
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&whole).unwrap();
        let gzip = gzip.finish().unwrap();
        assert_eq!(of(&gzip), Ok(Learned::default()));
        assert!(of(&gzip[..gzip.len() - 9]).is_err());
        for length in [0, 3, 20, 3000, whole.len() - 1] {
            assert!(of(&whole[..length]).is_err(), "{length}");
        }
        for at in [0, 5, 1500, whole.len() - 10] {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(of(&changed).is_err(), "{at}");
        }
        assert!(of(b"\x82SNAPPY\0").unwrap_err().contains("snappy"));
    }

    #[test]
    fn a_log_is_read_up_to_its_last_whole_record() {
        let whole = log(&[0x1_0000_0001, 0x1_0000_0002]);
        assert_eq!(verdict(Box::<ZookeeperLog>::default(), &whole), Ok(Learned::default()));
        assert!(verdict(Box::<ZookeeperLog>::default(), &whole[..whole.len() - 1]).is_err());
        let mut changed = whole.clone();
        changed[40] ^= 1;
        assert!(verdict(Box::<ZookeeperLog>::default(), &changed).unwrap_err().contains("checksum"));
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() = 0;
        assert!(verdict(Box::<ZookeeperLog>::default(), &changed).unwrap_err().contains("cut short"));

        // As it stands on a server's disk: zeros reserved behind, or a record half written, in place of these or at the end.
        let half = [0, 0, 0, 0, 9, 9, 9, 9, 0, 0, 0, 50, 1, 2, 3];
        for tail in [vec![0; 100], half.to_vec(), [half.as_slice(), &[0; 100]].concat()] {
            let mut records = LogRecords::default();
            for chunk in [whole.as_slice(), &tail].concat().chunks(11) {
                records.take(chunk).unwrap();
            }
            assert_eq!((records.whole, records.last), (whole.len() as u64, Some(0x1_0000_0002)));
        }
    }
}
