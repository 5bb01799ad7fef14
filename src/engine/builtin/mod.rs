//! Vitess's builtin engine: the files of a stopped mysqld, each an object of its own.
//!
//! The format is Vitess's to the byte; the sequence departs from it where Vitess leaves a tablet down or a damaged backup
//! looking good (see `docs/design.md`, "Builtin, step by step").

mod at_rest;
mod backup;
mod bandwidth;
mod check;
mod clearing;
mod clone;
mod copy;
mod describe;
mod fetch;
mod files;
mod limits;
mod options;
mod pick;
mod position;
mod rejoin;
mod restore;
mod restored;
mod scene;
mod space;
mod target;
mod verify;

pub use backup::backup;
pub(in crate::engine) use clearing::size_below;
pub use clone::{CopyChoice, DIRECTORY as CLONE_DIRECTORY, HowCopied, Place as ClonePlace};
pub(in crate::engine) use describe::hostname;
pub(in crate::engine) use fetch::{body_failed, make_directory};
pub use limits::Limits;
pub use options::{BackupOptions, Verify};
pub(in crate::engine) use pick::choose;
pub use restore::restore;
pub use restored::{BeforeStart, ExistingData, MARKER, RestoreEnd, RestoreOptions};
pub(in crate::engine) use target::{decompression, position as manifest_position, refuse_hook};
pub(in crate::engine) use verify::Stored;
pub use verify::{VerifyDone, VerifyOptions, verify};

/// A field of ours in the MANIFEST, which Vitess ignores: directories in datadir without a file, relative to it.
pub(in crate::engine) const EMPTY_DIRECTORIES: &str = "EmptyDirectories";
/// Likewise: bytes of all files before compression, so that a restore knows how much space it needs.
pub(in crate::engine) const DATA_BYTES: &str = "DataBytes";
/// Likewise, in each of the FileEntries: bytes of the object as stored, so that a restore finds a damaged one before it
/// touches anything.
pub(in crate::engine) const STORED_BYTES: &str = "StoredBytes";
/// Likewise: what of the tablet's data the backup knowingly does not have, one sentence each.
pub(in crate::engine) const NOT_CARRIED: &str = "NotCarried";
/// BackupMethod.
const METHOD: &str = "builtin";
