//! A full backup of one tablet.
//!
//! Source of the sequence: Vitess `builtinbackupengine.go` (`executeFullBackup`), and what it lacks: the tablet is put back
//! whatever happens, also when mysqld did not stop in time; it is put back before the MANIFEST is written; everything
//! stored is read back; and a run that fails leaves nothing behind. Where the file system can clone files, mysqld is down
//! only while the clone is made, and everything after the tablet was put back reads that.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;

use crate::backup::name::BackupName;
use crate::backup::report::{CopyMode, Operation, ReplicationOutcome};
use crate::engine::builtin::at_rest::{self, Written};
use crate::engine::builtin::check::{self, Checked};
use crate::engine::builtin::clone::{self, CopyChoice, HowCopied, Place};
use crate::engine::builtin::copy::{self, Stored};
use crate::engine::builtin::describe::{self, Made};
use crate::engine::builtin::files::{self, Roots, Selection};
use crate::engine::builtin::options::{BackupOptions, Verify};
use crate::engine::builtin::position;
use crate::engine::journal::{Entry, Journal, JournalStep, NamedBackup, TypeBefore};
use crate::engine::tablet::Server;
use crate::engine::{Done, EngineError, Interrupt, Tablet, TabletType, recover, replication, store};
use crate::progress::{Monitor, Step};
use crate::replication::GtidSet;
use crate::storage::{BackupHandle, BackupStorage};

/// Backs the tablet up.
///
/// # Errors
/// Any; then the tablet is as it was and nothing is left in storage, unless the error is `NotPutBack`: that one says what
/// is left to do, and keeps the journal for `recover`.
pub async fn backup(
    tablet: &Tablet,
    storage: &BackupStorage,
    options: &BackupOptions,
    interrupt: &Interrupt,
    monitor: &dyn Monitor,
) -> Result<Done, EngineError> {
    let shard = tablet.shard()?;
    let name = BackupName::new(options.backup_time, tablet.alias()?.clone()).to_string();
    if tablet.is_at_rest() {
        return Err(EngineError::invalid(
            "a backup needs mysqld once, to tell the position: use --mysqld own for files at rest",
        ));
    }
    let journal = Journal::hold(&tablet.directory)?;
    recover::finish_earlier_backup(&journal, tablet, Some(storage), monitor).await?;
    monitor.step(Step::Checking);
    let server = tablet.server().await?;
    let checked = interrupt.race(check::check(tablet, &server, options, monitor)).await?;
    interrupt.race(store::make_way(storage, shard, &name, monitor)).await?;
    // Not to be cut short: what it tries out must be gone when it ends.
    let how = clone::decide(options.copy_mode, &server.layout).await?;
    interrupt.check()?;
    monitor.note(&how.to_string());

    let entry = Entry {
        before: Some(checked.before.clone()),
        backup: Some(NamedBackup { shard: shard.clone(), name: name.clone() }),
        tablet_type: checked.type_before.clone(),
        clone: how.mode == CopyMode::Clone,
        ..Entry::new(Operation::Backup, jiff::Timestamp::now(), JournalStep::StoppingReplication)
    };
    let handle = store::begin(storage, &journal, &entry).await?;
    let run = Run {
        place: Place::of(&tablet.directory),
        how,
        server,
        checked,
        options,
        handle,
        journal,
        entry,
        interrupt,
        monitor,
        going_down: None,
        is_down: false,
    };
    run.end(tablet).await
}

/// A run that has begun to disturb.
struct Run<'a> {
    place: Place,
    how: HowCopied,
    server: Server,
    checked: Checked,
    options: &'a BackupOptions,
    handle: BackupHandle,
    journal: Journal,
    entry: Entry,
    interrupt: &'a Interrupt,
    monitor: &'a dyn Monitor,
    /// When mysqld was told to stop.
    going_down: Option<Instant>,
    /// It was seen to have stopped.
    is_down: bool,
}

/// What was copied, or cloned, while mysqld was down.
struct Copied {
    /// gtid_executed before mysqld was stopped.
    noted: GtidSet,
    purged: GtidSet,
    selection: Selection,
    /// `None`: the files of the selection are clones, which are still to be stored.
    stored: Option<Vec<Stored>>,
}

