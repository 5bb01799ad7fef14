//! `vitess-backup restore`.

use async_trait::async_trait;
use clap::{Args, ValueEnum};

use crate::backup::choose::Wanted;
use crate::backup::name::parse_time;
use crate::backup::report::{Operation, Outcome, Verdict};
use crate::cli::arguments::{LimitArguments, OutputArguments, OutputFormat, RunArguments, TabletArguments};
use crate::cli::pod_start::{self, PodStartArguments};
use crate::cli::report::About;
use crate::cli::run::EngineCommand;
use crate::cli::storage::StorageArguments;
use crate::cli::xtrabackup::RestoringArguments;
use crate::duration::GoDuration;
use crate::engine::builtin::{self, ExistingData, RestoreEnd, RestoreOptions};
use crate::engine::{EngineError, Interrupt, Vtctld};
use crate::progress::Monitor;
use crate::topo::TabletAlias;

const LONG_ABOUT: &str = "\
Restore a backup that Vitess or this program made, onto a tablet, or onto the volume of one that does not run yet.

Everything that can be known is checked before the old data goes: the MANIFEST, that every object is there, the MySQL version,
the space. Each file is compared with its hash as it is written. A restore that was cut short leaves Vitess's marker
restore_in_progress behind and is simply run again.

With --on-pod-start it is an init container of a tablet's pod and takes the tablet's own flags, of vttablet and mysqlctld.";

const EXAMPLE: &str = "\
Examples:
  vitess-backup restore --keyspace commerce --shard 0 --tablet-dir /vt/vt_0000000101 --existing-data replace --backup-storage-implementation file --file-backup-storage-root /backups
  vitess-backup restore --keyspace commerce --shard 0 --tablet-dir /new/vt_0000000102 --mysqld stopped --restore_from_backup_ts 2026-11-22.150000 --backup_storage_implementation file --file_backup_storage_root /backups
  vitess-backup restore --on-pod-start --restore_from_backup --init_keyspace commerce --init_shard 0 --init_tablet_type replica --tablet-path zone1-102 --wait_for_backup_interval 10s --backup_storage_implementation file --file_backup_storage_root /backups";

