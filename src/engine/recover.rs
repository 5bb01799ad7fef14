//! Putting a tablet back after a run that was killed, from its journal.
//!
//! Every step looks first and does only what is not done, so that a recovery that is killed is simply run again.

use std::path::Path;

use crate::backup::report::{NOTHING_TO_RECOVER, Operation, Outcome, ReplicationOutcome};
use crate::engine::builtin::{ClonePlace, MARKER};
use crate::engine::catalogue::{self, Look};
use crate::engine::journal::{self, Entry, Journal, JournalStep, NamedBackup, TabletState, TypeBefore};
use crate::engine::vtctld::Reparented;
use crate::engine::{EngineError, Interrupt, Tablet, replication};
use crate::progress::{Monitor, Step};
use crate::storage::BackupStorage;

/// What a recovery did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoverDone {
    /// What the interrupted run was; `None`: there was none.
    pub earlier: Option<Operation>,
    /// The backup that it named.
    pub backup: Option<NamedBackup>,
    pub replication: Option<ReplicationOutcome>,
    pub warnings: Vec<String>,
}

impl RecoverDone {
    /// Writes it into the outcome.
    pub fn fill(self, outcome: &mut Outcome) {
        let Self { earlier, backup, replication, warnings } = self;
        if earlier.is_none() {
            outcome.warnings.push(NOTHING_TO_RECOVER.to_owned());
        }
        outcome.shard = backup.as_ref().map(|backup| backup.shard.to_string());
        outcome.backup_name = backup.map(|backup| backup.name);
        outcome.replication = replication;
        outcome.warnings.extend(warnings);
    }
}

/// Reads the tablet's journal and puts back mysqld, read-only, semi-sync and replication; removes the half-written backup
/// when `storage` is given.
///
/// # Errors
/// `RestoreInterrupted` when the tablet's data is not whole: only another restore mends that. Else what failed; the
/// journal stays then.
pub async fn recover(
    tablet: &Tablet,
    storage: Option<&BackupStorage>,
    interrupt: &Interrupt,
    monitor: &dyn Monitor,
) -> Result<RecoverDone, EngineError> {
    interrupt.check()?;
    let journal = Journal::hold(&tablet.directory)?;
    monitor.step(Step::Recovering);
    let Some(entry) = journal.read()? else {
        ClonePlace::of(&tablet.directory).remove()?;
        return Ok(RecoverDone::default());
    };
    put_right(&journal, entry, tablet, storage, monitor).await
}

/// Before a backup: ends what an earlier run left undone on this tablet.
pub async fn finish_earlier_backup(
    journal: &Journal,
    tablet: &Tablet,
    storage: Option<&BackupStorage>,
    monitor: &dyn Monitor,
) -> Result<(), EngineError> {
    let Some(entry) = journal.read()? else { return ClonePlace::of(&tablet.directory).remove() };
    monitor.step(Step::Recovering);
    monitor.note("an earlier run on this tablet did not end; putting the tablet back first");
    put_right(journal, entry, tablet, storage, monitor).await.map(|_| ())
}

/// Before a restore: gives how the tablet was before an earlier run that did not end. What that run disturbed is put back
/// as far as it can be; a tablet that cannot be is no obstacle, because its data is about to be replaced.
pub async fn before_restore(
    journal: &Journal,
    tablet: &Tablet,
    storage: &BackupStorage,
    monitor: &dyn Monitor,
) -> Result<Option<TabletState>, EngineError> {
    // What it takes on disk may be what the restore needs.
    ClonePlace::of(&tablet.directory).remove()?;
    let Some(entry) = journal.read()? else { return Ok(None) };
    let before = entry.before.clone();
    if entry.operation == Operation::Restore && entry.step >= JournalStep::ClearingData {
        monitor.note("an earlier restore of this tablet did not end; starting over");
        // It may have been killed between the end of its marker and that of its journal.
        write_marker(&tablet.directory)?;
        return Ok(before);
    }
    monitor.step(Step::Recovering);
    if let Err(error) = put_right(journal, entry, tablet, Some(storage), monitor).await {
        monitor.note(&format!("an earlier run on this tablet did not end, and it cannot be put back: {error}"));
    }
    Ok(before)
}