/// How the tablet stands after it was put back; mysqld runs.
struct PutBack {
    downtime: Duration,
    /// Where the copied data stands; an error when nobody can say any more.
    position: Result<GtidSet, EngineError>,
    replication: Result<ReplicationOutcome, EngineError>,
}

impl Run<'_> {
    async fn end(mut self, tablet: &Tablet) -> Result<Done, EngineError> {
        let copied = AssertUnwindSafe(self.copy()).catch_unwind().await;
        let copied = copied.unwrap_or(Err(EngineError::Panicked));
        // First the tablet, whatever happened.
        let put_back = self.put_back(copied.as_ref().ok().map(|copied| &copied.noted)).await;
        match (copied, put_back) {
            (Ok(copied), Ok(put_back)) => self.finish(tablet, copied, put_back).await,
            (Err(error), Ok(PutBack { replication: Ok(_), .. })) => Err(self.give_up(error).await),
            (Err(error), Err(cause) | Ok(PutBack { replication: Err(cause), .. })) => {
                let run = format!("the backup had failed before: {error}");
                Err(self.not_put_back(cause, run).await)
            }
            (Ok(_), Err(cause)) => {
                let run = "the backup was given up, because no mysqld could be seen to start on its data".to_owned();
                Err(self.not_put_back(cause, run).await)
            }
        }
    }

    fn at(&mut self, step: JournalStep) -> Result<(), EngineError> {
        self.entry.step = step;
        self.journal.write(&self.entry)
    }

    /// Interruptible, except where a request is under way that mysqld carries out whether we wait for it or not: what
    /// becomes of it must be known before the tablet can be put back.
    async fn copy(&mut self) -> Result<Copied, EngineError> {
        let interrupt = self.interrupt;
        if let Some(TypeBefore { vtctld, .. }) = &self.checked.type_before {
            interrupt.race(vtctld.change_type(TabletType::Backup)).await?;
        }
        interrupt.check()?;
        let mysql = &self.server.mysql;
        self.monitor.step(Step::StoppingReplication);
        let noted = position::hold_still(mysql, &self.checked.before).await?;
        let purged = mysql.gtid_purged().await?;
        if self.options.upgrade_safe {
            mysql.set_innodb_fast_shutdown(0).await?;
        }
        interrupt.check()?;
        self.monitor.step(Step::StoppingMysqld);
        self.at(JournalStep::StoppingMysqld)?;
        self.going_down = Some(Instant::now());
        self.server.stop().await?;
        self.is_down = true;
        self.at(JournalStep::CopyingFiles)?;
        let selection = interrupt.race(self.select()).await?;
        at_rest::look(&self.server.layout).await?;
        let written = Written::of(&selection.files);
        let cloned = self.clone_files(&selection).await?;
        let stored = if cloned.is_some() {
            None
        } else {
            let stored = interrupt.race(at_rest::during(&self.server.layout, self.store(&selection))).await;
            let is_told = matches!(stored, Err(EngineError::MysqldStartedMeanwhile { .. }));
            if stored.is_err() && !is_told && interrupt.check().is_ok() {
                // Rather what wrote to the files than how it first showed: one that changed, shrank or went away.
                written.unchanged(&selection.files)?;
            }
            Some(stored?)
        };
        at_rest::look(&self.server.layout).await?;
        written.unchanged(&selection.files)?;
        Ok(Copied { noted, purged, selection: cloned.unwrap_or(selection), stored })
    }

    /// `None`: they are to be copied in place. Ends soon when interrupted, and not before nobody writes to the clone.
    async fn clone_files(&mut self, selection: &Selection) -> Result<Option<Selection>, EngineError> {
        if self.how.mode == CopyMode::InPlace {
            return Ok(None);
        }
        self.monitor.step(Step::CloningFiles);
        let (place, selection, interrupt) = (self.place.clone(), selection.clone(), self.interrupt.clone());
        let filled = tokio::task::spawn_blocking(move || place.fill(selection, &interrupt)).await;
        match filled.map_err(|error| EngineError::internal(&error))? {
            Ok(cloned) => Ok(Some(cloned)),
            Err(error) if self.options.copy_mode == CopyChoice::Auto && self.interrupt.check().is_ok() => {
                self.how = HowCopied::after_all(&error);
                self.monitor.note(&self.how.to_string());
                self.remove_clone().await?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Stores the files, in place or from the clone.
    async fn store(&self, selection: &Selection) -> Result<Vec<Stored>, EngineError> {
        let BackupOptions { compression, limits, .. } = self.options;
        self.monitor.step(Step::CopyingFiles);
        self.monitor.totals(selection.bytes(), selection.files.len() as u64);
        copy::upload(&self.handle, &selection.files, compression, limits, self.monitor).await
    }

    /// mysqld runs on while this reads the clone, and comes first when space runs out.
    async fn store_clone(&self, selection: &Selection) -> Result<Vec<Stored>, EngineError> {
        tokio::select! {
            stored = self.store(selection) => stored,
            error = self.place.space_is_short() => Err(error),
        }
    }

    async fn remove_clone(&self) -> Result<(), EngineError> {
        let place = self.place.clone();
        tokio::task::spawn_blocking(move || place.remove()).await.map_err(|error| EngineError::internal(&error))?
    }

    async fn select(&self) -> Result<Selection, EngineError> {
        let layout = self.server.layout.clone();
        let selection = tokio::task::spawn_blocking(move || files::select(Roots::of(&layout)));
        let selection = selection.await.map_err(|error| EngineError::internal(&error))??;
        check::allow(&selection.not_carried, self.options.allow_incomplete)?;
        Ok(selection)
    }

    /// Starts mysqld and puts everything back. Not interruptible.
    ///
    /// # Errors
    /// When mysqld does not start.
    async fn put_back(&mut self, noted: Option<&GtidSet>) -> Result<PutBack, EngineError> {
        self.at(JournalStep::PuttingBack)?;
        self.monitor.step(Step::StartingMysqld);
        replication::start_stubbornly(&self.server, self.going_down.is_some() && !self.is_down, self.monitor).await?;
        let downtime = self.going_down.map_or(Duration::ZERO, |since| since.elapsed());
        let position = match noted {
            Some(noted) => position::of_the_data(&self.server.mysql, noted, &self.checked).await,
            None => Ok(GtidSet::new()),
        };
        let replication = self.put_back_settings().await;
        if replication.is_ok() {
            self.at(JournalStep::PutBack)?;
        }
        Ok(PutBack { downtime, position, replication })
    }

    async fn put_back_settings(&self) -> Result<ReplicationOutcome, EngineError> {
        if self.options.upgrade_safe {
            self.server.mysql.set_innodb_fast_shutdown(self.checked.fast_shutdown).await?;
        }
        self.monitor.step(Step::RestartingReplication);
        let outcome = replication::put_back(&self.server, &self.checked.before, self.monitor).await?;
        if let Some(before) = &self.checked.type_before {
            recover::put_back_type(before, outcome, self.monitor).await?;
        }
        Ok(outcome)
    }

    /// The tablet is as it was; the clone and what was stored go, and the journal with them.
    async fn give_up(&self, error: EngineError) -> EngineError {
        if self.take_back().await
            && let Err(journal) = self.journal.remove()
        {
            self.monitor.note(&format!("the journal stays: {journal}"));
        }
        error
    }

    /// Removes the clone and what was stored; true when both are gone.
    async fn take_back(&self) -> bool {
        let removed = self.remove_clone().await;
        if let Err(error) = &removed {
            self.monitor.note(&format!("{error}; `vitess-backup recover` or the next backup takes the clone away"));
        }
        store::discard(&self.handle, self.monitor).await && removed.is_ok()
    }

    /// The clone and what was stored go; the journal stays for `recover`.
    async fn not_put_back(&self, cause: EngineError, run: String) -> EngineError {
        self.take_back().await;
        EngineError::NotPutBack { cause: Box::new(cause), run }
    }

    async fn finish(self, tablet: &Tablet, copied: Copied, put_back: PutBack) -> Result<Done, EngineError> {
        let interrupt = self.interrupt;
        let PutBack { downtime, position, replication } = put_back;
        let (replication, trouble) = match replication {
            Ok(outcome) => (outcome, None),
            Err(cause) if copied.stored.is_none() => {
                // Whoever is to look after the tablet must not wait for an upload.
                let run = "the backup was given up before its files were stored".to_owned();
                return Err(self.not_put_back(cause, run).await);
            }
            Err(cause) => (ReplicationOutcome::NotRestarted, Some(cause)),
        };
        let ended = AssertUnwindSafe(interrupt.race(async {
            let position = position?;
            let mut warnings = self.checked.warnings.clone();
            let replication = self.caught_up(replication, &mut warnings).await?;
            let stored = match &copied.stored {
                Some(stored) => stored.clone(),
                None => self.store_clone(&copied.selection).await?,
            };
            if let Err(error) = self.remove_clone().await {
                warnings.push(format!("{error}; the next run on the tablet takes the clone away"));
            }
            let expected = copy::expected(&stored);
            if self.options.verify == Verify::Hash {
                self.monitor.step(Step::Verifying);
                store::check_hashes(&self.handle, &expected, &self.options.limits).await?;
            }
            let not_carried = self.not_carried(&copied.selection);
            let made = Made {
                handle: &self.handle,
                alias: tablet.alias()?,
                options: self.options,
                checked: &self.checked,
                selection: &copied.selection,
                stored: &stored,
                position,
                purged: copied.purged.clone(),
                not_carried: &not_carried,
            };
            let manifest = describe::manifest(made, jiff::Timestamp::now());
            let stored_bytes = store::seal(&self.handle, &manifest, &expected, self.monitor).await?;
            let name = self.handle.name().to_owned();
            let (data_bytes, files) = (copied.selection.bytes(), copied.selection.files.len() as u64);
            Ok(Done {
                name,
                manifest,
                stored_bytes,
                data_bytes,
                files,
                downtime: Some(downtime),
                how: Some(self.how.clone()),
                replication: Some(replication),
                warnings,
                not_carried,
            })
        }));
        let ended = ended.catch_unwind().await.unwrap_or(Err(EngineError::Panicked));
        match (ended, trouble) {
            (Ok(done), None) => {
                self.journal.remove()?;
                Ok(done)
            }
            // The backup is good whatever became of the tablet; it may be all that is left of it.
            (Ok(done), Some(cause)) => {
                let run = format!("backup {} itself is complete", done.name);
                Err(EngineError::NotPutBack { cause: Box::new(cause), run })
            }
            (Err(error), None) => Err(self.give_up(error).await),
            (Err(error), Some(cause)) => {
                let run = format!("the backup failed too: {error}");
                Err(self.not_put_back(cause, run).await)
            }
        }
    }

    /// Waits for a replica; that it does not catch up is worth a warning and no more, for the backup does not depend on it.
    async fn caught_up(
        &self,
        replication: ReplicationOutcome,
        warnings: &mut Vec<String>,
    ) -> Result<ReplicationOutcome, EngineError> {
        if replication != ReplicationOutcome::Running {
            return Ok(replication);
        }
        match replication::wait_caught_up(&self.server, self.monitor).await {
            Ok(ReplicationOutcome::Running) => {
                warnings.push(replication::not_caught_up(self.server.catch_up_timeout));
                Ok(ReplicationOutcome::Running)
            }
            Ok(outcome) => Ok(outcome),
            Err(error @ EngineError::ReplicationNotRestarted { .. }) => {
                warnings.push(error.to_string());
                Ok(ReplicationOutcome::NotRestarted)
            }
            Err(error) => Err(error),
        }
    }

    /// What was known before mysqld was stopped, and what came to light when it was down.
    fn not_carried(&self, selection: &Selection) -> Vec<String> {
        let mut all = self.checked.not_carried.clone();
        let later = selection.not_carried.iter().filter(|what| !self.checked.not_carried.contains(what));
        all.extend(later.cloned());
        all
    }
}
