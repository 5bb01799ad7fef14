//! `vitess-backup list`.

use std::fmt::Write as _;
use std::io::Write as _;

use async_trait::async_trait;
use clap::{ArgGroup, Args, ValueEnum};

use crate::backup::report::{Line, ListedBackup, Operation, Outcome};
use crate::backup::topology::ListedTopologyBackup;
use crate::cli::arguments::{OutputFormat, ReportFormat, RunArguments};
use crate::cli::report;
use crate::cli::run::EngineCommand;
use crate::cli::storage::StorageArguments;
use crate::engine::{EngineError, Interrupt, catalogue, topology};
use crate::progress::Monitor;
use crate::topo::KeyspaceShard;

const LONG_ABOUT: &str = "\
List a shard's backups, oldest first: which are complete, when and by which engine they were made, how large they are, and
the position that each restores to. What has no MANIFEST is incomplete, or still being made. With --topology the backups of
topology servers are listed instead.";

const EXAMPLE: &str = "\
Examples:
  vitess-backup list --backup-storage-implementation file --file-backup-storage-root /backups commerce/-80
  vitess-backup list --topology --backup-storage-implementation file --file-backup-storage-root /backups";

/// List a shard's backups, oldest first
#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT, after_long_help = EXAMPLE)]
#[command(group = ArgGroup::new("of").args(["shard", "topology"]).required(true))]
pub struct ListArguments {
    #[command(flatten)]
    pub storage: StorageArguments,
    /// How to write the list; with --report json each backup is a report line instead
    #[arg(long, value_enum, default_value_t = OutputArgument::Table)]
    pub output: OutputArgument,
    /// List the backups of topology servers
    #[arg(long)]
    pub topology: bool,
    /// <keyspace>/<shard>
    #[arg(value_name = "KEYSPACE/SHARD")]
    pub shard: Option<KeyspaceShard>,
    #[command(flatten)]
    pub run: RunArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputArgument {
    Table,
    Json,
    Yaml,
}

#[async_trait(?Send)]
impl EngineCommand for ListArguments {
    fn run_arguments(&self) -> &RunArguments {
        &self.run
    }

    /// The list itself is the output.
    fn output(&self) -> Option<OutputFormat> {
        None
    }

    fn operation(&self) -> Operation {
        Operation::List
    }

