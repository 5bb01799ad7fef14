//! What a backup or a restore gives.

use std::time::Duration;

use crate::backup::manifest::Manifest;
use crate::backup::report::{Outcome, ReplicationOutcome};
use crate::engine::builtin::HowCopied;

/// A backup that was made, read back and found whole; or one that was restored.
#[derive(Clone, Debug)]
pub struct Done {
    /// The backup's.
    pub name: String,
    pub manifest: Manifest,
    /// Bytes as stored; of a backup with its MANIFEST, of a restore the files alone.
    pub stored_bytes: u64,
    /// Bytes of the tablet's files, or of the stream of them.
    pub data_bytes: u64,
    pub files: u64,
    /// How long mysqld was down; `None`: it went on serving.
    pub downtime: Option<Duration>,
    /// Of a builtin backup.
    pub how: Option<HowCopied>,
    /// `None`: it was not touched.
    pub replication: Option<ReplicationOutcome>,
    pub warnings: Vec<String>,
    /// What of the tablet's data a backup does not have, one sentence each; a restore says it in its warnings.
    pub not_carried: Vec<String>,
}

impl Done {
    /// Writes it into the outcome.
    pub fn fill(self, outcome: &mut Outcome) {
        let Self { name, manifest, stored_bytes, data_bytes, files, downtime, how, replication, warnings, not_carried } =
            self;
        outcome.backup_name = Some(name);
        outcome.engine = Some(manifest.engine().to_owned());
        outcome.position = Some(manifest.position.clone());
        outcome.purged_position = Some(manifest.purged_position.clone());
        outcome.manifest = Some(manifest.summary());
        outcome.size_bytes = Some(stored_bytes);
        outcome.data_bytes = Some(data_bytes);
        outcome.files = Some(files);
        outcome.downtime_seconds = downtime.map(|downtime| downtime.as_secs_f64());
        if let Some(HowCopied { mode, reason }) = how {
            outcome.copy_mode = Some(mode);
            outcome.copy_mode_reason = Some(reason);
        }
        outcome.replication = replication;
        outcome.warnings.extend(warnings);
        outcome.not_carried = not_carried;
    }
}