async fn put_right(
    journal: &Journal,
    mut entry: Entry,
    tablet: &Tablet,
    storage: Option<&BackupStorage>,
    monitor: &dyn Monitor,
) -> Result<RecoverDone, EngineError> {
    let mut done = RecoverDone {
        earlier: Some(entry.operation),
        backup: entry.backup.clone(),
        replication: None,
        warnings: Vec::new(),
    };
    if entry.operation == Operation::Restore {
        if entry.step >= JournalStep::ClearingData {
            let backup = entry.backup.map_or_else(|| "a backup".to_owned(), |backup| format!("backup {}", backup.name));
            return Err(EngineError::RestoreInterrupted { backup });
        }
        if !entry.marker_before {
            remove_marker(&tablet.directory)?;
        }
        done.replication = put_tablet_back(&entry, tablet, monitor).await?;
        journal.remove()?;
        return Ok(done);
    }
    // Once put back, the tablet is its own again: it may have become something else since.
    if entry.step != JournalStep::PutBack {
        done.replication = put_tablet_back(&entry, tablet, monitor).await?;
        entry.step = JournalStep::PutBack;
        journal.write(&entry)?;
    }
    ClonePlace::of(&tablet.directory).remove()?;
    match (&entry.backup, storage) {
        (Some(named), Some(storage)) => done.warnings.extend(clear_half_written(storage, named, monitor).await?),
        (Some(named), None) => done.warnings.push(format!(
            "backup {} of {} stays in storage, incomplete: no storage was given to remove it from",
            named.name, named.shard
        )),
        (None, _) => {}
    }
    journal.remove()?;
    Ok(done)
}

async fn put_tablet_back(
    entry: &Entry,
    tablet: &Tablet,
    monitor: &dyn Monitor,
) -> Result<Option<ReplicationOutcome>, EngineError> {
    let Some(before) = entry.before.as_ref().filter(|before| before.mysqld_running) else { return Ok(None) };
    let server = tablet.server().await?;
    monitor.step(Step::StartingMysqld);
    replication::start_stubbornly(&server, entry.step == JournalStep::StoppingMysqld, monitor).await?;
    monitor.step(Step::RestartingReplication);
    let outcome = replication::put_back(&server, before, monitor).await?;
    if let Some(type_before) = &entry.tablet_type {
        put_back_type(type_before, outcome, monitor).await?;
    }
    Ok(Some(outcome))
}

/// Gives the tablet its type again and, as Vitess does after its own Backup, has it follow whoever is the primary by now.
///
/// # Errors
/// `Vtctld` when the type cannot be put back. That the source cannot be set anew is only noted: the tablet has its old one.
pub async fn put_back_type(
    before: &TypeBefore,
    replication: ReplicationOutcome,
    monitor: &dyn Monitor,
) -> Result<(), EngineError> {
    let TypeBefore { vtctld, tablet_type } = before;
    vtctld.put_back_type(*tablet_type, monitor).await?;
    if replication == ReplicationOutcome::Running {
        match vtctld.reparent().await {
            Ok(Reparented::Under(primary)) => monitor.note(&format!("the tablet follows {primary}")),
            Ok(Reparented::NotNow(cause)) => monitor.note(&format!("the tablet keeps its replication source: {cause}")),
            Err(error) => monitor.note(&format!("the tablet keeps its replication source: {error}")),
        }
    }
    Ok(())
}

/// Removes the backup that the interrupted run was making, unless it turns out to be complete.
async fn clear_half_written(
    storage: &BackupStorage,
    named: &NamedBackup,
    monitor: &dyn Monitor,
) -> Result<Option<String>, EngineError> {
    let NamedBackup { shard, name } = named;
    let handle = storage.backup(shard, name)?;
    match catalogue::look(&handle).await? {
        Look::Complete(_) => Ok(Some(format!("backup {name} of {shard} is complete and was kept"))),
        Look::Missing | Look::Unreadable(_) => {
            monitor.step(Step::RemovingBackup);
            let removed = handle.remove().await?;
            monitor.note(&format!("removed the half-written backup {name}: {} objects", removed.objects));
            Ok(None)
        }
    }
}

/// Data that a restore left half must not become a backup.
///
/// # Errors
/// `RestoreInterrupted` when Vitess's marker of a restore in progress is there.
pub fn check_no_restore(tablet: &Tablet) -> Result<(), EngineError> {
    if tablet.directory.join(MARKER).exists() {
        return Err(EngineError::RestoreInterrupted { backup: "an unknown backup".to_owned() });
    }
    Ok(())
}

/// Removes Vitess's marker of a restore in progress, durably.
pub fn remove_marker(directory: &Path) -> Result<(), EngineError> {
    let path = directory.join(MARKER);
    match std::fs::remove_file(&path).and_then(|()| journal::sync_directory(directory)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(EngineError::unwritable(path, error)),
        _ => Ok(()),
    }
}

/// Writes Vitess's marker of a restore in progress, durably: vttablet then restores again, and mysqlctld leaves mysqld down.
pub fn write_marker(directory: &Path) -> Result<(), EngineError> {
    let path = directory.join(MARKER);
    let written = std::fs::File::create(&path).and_then(|file| file.sync_all());
    written.and_then(|()| journal::sync_directory(directory)).map_err(|error| EngineError::unwritable(path, error))
}