    async fn execute(
        &self,
        outcome: &mut Outcome,
        interrupt: &Interrupt,
        monitor: &dyn Monitor,
    ) -> Result<(), EngineError> {
        let storage = self.storage.open()?;
        let Some(shard) = &self.shard else {
            let listed = interrupt.race(topology::list(&storage, monitor)).await?;
            outcome.size_bytes = Some(listed.iter().map(|backup| backup.size_bytes).sum());
            return self.show_topology(listed);
        };
        outcome.shard = Some(shard.to_string());
        let listed = interrupt.race(catalogue::list(&storage, shard, monitor)).await?;
        outcome.size_bytes = Some(listed.iter().map(|backup| backup.size_bytes).sum());
        if self.run.report == ReportFormat::Json {
            for backup in listed {
                report::print(&Line::Backup(Box::new(backup)));
            }
            return Ok(());
        }
        write(self.output, &listed, || table(&listed))
    }
}

/// Writes a list to stdout as it was asked for.
pub(super) fn write<T: serde::Serialize>(
    output: OutputArgument,
    listed: &[T],
    table: impl FnOnce() -> String,
) -> Result<(), EngineError> {
    let text = match output {
        OutputArgument::Table => table(),
        OutputArgument::Json => json(listed)?,
        OutputArgument::Yaml => yaml(listed)?,
    };
    // A reader that went away (`| head`) is no failure of ours.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

impl ListArguments {
    fn show_topology(&self, listed: Vec<ListedTopologyBackup>) -> Result<(), EngineError> {
        if self.run.report == ReportFormat::Json {
            for backup in listed {
                report::print(&Line::TopologyBackup(Box::new(backup)));
            }
            return Ok(());
        }
        write(self.output, &listed, || topology_table(&listed))
    }
}

fn json<T: serde::Serialize>(listed: &[T]) -> Result<String, EngineError> {
    serde_json::to_string_pretty(listed).map(|text| text + "\n").map_err(|error| EngineError::internal(&error))
}

fn yaml<T: serde::Serialize>(listed: &[T]) -> Result<String, EngineError> {
    serde_saphyr::to_string(&listed).map_err(|error| EngineError::internal(&error))
}

pub(super) const HEADER: [&str; 7] = ["NAME", "STATE", "ENGINE", "TYPE", "TIME", "SIZE", "POSITION"];

fn table(listed: &[ListedBackup]) -> String {
    let header = HEADER.map(str::to_owned).to_vec();
    columns(std::iter::once(header).chain(listed.iter().map(|backup| row(backup).to_vec())).collect())
}

fn topology_table(listed: &[ListedTopologyBackup]) -> String {
    let header = ["NAME", "STATE", "SERVER", "VERSION", "TIME", "SIZE", "AT"].map(str::to_owned).to_vec();
    let row = |backup: &ListedTopologyBackup| {
        let told = backup.descriptor.as_ref();
        let or_dash = |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned());
        vec![
            backup.name.clone(),
            if backup.complete { "complete" } else { "incomplete" }.to_owned(),
            or_dash(told.map(|told| told.server.to_string())),
            or_dash(told.and_then(|told| told.server_version.clone())),
            or_dash(told.map(|told| told.start_time.to_string())),
            report::bytes(backup.size_bytes),
            or_dash(told.map(|told| told.point.to_string())),
        ]
    };
    columns(std::iter::once(header).chain(listed.iter().map(row)).collect())
}

/// Columns padded to their widest cell; the position goes last because it may be long.
pub(super) fn columns(rows: Vec<Vec<String>>) -> String {
    let mut widths = vec![0; rows.iter().map(Vec::len).max().unwrap_or_default()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

pub(super) fn row(backup: &ListedBackup) -> [String; 7] {
    let or_dash = |text: Option<&str>| text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned();
    [
        backup.name.clone(),
        if backup.complete { "complete" } else { "incomplete" }.to_owned(),
        or_dash(backup.engine.as_deref()),
        match (backup.complete, backup.incremental) {
            (false, _) => "-",
            (true, false) => "full",
            (true, true) => "incremental",
        }
        .to_owned(),
        backup.backup_time.map_or_else(|| "-".to_owned(), |time| time.to_string()),
        report::bytes(backup.size_bytes),
        or_dash(backup.position.as_deref()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(name: &str) -> ListedBackup {
        ListedBackup {
            name: name.into(),
            complete: false,
            problem: Some("it has no MANIFEST: it is incomplete or still being made".into()),
            engine: None,
            incremental: false,
            tablet_alias: None,
            backup_time: None,
            finished_time: None,
            position: None,
            purged_position: None,
            mysql_version: None,
            size_bytes: 0,
            objects: 0,
            manifest: None,
        }
    }

    #[test]
    fn the_table_says_which_backups_are_complete() {
        let complete = ListedBackup {
            complete: true,
            problem: None,
            engine: Some("builtin".into()),
            backup_time: Some("2024-01-02T03:04:05Z".parse().unwrap()),
            position: Some("MySQL56/3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5".into()),
            size_bytes: 3 * 1024 * 1024 / 2,
            ..backup("2024-01-02.030405.zone1-0000000101")
        };
        insta::assert_snapshot!(table(&[backup("9999-junk"), complete]), @r"
        NAME                                STATE       ENGINE   TYPE  TIME                  SIZE     POSITION
        9999-junk                           incomplete  -        -     -                     0 B      -
        2024-01-02.030405.zone1-0000000101  complete    builtin  full  2024-01-02T03:04:05Z  1.5 MiB  MySQL56/3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5
        ");
    }
}
