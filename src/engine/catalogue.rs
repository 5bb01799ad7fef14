//! What a shard has in storage: listing, looking at MANIFESTs, choosing, removing.

use futures::{StreamExt, TryStreamExt};

use crate::backup::choose::{Choice, Facts, PassedOver, Search, Seen, VersionRule, Wanted, Why};
use crate::backup::manifest::{self, Manifest};
use crate::backup::name;
use crate::backup::report::{ListedBackup, Outcome};
use crate::engine::EngineError;
use crate::progress::{Monitor, Step};
use crate::storage::{BackupHandle, BackupStorage, Removed, StorageError};
use crate::topo::KeyspaceShard;

/// How many backups are looked at at a time when all are.
const AT_A_TIME: usize = 8;

/// A look at one backup's MANIFEST.
pub enum Look {
    Complete(Box<Manifest>),
    Missing,
    Unreadable(String),
}

impl Look {
    fn seen(&self) -> Seen {
        match self {
            Self::Complete(manifest) => Seen::Readable(Facts::of(manifest)),
            Self::Missing => Seen::Missing,
            Self::Unreadable(cause) => Seen::Unreadable(cause.clone()),
        }
    }
}

/// Reads a backup's MANIFEST. That it is missing or does not decode is an answer; trouble with the storage is an error,
/// so that nobody takes an unreachable backup for a broken one.
pub async fn look(handle: &BackupHandle) -> Result<Look, StorageError> {
    match handle.get(manifest::OBJECT, manifest::SIZE_LIMIT).await {
        Ok(stored) => Ok(match Manifest::decode(&stored) {
            Ok(manifest) => Look::Complete(Box::new(manifest)),
            Err(error) => Look::Unreadable(error.to_string()),
        }),
        Err(StorageError::NotFound { .. }) => Ok(Look::Missing),
        Err(error @ (StorageError::TooLarge { .. } | StorageError::WrongLength { .. })) => {
            Ok(Look::Unreadable(error.to_string()))
        }
        Err(error) => Err(error),
    }
}

/// A backup that may be restored.
pub struct Chosen {
    pub handle: BackupHandle,
    pub manifest: Manifest,
    /// Newer ones that were passed over on the way.
    pub passed_over: Vec<PassedOver>,
}

/// Looks for the backup to restore, as if those in `but` were not there; `None` when there is none at all, not even a
/// broken one.
///
/// # Errors
/// `NoCompleteBackup` when there are only unusable ones, `BackupNotFound` and `BackupUnusable` for a named one.
pub async fn choose(
    storage: &BackupStorage,
    shard: &KeyspaceShard,
    wanted: &Wanted,
    allowed_engines: &[String],
    version: VersionRule<'_>,
    but: &[&str],
) -> Result<Option<Chosen>, EngineError> {
    let mut listed = storage.list_backups(shard).await?;
    listed.retain(|name| !but.contains(&name.as_str()));
    let mut search = Search::new(wanted, allowed_engines, version);
    let mut taken = None;
    for name in search.order(&listed) {
        let handle = storage.backup(shard, &name)?;
        let look = look(&handle).await?;
        if search.offer(&name, &look.seen()) {
            taken = Some((handle, look));
            break;
        }
    }
    match (search.conclude(), taken, wanted) {
        (Choice::Found { passed_over, .. }, Some((handle, Look::Complete(manifest))), _) => {
            Ok(Some(Chosen { handle, manifest: *manifest, passed_over }))
        }
        (Choice::OnlyUnusable(passed_over), _, Wanted::Named(_)) => Err(match passed_over.into_iter().next() {
            Some(one) => EngineError::BackupUnusable(one),
            None => EngineError::Internal("a named backup was passed over without a reason".to_owned()),
        }),
        (Choice::OnlyUnusable(passed_over), ..) => {
            Err(EngineError::NoCompleteBackup { shard: shard.clone(), passed_over })
        }
        (Choice::Nothing, _, Wanted::Named(name)) => {
            Err(EngineError::BackupNotFound { shard: shard.clone(), name: name.clone() })
        }
        (Choice::Nothing, ..) => Ok(None),
        (Choice::Found { name, .. }, ..) => Err(EngineError::Internal(format!("backup {name} was chosen unread"))),
    }
}

