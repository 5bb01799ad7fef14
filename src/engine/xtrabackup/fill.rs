//! The data directories filled from a stream: taken apart beside them, prepared, moved in.

use std::fs;
use std::io;
use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::future::ready;
use futures::{StreamExt, TryStreamExt};

use crate::codec::{self, Tally};
use crate::engine::builtin::{Limits, body_failed, make_directory};
use crate::engine::xtrabackup::diagnosis::{What, told};
use crate::engine::xtrabackup::process;
use crate::engine::xtrabackup::stored::{StoredStream, StreamObject};
use crate::engine::xtrabackup::stripes::{self, Stripe};
use crate::engine::xtrabackup::tools::{Invocation, StreamMode, Tools};
use crate::engine::{EngineError, store};
use crate::mysqld::{Layout, Owner};
use crate::progress::{Monitor, Quiet, Step};
use crate::storage::BackupHandle;

/// Fills the directories of the layout, which must be there and empty. Gives the bytes of the stream.
///
/// # Errors
/// `Decompression`, `HashMismatch`, `StripesUneven`, storage's; `Xtrabackup`, `FileUnwritable`. What was taken apart is
/// removed whatever happens, unless the run is killed: then the next one removes it.
pub async fn fill(
    handle: &BackupHandle,
    stream: &StoredStream,
    tools: &Tools,
    layout: &Layout,
    limits: &Limits,
    owner: Option<Owner>,
    monitor: &dyn Monitor,
) -> Result<u64, EngineError> {
    let directory = directory(layout);
    // What was in it went with the old data; a link in its place must not lead elsewhere.
    remove(&directory)?;
    make_directory(&directory, None)?;
    let filled = async {
        monitor.step(Step::CopyingFiles);
        // How much the stream holds, nobody says.
        monitor.totals(0, stream.objects.len() as u64);
        let read = unpack(handle, stream, tools, &directory, limits, monitor).await?;
        monitor.step(Step::PreparingFiles);
        run(&tools.prepare(&layout.my_cnf, &directory), What::Prepare, &directory).await?;
        run(&tools.move_back(&layout.my_cnf, &directory), What::MoveBack, &directory).await?;
        let filled =
            [&layout.datadir, &layout.innodb_data_home_dir, &layout.innodb_log_group_home_dir].map(Clone::clone);
        blocking(move || filled.iter().try_for_each(|directory| settle(directory, owner))).await?;
        Ok::<_, EngineError>(read)
    };
    let filled = filled.await;
    let removed = blocking(move || remove(&directory)).await;
    let read = filled?;
    removed?;
    Ok(read)
}

/// Many files may take their time; meanwhile mysqld is watched and the run can be interrupted.
async fn blocking(work: impl FnOnce() -> Result<(), EngineError> + Send + 'static) -> Result<(), EngineError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| EngineError::internal(&error))?
}

/// Where a backup is taken apart, below my.cnf's tmpdir as in Vitess. [`fill`] removes it.
pub fn directory(layout: &Layout) -> PathBuf {
    below(layout, "xtrabackup-restore")
}

/// A directory that only runs make, below my.cnf's tmpdir when that is the tablet's own.
pub fn below(layout: &Layout, name: &str) -> PathBuf {
    let place = if layout.tmpdir.starts_with(&layout.tablet_dir) { &layout.tmpdir } else { &layout.tablet_dir };
    place.join(name)
}

