//! `vitess-backup recover`.

use async_trait::async_trait;
use clap::Args;

use crate::backup::report::{Operation, Outcome};
use crate::cli::arguments::{RunArguments, TabletDirArguments};
use crate::cli::run::EngineCommand;
use crate::cli::storage::StorageArguments;
use crate::engine::{EngineError, Interrupt, recover};
use crate::progress::Monitor;

/// Put a tablet back as it was before a run that was killed
#[derive(Debug, Args)]
pub struct RecoverArguments {
    #[command(flatten)]
    pub tablet: TabletDirArguments,
    #[command(flatten)]
    pub storage: StorageArguments,
    #[command(flatten)]
    pub run: RunArguments,
}

#[async_trait(?Send)]
impl EngineCommand for RecoverArguments {
    fn run_arguments(&self) -> &RunArguments {
        &self.run
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
