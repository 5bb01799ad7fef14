//! `vitess-backup install-binary`: how the engine gets into a tablet's image. The operator's own image has no shell and no
//! `cp`, so the binary copies itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::Context;

/// Copies this program to a path.
#[derive(Debug, clap::Args)]
pub struct InstallBinary {
    /// Where to; an existing file is replaced.
    path: PathBuf,
}

impl InstallBinary {
    pub fn run(&self) -> anyhow::Result<()> {
        let own = std::env::current_exe().context("cannot find out where this program is")?;
        let path = self.path.display();
        // By way of a second name: an engine that is being executed cannot be written to.
        let partial = self.path.with_extension("part");
        fs::copy(&own, &partial).with_context(|| format!("cannot copy {} to {path}", own.display()))?;
        fs::set_permissions(&partial, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {path} executable"))?;
        fs::rename(&partial, &self.path).with_context(|| format!("cannot put {path} in place"))
    }
}
