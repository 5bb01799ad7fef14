//! `vitess-backup crd`: the CustomResourceDefinitions as YAML.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;

/// Prints the CustomResourceDefinitions, or writes them to a directory, one file per kind.
#[derive(Debug, clap::Args)]
pub struct Crd {
    /// Write <plural>.yaml files here instead of printing.
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
}

impl Crd {
    pub fn run(&self) -> anyhow::Result<()> {
        let documents = documents()?;
        let Some(directory) = &self.output_dir else {
            let texts: Vec<String> = documents.into_iter().map(|(_, text)| text).collect();
            // A reader such as `head` may close the pipe; that is not an error worth a stack of text.
            let _ = std::io::Write::write_all(&mut std::io::stdout(), texts.join("---\n").as_bytes());
            return Ok(());
        };
        fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
        for (name, text) in documents {
            let path = directory.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

/// File name and YAML text of each definition.
///
/// # Errors
/// When a definition cannot be written as YAML, which would be a bug.
pub fn documents() -> anyhow::Result<Vec<(String, String)>> {
    crate::api::custom_resource_definitions()
        .into_iter()
        .map(|crd| {
            // By way of JSON, so that the order of keys is that of the API types everywhere.
            let value = serde_json::to_value(&crd).context("cannot encode a CustomResourceDefinition")?;
            let text = serde_saphyr::to_string(&value).context("cannot write a CustomResourceDefinition as YAML")?;
            Ok((format!("{}.yaml", crd.spec.names.plural), text))
        })
        .collect()
}
