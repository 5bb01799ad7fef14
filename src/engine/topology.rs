//! Topology servers: snapshots of them to storage and back, and Vitess's records from one to another.
//!
//! A backup is stored part by part, each checked by the server's own checksum as it passes and read back; then the descriptor
//! is written, without which no backup counts ([`crate::backup::topology`]).

mod backup;
mod catalogue;
mod restore;
mod transfer;

pub use backup::{BackupOptions, backup};
pub use catalogue::{list, remove};
pub use restore::{to_directory, to_server};
pub use transfer::{ExportOptions, Import, ImportOptions, Side, export, plan_import};

use crate::backup::report::Outcome;
use crate::backup::topology::{DIRECTORY, Descriptor};
use crate::engine::EngineError;
use crate::topo::KeyspaceShard;

/// A backup that was made or restored.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    pub descriptor: Descriptor,
    pub warnings: Vec<String>,
}

impl Done {
    /// Writes it into the outcome.
    pub fn fill(self, outcome: &mut Outcome) {
        let Self { descriptor, warnings } = self;
        outcome.backup_name = Some(descriptor.name.clone());
        outcome.size_bytes = Some(descriptor.size_bytes);
        outcome.data_bytes = Some(descriptor.size_bytes);
        outcome.files = Some(descriptor.parts.len() as u64);
        outcome.topology = Some(descriptor);
        outcome.warnings.extend(warnings);
    }
}

/// The directory of all topology backups, as storage has it.
fn directory() -> Result<KeyspaceShard, EngineError> {
    let (first, second) = DIRECTORY;
    Ok(KeyspaceShard::new(first, second)?)
}
