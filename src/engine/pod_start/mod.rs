//! Restore when a tablet's pod starts: before mysqlctld and vttablet, with their own ideas of when to.
//!
//! Source of the decisions: Vitess `tabletmanager/restore.go` (`restoreBackupLocked`) and `mysqlctl.ShouldRestore`. What
//! is different: mysqld does not run yet, so the volume is looked at and not a server; it is started only to set the
//! position and stopped again. A vttablet that starts then finds the database there and neither restores nor refuses; it
//! sets semi-sync and the replication source itself, or, with a `--restore-from-backup` of its own, leaves them to VTOrc, as at
//! each of its later starts.

pub mod data;

use std::time::Duration;

use tokio::time::sleep;

use crate::backup::choose::PassedOver;
use crate::duration::GoDuration;
use crate::engine::builtin::{self, BeforeStart, ExistingData, RestoreEnd, RestoreOptions};
use crate::engine::journal::Journal;
use crate::engine::{Done, EngineError, Interrupt, Tablet, recover};
use crate::mysqld::{Evidence, Layout, LayoutError, MysqldError};
use crate::progress::{Monitor, Step};
use crate::storage::BackupStorage;

pub use data::Data;

/// What a restore on pod start is asked for.
#[derive(Clone, Debug)]
pub struct PodStartOptions {
    /// `existing_data` says what to do with data of others; the keyspace's own is never replaced.
    pub restore: RestoreOptions,
    /// The keyspace's: `vt_<keyspace>`, unless `--init-db-name-override` names another.
    pub database: String,
    /// How often to look for a backup while there is none; zero: once.
    pub wait_interval: Duration,
}

pub enum PodStartEnd {
    Restored(Box<Done>),
    /// There is no backup at all, and none was waited for: nothing was touched.
    StartedEmpty,
}

/// What is on the volume. Quick, and asks no storage.
///
/// # Errors
/// When it cannot be looked at, or my.cnf cannot be understood.
pub async fn look(tablet: &Tablet, options: &PodStartOptions) -> Result<Data, EngineError> {
    let layout = layout(tablet, options.restore.before_start.as_ref()).await?;
    data::look(&tablet.directory, &layout.datadir, &options.database)
}

/// Restores onto a volume that [`look`] saw to hold `found`.
///
/// # Errors
/// `NoCompleteBackup` where only unusable backups exist and none is waited for, `NothingToRestore` where an earlier restore
/// was cut short and there is no backup any more; `DataPresent` for data of others; else as [`builtin::restore`].
pub async fn restore(
    tablet: &Tablet,
    storage: &BackupStorage,
    options: &PodStartOptions,
    found: &Data,
    interrupt: &Interrupt,
    monitor: &dyn Monitor,
) -> Result<PodStartEnd, EngineError> {
    match found {
        // Not for this to replace, whoever calls.
        Data::Present => {
            let what = format!("database {} exists", options.database);
            return Err(EngineError::DataPresent { what });
        }
        Data::Foreign(databases) if options.restore.existing_data == ExistingData::Refuse => {
            let what = format!(
                "the tablet's volume holds {}, and not {}: it may be another keyspace's",
                databases.join(", "),
                options.database
            );
            return Err(EngineError::DataPresent { what });
        }
        Data::Interrupted => monitor.note("an earlier restore of this tablet was cut short; starting over"),
        Data::None | Data::Initialised | Data::Foreign(_) => {}
    }
    let search = Search { tablet, storage, options, interrupt, monitor };
    let version = search.version().await?;
    monitor.step(Step::ChoosingBackup);
    loop {
        let lacking = match interrupt.race(search.choose(version.as_deref())).await {
            Ok(true) => {
                let chosen = RestoreOptions { existing_data: ExistingData::Replace, ..options.restore.clone() };
                match builtin::restore(tablet, storage, &chosen, interrupt, monitor).await? {
                    RestoreEnd::Restored(done) => return Ok(PodStartEnd::Restored(done)),
                    RestoreEnd::NoBackup => Lacking::All,
                }
            }
            Ok(false) => Lacking::All,
            Err(EngineError::NoCompleteBackup { passed_over, .. }) => Lacking::Complete(passed_over),
            Err(error) => return Err(error),
        };
        if options.wait_interval.is_zero() {
            return search.none(lacking, *found == Data::Interrupted);
        }
        monitor.note(&lacking.describe(&search.shard()?, options.wait_interval));
        interrupt
            .race(async {
                sleep(options.wait_interval).await;
                Ok(())
            })
            .await?;
    }
}

