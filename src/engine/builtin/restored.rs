//! What a restore is asked for, and what it gives.

use std::path::PathBuf;
use std::time::Duration;

use crate::backup::choose::Wanted;
use crate::engine::builtin::limits::Limits;
use crate::engine::xtrabackup::XtrabackupOptions;
use crate::engine::{Done, Tablet, Vtctld};
use crate::mysqld::{Layout, LayoutError};

/// Vitess's file in the tablet's directory that says that its data is not whole.
pub const MARKER: &str = "restore_in_progress";

#[derive(Clone, Debug)]
pub struct RestoreOptions {
    pub wanted: Wanted,
    /// When the backup turns out damaged, take the next older one. Not for a named backup.
    pub fallback: bool,
    pub existing_data: ExistingData,
    /// Raw BackupMethods; empty: any.
    pub allowed_engines: Vec<String>,
    pub limits: Limits,
    pub allow_primary: bool,
    pub vtctld: Option<Vtctld>,
    pub external_decompressor: Option<String>,
    /// Run the command that the MANIFEST names.
    pub external_decompressor_use_manifest: bool,
    /// For backups of that engine.
    pub xtrabackup: XtrabackupOptions,
    /// How long to wait for a mysqlctld that does not answer.
    pub mysqlctld_timeout: Duration,
    /// The tablet's own processes start after this run, which leaves mysqld down.
    pub before_start: Option<BeforeStart>,
}

/// How a tablet that has no my.cnf yet is to be laid out, beyond what its directory says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BeforeStart {
    /// When the directory is not named `vt_<uid>`.
    pub uid: Option<u32>,
    /// mysqld's port; Vitess's default otherwise.
    pub port: Option<u16>,
    /// The files of `EXTRA_MY_CNF`, in their order.
    pub extra_my_cnf: Vec<PathBuf>,
}

impl BeforeStart {
    /// The layout that mysqlctld would choose; nothing is written.
    ///
    /// # Errors
    /// When nothing tells the uid, or an extra file has a number that does not fit.
    pub async fn layout(&self, tablet: &Tablet) -> Result<Layout, LayoutError> {
        let Self { uid, port, extra_my_cnf } = self;
        let mut layout = match uid {
            Some(uid) => Layout::vitess_default_for_uid(&tablet.directory, *uid),
            None => Layout::vitess_default(&tablet.directory)?,
        };
        if let Some(port) = port {
            layout.port = *port;
        }
        if let Some(socket) = &tablet.mysql_socket {
            layout.socket.clone_from(socket);
        }
        layout.with_extra(extra_my_cnf).await
    }
}

/// What to do when the tablet has data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExistingData {
    Refuse,
    Replace,
}

pub enum RestoreEnd {
    Restored(Box<Done>),
    /// There is no backup at all; nothing was touched.
    NoBackup,
}
