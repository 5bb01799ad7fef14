//! A restore onto one tablet.
//!
//! Source of the sequence: Vitess `mysqlctl.Restore`, `BuiltinBackupEngine.ExecuteRestore` and `restore.go` of the tablet
//! manager; and what they lack: everything that can be known is checked before the old data goes, and what was written is
//! fsynced before it counts.

use std::time::Duration;

use tokio::time::Instant;

use crate::backup::report::{Operation, ReplicationOutcome};
use crate::engine::builtin::clearing::Clearing;
use crate::engine::builtin::pick::{Content, Pick, Picked, choose};
use crate::engine::builtin::rejoin::{self, Sources};
use crate::engine::builtin::restored::{ExistingData, MARKER, RestoreEnd, RestoreOptions};
use crate::engine::builtin::scene::{self, Look, Scene};
use crate::engine::builtin::{at_rest, fetch};
use crate::engine::journal::{Entry, Journal, JournalStep, NamedBackup, TabletState};
use crate::engine::tablet::Server;
use crate::engine::{Done, EngineError, Interrupt, MysqldAccess, Tablet, recover, replication, xtrabackup};
use crate::mysqld::{ServerVersion, needs_mysql_upgrade};
use crate::progress::{Monitor, Step};
use crate::storage::BackupStorage;
use crate::topo::KeyspaceShard;

/// Restores a backup onto the tablet.
///
/// # Errors
/// Any. Before the old data went, the tablet is as it was; after that the error is `RestoreCutShort`, Vitess's marker and
/// the journal stay, and the restore is to be run again.
pub async fn restore(
    tablet: &Tablet,
    storage: &BackupStorage,
    options: &RestoreOptions,
    interrupt: &Interrupt,
    monitor: &dyn Monitor,
) -> Result<RestoreEnd, EngineError> {
    let shard = tablet.shard()?;
    if !matches!(tablet.mysqld, MysqldAccess::Mysqlctld { .. }) && !tablet.directory.exists() {
        // A new volume: nothing is made there before a backup is found.
        monitor.step(Step::ChoosingBackup);
        if interrupt.race(choose(storage, shard, options, None, &[])).await?.is_none() {
            return Ok(RestoreEnd::NoBackup);
        }
        fetch::make_directory(&tablet.directory, None)?;
    }
    let journal = Journal::hold(&tablet.directory)?;
    let earlier = recover::before_restore(&journal, tablet, storage, monitor).await?;
    monitor.step(Step::Checking);
    let marker_before = tablet.directory.join(MARKER).exists();
    let attempt = Attempt { tablet, storage, options, interrupt, monitor, shard, journal: &journal, marker_before };
    let Some(scene) = attempt.scene().await? else { return Ok(RestoreEnd::NoBackup) };
    let prepared = match interrupt.race(attempt.prepare(&scene)).await {
        Ok(Some(prepared)) => prepared,
        Ok(None) => {
            attempt.withdraw(earlier.as_ref())?;
            return Ok(RestoreEnd::NoBackup);
        }
        Err(error) => {
            attempt.withdraw(earlier.as_ref())?;
            return Err(error);
        }
    };
    // Boxed: with every step in it the future is large.
    Box::pin(attempt.carry_out(*scene, prepared, earlier)).await.map(|done| RestoreEnd::Restored(Box::new(done)))
}

struct Attempt<'a> {
    tablet: &'a Tablet,
    storage: &'a BackupStorage,
    options: &'a RestoreOptions,
    interrupt: &'a Interrupt,
    monitor: &'a dyn Monitor,
    shard: &'a KeyspaceShard,
    journal: &'a Journal,
    /// Vitess's marker was there already: an earlier restore was cut short, and the data counts as none.
    marker_before: bool,
}

/// What was checked.
struct Prepared<'a> {
    picked: Picked,
    /// For another one, should this one turn out damaged.
    pick: Pick<'a>,
    version: Option<String>,
    warnings: Vec<String>,
}

