//! What a backup is asked for.

use crate::codec::{Codec, Compression};
use crate::engine::builtin::{Limits, Verify};
use crate::engine::xtrabackup::tools::Streamer;

#[derive(Clone, Debug)]
pub struct BackupOptions {
    pub streamer: Streamer,
    /// As the MANIFEST keeps them: the text of the flags.
    pub flags: String,
    /// Up to 1: one object.
    pub stripes: u16,
    /// In bytes.
    pub stripe_block_size: u32,
    pub allow_primary: bool,
    /// How far behind its source a replica may be; `None`: as far as it likes.
    pub max_lag: Option<std::time::Duration>,
    pub limits: Limits,
    pub compression: Compression,
    /// What an external compressor's output is called, with the dot.
    pub external_extension: Option<String>,
    pub verify: Verify,
    /// For the MANIFEST's ExternalDecompressor.
    pub manifest_external_decompressor: Option<String>,
    /// The time in the name, to the second.
    pub backup_time: jiff::Timestamp,
}

impl BackupOptions {
    /// The MANIFEST's FileName. Readers take it from there, so that any would do.
    pub fn file_name(&self) -> String {
        let of_codec = match self.compression.codec() {
            Codec::None => "",
            Codec::Gzip(_) => ".gz",
            Codec::Zstd => ".zst",
            Codec::Lz4 => ".lz4",
            Codec::External => ".unknown",
        };
        format!("backup.{}{}", self.streamer.mode(), self.external_extension.as_deref().unwrap_or(of_codec))
    }

    /// The MANIFEST's NumStripes: 0 for one object.
    pub fn num_stripes(&self) -> i32 {
        if self.stripes > 1 { i32::from(self.stripes) } else { 0 }
    }
}
