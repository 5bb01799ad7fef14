//! What a whole storage holds: every backup of every shard, complete or not, and what is neither.
//!
//! Everything is listed each time; MANIFESTs are read only where something differs from what the caller knows already
//! (see [`crate::backup::inventory`]), a few at a time. What is held meanwhile is the sums of each backup.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};

use super::catalogue::{self, Look};
use crate::backup::inventory::{Digest, Found, Seal, ShardFound, Totals, Trace};
use crate::backup::manifest::{Manifest, Method};
use crate::backup::name;
use crate::backup::report::{Line, ListedBackup};
use crate::engine::EngineError;
use crate::progress::{Monitor, Step};
use crate::storage::{BackupStorage, Held, Survey};
use crate::topo::KeyspaceShard;

const SHARDS_AT_A_TIME: usize = 8;
const MANIFESTS_AT_A_TIME: usize = 16;
/// How many strays are named, and how long a name may be, in characters.
const STRAYS_NAMED: usize = 10;
const STRAY_LENGTH: usize = 120;
/// The most bytes of a MANIFEST's summary that go into a line.
const SUMMARY_LIMIT: usize = 32 << 10;
/// How many backups that say COMPLETE and cannot be read are passed over for a shard's newest or oldest.
const PASSED_OVER: usize = 3;

/// What the caller knows, and how much it takes.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The backups that need not be told again.
    pub known: Digest,
    /// When this many bytes were told, buckets that follow are left for the next time.
    pub limit: u64,
}

/// Where the lines go; it gives back how many bytes one took.
pub type Tell<'a> = &'a dyn Fn(Line) -> u64;

/// One backup, by what a listing says of it.
struct Listed<'a> {
    shard: &'a KeyspaceShard,
    directory: &'a str,
    name: &'a str,
    held: Held,
}

impl Listed<'_> {
    fn trace(&self) -> Trace<'_> {
        let Self { shard: _, directory, name, held } = self;
        Trace { shard: directory, name, has_manifest: held.has_manifest, bytes: held.bytes }
    }
}

/// Lists the storage, and tells what differs from what is known.
///
/// # Errors
/// At the first listing or MANIFEST that cannot be read: half an inventory would look as if backups were gone.
pub async fn take(
    storage: &BackupStorage,
    asked: &Asked,
    monitor: &dyn Monitor,
    tell: Tell<'_>,
) -> Result<Totals, EngineError> {
    monitor.step(Step::Listing);
    let Survey { shards, mut strays } = storage.survey().await?;
    let contents = shards.iter().map(|shard| storage.contents(shard));
    let contents: Vec<_> = futures::stream::iter(contents).buffered(SHARDS_AT_A_TIME).try_collect().await?;
    let directories: Vec<String> = shards.iter().map(ToString::to_string).collect();

    let mut backups: Vec<Listed<'_>> = Vec::new();
    for ((shard, directory), contents) in shards.iter().zip(&directories).zip(&contents) {
        strays.extend(contents.loose.iter().map(|name| format!("{directory}/{name}")));
        for (name, held) in &contents.directories {
            if held.has_manifest || name::time_of(name).is_some() {
                backups.push(Listed { shard, directory, name, held: *held });
            } else {
                strays.push(format!("{directory}/{name}"));
            }
        }
    }
    strays.sort_unstable();
    let mut totals = totals(&backups, &directories, &strays);
    let digest = Digest::of(backups.iter().map(Listed::trace));
    let changed = digest.changed(&asked.known);
    if changed.is_empty() && asked.known != Digest::default() {
        return Ok(totals);
    }
    tell_buckets(storage, &backups, &digest, &changed, asked.limit, &mut totals, tell).await?;
    totals.shards_told = tell_shards(storage, &backups, tell).await?;
    Ok(totals)
}

