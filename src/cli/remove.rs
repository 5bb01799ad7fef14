//! `vitess-backup remove`.

use async_trait::async_trait;
use clap::Args;

use crate::backup::report::{Operation, Outcome};
use crate::cli::arguments::{OutputArguments, OutputFormat, RunArguments};
use crate::cli::run::EngineCommand;
use crate::cli::storage::StorageArguments;
use crate::engine::{EngineError, Interrupt, catalogue};
use crate::progress::Monitor;
use crate::topo::KeyspaceShard;

const LONG_ABOUT: &str = "\
Remove a backup from storage, its MANIFEST first, so that a removal that is cut short leaves nothing that looks whole. That
there is no such backup is no error. The shard's only complete backup is kept unless --force is given.";

const EXAMPLE: &str = "\
Example:
  vitess-backup remove --backup-storage-implementation file --file-backup-storage-root /backups commerce/0 2026-11-22.152636.zone1-0000000101";

/// Remove a backup from storage
#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT, after_long_help = EXAMPLE)]
pub struct RemoveArguments {
    #[command(flatten)]
    pub storage: StorageArguments,
    /// Remove it although it is the shard's only complete backup
    #[arg(long)]
    pub force: bool,
    /// <keyspace>/<shard>
    #[arg(value_name = "KEYSPACE/SHARD")]
    pub shard: KeyspaceShard,
    /// The backup's name, as `list` shows it
    pub backup_name: String,
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
        outcome.shard = Some(self.shard.to_string());
        outcome.backup_name = Some(self.backup_name.clone());
        let storage = self.storage.open()?;
        let removed =
            interrupt.race(catalogue::remove(&storage, &self.shard, &self.backup_name, self.force, monitor)).await?;
        removed.fill(outcome);
        Ok(())
    }
}
