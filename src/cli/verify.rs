//! `vitess-backup verify`.

use std::path::PathBuf;

use async_trait::async_trait;
use clap::{Args, ValueEnum};

use crate::backup::report::{Operation, Outcome};
use crate::cli::arguments::{LimitArguments, OutputArguments, OutputFormat, RunArguments};
use crate::cli::run::EngineCommand;
use crate::cli::storage::StorageArguments;
use crate::cli::xtrabackup::RestoringArguments;
use crate::duration::GoDuration;
use crate::engine::builtin::{self, VerifyOptions};
use crate::engine::drill::{Assertion, DrillOptions, drill};
use crate::engine::{EngineError, Interrupt};
use crate::progress::Monitor;
use crate::topo::KeyspaceShard;

const LONG_ABOUT: &str = "\
Check a stored backup. No tablet is needed, and none is touched.

With --level objects: that the MANIFEST makes sense, that storage has just the objects that it names, and of each its size, its
hash and that it decompresses.

With --level restore, besides: the backup is restored to a directory of its own below --scratch-dir, by the engine that made it,
and a mysqld of its own is started on it (found as Vitess finds it: VT_MYSQL_ROOT, else PATH), without network, replication and
events, and read-only. CHECK TABLE looks at every table, then each --assertion is asked. The directory is removed at the end,
also when something fails; what a killed run left there is removed by the next one.

What is damaged is named, and the exit code is then 6.";

const EXAMPLE: &str = "\
Examples:
  vitess-backup verify --backup-storage-implementation file --file-backup-storage-root /backups commerce/0 2026-11-22.152636.zone1-0000000101
  vitess-backup verify --level restore --scratch-dir /var/tmp --backup-storage-implementation file --file-backup-storage-root /backups commerce/0 2026-11-22.152636.zone1-0000000101";

/// Check a stored backup, or restore it to scratch and check what is in it
#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT, after_long_help = EXAMPLE)]
pub struct VerifyArguments {
    #[command(flatten)]
    pub storage: StorageArguments,
    /// How deep to look: objects reads every object, restore tries the backup out with a mysqld of its own
    #[arg(long, value_enum, default_value_t = LevelArgument::Objects)]
    pub level: LevelArgument,
    /// How many objects to read, or tables to check, at a time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: u16,
    #[command(flatten)]
    pub limits: LimitArguments,
    /// The command that decompresses stdin to stdout, for backups of the compression engine external
    #[arg(long, value_name = "COMMAND")]
    pub external_decompressor: Option<String>,
    /// Run the decompressor that the MANIFEST names: only when everyone who can write to the storage is trusted
    #[arg(long)]
    pub external_decompressor_use_manifest: bool,
    #[command(flatten)]
    pub drill: DrillArguments,
    #[command(flatten)]
    pub xtrabackup: RestoringArguments,
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
    Restore,
}

/// For `--level restore`.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Restoring to scratch (--level restore)")]
pub struct DrillArguments {
    /// A directory with space for the restored data
    #[arg(long, value_name = "DIR", required_if_eq("level", "restore"))]
    pub scratch_dir: Option<PathBuf>,
    /// Something that must be true of the data, as often as there are such things: a name, and a statement that gives one row
    /// whose first value is true or not 0. It is asked in a transaction that reads only, as a user that may write nothing, in
    /// the database vt_<keyspace>
    #[arg(long = "assertion", value_name = "NAME=SQL")]
    pub assertions: Vec<Assertion>,
    /// How long one assertion may take
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    pub assertion_timeout: GoDuration,
    /// A line for the [mysqld] group of the scratch's my.cnf, as often as there are lines: what the data needs to be started
    /// on (innodb_page_size, lower_case_table_names), or more memory
    #[arg(long = "my-cnf", value_name = "LINE", allow_hyphen_values = true)]
    pub my_cnf: Vec<String>,
    /// Files with more settings; one that is missing is passed over [default: those of Vitess's variable EXTRA_MY_CNF]
    #[arg(long, value_name = "PATHS", value_delimiter = ':')]
    pub extra_my_cnf: Vec<PathBuf>,
    /// The MySQL user with Vitess's DBA privileges, in the backup
    #[arg(long, value_name = "USER", default_value = "vt_dba")]
    pub db_dba_user: String,
}

impl VerifyArguments {
    fn drill_options(&self) -> Result<DrillOptions, EngineError> {
        let DrillArguments { scratch_dir, assertions, assertion_timeout, my_cnf, extra_my_cnf, db_dba_user } =
            &self.drill;
        let scratch = scratch_dir.clone().ok_or_else(|| EngineError::invalid("--level restore needs --scratch-dir"))?;
        Ok(DrillOptions {
            scratch,
            assertions: assertions.clone(),
            assertion_timeout: assertion_timeout.0,
            extra_my_cnf: if extra_my_cnf.is_empty() { of_environment() } else { extra_my_cnf.clone() },
            my_cnf: my_cnf.clone(),
            dba_user: db_dba_user.clone(),
            limits: self.limits.limits(self.concurrency),
            external_decompressor: self.external_decompressor.clone(),
            external_decompressor_use_manifest: self.external_decompressor_use_manifest,
            xtrabackup: self.xtrabackup.options()?,
        })
    }

    fn verify_options(&self) -> VerifyOptions {
        VerifyOptions {
            limits: self.limits.limits(self.concurrency),
            external_decompressor: self.external_decompressor.clone(),
            external_decompressor_use_manifest: self.external_decompressor_use_manifest,
            stream_mode: self.xtrabackup.xtrabackup_stream_mode,
        }
    }
}

/// As Vitess reads it.
fn of_environment() -> Vec<PathBuf> {
    let named = std::env::var_os("EXTRA_MY_CNF").unwrap_or_default();
    std::env::split_paths(&named).filter(|path| !path.as_os_str().is_empty()).collect()
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
        let storage = self.storage.open()?;
        let (shard, name) = (&self.shard, self.backup_name.as_str());
        let done = match self.level {
            LevelArgument::Objects => {
                let options = self.verify_options();
                interrupt.race(builtin::verify(&storage, shard, name, &options, monitor)).await?
            }
            LevelArgument::Restore => drill(&storage, shard, name, &self.drill_options()?, interrupt, monitor).await?,
        };
        done.fill(outcome);
        Ok(())
    }
}
