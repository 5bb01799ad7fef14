//! Vitess's builtin engine: the files of a stopped mysqld, each an object of its own.
//!
//! The format is Vitess's to the byte; the sequence departs from it where Vitess leaves a tablet down or a damaged backup
//! looking good (see `docs/design.md`, "Builtin, step by step").

mod backed_up;
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
mod position;
mod rejoin;
mod restore;
mod restored;
mod scene;
mod space;
mod store;
mod target;
mod verify;

pub use backed_up::{BackupDone, BackupOptions, Verify};
pub use backup::backup;
pub use clone::{CopyChoice, DIRECTORY as CLONE_DIRECTORY, HowCopied, Place as ClonePlace};
pub use limits::Limits;
pub use restore::restore;
pub use restored::{ExistingData, MARKER, RestoreDone, RestoreEnd, RestoreOptions};
pub use verify::{VerifyDone, VerifyOptions, verify};

/// A field of ours in the MANIFEST, which Vitess ignores: directories in datadir without a file, relative to it.
const EMPTY_DIRECTORIES: &str = "EmptyDirectories";
/// Likewise: bytes of all files before compression, so that a restore knows how much space it needs.
const DATA_BYTES: &str = "DataBytes";
/// BackupMethod.
const METHOD: &str = "builtin";
