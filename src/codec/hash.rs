//! The hash of a MANIFEST's file entries: CRC-32/IEEE over exactly the bytes that storage holds, compressed or not, as
//! 8 lower-case hex digits. Source: Vitess `mysqlctl/builtinbackupengine.go` (`crc32.NewIEEE`, `hex.EncodeToString` of the
//! big-endian sum); Vitess compares the texts, so that upper case would not match.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{Stream, TryStreamExt};

/// A running CRC-32, and how many bytes it is over.
#[derive(Clone, Debug, Default)]
pub struct Crc32 {
    hasher: crc32fast::Hasher,
    bytes: u64,
}

impl Crc32 {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// 8 lower-case hex digits.
    pub fn hex(&self) -> String {
        format!("{:08x}", self.hasher.clone().finalize())
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// A tee: hashes and counts what passes through a stream, and is asked when the stream is done. Clones share one count.
#[derive(Clone, Default)]
pub struct Tally {
    crc: Arc<Mutex<Crc32>>,
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tally({} bytes, {})", self.bytes(), self.hex())
    }
}

impl Tally {
    pub fn new() -> Self {
        Self::default()
    }

    /// The same stream, tallied.
    pub fn over<S, E>(&self, stream: S) -> impl Stream<Item = Result<Bytes, E>> + use<S, E>
    where
        S: Stream<Item = Result<Bytes, E>>,
    {
        let tally = self.clone();
        stream.inspect_ok(move |bytes| tally.with(|crc| crc.update(bytes)))
    }

    /// Bytes that passed so far.
    pub fn bytes(&self) -> u64 {
        self.with(|crc| crc.bytes())
    }

    /// The CRC of the bytes that passed so far.
    pub fn hex(&self) -> String {
        self.with(|crc| crc.hex())
    }

    fn with<T>(&self, work: impl FnOnce(&mut Crc32) -> T) -> T {
        work(&mut self.crc.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_crc32_ieee_comes_out() {
        let mut crc = Crc32::new();
        assert_eq!(crc.hex(), "00000000");
        crc.update(b"12345");
        crc.update(b"6789");
        assert_eq!((crc.hex().as_str(), crc.bytes()), ("cbf43926", 9));
    }

    #[tokio::test]
    async fn a_tally_sees_what_passes_and_changes_nothing() {
        let tally = Tally::new();
        let chunks = [Ok(Bytes::from_static(b"1234")), Err("broken"), Ok(Bytes::from_static(b"56789"))];
        let passed: Vec<_> = futures::StreamExt::collect(tally.over(futures::stream::iter(chunks.clone()))).await;
        assert_eq!(passed, chunks);
        assert_eq!((tally.hex().as_str(), tally.bytes()), ("cbf43926", 9));
    }
}
