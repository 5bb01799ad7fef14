//! Compressing, decompressing and hashing what goes to and comes from storage: streaming, in bounded memory.
//!
//! Source of the names and the framing: Vitess `mysqlctl/compression.go` and the Go libraries under it
//! (`klauspost/compress/zstd`, `klauspost/pgzip`, `planetscale/pargzip`, `pierrec/lz4/v4`). We write what every Vitess since
//! 15 reads (gzip: since the first), as independent members or frames, one for each block of input, so that blocks can
//! be compressed in parallel and decompressed so:
//!
//! | codec | a block, at most | written as | for Vitess's readers |
//! |---|---|---|---|
//! | `pargzip`, `pgzip` | 1 MiB | a gzip member with its length in FEXTRA | members may follow each other; no padding, no garbage after the last; the field is skipped |
//! | `zstd` | 1 MiB up to level 4, above 4 MiB | a frame, window at most 2^22, content checksum | no dictionary, window at most 2^29 |
//! | `lz4` | 1 MiB | a frame, independent blocks of 1 MiB, content checksum | no linked blocks, no dictionary, no legacy frame |
//! | none | 1 MiB | as it is | `SkipCompress` |
//!
//! An empty file is one empty member or frame, because Vitess's gzip reader takes an empty object for a damaged one.
//!
//! Reading cuts a stream where its members and frames end, ours or those of others, and decompresses several at a time. A
//! part that is not exactly what it seemed is never handed out: from there on the stream is read in sequence, by a reader
//! that trusts no length, so that any stream gives the same bytes or error whatever `parallel` is. So read in parallel:
//! what we write; Vitess's pargzip (members of 250 kB). In sequence: its pgzip, zstd and lz4, which are one member or frame
//! for each file, and members or frames above 4 MiB.
//!
//! CRC-32 of what is stored is crc32fast's over PCLMULQDQ: 19 GB/s a core, so it stays where the bytes pass.
//!
//! The two gzip flavours differ in nothing but the name that the MANIFEST keeps.

mod buffers;
mod compress;
mod cores;
mod cut;
mod decompress;
mod error;
mod external;
mod gzip;
mod hash;
mod lz4;
mod memory;
mod parallel;
mod pipe;

use std::fmt;
use std::str::FromStr;

pub use compress::compress;
pub use decompress::decompress;
pub use error::CodecError;
pub use external::split as split_words;
pub use hash::{Crc32, Tally};

/// How the objects of a backup are compressed. `Display` and `FromStr` use the names of `--compression-engine-name` and of
/// the MANIFEST's CompressionEngine, and `none`, which neither has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// `--backup-storage-compress=false`; the MANIFEST says `SkipCompress`.
    None,
    Gzip(GzipFlavour),
    Zstd,
    Lz4,
    /// A command of the operator's, from stdin to stdout.
    External,
}

/// Which of Vitess's two gzip writers the MANIFEST names; the bytes are gzip either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GzipFlavour {
    Pargzip,
    Pgzip,
}

impl Codec {
    /// The value for the MANIFEST's CompressionEngine; "" (to be left out) for none.
    pub fn engine_name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip(GzipFlavour::Pargzip) => "pargzip",
            Self::Gzip(GzipFlavour::Pgzip) => "pgzip",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::External => "external",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::None { "none" } else { self.engine_name() })
    }
}

impl FromStr for Codec {
    type Err = CodecError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "none" => Ok(Self::None),
            "pargzip" => Ok(Self::Gzip(GzipFlavour::Pargzip)),
            "pgzip" => Ok(Self::Gzip(GzipFlavour::Pgzip)),
            "zstd" => Ok(Self::Zstd),
            "lz4" => Ok(Self::Lz4),
            "external" => Ok(Self::External),
            other => Err(CodecError::UnknownEngine { name: other.to_owned() }),
        }
    }
}

/// Up to this level zstd's own windows are 2 MiB at most.
const ZSTD_LEVEL_OF_SMALL_WINDOWS: i32 = 4;

