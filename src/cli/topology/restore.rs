//! `vitess-backup topology restore`.

use std::path::PathBuf;

use async_trait::async_trait;
use clap::{ArgGroup, Args};

use super::server::AccessArguments;
use crate::backup::report::{Operation, Outcome};
use crate::cli::arguments::{OutputArguments, OutputFormat, RunArguments};
use crate::cli::restore::ExistingDataArgument;
use crate::cli::run::EngineCommand;
use crate::cli::storage::StorageArguments;
use crate::engine::topology;
use crate::engine::{EngineError, Interrupt};
use crate::progress::Monitor;

const LONG_ABOUT: &str = "\
Give back a backup of a topology server. With --output-dir its files are written there, checked, for the server's own program:
etcdutl snapshot restore, or the empty data directory of a ZooKeeper. With --topo-server-address it is given to a running
Consul, or to a running ZooKeeper 3.9 (each of its servers, so name them all), in place of everything that the server has,
Vitess's or not: say --existing-data replace.

The whole backup is read and checked first; of a damaged one nothing is given out.";

const EXAMPLE: &str = "\
Examples:
  vitess-backup topology restore --output-dir /tmp/restored --backup-storage-implementation file --file-backup-storage-root /backups 2026-11-27.060000.global.etcd
  vitess-backup topology restore --topo-server-address consul:8500 --existing-data replace --backup-storage-implementation file --file-backup-storage-root /backups 2026-11-27.060000.global.consul";

/// Give back a backup of a topology server, as files or to the server
#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT, after_long_help = EXAMPLE)]
#[command(group = ArgGroup::new("onto").required(true).args(["output_dir", "topo_server_address"]))]
pub struct RestoreArguments {
    /// Write its files into this directory
    #[arg(long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
    #[command(flatten)]
    pub access: AccessArguments,
    /// What to do with what the server has: leave it and fail, or replace all of it
    #[arg(long, value_enum, default_value_t = ExistingDataArgument::Refuse)]
    pub existing_data: ExistingDataArgument,
    #[command(flatten)]
    pub storage: StorageArguments,
    /// The backup's name, as `list --topology` shows it
    pub backup_name: String,
    #[command(flatten)]
    pub output: OutputArguments,
    #[command(flatten)]
    pub run: RunArguments,
}

#[async_trait(?Send)]
impl EngineCommand for RestoreArguments {
    fn run_arguments(&self) -> &RunArguments {
        &self.run
    }

    fn output(&self) -> Option<OutputFormat> {
        Some(self.output.output)
    }

    fn operation(&self) -> Operation {
        Operation::TopologyRestore
    }

    async fn execute(
        &self,
        outcome: &mut Outcome,
        interrupt: &Interrupt,
        monitor: &dyn Monitor,
    ) -> Result<(), EngineError> {
        outcome.backup_name = Some(self.backup_name.clone());
        let storage = self.storage.open()?;
        let name = &self.backup_name;
        let done = if let Some(directory) = &self.output_dir {
            interrupt.race(topology::to_directory(&storage, name, directory, monitor)).await?
        } else {
            let access = self.access.access()?;
            if self.existing_data == ExistingDataArgument::Refuse {
                let what = "a restore replaces everything that the topology server has, and that was not asked for";
                return Err(EngineError::DataPresent { what: what.to_owned() });
            }
            interrupt.race(topology::to_server(&storage, name, &access, monitor)).await?
        };
        done.fill(outcome);
        Ok(())
    }
}
