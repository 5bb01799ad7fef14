//! `vitess-backup install-binary`: how the engine gets into a tablet's image. The operator's own image has no shell and no
//! `cp`, so the binary copies itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::Context;

use crate::storage::ROOTS_BESIDE;

/// Copies this program to a path, and the certificates of authorities that it has (`SSL_CERT_FILE`) beside it: the tablet's
/// image may have none.
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
        fs::rename(&partial, &self.path).with_context(|| format!("cannot put {path} in place"))?;
        let Some(roots) = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from).filter(|roots| roots.is_file()) else {
            return Ok(());
        };
        let beside = self.path.with_file_name(ROOTS_BESIDE);
        fs::copy(&roots, &beside)
            .with_context(|| format!("cannot copy {} to {}", roots.display(), beside.display()))?;
        Ok(())
    }
}
