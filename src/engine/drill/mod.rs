//! The drill: a backup restored to scratch by the engine that made it, a mysqld of its own started on it, every table checked
//! and the user's assertions asked; then all of it is removed.
//!
//! Nothing of a tablet is touched: the mysqld has directories and sockets of its own, no network, no replication, no events,
//! and is read-only.
//!
//! * [`scratch`]: the directory, its my.cnf, and what a run that was killed left of both.
//! * [`tables`]: `CHECK TABLE`, also where mysqld dies of it.
//! * [`assertions`]: the user's statements, as a MySQL user that cannot write.

mod assertions;
mod scratch;
mod tables;

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::Duration;

use futures::FutureExt;

use crate::backup::choose::Wanted;
use crate::backup::report::Verification;
use crate::engine::builtin::{self, ExistingData, Limits, RestoreEnd, RestoreOptions, Stored, VerifyDone};
use crate::engine::drill::scratch::Scratch;
use crate::engine::xtrabackup::XtrabackupOptions;
use crate::engine::{Done, EngineError, Interrupt, MysqldAccess, Tablet};
use crate::progress::Monitor;
use crate::storage::BackupStorage;
use crate::topo::KeyspaceShard;

pub use assertions::Assertion;

#[derive(Clone, Debug)]
pub struct DrillOptions {
    /// An existing directory in which one of our own is made, and removed with all that is in it.
    pub scratch: PathBuf,
    pub assertions: Vec<Assertion>,
    /// Of one assertion.
    pub assertion_timeout: Duration,
    /// Files in the manner of `EXTRA_MY_CNF`; one that is missing is passed over.
    pub extra_my_cnf: Vec<PathBuf>,
    /// More lines for my.cnf, after those files.
    pub my_cnf: Vec<String>,
    /// Who may do everything in the restored MySQL, without a password.
    pub dba_user: String,
    /// Of the restore; and so many tables are checked at a time.
    pub limits: Limits,
    pub external_decompressor: Option<String>,
    /// Run the command that the MANIFEST names.
    pub external_decompressor_use_manifest: bool,
    pub xtrabackup: XtrabackupOptions,
}

/// Restores the backup to scratch and looks at what is in it.
///
/// # Errors
/// Those of `builtin::verify` about the MANIFEST and the objects that are there; those of a restore (`NoSpace` before
/// anything is written); `TablesCorrupt`, `AssertionsFailed`; what MySQL says. The scratch is removed whatever happens.
pub async fn drill(
    storage: &BackupStorage,
    shard: &KeyspaceShard,
    name: &str,
    options: &DrillOptions,
    interrupt: &Interrupt,
    monitor: &dyn Monitor,
) -> Result<VerifyDone, EngineError> {
    let mode = options.xtrabackup.stream_mode;
    let backup = interrupt.race(Stored::examine(storage, shard, name, mode, monitor)).await?;
    let scratch = Scratch::take(&options.scratch, monitor).await?;
    let run = Run { storage, shard, name, options, interrupt, monitor, scratch: &scratch };
    let result = AssertUnwindSafe(run.to_the_end()).catch_unwind().await.unwrap_or(Err(EngineError::Panicked));
    let removed = scratch.remove().await;
    let (done, found) = result?;
    removed?;
    let strays = backup.strays();
    Ok(VerifyDone {
        files: done.files,
        stored_bytes: backup.bytes(),
        warnings: done.warnings.into_iter().chain(strays).collect(),
        manifest: done.manifest,
        found,
    })
}

struct Run<'a> {
    storage: &'a BackupStorage,
    shard: &'a KeyspaceShard,
    name: &'a str,
    options: &'a DrillOptions,
    interrupt: &'a Interrupt,
    monitor: &'a dyn Monitor,
    scratch: &'a Scratch,
}

impl Run<'_> {
    async fn to_the_end(&self) -> Result<(Done, Verification), EngineError> {
        let tablet = self.tablet();
        self.scratch.lay_out(&tablet, self.options).await?;
        let mut done = self.restore(&tablet).await?;
        let server = tablet.server().await?;
        let (name, concurrency) = (self.name, self.options.limits.concurrency);
        let checked = tables::check(&server, name, concurrency, self.monitor);
        let checked = self.interrupt.race(checked).await?;
        done.warnings.extend(checked.warnings);
        let asked = assertions::ask(&server, name, self.shard, self.options, self.monitor);
        let assertions = self.interrupt.race(asked).await?;
        let found = Verification { tables: Some(checked.tables), rows: checked.rows, assertions: Some(assertions) };
        Ok((done, found))
    }

    fn tablet(&self) -> Tablet {
        Tablet {
            shard: Some(self.shard.clone()),
            alias: None,
            directory: self.scratch.tablet_dir(),
            mysqld: MysqldAccess::Scratch,
            mysql_socket: None,
            dba_user: self.options.dba_user.clone(),
            shutdown_timeout: Duration::from_secs(300),
            catch_up_timeout: Duration::ZERO,
        }
    }

    /// As a tablet would be restored; the engine is the one that made the backup.
    async fn restore(&self, tablet: &Tablet) -> Result<Done, EngineError> {
        let DrillOptions { limits, external_decompressor, external_decompressor_use_manifest, xtrabackup, .. } =
            self.options;
        let options = RestoreOptions {
            wanted: Wanted::Named(self.name.to_owned()),
            fallback: false,
            existing_data: ExistingData::Refuse,
            allowed_engines: Vec::new(),
            limits: *limits,
            allow_primary: false,
            vtctld: None,
            external_decompressor: external_decompressor.clone(),
            external_decompressor_use_manifest: *external_decompressor_use_manifest,
            xtrabackup: xtrabackup.clone(),
            mysqlctld_timeout: Duration::ZERO,
            before_start: None,
        };
        match Box::pin(builtin::restore(tablet, self.storage, &options, self.interrupt, self.monitor)).await {
            Ok(RestoreEnd::Restored(done)) => Ok(*done),
            Ok(RestoreEnd::NoBackup) => {
                Err(EngineError::BackupNotFound { shard: self.shard.clone(), name: self.name.to_owned() })
            }
            // Whose data is not whole is about to be removed anyway.
            Err(EngineError::RestoreCutShort { cause }) => Err(*cause),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn options(scratch: &std::path::Path, my_cnf: &[&str]) -> DrillOptions {
        DrillOptions {
            scratch: scratch.to_owned(),
            assertions: Vec::new(),
            assertion_timeout: Duration::from_secs(60),
            extra_my_cnf: Vec::new(),
            my_cnf: my_cnf.iter().map(|line| (*line).to_owned()).collect(),
            dba_user: "vt_dba".to_owned(),
            limits: Limits::default(),
            external_decompressor: None,
            external_decompressor_use_manifest: false,
            xtrabackup: XtrabackupOptions::default(),
        }
    }
}
