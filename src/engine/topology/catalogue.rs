//! What topology backups there are: listing, choosing, removing.

use futures::{StreamExt, TryStreamExt};

use super::directory;
use crate::backup::choose::Why;
use crate::backup::topology::{Descriptor, ListedTopologyBackup, OBJECT, SIZE_LIMIT, TopologyBackupName};
use crate::engine::EngineError;
use crate::engine::catalogue::RemoveDone;
use crate::progress::{Monitor, Step};
use crate::storage::{BackupHandle, BackupStorage, StorageError, StoredObject};
use crate::topology::TopologyError;

const AT_A_TIME: usize = 8;

/// A look at one backup's descriptor.
pub(super) enum Look {
    Complete(Box<Descriptor>),
    Missing,
    Unreadable(String),
}

/// Trouble with the storage is an error, so that nobody takes an unreachable backup for a broken one.
pub(super) async fn look(handle: &BackupHandle) -> Result<Look, StorageError> {
    match handle.get(OBJECT, SIZE_LIMIT).await {
        Ok(stored) => Ok(match Descriptor::decode(&stored) {
            Ok(descriptor) => Look::Complete(Box::new(descriptor)),
            Err(cause) => Look::Unreadable(cause),
        }),
        Err(StorageError::NotFound { .. }) => Ok(Look::Missing),
        Err(error @ (StorageError::TooLarge { .. } | StorageError::WrongLength { .. })) => {
            Ok(Look::Unreadable(error.to_string()))
        }
        Err(error) => Err(error),
    }
}

/// All topology backups, oldest first.
///
/// # Errors
/// What storage says.
pub async fn list(storage: &BackupStorage, monitor: &dyn Monitor) -> Result<Vec<ListedTopologyBackup>, EngineError> {
    monitor.step(Step::Listing);
    let directory = directory()?;
    let names = storage.list_backups(&directory).await?;
    let handles = names.iter().map(|name| storage.backup(&directory, name)).collect::<Result<Vec<_>, _>>()?;
    let looks = handles.into_iter().map(|handle| async move { describe(&handle).await });
    futures::stream::iter(looks).buffered(AT_A_TIME).try_collect().await
}

async fn describe(handle: &BackupHandle) -> Result<ListedTopologyBackup, EngineError> {
    let objects = handle.objects().await?;
    let (problem, descriptor) = match look(handle).await? {
        Look::Missing => (Some(format!("it has no {OBJECT}: it is incomplete or still being made")), None),
        Look::Unreadable(cause) => (Some(format!("its {OBJECT} cannot be used: {cause}")), None),
        Look::Complete(descriptor) => (lacks(&descriptor, &objects), Some(*descriptor)),
    };
    Ok(ListedTopologyBackup {
        name: handle.name().to_owned(),
        complete: problem.is_none(),
        problem,
        size_bytes: objects.iter().map(|object| object.size).sum(),
        descriptor,
    })
}

/// What a backup's descriptor tells of and storage does not have.
fn lacks(descriptor: &Descriptor, objects: &[StoredObject]) -> Option<String> {
    descriptor.parts.iter().find_map(|part| match objects.iter().find(|object| object.name == part.name) {
        None => Some(format!("object {} is missing", part.name)),
        Some(object) if object.size != part.size_bytes => {
            Some(format!("object {} has {} bytes, and {} were written", part.name, object.size, part.size_bytes))
        }
        Some(_) => None,
    })
}

/// The backup of this name, with its descriptor.
///
/// # Errors
/// `BackupNotFound`, `NoCompleteBackup`, and `Topology` for a descriptor that cannot be read.
pub(super) async fn find(storage: &BackupStorage, name: &str) -> Result<(BackupHandle, Descriptor), EngineError> {
    let directory = directory()?;
    let handle = storage.backup(&directory, name)?;
    match look(&handle).await? {
        Look::Complete(descriptor) => Ok((handle, *descriptor)),
        Look::Unreadable(cause) => {
            Err(TopologyError::Damaged { server: "a topology server", object: OBJECT.to_owned(), cause }.into())
        }
        Look::Missing if handle.objects().await?.is_empty() => {
            Err(EngineError::BackupNotFound { shard: directory, name: name.to_owned() })
        }
        Look::Missing => {
            let passed_over = crate::backup::choose::PassedOver { name: name.to_owned(), why: Why::Incomplete };
            Err(EngineError::NoCompleteBackup { shard: directory, passed_over: vec![passed_over] })
        }
    }
}

/// Removes a backup; that it is not there is no error. The only complete one of its cell and server is kept unless `force`.
///
/// # Errors
/// `LastGoodBackup`, and what storage says.
pub async fn remove(
    storage: &BackupStorage,
    name: &str,
    force: bool,
    monitor: &dyn Monitor,
) -> Result<RemoveDone, EngineError> {
    monitor.step(Step::RemovingBackup);
    let directory = directory()?;
    let handle = storage.backup(&directory, name)?;
    if !force && matches!(look(&handle).await?, Look::Complete(_)) && !another(storage, name).await? {
        return Err(EngineError::LastGoodBackup { shard: directory, name: name.to_owned() });
    }
    Ok(RemoveDone { removed: handle.remove().await? })
}

/// Newest first, because that is where a complete one is likely.
async fn another(storage: &BackupStorage, but: &str) -> Result<bool, EngineError> {
    let directory = directory()?;
    let of = |name: &str| name.parse::<TopologyBackupName>().ok().map(|name| (name.cell().to_owned(), name.server()));
    let wanted = of(but);
    for name in storage.list_backups(&directory).await?.iter().rev() {
        if name != but
            && of(name) == wanted
            && matches!(look(&storage.backup(&directory, name)?).await?, Look::Complete(_))
        {
            return Ok(true);
        }
    }
    Ok(false)
}
