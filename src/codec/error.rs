//! What can go wrong with a codec.

use std::error::Error as StdError;
use std::io;

use super::Codec;
use crate::backup::failure::{Failure, Reason};

#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    #[error("compression engine {name:?} is none of pargzip, pgzip, zstd, lz4, external")]
    UnknownEngine { name: String },
    #[error("compression level {level} is not from {lowest} to {highest}, which {codec} has")]
    Level { codec: Codec, level: i32, lowest: i32, highest: i32 },
    #[error("compression engine external needs a command: --external-compressor")]
    NoCompressor,
    #[error(
        "the backup was compressed by an external command, and no command to decompress it is given: --external-decompressor"
    )]
    NoDecompressor,
    #[error("command line {command:?} of an external compressor or decompressor {problem}")]
    Command { command: String, problem: &'static str },
    /// The data to compress could not be read.
    #[error("cannot read what is to be compressed: {source}")]
    Read { source: io::Error },
    #[error("cannot compress with {codec}: {source}")]
    Compress { codec: Codec, source: io::Error },
    /// The stored bytes could not be read. `source` is the error of the stream given to [`super::decompress`]: downcast it
    /// to tell what to do.
    #[error("{source}")]
    Stored { source: Box<dyn StdError + Send + Sync> },
    #[error("cannot decompress with {codec}: the stored bytes end too early")]
    Truncated { codec: Codec },
    /// Damaged, of another format, or followed by something else.
    #[error("cannot decompress with {codec}: {source}")]
    Damaged { codec: Codec, source: io::Error },
    #[error("external command {command:?} failed: {problem}")]
    External { command: String, problem: String },
    #[error("a compression thread stopped without a result")]
    Stopped,
}

impl CodecError {
    /// What the user is told; for [`CodecError::Stored`] the caller knows better.
    pub fn failure(&self) -> Failure {
        let (reason, remedy) = match self {
            Self::UnknownEngine { .. } => (
                Reason::EngineNotSupported,
                "Use one of the engines named, or restore with the Vitess that made the backup.",
            ),
            Self::Level { .. } => (Reason::InvalidArguments, "Set --compression-level to a level that the engine has."),
            Self::NoCompressor | Self::NoDecompressor | Self::Command { .. } => {
                (Reason::InvalidArguments, "Give the command line, with quotes in pairs, or choose a built-in engine.")
            }
            Self::Read { .. } => (Reason::FileUnreadable, "Check the tablet's volume, then run the backup again."),
            Self::Stored { .. } => (Reason::StorageUnreachable, "Check that the storage answers, then run it again."),
            Self::Truncated { .. } | Self::Damaged { .. } => (
                Reason::DecompressionFailed,
                "The stored object is damaged: check the backup with `vitess-backup verify`, and use an older one.",
            ),
            Self::External { .. } => (
                Reason::DecompressionFailed,
                "Check that the image has the command and that it works from stdin to stdout.",
            ),
            Self::Compress { .. } | Self::Stopped => {
                (Reason::Internal, "Run it again; if it comes back, report it as a bug.")
            }
        };
        Failure { reason, message: self.to_string(), remedy: remedy.to_owned() }
    }
}