/// A codec and how hard it tries, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compression {
    codec: Codec,
    level: i32,
    external_compressor: Option<Vec<String>>,
}

impl Compression {
    /// One of the built-in codecs. `level` is `--compression-level`: gzip 0 to 9, zstd 1 to 22 (zstd's own scale: Vitess
    /// folds it to four), lz4 0 to 9 (which all mean the fast compressor); none ignores it.
    ///
    /// # Errors
    /// [`CodecError::Level`]; [`CodecError::NoCompressor`] for [`Codec::External`], see [`Compression::external`].
    pub fn new(codec: Codec, level: i32) -> Result<Self, CodecError> {
        let allowed = match codec {
            Codec::None => return Ok(Self::none()),
            Codec::External => return Err(CodecError::NoCompressor),
            Codec::Gzip(_) | Codec::Lz4 => 0..=9,
            Codec::Zstd => 1..=22,
        };
        if !allowed.contains(&level) {
            return Err(CodecError::Level { codec, level, lowest: *allowed.start(), highest: *allowed.end() });
        }
        Ok(Self { codec, level, external_compressor: None })
    }

    /// No compression at all.
    pub fn none() -> Self {
        Self { codec: Codec::None, level: 0, external_compressor: None }
    }

    /// `--external-compressor`: a command line, split as a shell would but run without one. `named` is what the MANIFEST
    /// will call its output: [`Codec::External`], or a built-in codec that can read it.
    ///
    /// # Errors
    /// [`CodecError::Command`] for a command line that is empty or has an open quote.
    pub fn external(named: Codec, command: &str) -> Result<Self, CodecError> {
        Ok(Self { codec: named, level: 0, external_compressor: Some(external::split(command)?) })
    }

    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// For the MANIFEST's SkipCompress.
    pub fn skip_compress(&self) -> bool {
        self.codec == Codec::None
    }

    /// How much to read of a file for one block, in bytes; larger blocks work and cost memory.
    ///
    /// A frame of 1 MiB costs zstd at level 1 a ten-thousandth in size on InnoDB's pages (44.45 of 200 MiB of them either
    /// way) and up to 0.6 % on other data, for a quarter of the memory. Its levels above 4 have windows that need more.
    pub fn block_size(&self) -> usize {
        match self.codec {
            Codec::Zstd if self.level > ZSTD_LEVEL_OF_SMALL_WINDOWS => 4 << 20,
            Codec::Zstd | Codec::Lz4 | Codec::None | Codec::Gzip(_) | Codec::External => 1 << 20,
        }
    }
}

/// How to read a backup's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decompression {
    codec: Codec,
    external_decompressor: Vec<String>,
}

impl Decompression {
    /// What a MANIFEST asks for: its CompressionEngine ("" means gzip) and SkipCompress. `external_decompressor` is the
    /// operator's own `--external-decompressor` (never the MANIFEST's, unless the operator opted in), and is used for the
    /// engine `external` only, as in Vitess.
    ///
    /// # Errors
    /// [`CodecError::UnknownEngine`], [`CodecError::NoDecompressor`], [`CodecError::Command`].
    pub fn new(engine: &str, skip_compress: bool, external_decompressor: Option<&str>) -> Result<Self, CodecError> {
        let codec = match engine {
            _ if skip_compress => Codec::None,
            "" => Codec::Gzip(GzipFlavour::Pgzip),
            "none" => return Err(CodecError::UnknownEngine { name: engine.to_owned() }),
            name => name.parse()?,
        };
        let external_decompressor = match (codec, external_decompressor) {
            (Codec::External, None | Some("")) => return Err(CodecError::NoDecompressor),
            (Codec::External, Some(command)) => external::split(command)?,
            _ => Vec::new(),
        };
        Ok(Self { codec, external_decompressor })
    }

    pub fn codec(&self) -> Codec {
        self.codec
    }
}