/// What a look into storage did not find.
enum Lacking {
    All,
    /// Those that are there cannot be used.
    Complete(Vec<PassedOver>),
}

impl Lacking {
    fn describe(&self, shard: &str, interval: Duration) -> String {
        let again = GoDuration(interval);
        match self {
            Self::All => format!("{shard} has no backup yet: looking again in {again}"),
            Self::Complete(passed_over) => {
                let newest = passed_over.first().map(ToString::to_string).unwrap_or_default();
                let count = passed_over.len();
                format!(
                    "{shard} has no complete backup yet ({count} not to be used; {newest}): looking again in {again}"
                )
            }
        }
    }
}

struct Search<'a> {
    tablet: &'a Tablet,
    storage: &'a BackupStorage,
    options: &'a PodStartOptions,
    interrupt: &'a Interrupt,
    monitor: &'a dyn Monitor,
}

impl Search<'_> {
    fn shard(&self) -> Result<String, EngineError> {
        Ok(self.tablet.shard()?.to_string())
    }

    /// Of the mysqld that is to start on the data. Also makes sure that none does yet.
    async fn version(&self) -> Result<Option<String>, EngineError> {
        self.interrupt.check()?;
        let layout = layout(self.tablet, self.options.restore.before_start.as_ref()).await?;
        let evidence = Evidence::gather(&layout).await?;
        if evidence.alive() {
            return Err(MysqldError::NotAtRest { evidence: evidence.to_string() }.into());
        }
        match self.tablet.server_at(layout)?.control.version_string().await {
            Ok(version) => Ok(Some(version)),
            Err(_) if self.tablet.is_at_rest() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether there is a backup to restore; the restore itself chooses again, and examines it.
    async fn choose(&self, version: Option<&str>) -> Result<bool, EngineError> {
        let (shard, options) = (self.tablet.shard()?, &self.options.restore);
        Ok(builtin::choose(self.storage, shard, options, version, &[]).await?.is_some())
    }

    /// There is none, and none is to be waited for.
    fn none(&self, lacking: Lacking, interrupted: bool) -> Result<PodStartEnd, EngineError> {
        let shard = self.tablet.shard()?.clone();
        match lacking {
            Lacking::Complete(passed_over) => Err(EngineError::NoCompleteBackup { shard, passed_over }),
            Lacking::All if interrupted => Err(EngineError::NothingToRestore { shard }),
            Lacking::All => {
                self.monitor.note(&format!("{shard} has no backup: the tablet starts empty"));
                Ok(PodStartEnd::StartedEmpty)
            }
        }
    }
}

/// That of my.cnf, or the one that mysqlctld would choose.
async fn layout(tablet: &Tablet, before_start: Option<&BeforeStart>) -> Result<Layout, EngineError> {
    let mut layout = match Layout::read(&tablet.directory).await {
        Ok(layout) => layout,
        Err(LayoutError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(before_start.cloned().unwrap_or_default().layout(tablet).await?);
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(socket) = &tablet.mysql_socket {
        layout.socket.clone_from(socket);
    }
    Ok(layout)
}

/// The tablet keeps its data. What is left of a restore that was killed after it had written Vitess's marker and before it
/// removed anything goes: with the marker mysqlctld would leave mysqld down.
///
/// # Errors
/// When the marker cannot be removed.
pub fn keep(tablet: &Tablet) -> Result<(), EngineError> {
    if tablet.directory.join(builtin::MARKER).exists() {
        recover::remove_marker(&tablet.directory)?;
        Journal::hold(&tablet.directory)?.remove()?;
    }
    Ok(())
}
