//! `vitess-backup recover`.

use async_trait::async_trait;
use clap::Args;

use crate::backup::report::{Operation, Outcome};
use crate::cli::arguments::{OutputArguments, OutputFormat, RunArguments, TabletDirArguments};
use crate::cli::run::EngineCommand;
use crate::cli::storage::StorageArguments;
use crate::engine::{EngineError, Interrupt, recover};
use crate::progress::Monitor;

const LONG_ABOUT: &str = "\
Put a tablet back as it was before a run that was killed: mysqld, read-only, semi-sync and replication, from the journal that
the run kept in the tablet's directory; and remove the half-written backup when the storage is given. Where there is nothing
to put back, nothing is done. It may itself be killed and run again. A restore that was killed after the old data had gone is
not to be put back: run that again.";

const EXAMPLE: &str = "\
Example:
  vitess-backup recover --tablet-dir /vt/vt_0000000101 --backup-storage-implementation file --file-backup-storage-root /backups";

/// Put a tablet back as it was before a run that was killed
#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT, after_long_help = EXAMPLE)]
pub struct RecoverArguments {
    #[command(flatten)]
    pub tablet: TabletDirArguments,
    #[command(flatten)]
    pub storage: StorageArguments,
    #[command(flatten)]
    pub output: OutputArguments,
    #[command(flatten)]
    pub run: RunArguments,
}

#[async_trait(?Send)]
impl EngineCommand for RecoverArguments {
    fn run_arguments(&self) -> &RunArguments {
        &self.run
    }

    fn output(&self) -> Option<OutputFormat> {
        Some(self.output.output)
    }

    fn operation(&self) -> Operation {
        Operation::Recover
    }

    async fn execute(
        &self,
        outcome: &mut Outcome,
        interrupt: &Interrupt,
        monitor: &dyn Monitor,
    ) -> Result<(), EngineError> {
        let tablet = self.tablet.tablet();
        let storage = if self.storage.is_absent() { None } else { Some(self.storage.open()?) };
        let done = recover::recover(&tablet, storage.as_ref(), interrupt, monitor).await?;
        done.fill(outcome);
        Ok(())
    }
}
