//! `vitess-backup inventory`.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use clap::Args;

use crate::backup::bytes::ByteSize;
use crate::backup::inventory::{Digest, Found, Totals};
use crate::backup::report::{Line, Operation, Outcome};
use crate::cli::arguments::{OutputFormat, ReportFormat, RunArguments};
use crate::cli::list::{self, OutputArgument};
use crate::cli::report;
use crate::cli::run::EngineCommand;
use crate::cli::storage::StorageArguments;
use crate::engine::{EngineError, Interrupt, inventory};
use crate::progress::Monitor;

const LONG_ABOUT: &str = "\
List everything in a storage: every backup of every keyspace and shard, oldest first in each, and what is neither backup nor
shard. It is what the operator runs to mirror a storage in the cluster.";

const EXAMPLE: &str = "\
Example:
  vitess-backup inventory --backup-storage-implementation file --file-backup-storage-root /backups";

/// List everything in a storage
#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT, after_long_help = EXAMPLE)]
pub struct InventoryArguments {
    #[command(flatten)]
    pub storage: StorageArguments,
    /// How to write the list; with --report json each backup is a report line instead
    #[arg(long, value_enum, default_value_t = OutputArgument::Table)]
    pub output: OutputArgument,
    /// The digest of the backups that are known already: only what differs is told, and where nothing does no MANIFEST is read
    #[arg(long, value_name = "DIGEST")]
    pub known: Option<Digest>,
    /// With --report json: after this many bytes the rest is left for a next time; 0: no limit
    #[arg(long, value_name = "BYTES", default_value = "0")]
    pub report_limit: ByteSize,
    #[command(flatten)]
    pub run: RunArguments,
}

#[async_trait(?Send)]
impl EngineCommand for InventoryArguments {
    fn run_arguments(&self) -> &RunArguments {
        &self.run
    }

    /// The list itself is the output.
    fn output(&self) -> Option<OutputFormat> {
        None
    }

    fn operation(&self) -> Operation {
        Operation::Inventory
    }

    async fn execute(
        &self,
        outcome: &mut Outcome,
        interrupt: &Interrupt,
        monitor: &dyn Monitor,
    ) -> Result<(), EngineError> {
        let storage = self.storage.open()?;
        let ByteSize(limit) = self.report_limit;
        let reports = self.run.report == ReportFormat::Json;
        let asked = inventory::Asked {
            known: self.known.clone().unwrap_or_default(),
            limit: if limit == 0 || !reports { u64::MAX } else { limit },
        };
        let gathered = Mutex::new(Vec::new());
        let tell = |line: Line| {
            if reports {
                return report::print(&line);
            }
            if let Line::Found(found) = line {
                gathered.lock().unwrap_or_else(PoisonError::into_inner).push(*found);
            }
            0
        };
        let totals = interrupt.race(inventory::take(&storage, &asked, monitor, &tell)).await?;
        outcome.size_bytes = Some(totals.bytes);
        outcome.inventory = Some(totals.clone());
        if reports {
            return Ok(());
        }
        let mut found = gathered.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.sort_by(|one, other| (&one.shard, &one.backup.name).cmp(&(&other.shard, &other.backup.name)));
        list::write(self.output, &found, || table(&found, &totals))
    }
}

/// The table of `list` with the shard before each backup, and what is neither below it.
fn table(found: &[Found], totals: &Totals) -> String {
    let rows = found.iter().map(|one| std::iter::once(one.shard.clone()).chain(list::row(&one.backup)).collect());
    let header = std::iter::once("SHARD").chain(list::HEADER).map(str::to_owned).collect();
    let mut text = list::columns(std::iter::once(header).chain(rows).collect());
    for name in &totals.stray_names {
        let _ = writeln!(text, "neither backup nor shard: {name}");
    }
    let unnamed = totals.strays.saturating_sub(totals.stray_names.len() as u64);
    if unnamed > 0 {
        let _ = writeln!(text, "neither backup nor shard: {unnamed} more");
    }
    text
}