/// Restore a backup onto a tablet, or onto the volume of one that does not run yet
#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT, after_long_help = EXAMPLE)]
pub struct RestoreArguments {
    #[command(flatten)]
    pub tablet: TabletArguments,
    #[command(flatten)]
    pub storage: StorageArguments,
    /// Restore this backup [default: the latest]
    #[arg(long, value_name = "NAME", conflicts_with = "restore_from_backup_ts")]
    pub backup_name: Option<String>,
    /// Restore the latest backup made at or before this time (2021-04-29.133050 or RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub restore_from_backup_ts: Option<String>,
    /// When the newest complete backup turns out damaged, restore the next older one instead, and say so in a warning
    #[arg(long, conflicts_with = "backup_name")]
    pub fallback: bool,
    /// What to do when the tablet has data: leave it and fail, or replace it
    #[arg(long, value_enum, default_value_t = ExistingDataArgument::Refuse)]
    pub existing_data: ExistingDataArgument,
    /// What to say when there is no backup at all: succeed and let the tablet start empty, or report that
    #[arg(long, value_enum, default_value_t = NoBackupArgument::Empty)]
    pub no_backup: NoBackupArgument,
    /// How many files to copy at a time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub restore_concurrency: u16,
    #[command(flatten)]
    pub pod_start: PodStartArguments,
    #[command(flatten)]
    pub limits: LimitArguments,
    /// Consider only backups made by these engines, as the MANIFEST's BackupMethod names them
    #[arg(long, value_name = "ENGINES", value_delimiter = ',')]
    pub restore_from_backup_allowed_engines: Vec<String>,
    /// Ask this vtctld to set the tablet's replication source, as Vitess does after RestoreFromBackup
    #[arg(long, value_name = "HOST:PORT", requires = "tablet_alias")]
    pub vtctld_server: Option<String>,
    /// The tablet, as vtctld knows it
    #[arg(long, value_name = "ALIAS")]
    pub tablet_alias: Option<TabletAlias>,
    /// Go on although the tablet is a primary
    #[arg(long)]
    pub allow_primary: bool,
    /// The command that decompresses stdin to stdout, for backups of the compression engine external
    #[arg(long, value_name = "COMMAND")]
    pub external_decompressor: Option<String>,
    /// Run the decompressor that the MANIFEST names: only when everyone who can write to the storage is trusted
    #[arg(long)]
    pub external_decompressor_use_manifest: bool,
    /// How long to wait for mysqlctld's socket when the tablet's data was destroyed and mysqld is down
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    pub mysqlctld_timeout: GoDuration,
    #[command(flatten)]
    pub xtrabackup: RestoringArguments,
    #[command(flatten)]
    pub output: OutputArguments,
    #[command(flatten)]
    pub run: RunArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExistingDataArgument {
    Refuse,
    Replace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NoBackupArgument {
    Empty,
    Report,
}

impl RestoreArguments {
    fn wanted(&self) -> Result<Wanted, EngineError> {
        match (&self.backup_name, &self.restore_from_backup_ts) {
            (Some(name), _) => Ok(Wanted::Named(name.clone())),
            (None, Some(time)) => match parse_time(time) {
                Ok(time) => Ok(Wanted::AtOrBefore(time)),
                Err(error) => Err(EngineError::invalid(&format!("--restore-from-backup-ts: {error}"))),
            },
            (None, None) => Ok(Wanted::Latest),
        }
    }

    pub fn options(&self) -> Result<RestoreOptions, EngineError> {
        Ok(RestoreOptions {
            wanted: self.wanted()?,
            fallback: self.fallback,
            existing_data: match self.existing_data {
                ExistingDataArgument::Refuse => ExistingData::Refuse,
                ExistingDataArgument::Replace => ExistingData::Replace,
            },
            allowed_engines: self.restore_from_backup_allowed_engines.clone(),
            limits: self.limits.limits(self.restore_concurrency),
            allow_primary: self.allow_primary,
            vtctld: match (&self.vtctld_server, &self.tablet_alias) {
                (Some(server), Some(alias)) => Some(Vtctld { server: server.clone(), alias: alias.clone() }),
                _ => None,
            },
            external_decompressor: self.external_decompressor.clone(),
            external_decompressor_use_manifest: self.external_decompressor_use_manifest,
            xtrabackup: self.xtrabackup.options()?,
            mysqlctld_timeout: self.mysqlctld_timeout.0,
            before_start: None,
        })
    }
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
        Operation::Restore
    }

    fn about(&self) -> About {
        About {
            keyspace: Some(self.tablet.keyspace.clone()),
            shard: Some(self.tablet.shard.clone()),
            tablet: self.tablet_alias.as_ref().map(ToString::to_string),
            backup: self.backup_name.clone(),
        }
    }

    async fn execute(
        &self,
        outcome: &mut Outcome,
        interrupt: &Interrupt,
        monitor: &dyn Monitor,
    ) -> Result<(), EngineError> {
        if self.pod_start.on_pod_start {
            return Box::pin(pod_start::execute(self, outcome, interrupt, monitor)).await;
        }
        let mut tablet = self.tablet.tablet()?;
        tablet.alias = self.tablet_alias.clone();
        outcome.shard = tablet.shard.as_ref().map(ToString::to_string);
        outcome.tablet_alias = self.tablet_alias.as_ref().map(ToString::to_string);
        let storage = self.storage.open()?;
        match builtin::restore(&tablet, &storage, &self.options()?, interrupt, monitor).await? {
            RestoreEnd::Restored(done) => done.fill(outcome),
            RestoreEnd::NoBackup => {
                outcome.verdict = match self.no_backup {
                    NoBackupArgument::Empty => Verdict::StartedEmpty,
                    NoBackupArgument::Report => Verdict::NoBackup,
                };
            }
        }
        Ok(())
    }
}
