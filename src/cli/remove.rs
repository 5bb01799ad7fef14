//! `vitess-backup remove`.

use async_trait::async_trait;
use clap::{ArgGroup, Args};

use crate::backup::report::{Operation, Outcome};
use crate::backup::topology::TopologyBackupName;
use crate::cli::arguments::{OutputArguments, OutputFormat, RunArguments};
use crate::cli::run::EngineCommand;
use crate::cli::storage::StorageArguments;
use crate::engine::{EngineError, Interrupt, catalogue, topology};
use crate::progress::Monitor;
use crate::topo::KeyspaceShard;

const LONG_ABOUT: &str = "\
Remove a backup from storage, its MANIFEST first, so that a removal that is cut short leaves nothing that looks whole. That
there is no such backup is no error. The shard's only complete backup is kept unless --force is given.";

const EXAMPLE: &str = "\
Examples:
  vitess-backup remove --backup-storage-implementation file --file-backup-storage-root /backups commerce/0 2026-11-22.152636.zone1-0000000101
  vitess-backup remove --backup-storage-implementation file --file-backup-storage-root /backups --topology 2026-11-27.060000.global.etcd";

/// Remove a backup from storage
#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT, after_long_help = EXAMPLE)]
#[command(group = ArgGroup::new("of").args(["shard", "topology"]).required(true))]
pub struct RemoveArguments {
    #[command(flatten)]
    pub storage: StorageArguments,
    /// Remove it although it is the shard's only complete backup
    #[arg(long)]
    pub force: bool,
    /// Remove this backup of a topology server instead, named as `list --topology` shows it
    #[arg(long, value_name = "BACKUP_NAME", conflicts_with = "backup_name")]
    pub topology: Option<TopologyBackupName>,
    /// <keyspace>/<shard>
    #[arg(value_name = "KEYSPACE/SHARD", requires = "backup_name")]
    pub shard: Option<KeyspaceShard>,
    /// The backup's name, as `list` shows it
    pub backup_name: Option<String>,
    #[command(flatten)]
    pub output: OutputArguments,
    #[command(flatten)]
    pub run: RunArguments,
}

#[async_trait(?Send)]
impl EngineCommand for RemoveArguments {
    fn run_arguments(&self) -> &RunArguments {
        &self.run
    }

    fn output(&self) -> Option<OutputFormat> {
        Some(self.output.output)
    }

    fn operation(&self) -> Operation {
        Operation::Remove
    }

    async fn execute(
        &self,
        outcome: &mut Outcome,
        interrupt: &Interrupt,
        monitor: &dyn Monitor,
    ) -> Result<(), EngineError> {
        outcome.shard = self.shard.as_ref().map(ToString::to_string);
        outcome.backup_name = self.topology.as_ref().map(ToString::to_string).or_else(|| self.backup_name.clone());
        let storage = self.storage.open()?;
        let removed = match (&self.topology, &self.shard, &self.backup_name) {
            (Some(name), ..) => {
                interrupt.race(topology::remove(&storage, &name.to_string(), self.force, monitor)).await?
            }
            (None, Some(shard), Some(name)) => {
                interrupt.race(catalogue::remove(&storage, shard, name, self.force, monitor)).await?
            }
            _ => {
                return Err(EngineError::invalid(
                    "name a shard and one of its backups, or --topology with a backup's name",
                ));
            }
        };
        removed.fill(outcome);
        Ok(())
    }
}
