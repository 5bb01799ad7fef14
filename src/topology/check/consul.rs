//! Consul: a gzipped tar of `meta.json`, `state.bin` and `SHA256SUMS`, the sums of the other two (source: Consul's
//! `snapshot/archive.go`).

use std::collections::BTreeMap;
use std::io::{self, Write};

use flate2::write::GzDecoder;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{Check, Learned};
use crate::backup::topology::Point;

const BLOCK: usize = 512;
/// The most that a file that is kept may have.
const KEPT: u64 = 1 << 20;
const SUMS: &str = "SHA256SUMS";
const META: &str = "meta.json";
const STATE: &str = "state.bin";

/// What `/v1/snapshot` and `consul snapshot save` give.
pub struct ConsulArchive {
    decoder: GzDecoder<Tar>,
}

impl Default for ConsulArchive {
    fn default() -> Self {
        Self { decoder: GzDecoder::new(Tar::default()) }
    }
}

/// A tar as it comes: the sum of each file, and the small ones themselves.
#[derive(Default)]
struct Tar {
    header: Vec<u8>,
    current: Option<Entry>,
    sums: BTreeMap<String, String>,
    kept: BTreeMap<String, Vec<u8>>,
    /// The block of zeros that ends a tar was there.
    ended: bool,
}

struct Entry {
    name: String,
    /// Bytes of the file that are still to come, and of the padding after it.
    left: u64,
    padding: u64,
    hash: Sha256,
    kept: Option<Vec<u8>>,
}

/// The part of `meta.json` that matters here.
#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "Index")]
    index: u64,
}

impl Tar {
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() && !self.ended {
            if let Some(entry) = &mut self.current {
                bytes = entry.take(bytes);
                if entry.left == 0 && entry.padding == 0 {
                    self.close();
                }
                continue;
            }
            let missing = BLOCK - self.header.len();
            let (piece, rest) = bytes.split_at(missing.min(bytes.len()));
            self.header.extend_from_slice(piece);
            bytes = rest;
            if self.header.len() == BLOCK {
                self.open()?;
            }
        }
        Ok(())
    }

    fn open(&mut self) -> Result<(), String> {
        let header = std::mem::take(&mut self.header);
        if header.iter().all(|byte| *byte == 0) {
            self.ended = true;
            return Ok(());
        }
        let text = |from: usize, length: usize| {
            let field = &header[from..from + length];
            let end = field.iter().position(|byte| *byte == 0).unwrap_or(length);
            String::from_utf8_lossy(&field[..end]).trim().to_owned()
        };
        let size = u64::from_str_radix(&text(124, 12), 8).map_err(|_| "it is no tar inside".to_owned())?;
        let name = text(0, 100);
        let kept = (matches!(name.as_str(), META | SUMS) && size <= KEPT).then(Vec::new);
        let padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        self.current = Some(Entry { name, left: size, padding, hash: Sha256::new(), kept });
        if size == 0 {
            self.close();
        }
        Ok(())
    }

    fn close(&mut self) {
        let Some(Entry { name, hash, kept, .. }) = self.current.take() else { return };
        self.sums.insert(name.clone(), hex(&hash.finalize()));
        self.kept.extend(kept.map(|content| (name, content)));
    }
}

impl Entry {
    /// Takes what belongs to it; the rest comes back.
    fn take<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let of_file = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        let (content, rest) = bytes.split_at(of_file);
        self.hash.update(content);
        self.kept.iter_mut().for_each(|kept| kept.extend_from_slice(content));
        self.left -= of_file as u64;
        let of_padding = usize::try_from(self.padding).unwrap_or(usize::MAX).min(rest.len());
        self.padding -= of_padding as u64;
        &rest[of_padding..]
    }
}

impl Write for Tar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.take(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Check for ConsulArchive {
    fn take(&mut self, chunk: &[u8]) -> Result<(), String> {
        self.decoder.write_all(chunk).map_err(|error| format!("it cannot be decompressed: {error}"))
    }

    fn finish(self: Box<Self>) -> Result<Learned, String> {
        let tar = self.decoder.finish().map_err(|error| format!("it is cut short: {error}"))?;
        if tar.current.is_some() || !tar.header.is_empty() {
            return Err("it is cut short inside".to_owned());
        }
        let sums = tar.kept.get(SUMS).ok_or_else(|| format!("it has no {SUMS}"))?;
        let mut told = BTreeMap::new();
        for line in String::from_utf8_lossy(sums).lines() {
            let mut words = line.split_whitespace();
            if let (Some(sum), Some(name)) = (words.next(), words.next()) {
                told.insert(name.to_owned(), sum.to_owned());
            }
        }
        for name in [META, STATE] {
            let expected = told.get(name).ok_or_else(|| format!("{SUMS} does not tell of {name}"))?;
            let found = tar.sums.get(name).ok_or_else(|| format!("it has no {name}"))?;
            if found != expected {
                return Err(format!("{name} has SHA-256 {found}, and {SUMS} says {expected}"));
            }
        }
        let meta = tar.kept.get(META).map(Vec::as_slice).unwrap_or_default();
        let meta: Meta = serde_json::from_slice(meta).map_err(|error| format!("{META}: {error}"))?;
        Ok(Learned { point: Point { index: Some(meta.index), ..Point::default() } })
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const META_JSON: &[u8] = br#"{"Version":1,"ID":"2-13-160","Index":13,"Term":2}"#;

    fn sums(files: &[(&str, &[u8])]) -> Vec<u8> {
        let lines = files.iter().map(|(name, content)| format!("{}  {name}\n", hex(&Sha256::digest(content))));
        lines.collect::<String>().into_bytes()
    }

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            tar.append_data(&mut header, name, *content).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    fn verdict(stored: &[u8]) -> Result<Learned, String> {
        let mut check = Box::<ConsulArchive>::default();
        for chunk in stored.chunks(100) {
            check.take(chunk)?;
        }
        check.finish()
    }

    #[test]
    fn a_whole_archive_passes_and_tells_its_index() {
        let state: Vec<u8> = (0..5000_u32).flat_map(u32::to_le_bytes).collect();
        let listed = sums(&[(META, META_JSON), (STATE, &state)]);
        let whole = archive(&[(META, META_JSON), (STATE, &state), (SUMS, &listed)]);
        assert_eq!(verdict(&whole).unwrap().point.index, Some(13));
        for length in [0, 10, 100, whole.len() / 2, whole.len() - 9] {
            let error = verdict(&whole[..length]).unwrap_err();
            assert!(
                error.contains("cut short") || error.contains("decompressed") || error.contains("has no"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_its_own_sums_deny_or_do_not_tell_of_is_refused() {
        let listed = sums(&[(META, META_JSON), (STATE, b"state")]);
        let changed = archive(&[(META, META_JSON), (STATE, b"statE"), (SUMS, &listed)]);
        assert!(verdict(&changed).unwrap_err().contains("state.bin has SHA-256"));
        let without = archive(&[(META, META_JSON), (STATE, b"state")]);
        assert!(verdict(&without).unwrap_err().contains("no SHA256SUMS"));
        let half = archive(&[(META, META_JSON), (STATE, b"state"), (SUMS, &sums(&[(META, META_JSON)]))]);
        assert!(verdict(&half).unwrap_err().contains("does not tell of state.bin"));
        assert!(verdict(b"No cluster leader").is_err());
    }
}
