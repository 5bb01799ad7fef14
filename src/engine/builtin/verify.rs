//! Checking a stored backup against its MANIFEST, without a tablet.

use std::collections::HashSet;
use std::path::PathBuf;

use futures::{StreamExt, TryStreamExt};

use crate::backup::choose::{PassedOver, Why};
use crate::backup::manifest::{self, Manifest, Method};
use crate::backup::report::Outcome;
use crate::codec::Tally;
use crate::engine::EngineError;
use crate::engine::builtin::target::{self, TargetFile};
use crate::engine::catalogue::{self, Look};
use crate::engine::xtrabackup::{self, StoredStream, StreamMode};
use crate::progress::{Monitor, Step};
use crate::storage::{BackupHandle, BackupStorage, StoredObject};
use crate::topo::KeyspaceShard;

const NO_HASHES: &str = "backups of Vitess's xtrabackup engine have no hashes: that every object decompresses and the stripes \
    fit together is all that could be checked";

#[derive(Clone, Copy, Debug)]
pub struct VerifyOptions {
    /// Objects that are read at a time.
    pub concurrency: usize,
}

/// A backup that was found whole.
#[derive(Clone, Debug)]
pub struct VerifyDone {
    pub manifest: Manifest,
    pub files: u64,
    /// Bytes as stored, MANIFEST included.
    pub stored_bytes: u64,
    pub warnings: Vec<String>,
}

impl VerifyDone {
    /// Writes it into the outcome.
    pub fn fill(self, outcome: &mut Outcome) {
        let Self { manifest, files, stored_bytes, warnings } = self;
        outcome.engine = Some(manifest.engine().to_owned());
        outcome.position = Some(manifest.position.clone());
        outcome.purged_position = Some(manifest.purged_position.clone());
        outcome.tablet_alias = Some(manifest.tablet_alias.clone()).filter(|alias| !alias.is_empty());
        outcome.files = Some(files);
        outcome.size_bytes = Some(stored_bytes);
        outcome.manifest = Some(manifest.summary());
        outcome.warnings.extend(warnings);
    }
}

/// Reads every object that the MANIFEST names and compares its hash.
///
/// # Errors
/// `BackupNotFound`, `BackupUnusable` (no MANIFEST, or one that does not decode), `ObjectsMissing`, `HashMismatch`.
pub async fn verify(
    storage: &BackupStorage,
    shard: &KeyspaceShard,
    name: &str,
    options: &VerifyOptions,
    monitor: &dyn Monitor,
) -> Result<VerifyDone, EngineError> {
    monitor.step(Step::Verifying);
    let handle = storage.backup(shard, name)?;
    let objects = handle.objects().await?;
    let unusable = |why| EngineError::BackupUnusable(PassedOver { name: name.to_owned(), why });
    let manifest = match catalogue::look(&handle).await? {
        Look::Complete(manifest) => *manifest,
        Look::Unreadable(cause) => return Err(unusable(Why::ManifestUnreadable(cause))),
        Look::Missing
            if objects.is_empty() && !storage.list_backups(shard).await?.iter().any(|listed| listed == name) =>
        {
            return Err(EngineError::BackupNotFound { shard: shard.clone(), name: name.to_owned() });
        }
        Look::Missing => return Err(unusable(Why::Incomplete)),
    };
    let (read, unchecked) = match &manifest.method {
        Method::Xtrabackup(part) => {
            let stream = StoredStream::plan(name, &manifest, part, &objects, StreamMode::default(), None)?;
            xtrabackup::read_through(&handle, &stream, monitor).await?;
            let unchecked = (!stream.has_hashes()).then(|| NO_HASHES.to_owned());
            (stream.objects.into_iter().map(|object| object.name).collect(), unchecked)
        }
        _ => (check_all(&handle, &manifest, &objects, options, monitor).await?, None),
    };
    Ok(VerifyDone {
        files: read.len() as u64,
        stored_bytes: objects.iter().map(|object| object.size).sum(),
        warnings: strays(&objects, &read).into_iter().chain(unchecked).collect(),
        manifest,
    })
}

/// Every file of a builtin backup; gives their objects.
async fn check_all(
    handle: &BackupHandle,
    manifest: &Manifest,
    objects: &[StoredObject],
    options: &VerifyOptions,
    monitor: &dyn Monitor,
) -> Result<HashSet<String>, EngineError> {
    let builtin = target::builtin_of(handle.name(), manifest)?;
    // Nothing is written: the bases only keep the paths apart.
    let files = target::files(handle.name(), builtin, objects, |base| Some(PathBuf::from(base.as_str())))?;
    monitor.totals(files.iter().map(|file| file.stored).sum(), files.len() as u64);
    futures::stream::iter(&files)
        .map(|file| check(handle, file, monitor))
        .buffer_unordered(options.concurrency.max(1))
        .try_collect::<()>()
        .await?;
    Ok(files.into_iter().map(|file| file.object).collect())
}

/// A warning for each object that nobody asks for.
fn strays(objects: &[StoredObject], expected: &HashSet<String>) -> Vec<String> {
    let strays = objects.iter().filter(|object| object.name != manifest::OBJECT && !expected.contains(&object.name));
    strays.map(|object| format!("object {} is not one that the MANIFEST names", object.name)).collect()
}

async fn check(handle: &BackupHandle, file: &TargetFile, monitor: &dyn Monitor) -> Result<(), EngineError> {
    let (_, body) = handle.get_stream(&file.object).await?;
    let read = Tally::new();
    let mut body = Box::pin(read.over(body));
    while let Some(bytes) = body.try_next().await? {
        // Only stored bytes are known here; they stand for the progress too.
        monitor.advanced(bytes.len() as u64, bytes.len() as u64);
    }
    file.check_hash(handle.name(), &read.hex())?;
    monitor.file_done();
    Ok(())
}
