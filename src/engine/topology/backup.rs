//! Taking a backup of a topology server.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use sha2::{Digest, Sha256};

use super::catalogue::{self, Look};
use super::{Done, directory};
use crate::backup::topology::{Descriptor, OBJECT, Part, Point, TopologyBackupName, TopologyServer};
use crate::engine::store::discard;
use crate::engine::{EngineError, Interrupt};
use crate::progress::{Monitor, Step};
use crate::storage::{BackupHandle, BackupStorage, PutError};
use crate::topology::check::{self, Check};
use crate::topology::zookeeper::{self, DataDirectories};
use crate::topology::{Access, Endpoint, Facts, Snapshot, SnapshotPart, TopologyError, consul, etcd};

/// Of which server, and how.
#[derive(Clone, Debug)]
pub struct BackupOptions {
    pub server: TopologyServer,
    pub access: Access,
    /// `global`, or the cell whose server it is.
    pub cell: String,
    /// Part of the backup's name.
    pub started: jiff::Timestamp,
    /// Also of one server that has no leader.
    pub stale: bool,
    /// ZooKeeper before 3.9: its files instead of its admin server.
    pub data_directories: Option<DataDirectories>,
}

/// Makes a backup. A snapshot that breaks off, or is not whole, is asked of the next endpoint; nothing is left of it.
///
/// # Errors
/// `Topology`, `BackupExists`, and what storage says. What was begun is removed.
pub async fn backup(
    storage: &BackupStorage,
    options: &BackupOptions,
    interrupt: &Interrupt,
    monitor: &dyn Monitor,
) -> Result<Done, EngineError> {
    monitor.step(Step::Checking);
    let name = TopologyBackupName::new(options.started, &options.cell, options.server);
    let name = name.map_err(|error| EngineError::InvalidArguments(error.to_string()))?.to_string();
    make_way(storage, &name, monitor).await?;
    let mut errors = Vec::new();
    for source in sources(options)? {
        match interrupt.race(from(storage, options, &name, &source, monitor)).await {
            Ok(done) => return Ok(done),
            Err(EngineError::Topology(error)) if error.is_of_endpoint() => {
                monitor.note(&error.to_string());
                errors.push(error);
            }
            Err(error) => {
                take_back(storage, &name, monitor).await;
                return Err(error);
            }
        }
        take_back(storage, &name, monitor).await;
    }
    Err(match errors.len() {
        0 => TopologyError::NoEndpoint,
        1 => errors.remove(0),
        _ => TopologyError::Endpoints(errors),
    }
    .into())
}

/// Where a snapshot can be had.
enum Source {
    Endpoint(Endpoint),
    Files(DataDirectories),
}

fn sources(options: &BackupOptions) -> Result<Vec<Source>, EngineError> {
    match (&options.data_directories, options.server) {
        (Some(directories), TopologyServer::Zookeeper) => Ok(vec![Source::Files(directories.clone())]),
        (Some(_), _) => Err(EngineError::invalid("only of ZooKeeper a data directory can be backed up")),
        (None, _) => Ok(options.access.endpoints.iter().cloned().map(Source::Endpoint).collect()),
    }
}

async fn open(options: &BackupOptions, source: &Source) -> Result<Snapshot, TopologyError> {
    let BackupOptions { server, access, stale, .. } = options;
    match (source, server) {
        (Source::Files(directories), _) => zookeeper::data_directory(directories).await,
        (Source::Endpoint(endpoint), TopologyServer::Etcd) => etcd::snapshot(access, endpoint, *stale).await,
        (Source::Endpoint(endpoint), TopologyServer::Consul) => consul::snapshot(access, endpoint, *stale).await,
        (Source::Endpoint(endpoint), TopologyServer::Zookeeper) => zookeeper::snapshot(access, endpoint).await,
    }
}

/// One try. What it began to store is its caller's to take back.
async fn from(
    storage: &BackupStorage,
    options: &BackupOptions,
    name: &str,
    source: &Source,
    monitor: &dyn Monitor,
) -> Result<Done, EngineError> {
    let Snapshot { facts, parts } = open(options, source).await?;
    let handle = storage.begin_backup(&directory()?, name).await?;
    monitor.step(Step::TakingSnapshot);
    monitor.totals(parts.iter().map(|part| part.expected).sum(), parts.len() as u64);
    let (mut stored, mut point) = (Vec::new(), facts.point.clone());
    for part in parts {
        let (part, told) = store(&handle, facts.server, part, monitor).await?;
        if told != Point::default() {
            point = told;
        }
        stored.push(part);
    }
    monitor.step(Step::Verifying);
    for part in &stored {
        verify(&handle, facts.server, part).await?;
    }
    monitor.step(Step::WritingManifest);
    let Facts { warnings, .. } = facts.clone();
    let descriptor = describe(name, options, Facts { point, ..facts }, stored);
    handle.put(OBJECT, descriptor.encode().into()).await?;
    Ok(Done { descriptor, warnings })
}

/// What an earlier try of the same run left goes; a complete backup stays.
async fn make_way(storage: &BackupStorage, name: &str, monitor: &dyn Monitor) -> Result<(), EngineError> {
    let directory = directory()?;
    if !storage.list_backups(&directory).await?.iter().any(|listed| listed == name) {
        return Ok(());
    }
    let handle = storage.backup(&directory, name)?;
    match catalogue::look(&handle).await? {
        Look::Complete(_) => Err(EngineError::BackupExists { shard: directory, name: name.to_owned() }),
        Look::Missing | Look::Unreadable(_) => {
            monitor.note(&format!("removing what an earlier try left of backup {name}"));
            handle.remove().await?;
            Ok(())
        }
    }
}

