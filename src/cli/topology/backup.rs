//! `vitess-backup topology backup`.

use std::path::PathBuf;

use async_trait::async_trait;
use clap::Args;

use super::server::{AccessArguments, Implementation};
use crate::backup::report::{Operation, Outcome};
use crate::backup::topology::GLOBAL;
use crate::cli::arguments::{OutputArguments, OutputFormat, RunArguments};
use crate::cli::run::EngineCommand;
use crate::cli::storage::StorageArguments;
use crate::engine::topology::{self, BackupOptions};
use crate::engine::{EngineError, Interrupt};
use crate::progress::Monitor;
use crate::topology::Access;
use crate::topology::zookeeper::DataDirectories;

const LONG_ABOUT: &str = "\
Back up all that a topology server has, straight to storage:

  etcd2   the maintenance snapshot, what etcdctl snapshot save gets, of the first endpoint that has a leader
  consul  /v1/snapshot, what consul snapshot save gets, made by the leader (--stale: by the server that is asked)
  zk2     the snapshot command of the admin server (3.9 and later), or --zookeeper-data-dir: the newest snapshot of a server's
          data directory with the transaction logs that follow it, while the server runs

The server's own checksum is checked as the snapshot passes, and again when it is read back. The descriptor is written last:
what was cut short is never shown as complete.";

const EXAMPLE: &str = "\
Examples:
  vitess-backup topology backup --topo-implementation etcd2 --topo-server-address etcd-0:2379,etcd-1:2379 --backup-storage-implementation file --file-backup-storage-root /backups
  vitess-backup topology backup --topo-implementation consul --topo-server-address https://consul:8501 --topo-tls-ca ca.pem --topo-credentials-dir /etc/consul-token --backup-storage-implementation file --file-backup-storage-root /backups
  vitess-backup topology backup --topo-implementation zk2 --cell zone1 --zookeeper-data-dir /var/lib/zookeeper --backup-storage-implementation file --file-backup-storage-root /backups";

/// Back up all that a topology server has
#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT, after_long_help = EXAMPLE)]
pub struct BackupArguments {
    /// What it is
    #[arg(long, value_enum, value_name = "KIND", help_heading = "Topology server")]
    pub topo_implementation: Implementation,
    #[command(flatten)]
    pub access: AccessArguments,
    /// The cell whose server it is; global for the one that has the global topology (and often everything)
    #[arg(long, value_name = "CELL", default_value = GLOBAL)]
    pub cell: String,
    /// Also when the cluster has no leader, and then of one server that may lack the newest writes
    #[arg(long)]
    pub stale: bool,
    /// ZooKeeper's dataDir: back up its files instead of asking its admin server
    #[arg(long, value_name = "DIR")]
    pub zookeeper_data_dir: Option<PathBuf>,
    /// Its dataLogDir, where that is another one
    #[arg(long, value_name = "DIR", requires = "zookeeper_data_dir")]
    pub zookeeper_data_log_dir: Option<PathBuf>,
    /// The time in the backup's name (RFC 3339) [default: now]
    #[arg(long, value_name = "TIME")]
    pub backup_time: Option<jiff::Timestamp>,
    #[command(flatten)]
    pub storage: StorageArguments,
    #[command(flatten)]
    pub output: OutputArguments,
    #[command(flatten)]
    pub run: RunArguments,
}

impl BackupArguments {
    fn options(&self) -> Result<BackupOptions, EngineError> {
        let data_directories = self.zookeeper_data_dir.as_ref().map(|data| DataDirectories {
            data: data.clone(),
            logs: self.zookeeper_data_log_dir.clone().unwrap_or_else(|| data.clone()),
        });
        let access = match &data_directories {
            Some(_) if self.access.topo_server_address.is_none() => Access::to(Vec::new()),
            _ => self.access.access()?,
        };
        Ok(BackupOptions {
            server: self.topo_implementation.server(),
            access,
            cell: self.cell.clone(),
            started: self.backup_time.unwrap_or_else(jiff::Timestamp::now),
            stale: self.stale,
            data_directories,
        })
    }
}

#[async_trait(?Send)]
impl EngineCommand for BackupArguments {
    fn run_arguments(&self) -> &RunArguments {
        &self.run
    }

    fn output(&self) -> Option<OutputFormat> {
        Some(self.output.output)
    }

    fn operation(&self) -> Operation {
        Operation::TopologyBackup
    }

    async fn execute(
        &self,
        outcome: &mut Outcome,
        interrupt: &Interrupt,
        monitor: &dyn Monitor,
    ) -> Result<(), EngineError> {
        let (options, storage) = (self.options()?, self.storage.open()?);
        topology::backup(&storage, &options, interrupt, monitor).await?.fill(outcome);
        Ok(())
    }
}