fn totals(backups: &[Listed<'_>], directories: &[String], strays: &[String]) -> Totals {
    let complete = backups.iter().filter(|backup| backup.held.has_manifest).count();
    Totals {
        backups: complete as u64,
        incomplete: (backups.len() - complete) as u64,
        bytes: backups.iter().map(|backup| backup.held.bytes).sum(),
        shards: directories.len() as u64,
        strays: strays.len() as u64,
        stray_names: strays.iter().take(STRAYS_NAMED).map(|name| name.chars().take(STRAY_LENGTH).collect()).collect(),
        ..Totals::default()
    }
}

async fn tell_buckets(
    storage: &BackupStorage,
    backups: &[Listed<'_>],
    digest: &Digest,
    changed: &[u8],
    limit: u64,
    totals: &mut Totals,
    tell: Tell<'_>,
) -> Result<(), EngineError> {
    let mut dealt: BTreeMap<u8, Vec<&Listed<'_>>> = changed.iter().map(|bucket| (*bucket, Vec::new())).collect();
    for backup in backups {
        if let Some(bucket) = dealt.get_mut(&backup.trace().bucket()) {
            bucket.push(backup);
        }
    }
    let mut told = 0;
    for (bucket, backups) in dealt {
        if told >= limit {
            totals.more = true;
            return Ok(());
        }
        let found = futures::stream::iter(backups.into_iter().map(|backup| found(storage, backup)));
        let mut found = found.buffered(MANIFESTS_AT_A_TIME);
        while let Some(one) = found.try_next().await? {
            told += tell(Line::Found(Box::new(one)));
        }
        told += tell(Line::Bucket(Seal { bucket, digest: digest.of_bucket(bucket) }));
        totals.buckets_told += 1;
    }
    Ok(())
}

async fn found(storage: &BackupStorage, listed: &Listed<'_>) -> Result<Found, EngineError> {
    let look = look(storage, listed).await?;
    let files = match &look {
        Look::Complete(manifest) => files(manifest),
        Look::Missing | Look::Unreadable(_) => None,
    };
    let Held { objects, bytes, has_manifest } = listed.held;
    let mut backup = catalogue::facts(listed.name, objects, bytes, look);
    let summary = backup.manifest.as_ref().and_then(|manifest| serde_json::to_string(manifest).ok());
    if summary.is_some_and(|text| text.len() > SUMMARY_LIMIT) {
        backup.manifest = None;
    }
    Ok(Found { shard: listed.directory.to_owned(), has_manifest, files, backup })
}

async fn look(storage: &BackupStorage, listed: &Listed<'_>) -> Result<Look, EngineError> {
    if !listed.held.has_manifest {
        return Ok(Look::Missing);
    }
    Ok(catalogue::look(&storage.backup(listed.shard, listed.name)?).await?)
}

fn files(manifest: &Manifest) -> Option<u64> {
    match &manifest.method {
        Method::Builtin(builtin) => Some(builtin.file_entries.len() as u64),
        Method::Xtrabackup(_) | Method::Other => None,
    }
}

/// A line for each shard that has backups; gives their number.
async fn tell_shards(storage: &BackupStorage, backups: &[Listed<'_>], tell: Tell<'_>) -> Result<u64, EngineError> {
    // In the order of the listing: shard by shard, and oldest first in each.
    let shards: Vec<&[Listed<'_>]> = backups.chunk_by(|one, next| one.directory == next.directory).collect();
    let number = shards.len() as u64;
    let found = futures::stream::iter(shards.into_iter().map(|backups| shard_found(storage, backups)));
    let mut found = found.buffered(SHARDS_AT_A_TIME);
    while let Some(one) = found.try_next().await? {
        tell(Line::Shard(Box::new(one)));
    }
    Ok(number)
}

async fn shard_found(storage: &BackupStorage, backups: &[Listed<'_>]) -> Result<ShardFound, EngineError> {
    let complete: Vec<&Listed<'_>> = backups.iter().filter(|backup| backup.held.has_manifest).collect();
    let latest = readable(storage, complete.iter().rev().copied(), |_| true).await?;
    let first = readable(storage, complete.iter().copied(), |backup| !backup.incremental).await?;
    Ok(ShardFound {
        shard: backups.first().map(|backup| backup.directory.to_owned()).unwrap_or_default(),
        backups: complete.len() as u64,
        incomplete: (backups.len() - complete.len()) as u64,
        bytes: backups.iter().map(|backup| backup.held.bytes).sum(),
        latest_backup_name: latest.as_ref().map(|latest| latest.name.clone()),
        latest_backup_time: latest.as_ref().and_then(|latest| latest.backup_time),
        latest_position: latest.and_then(|latest| latest.position),
        first_restorable_time: first.and_then(|first| first.backup_time),
    })
}

/// The first whose MANIFEST can be read and that is wanted, of a few.
async fn readable<'a>(
    storage: &BackupStorage,
    backups: impl Iterator<Item = &'a Listed<'a>>,
    wanted: impl Fn(&ListedBackup) -> bool,
) -> Result<Option<ListedBackup>, EngineError> {
    for listed in backups.take(PASSED_OVER) {
        let Held { objects, bytes, .. } = listed.held;
        let backup = catalogue::facts(listed.name, objects, bytes, look(storage, listed).await?);
        if backup.complete && wanted(&backup) {
            return Ok(Some(backup));
        }
    }
    Ok(None)
}