/// The backup's stream, decompressed and gathered; `monitor` is told of all bytes.
pub(super) fn open<'a>(
    handle: &'a BackupHandle,
    stream: &'a StoredStream,
    limits: &Limits,
    monitor: &'a dyn Monitor,
) -> Stripe<'a> {
    let bandwidth = limits.bandwidth();
    let parallel = match stream.objects.as_slice() {
        [one] => {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let cost = |blocks| stream.decompression.stream_memory(blocks);
            limits.budget().share(one.size, one.size, cores, cost).blocks
        }
        // Stripes are all open at once, and read side by side.
        _ => 1,
    };
    let stripes = stream.objects.iter().map(|object| {
        let bandwidth = bandwidth.clone();
        let opened = async move {
            let (_, body) = handle.get_stream(&object.name).await?;
            let tally = Tally::new();
            let stored = tally.over(bandwidth.over(body)).inspect_ok(|bytes| monitor.advanced(0, bytes.len() as u64));
            let plain = codec::decompress(&stream.decompression, stored, parallel);
            let plain = plain.map_err(|error| body_failed(handle, &object.name, &object.name, error));
            // Once all is read; nothing follows it but the end, or the error.
            let hashed = futures::stream::once(async move { check_hash(handle, object, &tally) });
            Ok::<_, EngineError>(plain.chain(hashed.try_filter(|bytes| ready(!bytes.is_empty()))))
        };
        futures::stream::once(opened).try_flatten().boxed()
    });
    let uneven = |place: usize| EngineError::StripesUneven {
        backup: handle.name().to_owned(),
        object: stream.objects.get(place).map(|object| object.name.clone()).unwrap_or_default(),
    };
    let gathered = stripes::gather(stripes.collect(), stream.block, uneven);
    gathered.inspect_ok(|bytes| monitor.advanced(bytes.len() as u64, 0)).boxed()
}

/// Gives no bytes.
///
/// # Errors
/// `HashMismatch`.
pub(super) fn check_hash(handle: &BackupHandle, object: &StreamObject, tally: &Tally) -> Result<Bytes, EngineError> {
    if let Some(expected) = &object.hash {
        store::check_hash(handle.name(), &object.name, &object.name, expected, &tally.hex())?;
    }
    Ok(Bytes::new())
}

async fn unpack(
    handle: &BackupHandle,
    stream: &StoredStream,
    tools: &Tools,
    directory: &Path,
    limits: &Limits,
    monitor: &dyn Monitor,
) -> Result<u64, EngineError> {
    let mut read = 0;
    let input = open(handle, stream, limits, monitor).inspect_ok(|bytes| read += bytes.len() as u64);
    let what = if stream.mode == StreamMode::Tar { What::Tar } else { What::Xbstream };
    let ended = process::run(&tools.unpack(directory), Some(input.boxed())).await;
    if let Err(error) = ended {
        let error = told(error, what, directory);
        // The program stumbles over damage before the stream's end shows it: whose fault it is, storage can be asked.
        if matches!(error, EngineError::Xtrabackup { .. })
            && let Err(damage) = open(handle, stream, limits, &Quiet).try_for_each(async |_| Ok(())).await
            && damage.is_damage()
        {
            return Err(damage);
        }
        return Err(error);
    }
    stream.objects.iter().for_each(|_| monitor.file_done());
    Ok(read)
}

async fn run(invocation: &Invocation, what: What, directory: &Path) -> Result<(), EngineError> {
    process::run(invocation, None).await.map_err(|error| told(error, what, directory))
}

/// What was put there survives a crash of the machine, and belongs to the tablet's user.
fn settle(directory: &Path, owner: Option<Owner>) -> Result<(), EngineError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| EngineError::unwritable(path, source)
    };
    let mut directories: Vec<PathBuf> = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).map_err(failed(&directory))? {
            let entry = entry.map_err(failed(&directory))?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(failed(&directory))?);
            if let Some(owner) = owner {
                lchown(&path, Some(owner.uid), Some(owner.gid)).map_err(failed(&path))?;
            }
            if kind.is_dir() {
                directories.push(path);
            } else if kind.is_file() {
                fs::File::open(&path).and_then(|file| file.sync_all()).map_err(failed(&path))?;
            }
        }
        fs::File::open(&directory).and_then(|file| file.sync_all()).map_err(failed(&directory))?;
    }
    Ok(())
}

/// Removes what a run made there; nothing there is fine.
pub fn remove(directory: &Path) -> Result<(), EngineError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(EngineError::unwritable(directory, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_taken_apart_in_the_tablets_own_directory() {
        let mut layout = Layout::vitess_default_for_uid(Path::new("/vt/vt_0000000101"), 101);
        assert_eq!(directory(&layout), Path::new("/vt/vt_0000000101/tmp/xtrabackup-restore"));
        layout.tmpdir = "/tmp".into();
        assert_eq!(directory(&layout), Path::new("/vt/vt_0000000101/xtrabackup-restore"));
    }
}
