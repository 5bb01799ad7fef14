//! Arguments that several subcommands share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::io_priority::IoPriority;
use crate::backup::bytes::ByteSize;
use crate::duration::GoDuration;
use crate::engine::builtin::Limits;
use crate::engine::{MysqldAccess, Tablet};
use crate::topo::{KeyspaceShard, ParseShardError};

/// How a run reports, and how long it may take.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Run")]
pub struct RunArguments {
    /// What to write to stdout while it runs: nothing, or one JSON object a line for each event (steps, progress at most once a second, notes, and last the outcome), as engine pods do
    #[arg(long, value_enum, default_value_t = ReportFormat::None)]
    pub report: ReportFormat,
    /// A file that gets the outcome as JSON, at most 4096 bytes: the pod's termination message
    #[arg(long, value_name = "PATH")]
    pub termination_log: Option<PathBuf>,
    /// Give up after this long, with the tablet put back as it was (6h, 1m30s); 0: never
    #[arg(long, value_name = "DURATION", default_value = "0")]
    pub deadline: GoDuration,
    /// How far to step back for others who want the processor, 0 to 19; without --ionice, Linux derives the priority of reads
    /// and writes from it. A mysqld that this command starts is not meant. Worth it where mysqld runs meanwhile (--copy-mode clone)
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=19))]
    pub nice: u8,
    /// How far reads and writes step back for others: idle, or best-effort:0 to best-effort:7, as ionice has them. Heeded by
    /// the kernel's schedulers bfq and mq-deadline only
    #[arg(long, value_name = "CLASS")]
    pub ionice: Option<IoPriority>,
}

/// How the outcome is told.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Run")]
pub struct OutputArguments {
    /// How to write the outcome to stdout at the end: a summary to read, or one JSON document
    #[arg(long, value_enum, default_value_t = OutputFormat::Text, conflicts_with = "report")]
    pub output: OutputFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    None,
    Json,
}

/// What a run may take of the machine.
#[derive(Clone, Debug, Args)]
pub struct LimitArguments {
    /// How much memory the run may hold in all, whatever the size and number of files (256MiB, 1Gi, 268435456); where it is
    /// too little for --concurrency, fewer files are copied at a time
    #[arg(long, value_name = "BYTES", default_value = "256MiB")]
    pub memory_limit: ByteSize,
    /// How many bytes a second may go to or come from storage, over all files together (50MiB); 0: no limit. Where mysqld is
    /// down while files are copied, it is down the longer
    #[arg(long, value_name = "BYTES", default_value = "0")]
    pub bandwidth_limit: ByteSize,
}

impl LimitArguments {
    pub fn limits(&self, concurrency: u16) -> Limits {
        let Self { memory_limit, bandwidth_limit } = *self;
        Limits { concurrency: usize::from(concurrency), memory: memory_limit, bandwidth: bandwidth_limit }
    }
}

/// The tablet whose files a run reads or writes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Tablet")]
pub struct TabletArguments {
    /// The keyspace
    #[arg(long)]
    pub keyspace: String,
    /// The shard: 0, -80, 80-c0 …
    #[arg(long, allow_hyphen_values = true)]
    pub shard: String,
    #[command(flatten)]
    pub directory: TabletDirArguments,
}

/// A tablet's directory and the ways to its mysqld.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Tablet")]
pub struct TabletDirArguments {
    /// The tablet's directory, where my.cnf is: $VTDATAROOT/vt_0000000101
    #[arg(long, value_name = "DIR")]
    pub tablet_dir: PathBuf,
    /// Who starts and stops mysqld: a running mysqlctld over its socket, this command itself, or nobody because the files are at rest
    #[arg(long, value_enum, default_value_t = MysqldArgument::Mysqlctld)]
    pub mysqld: MysqldArgument,
    /// mysqlctld's gRPC socket [default: mysqlctl.sock in the tablet's directory]
    #[arg(long, value_name = "PATH")]
    pub mysqlctl_socket: Option<PathBuf>,
    /// mysqld's socket [default: the one in my.cnf]
    #[arg(long, value_name = "PATH")]
    pub mysql_socket: Option<PathBuf>,
    /// The MySQL user with Vitess's DBA privileges
    #[arg(long, value_name = "USER", default_value = "vt_dba")]
    pub db_dba_user: String,
    /// How long mysqld may take to shut down
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub mysql_shutdown_timeout: GoDuration,
    /// How long to wait for replication to catch up before the run ends without it
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    pub catch_up_timeout: GoDuration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MysqldArgument {
    Mysqlctld,
    Own,
    Stopped,
}

impl TabletArguments {
    pub fn tablet(&self) -> Result<Tablet, ParseShardError> {
        let shard = KeyspaceShard::new(&self.keyspace, &self.shard)?;
        Ok(Tablet { shard: Some(shard), ..self.directory.tablet() })
    }
}

impl TabletDirArguments {
    pub fn tablet(&self) -> Tablet {
        let mysqlctl_socket = self.mysqlctl_socket.clone().unwrap_or_else(|| self.tablet_dir.join("mysqlctl.sock"));
        Tablet {
            shard: None,
            alias: None,
            directory: self.tablet_dir.clone(),
            mysqld: match self.mysqld {
                MysqldArgument::Mysqlctld => MysqldAccess::Mysqlctld { socket: mysqlctl_socket },
                MysqldArgument::Own => MysqldAccess::Own,
                MysqldArgument::Stopped => MysqldAccess::Stopped,
            },
            mysql_socket: self.mysql_socket.clone(),
            dba_user: self.db_dba_user.clone(),
            shutdown_timeout: self.mysql_shutdown_timeout.0,
            catch_up_timeout: self.catch_up_timeout.0,
        }
    }
}
