//! `vitess-backup topology import`.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use clap::Args;

use super::server::SideArguments;
use crate::backup::report::{Operation, Outcome};
use crate::cli::arguments::{OutputArguments, OutputFormat, ReportFormat, RunArguments};
use crate::cli::restore::ExistingDataArgument;
use crate::cli::run::EngineCommand;
use crate::engine::topology::{self, ImportOptions};
use crate::engine::{EngineError, Interrupt};
use crate::progress::Monitor;
use crate::topology::TopologyError;
use crate::topology::records::Document;

const LONG_ABOUT: &str = "\
Write the records of an export into a topology server, which may be of another kind than the one they came from. What differs
is shown first, record by record; with --dry-run that is all. Records that exist with other contents are replaced only with
--existing-data replace; those that the export does not have are left as they are.

Each cell's CellInfo is made to name the server that its records are written to: --cell-server-address, else
--topo-server-address. Afterwards have Vitess make its serving data: vtctldclient RebuildKeyspaceGraph for each keyspace, and
RebuildVSchemaGraph.";

const EXAMPLE: &str = "\
Examples:
  vitess-backup topology import --dry-run --topo-implementation consul --topo-server-address consul:8500 --topo-root vitess/global topology.json
  vitess-backup topology import --topo-implementation zk2 --topo-server-address zk-0:2181,zk-1:2181 --topo-root /vitess/global --existing-data replace topology.json";

/// Write the records of an export into a topology server
#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT, after_long_help = EXAMPLE)]
pub struct ImportArguments {
    #[command(flatten)]
    pub side: SideArguments,
    /// Show what differs, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// What to do with records that exist with other contents: leave them and fail, or replace them
    #[arg(long, value_enum, default_value_t = ExistingDataArgument::Refuse)]
    pub existing_data: ExistingDataArgument,
    /// The export; - for stdin
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub output: OutputArguments,
    #[command(flatten)]
    pub run: RunArguments,
}

impl ImportArguments {
    /// To stdout for a person, before anything is written; as notes where stdout belongs to JSON.
    fn show(&self, text: &str, monitor: &dyn Monitor) {
        if self.output.output == OutputFormat::Text && self.run.report == ReportFormat::None {
            // A reader that went away (`| head`) is no failure of ours.
            let _ = std::io::stdout().write_all(text.as_bytes());
        } else {
            text.lines().for_each(|line| monitor.note(line));
        }
    }
}

#[async_trait(?Send)]
impl EngineCommand for ImportArguments {
    fn run_arguments(&self) -> &RunArguments {
        &self.run
    }

    fn output(&self) -> Option<OutputFormat> {
        Some(self.output.output).filter(|output| !(self.dry_run && *output == OutputFormat::Text))
    }

    fn operation(&self) -> Operation {
        Operation::TopologyImport
    }

    async fn execute(
        &self,
        outcome: &mut Outcome,
        interrupt: &Interrupt,
        monitor: &dyn Monitor,
    ) -> Result<(), EngineError> {
        let document = read(&self.file)?;
        let options = ImportOptions {
            to: self.side.side()?,
            address: self.side.access.topo_server_address.clone().unwrap_or_default(),
            cells: self.side.cells.iter().cloned().collect(),
        };
        let import = interrupt.race(topology::plan_import(&document, &options, monitor)).await?;
        outcome.files = Some(import.changes() as u64);
        self.show(&import.text(), monitor);
        if self.dry_run {
            self.show("dry run: nothing was written\n", monitor);
            return Ok(());
        }
        if self.existing_data == ExistingDataArgument::Refuse {
            import.check_empty()?;
        }
        import.apply(interrupt, monitor).await
    }
}

fn read(path: &Path) -> Result<Document, EngineError> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(|_| ())
    } else {
        std::fs::read_to_string(path).map(|read| text = read)
    };
    read.map_err(|error| EngineError::unreadable(path, error))?;
    let decoded = Document::decode(&text);
    decoded.map_err(|cause| TopologyError::Unreadable { what: format!("the export {}", path.display()), cause }.into())
}
