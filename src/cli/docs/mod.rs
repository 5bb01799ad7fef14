//! `vitess-backup docs`: the pages of docs/ that are written from the code (`make docs`). Hidden: it is for this project's
//! own checkout, and a test holds the pages against it.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;

mod api;
mod metrics;
mod troubleshooting;

/// Writes the generated pages of docs/.
#[derive(Debug, clap::Args)]
pub struct Docs {
    #[arg(long, value_name = "DIR", default_value = "docs")]
    output_dir: PathBuf,
}

impl Docs {
    pub fn run(&self) -> anyhow::Result<()> {
        for (name, text) in pages() {
            let path = self.output_dir.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

/// File name and text of each page.
pub fn pages() -> [(&'static str, String); 3] {
    [("api.md", api::page()), ("metrics.md", metrics::page()), ("troubleshooting.md", troubleshooting::page())]
}

/// What every page begins with, below its title.
const GENERATED: &str = "<!-- Written by `make docs`; change the code instead. -->\n";

/// A row of a Markdown table.
fn row(cells: &[&str]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('\n', " ").replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// The head of a Markdown table.
fn head(cells: &[&str]) -> String {
    format!("{}|{}\n", row(cells), "---|".repeat(cells.len()))
}

/// A paragraph or a heading, with space around it.
fn block(text: &str) -> String {
    format!("\n{text}\n")
}