impl<'a> Attempt<'a> {
    /// Looks at the tablet. `None`: there is no backup, so that nothing more needs to be known.
    async fn scene(&self) -> Result<Option<Box<Scene>>, EngineError> {
        let data = match self.interrupt.race(self.look()).await? {
            Look::Found(scene) => {
                self.allow_replacing(scene.data.as_deref())?;
                return Ok(Some(scene));
            }
            Look::Unreachable { data } => data,
        };
        self.allow_replacing(data.as_deref())?;
        let MysqldAccess::Mysqlctld { socket } = &self.tablet.mysqld else {
            return Err(EngineError::Internal("only mysqlctld can be unreachable".to_owned()));
        };
        self.monitor.step(Step::ChoosingBackup);
        if self.interrupt.race(choose(self.storage, self.shard, self.options, None, &[])).await?.is_none() {
            return Ok(None);
        }
        // The tablet cannot start as it is. With the marker mysqlctld answers and leaves mysqld down.
        if self.options.existing_data == ExistingData::Replace {
            self.write(JournalStep::StoppingMysqld, None, None)?;
            recover::write_marker(&self.tablet.directory)?;
        }
        let waited = scene::wait_for_mysqlctld(socket, self.options.mysqlctld_timeout, self.monitor);
        let looked = self.interrupt.race(async {
            waited.await?;
            self.monitor.step(Step::Checking);
            self.look().await
        });
        match looked.await {
            Ok(Look::Found(scene)) => Ok(Some(scene)),
            Ok(Look::Unreachable { .. }) => {
                self.withdraw(None)?;
                Err(EngineError::invalid("mysqlctld answered and went away again"))
            }
            Err(error) => {
                self.withdraw(None)?;
                Err(error)
            }
        }
    }

    async fn look(&self) -> Result<Look, EngineError> {
        scene::look(self.tablet, self.shard, self.options.before_start.as_ref(), self.monitor).await
    }

    fn allow_replacing(&self, data: Option<&str>) -> Result<(), EngineError> {
        match data {
            Some(what) if self.options.existing_data == ExistingData::Refuse && !self.marker_before => {
                Err(EngineError::DataPresent { what: what.to_owned() })
            }
            _ => Ok(()),
        }
    }

    fn write(&self, step: JournalStep, before: Option<&TabletState>, name: Option<&str>) -> Result<(), EngineError> {
        let backup = name.map(|name| NamedBackup { shard: self.shard.clone(), name: name.to_owned() });
        let started = jiff::Timestamp::now();
        let entry = Entry::new(Operation::Restore, started, step);
        self.journal.write(&Entry { before: before.cloned(), backup, marker_before: self.marker_before, ..entry })
    }

    /// Nothing was touched but the marker and the journal: both go, unless an earlier restore left them.
    fn withdraw(&self, earlier: Option<&TabletState>) -> Result<(), EngineError> {
        if self.marker_before {
            return self.write(JournalStep::ClearingData, earlier, None);
        }
        recover::remove_marker(&self.tablet.directory)?;
        self.journal.remove()
    }