/// A shard's backups, oldest first (by name, as Vitess lists them), each with its MANIFEST's facts and its stored size.
pub async fn list(
    storage: &BackupStorage,
    shard: &KeyspaceShard,
    monitor: &dyn Monitor,
) -> Result<Vec<ListedBackup>, EngineError> {
    monitor.step(Step::Listing);
    let names = storage.list_backups(shard).await?;
    let handles = names.iter().map(|name| storage.backup(shard, name)).collect::<Result<Vec<_>, _>>()?;
    let listed = futures::stream::iter(handles.into_iter().map(|handle| async move { describe(&handle).await }))
        .buffered(AT_A_TIME)
        .try_collect()
        .await?;
    Ok(listed)
}

async fn describe(handle: &BackupHandle) -> Result<ListedBackup, EngineError> {
    let objects = handle.objects().await?;
    let look = look(handle).await?;
    let bytes = objects.iter().map(|object| object.size).sum();
    Ok(facts(handle.name(), objects.len() as u64, bytes, look))
}

/// What is known of a backup by its listing and a look at its MANIFEST.
pub(super) fn facts(backup_name: &str, objects: u64, bytes: u64, look: Look) -> ListedBackup {
    let mut listed = ListedBackup {
        name: backup_name.to_owned(),
        complete: false,
        problem: None,
        engine: None,
        incremental: false,
        tablet_alias: backup_name.parse::<name::BackupName>().ok().map(|name| name.alias().to_string()),
        backup_time: name::time_of(backup_name),
        finished_time: None,
        position: None,
        purged_position: None,
        mysql_version: None,
        size_bytes: bytes,
        objects,
        manifest: None,
    };
    match look {
        Look::Missing => listed.problem = Some(Why::Incomplete.to_string()),
        Look::Unreadable(cause) => listed.problem = Some(Why::ManifestUnreadable(cause).to_string()),
        Look::Complete(manifest) => {
            let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            listed.complete = true;
            listed.engine = Some(manifest.engine().to_owned());
            listed.incremental = manifest.incremental;
            listed.tablet_alias = text(&manifest.tablet_alias).or(listed.tablet_alias);
            listed.backup_time = manifest.began().or(listed.backup_time);
            listed.finished_time = manifest.finished_time.parse().ok();
            listed.position = text(&manifest.position);
            listed.purged_position = text(&manifest.purged_position);
            listed.mysql_version = text(&manifest.mysql_version);
            listed.manifest = Some(manifest.summary());
        }
    }
    listed
}

/// What a removal did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoveDone {
    pub removed: Removed,
}

impl RemoveDone {
    /// Writes it into the outcome.
    pub fn fill(self, outcome: &mut Outcome) {
        let Self { removed } = self;
        outcome.size_bytes = Some(removed.bytes);
        if removed.objects == 0 {
            outcome.warnings.push("there was no such backup: nothing was removed".to_owned());
        }
    }
}

/// Removes a backup; that it is not there is no error. The shard's only complete full backup is kept unless `force`.
///
/// # Errors
/// `LastGoodBackup`, and what storage says.
pub async fn remove(
    storage: &BackupStorage,
    shard: &KeyspaceShard,
    name: &str,
    force: bool,
    monitor: &dyn Monitor,
) -> Result<RemoveDone, EngineError> {
    monitor.step(Step::RemovingBackup);
    let handle = storage.backup(shard, name)?;
    if !force && is_full(&handle).await? && !another_full(storage, shard, name).await? {
        return Err(EngineError::LastGoodBackup { shard: shard.clone(), name: name.to_owned() });
    }
    Ok(RemoveDone { removed: handle.remove().await? })
}

async fn is_full(handle: &BackupHandle) -> Result<bool, EngineError> {
    Ok(matches!(look(handle).await?, Look::Complete(manifest) if !manifest.incremental))
}

/// Newest first, because that is where a complete one is likely.
async fn another_full(storage: &BackupStorage, shard: &KeyspaceShard, but: &str) -> Result<bool, EngineError> {
    for name in storage.list_backups(shard).await?.iter().rev().filter(|name| *name != but) {
        if is_full(&storage.backup(shard, name)?).await? {
            return Ok(true);
        }
    }
    Ok(false)
}
