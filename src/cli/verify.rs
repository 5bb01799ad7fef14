//! `vitess-backup verify`.

use async_trait::async_trait;
use clap::{Args, ValueEnum};

use crate::backup::report::{Operation, Outcome};
use crate::cli::arguments::{OutputArguments, OutputFormat, RunArguments};
use crate::cli::run::EngineCommand;
use crate::cli::storage::StorageArguments;
use crate::engine::builtin::{self, VerifyOptions};
use crate::engine::{EngineError, Interrupt};
use crate::progress::Monitor;
use crate::topo::KeyspaceShard;

const LONG_ABOUT: &str = "\
Check a stored backup against its MANIFEST: every object is read and its hash compared. No tablet is needed, and nothing is
changed.";

const EXAMPLE: &str = "\
Example:
  vitess-backup verify --backup-storage-implementation file --file-backup-storage-root /backups commerce/0 2026-11-22.152636.zone1-0000000101";

/// Check a stored backup against its MANIFEST
#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT, after_long_help = EXAMPLE)]
pub struct VerifyArguments {
    #[command(flatten)]
    pub storage: StorageArguments,
    /// How deep to look: objects reads every object and compares its hash
    #[arg(long, value_enum, default_value_t = LevelArgument::Objects)]
    pub level: LevelArgument,
    /// How many objects to read at a time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: u16,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LevelArgument {
    Objects,
}

#[async_trait(?Send)]
impl EngineCommand for VerifyArguments {
    fn run_arguments(&self) -> &RunArguments {
        &self.run
    }

    fn output(&self) -> Option<OutputFormat> {
        Some(self.output.output)
    }

    fn operation(&self) -> Operation {
        Operation::Verify
    }

    async fn execute(
        &self,
        outcome: &mut Outcome,
        interrupt: &Interrupt,
        monitor: &dyn Monitor,
    ) -> Result<(), EngineError> {
        outcome.shard = Some(self.shard.to_string());
        outcome.backup_name = Some(self.backup_name.clone());
        let LevelArgument::Objects = self.level;
        let storage = self.storage.open()?;
        let options = VerifyOptions { concurrency: usize::from(self.concurrency) };
        let done = interrupt.race(builtin::verify(&storage, &self.shard, &self.backup_name, &options, monitor)).await?;
        done.fill(outcome);
        Ok(())
    }
}
