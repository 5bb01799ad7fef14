//! `vitess-backup topology`.

mod backup;
mod export;
mod import;
mod restore;
mod server;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::run;

const LONG_ABOUT: &str = "\
Back up and restore the topology server: etcd, ZooKeeper or Consul, each by its own method. A backup has everything that the
server has, Vitess's or not, and goes to the same storage as the backups of shards, in a place of its own where Vitess never
looks (list --topology, remove --topology).

Export and import carry Vitess's own records only, as JSON that a person can read, also from one kind of server to another.";

/// Back up and restore the topology server: etcd, ZooKeeper or Consul
#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT)]
pub struct TopologyArguments {
    #[command(subcommand)]
    command: TopologyCommand,
}

#[derive(Debug, Subcommand)]
enum TopologyCommand {
    Backup(backup::BackupArguments),
    Restore(restore::RestoreArguments),
    Export(export::ExportArguments),
    Import(import::ImportArguments),
}

impl TopologyArguments {
    pub fn run(&self) -> ExitCode {
        match &self.command {
            TopologyCommand::Backup(arguments) => run::engine(arguments),
            TopologyCommand::Restore(arguments) => run::engine(arguments),
            TopologyCommand::Export(arguments) => run::engine(arguments),
            TopologyCommand::Import(arguments) => run::engine(arguments),
        }
    }
}