    /// Chooses the backup and checks all that can be checked. `None`: there is none.
    async fn prepare(&self, scene: &Scene) -> Result<Option<Prepared<'a>>, EngineError> {
        let mut warnings = Vec::new();
        if let Some(before) =
            scene.before.as_ref().filter(|before| scene.data.is_some() && replication::is_primary(before))
            && !self.options.allow_primary
        {
            let tablet = self.tablet.name();
            let follows = if before.replication.is_some() { "follows no source any more" } else { "has no source" };
            return Err(EngineError::TabletIsPrimary { tablet, evidence: format!("it takes writes and {follows}") });
        }
        let version = self.version(&scene.server, &mut warnings).await?;
        self.monitor.step(Step::ChoosingBackup);
        let layout = scene.server.layout.clone();
        let mut pick = Pick::new(self.storage, self.shard, self.options, self.monitor, layout, version.clone());
        let picked = pick.next().await?;
        Ok(picked.map(|picked| Prepared { picked, pick, version, warnings }))
    }

    /// The version of the mysqld that is to start on the data.
    async fn version(&self, server: &Server, warnings: &mut Vec<String>) -> Result<Option<String>, EngineError> {
        match server.control.version_string().await {
            Ok(version) => Ok(Some(version)),
            Err(_) if self.tablet.is_at_rest() => {
                warnings.push(
                    "no mysqld was found here, so that its version was not compared with the backup's".to_owned(),
                );
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn carry_out(
        &self,
        scene: Scene,
        prepared: Prepared<'_>,
        earlier: Option<TabletState>,
    ) -> Result<Done, EngineError> {
        let Scene { server, before, source, data: _, is_new } = scene;
        let before = before.or(earlier);
        let Prepared { mut picked, mut pick, version, mut warnings } = prepared;
        let journal = |step, picked: &Picked| self.write(step, before.as_ref(), Some(picked.chosen.handle.name()));
        journal(JournalStep::StoppingMysqld, &picked)?;
        recover::write_marker(&self.tablet.directory)?;
        let down_since = Instant::now();
        // Not to be cut short: a mysqld that was told to stop stops, whether anyone waits for it or not.
        if let Err(error) = self.stop(&server).await.and_then(|()| self.interrupt.check()) {
            return Err(self.undo(&server, before.as_ref(), error).await);
        }
        let mut clearing = match at_rest::look(&server.layout).await.and_then(|()| Clearing::of(&server.layout)) {
            Ok(clearing) => clearing,
            Err(error) => return Err(self.undo(&server, before.as_ref(), error).await),
        };
        journal(JournalStep::ClearingData, &picked)?;
        let sources =
            Sources { vtctld: self.options.vtctld.as_ref(), before: before.as_ref(), source: source.as_ref() };
        let cut_short = |cause| EngineError::RestoreCutShort { cause: Box::new(cause) };
        let data_bytes = loop {
            let fill =
                at_rest::during(&server.layout, self.fill(&server, &picked, clearing, is_new, version.as_deref()));
            let error = match self.interrupt.race(fill).await {
                Ok(written) => break written,
                Err(error) => error,
            };
            picked = self.another(&mut pick, picked, error).await.map_err(cut_short)?;
            journal(JournalStep::ClearingData, &picked)?;
            clearing = Clearing::of(&server.layout).map_err(cut_short)?;
        };
        warnings.extend(pick.warnings(&picked));
        let (downtime, replication) = if self.tablet.is_at_rest() {
            warnings.push(
                "mysqld was not started; Vitess sets the replication source when the tablet joins its shard".to_owned(),
            );
            (Duration::ZERO, ReplicationOutcome::NotConfigured)
        } else {
            journal(JournalStep::StartingMysqld, &picked)?;
            let backup = &picked.chosen.manifest.mysql_version;
            self.interrupt.race(self.start(&server, backup, version.as_deref())).await.map_err(cut_short)?;
            let downtime = down_since.elapsed();
            journal(JournalStep::SettingPosition, &picked)?;
            let set = self.interrupt.race(rejoin::set_position(&server.mysql, picked.content.position(), self.monitor));
            set.await.map_err(cut_short)?;
            // From here on the data is whole, whatever becomes of replication.
            let joined = match (self.options.before_start.as_ref(), &self.tablet.mysqld) {
                // Not to be cut short: what is stopped cleanly starts at once later.
                (Some(_), _) => self.leave_down(&server).await,
                (None, MysqldAccess::Scratch) => Ok(ReplicationOutcome::NotConfigured),
                (None, _) => self.interrupt.race(self.join(&server, &sources, &mut warnings)).await,
            };
            recover::remove_marker(&self.tablet.directory)?;
            self.journal.remove()?;
            (downtime, joined?)
        };
        recover::remove_marker(&self.tablet.directory)?;
        self.journal.remove()?;
        Ok(Done {
            stored_bytes: picked.content.stored_bytes(),
            files: picked.content.files(),
            name: picked.chosen.handle.name().to_owned(),
            manifest: picked.chosen.manifest,
            data_bytes,
            downtime: Some(downtime),
            how: None,
            replication: Some(replication),
            warnings,
            not_carried: Vec::new(),
        })
    }

    /// Another backup in place of one that turned out damaged when the old data was gone.
    ///
    /// # Errors
    /// The damage, when there is none or none is to be taken.
    async fn another(&self, pick: &mut Pick<'_>, damaged: Picked, error: EngineError) -> Result<Picked, EngineError> {
        self.interrupt.race(pick.set_aside(damaged.chosen.handle.name(), error)).await?;
        let another = self.interrupt.race(pick.next()).await?;
        another.ok_or_else(|| EngineError::Internal("the older backup is gone".to_owned()))
    }

    async fn stop(&self, server: &Server) -> Result<(), EngineError> {
        self.monitor.step(Step::StoppingMysqld);
        Ok(server.stop().await?)
    }

    /// The data is still there: the tablet goes on as it was.
    async fn undo(&self, server: &Server, before: Option<&TabletState>, error: EngineError) -> EngineError {
        let undone = async {
            if let Some(before) = before.filter(|before| before.mysqld_running && !self.marker_before) {
                self.monitor.step(Step::StartingMysqld);
                replication::start_stubbornly(server, true, self.monitor).await?;
                self.monitor.step(Step::RestartingReplication);
                replication::put_back(server, before, self.monitor).await?;
            }
            self.withdraw(before)
        };
        match undone.await {
            Ok(()) => error,
            Err(cause) => {
                let run = format!("the restore had failed before: {error}");
                EngineError::NotPutBack { cause: Box::new(cause), run }
            }
        }
    }

    /// Replaces the tablet's files by the backup's. Gives the bytes written.
    async fn fill(
        &self,
        server: &Server,
        picked: &Picked,
        clearing: Clearing,
        is_new: bool,
        version: Option<&str>,
    ) -> Result<u64, EngineError> {
        let layout = &server.layout;
        self.monitor.step(Step::ClearingData);
        self.monitor.note(&clearing.describe());
        let cleared = tokio::task::spawn_blocking(move || clearing.carry_out()).await;
        cleared.map_err(|error| EngineError::internal(&error))??;
        let owner = if rustix::process::geteuid().is_root() { Some(layout.owner().await?) } else { None };
        for directory in layout.directories() {
            fetch::make_directory(&directory, owner)?;
            fetch::give(&directory, owner)?;
        }
        if is_new {
            let version = version.and_then(|version| ServerVersion::parse(version).ok());
            let extra = self.options.before_start.as_ref().map_or(&[][..], |before_start| &before_start.extra_my_cnf);
            layout.write_my_cnf(version.as_ref(), extra).await?;
        }
        server.control.reinit_config().await?;

        let Picked { chosen, content } = picked;
        let (target, decompression) = match content {
            Content::Files { target, decompression } => (target, decompression),
            Content::Stream { stream, tools } => {
                let limits = &self.options.limits;
                return xtrabackup::fill(&chosen.handle, stream, tools, layout, limits, owner, self.monitor).await;
            }
        };
        self.monitor.step(Step::CopyingFiles);
        self.monitor.totals(target.least_bytes(), target.files.len() as u64);
        for directory in &target.empty_directories {
            fetch::make_directory(directory, owner)?;
        }
        let (handle, limits) = (&chosen.handle, &self.options.limits);
        let fetched =
            fetch::download(handle, &target.files, decompression, limits, owner, target.data_bytes, self.monitor)
                .await?;
        Ok(fetched.written)
    }

    /// Starts mysqld on the restored files, by way of an upgrade when `version`, unlike `backup`'s, may need one and does not
    /// do it itself.
    async fn start(&self, server: &Server, backup: &str, version: Option<&str>) -> Result<(), EngineError> {
        if needs_mysql_upgrade(backup, version) {
            self.monitor.step(Step::UpgradingMysqld);
            server.control.start(&["--skip-grant-tables", "--skip-networking"]).await?;
            server.control.run_mysql_upgrade().await?;
            server.stop().await?;
        }
        self.monitor.step(Step::StartingMysqld);
        Ok(server.control.start(&[]).await?)
    }

    /// mysqld is stopped again; who starts the tablet then gives it its place in the shard.
    async fn leave_down(&self, server: &Server) -> Result<ReplicationOutcome, EngineError> {
        self.stop(server).await?;
        Ok(ReplicationOutcome::NotConfigured)
    }

    async fn join(
        &self,
        server: &Server,
        sources: &Sources<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<ReplicationOutcome, EngineError> {
        let joined = rejoin::rejoin(server, sources, self.monitor, warnings).await?;
        if joined != ReplicationOutcome::Running {
            return Ok(joined);
        }
        let outcome = replication::wait_caught_up(server, self.monitor).await?;
        if outcome == ReplicationOutcome::Running {
            warnings.push(replication::not_caught_up(server.catch_up_timeout));
        }
        Ok(outcome)
    }
}
