//! `vitess-backup topology export`.

use std::io::Write as _;
use std::path::PathBuf;

use async_trait::async_trait;
use clap::Args;

use super::server::SideArguments;
use crate::backup::report::{Operation, Outcome};
use crate::cli::arguments::{OutputFormat, RunArguments};
use crate::cli::run::EngineCommand;
use crate::engine::topology::{self, ExportOptions};
use crate::engine::{EngineError, Interrupt};
use crate::progress::Monitor;

const LONG_ABOUT: &str = "\
Write Vitess's records of a topology as JSON: cells, cell aliases, keyspaces, shards, VSchemas and routing rules of the global
root, and of each cell its tablets and its replication graphs, read from the server that its CellInfo names. Locks, elections
and serving data (SrvKeyspace, SrvVSchema) are left out; fields of a newer Vitess are kept as they are, in base64.";

const EXAMPLE: &str = "\
Examples:
  vitess-backup topology export --topo-implementation etcd2 --topo-global-server-address etcd:2379 --topo-global-root /vitess/global --output-file topology.json
  vitess-backup topology export --topo-implementation etcd2 --topo-server-address localhost:2379 --topo-root /vitess/global --cell-server-address zone1=localhost:2379";

/// Write Vitess's records of a topology as JSON
#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT, after_long_help = EXAMPLE)]
pub struct ExportArguments {
    #[command(flatten)]
    pub side: SideArguments,
    /// The file to write [default: stdout]
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
    #[command(flatten)]
    pub run: RunArguments,
}

#[async_trait(?Send)]
impl EngineCommand for ExportArguments {
    fn run_arguments(&self) -> &RunArguments {
        &self.run
    }

    /// Where the export itself goes to stdout, nothing else does.
    fn output(&self) -> Option<OutputFormat> {
        self.output_file.as_ref().map(|_| OutputFormat::Text)
    }

    fn operation(&self) -> Operation {
        Operation::TopologyExport
    }

    async fn execute(
        &self,
        outcome: &mut Outcome,
        interrupt: &Interrupt,
        monitor: &dyn Monitor,
    ) -> Result<(), EngineError> {
        let options = ExportOptions { from: self.side.side()?, cells: self.side.cells.iter().cloned().collect() };
        let document = interrupt.race(topology::export(&options, monitor)).await?;
        let text = document.encode();
        outcome.size_bytes = Some(text.len() as u64);
        outcome.files = Some(document.records() as u64);
        if let Some(path) = &self.output_file {
            return std::fs::write(path, text).map_err(|error| EngineError::unwritable(path, error));
        }
        // A reader that went away (`| head`) is no failure of ours.
        let _ = std::io::stdout().write_all(text.as_bytes());
        Ok(())
    }
}