/// Removes what a failed try left. One that stored nothing yet has nothing to remove.
async fn take_back(storage: &BackupStorage, name: &str, monitor: &dyn Monitor) {
    if let Ok(handle) = directory().and_then(|directory| Ok(storage.backup(&directory, name)?))
        // Never what somebody else has made complete meanwhile under the same name.
        && !matches!(catalogue::look(&handle).await, Ok(Look::Complete(_)))
    {
        discard(&handle, monitor).await;
    }
}

/// What passed through [`watched`].
#[derive(Default)]
struct Passed {
    bytes: u64,
    hash: Sha256,
    point: Point,
}

/// Stores one part, which is there afterwards only if it is whole.
async fn store(
    handle: &BackupHandle,
    server: TopologyServer,
    part: SnapshotPart,
    monitor: &dyn Monitor,
) -> Result<(Part, Point), EngineError> {
    let SnapshotPart { name, expected, body, check } = part;
    let passed = Mutex::new(Passed::default());
    let passing = watched(body, check, &passed, |cause| TopologyError::Damaged {
        server: server.title(),
        object: name.clone(),
        cause,
    })
    .inspect_ok(|chunk| monitor.advanced(chunk.len() as u64, chunk.len() as u64));
    match handle.put_stream_expecting(&name, expected, passing).await {
        Ok(_) => {}
        Err(PutError::Body(error)) => return Err(error.into()),
        Err(PutError::Storage(error)) => return Err(error.into()),
    }
    monitor.file_done();
    let Passed { bytes, hash, point } = passed.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok((Part { name, size_bytes: bytes, sha256: check::hex(&hash.finalize()) }, point))
}

/// The same bytes, hashed and checked; an error at their end when the check does not like them.
fn watched<'a, E: 'a>(
    body: impl Stream<Item = Result<Bytes, E>> + 'a,
    check: Box<dyn Check>,
    passed: &'a Mutex<Passed>,
    damaged: impl Fn(String) -> E + 'a,
) -> impl Stream<Item = Result<Bytes, E>> + 'a {
    let lock = || passed.lock().unwrap_or_else(PoisonError::into_inner);
    let body = Box::pin(body);
    futures::stream::try_unfold((body, Some(check), damaged), move |(mut body, mut check, damaged)| async move {
        let next = body.try_next().await?;
        let Some(chunk) = next else {
            let Some(check) = check.take() else { return Ok(None) };
            lock().point = check.finish().map_err(&damaged)?.point;
            return Ok(None);
        };
        if let Some(check) = &mut check {
            check.take(&chunk).map_err(&damaged)?;
        }
        {
            let mut passed = lock();
            passed.bytes += chunk.len() as u64;
            passed.hash.update(&chunk);
        }
        Ok(Some((chunk, (body, check, damaged))))
    })
}

/// Reads a stored part back.
///
/// # Errors
/// `HashMismatch`, `ObjectSize`, `Topology` when the server's own checksum says no, and what storage says.
pub(super) async fn verify(handle: &BackupHandle, server: TopologyServer, part: &Part) -> Result<(), EngineError> {
    let Part { name, size_bytes, sha256 } = part;
    let backup = || handle.name().to_owned();
    let (size, body) = handle.get_stream(name).await?;
    if size != *size_bytes {
        return Err(EngineError::ObjectSize {
            backup: backup(),
            object: name.clone(),
            expected: *size_bytes,
            found: size,
        });
    }
    let passed = Mutex::new(Passed::default());
    let object = name.clone();
    let damaged = move |cause| TopologyError::Damaged { server: server.title(), object: object.clone(), cause }.into();
    let body = body.map_err(EngineError::from);
    watched(body, check::of(server, name), &passed, damaged).try_for_each(|_| async { Ok(()) }).await?;
    let found = check::hex(&passed.into_inner().unwrap_or_else(PoisonError::into_inner).hash.finalize());
    if found == *sha256 {
        return Ok(());
    }
    let (object, file) = (name.clone(), "the snapshot".to_owned());
    Err(EngineError::HashMismatch { backup: backup(), object, file, expected: sha256.clone(), found })
}

fn describe(name: &str, options: &BackupOptions, facts: Facts, parts: Vec<Part>) -> Descriptor {
    let Facts {
        server,
        endpoint,
        method,
        server_version,
        member,
        cluster,
        point,
        stale,
        in_use_bytes,
        quota_bytes,
        warnings: _,
    } = facts;
    Descriptor {
        name: name.to_owned(),
        server,
        cell: options.cell.clone(),
        endpoint,
        method: method.to_owned(),
        server_version,
        member,
        cluster,
        point,
        stale,
        start_time: whole_seconds(options.started),
        finished_time: whole_seconds(jiff::Timestamp::now()),
        size_bytes: parts.iter().map(|part| part.size_bytes).sum(),
        in_use_bytes,
        quota_bytes,
        sha256: sum(&parts),
        parts,
    }
}

/// As a backup's name and its MANIFEST's times.
fn whole_seconds(time: jiff::Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The hash of the whole: of the only part, or of the list that sha256sum would print.
fn sum(parts: &[Part]) -> String {
    if let [part] = parts {
        return part.sha256.clone();
    }
    let lines =
        parts.iter().fold(String::new(), |text, Part { name, sha256, .. }| text + &format!("{sha256}  {name}\n"));
    check::hex(&Sha256::digest(lines.as_bytes()))
}

#[cfg(test)]
#[path = "backup_tests.rs"]
mod tests;
