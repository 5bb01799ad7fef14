//! `vitess-backup remove`.

use async_trait::async_trait;
use clap::Args;

use crate::backup::report::{Operation, Outcome};
use crate::cli::arguments::RunArguments;
use crate::cli::run::EngineCommand;
use crate::cli::storage::StorageArguments;
use crate::engine::{EngineError, Interrupt, catalogue};
use crate::progress::Monitor;
use crate::topo::KeyspaceShard;

/// Remove a backup from storage
#[derive(Debug, Args)]
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
    pub run: RunArguments,
}

#[async_trait(?Send)]
impl EngineCommand for RemoveArguments {
    fn run_arguments(&self) -> &RunArguments {
        &self.run
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
