//! Giving a topology server's snapshot back: as files, or to the server itself.

use std::path::{Path, PathBuf};

use futures::{StreamExt, TryStreamExt};
use tokio::fs;
use tokio::io::AsyncWriteExt;

use super::backup::verify;
use super::{Done, catalogue};
use crate::backup::topology::{Descriptor, Part, TopologyServer};
use crate::engine::EngineError;
use crate::progress::{Monitor, Step};
use crate::storage::{BackupHandle, BackupStorage};
use crate::topology::{Access, Body, Endpoint, TopologyError, consul, zookeeper};

/// Writes the parts of a backup as files into a directory, which is made when it is missing. Each is checked before it gets
/// its name.
///
/// # Errors
/// `DataPresent` when one of the files exists; what the checks and storage say.
pub async fn to_directory(
    storage: &BackupStorage,
    name: &str,
    directory: &Path,
    monitor: &dyn Monitor,
) -> Result<Done, EngineError> {
    monitor.step(Step::ChoosingBackup);
    let (handle, descriptor) = catalogue::find(storage, name).await?;
    fs::create_dir_all(directory).await.map_err(|error| EngineError::unwritable(directory, error))?;
    for part in &descriptor.parts {
        let path = directory.join(&part.name);
        if path.exists() {
            return Err(EngineError::DataPresent { what: format!("{} exists", path.display()) });
        }
    }
    check(&handle, &descriptor, monitor).await?;
    monitor.step(Step::RestoringSnapshot);
    monitor.totals(descriptor.size_bytes, descriptor.parts.len() as u64);
    for part in &descriptor.parts {
        write(&handle, part, &directory.join(&part.name), monitor).await?;
        monitor.file_done();
    }
    Ok(Done { descriptor, warnings: Vec::new() })
}

/// Reads every part to its end, so that nothing of a damaged backup is ever used.
async fn check(handle: &BackupHandle, descriptor: &Descriptor, monitor: &dyn Monitor) -> Result<(), EngineError> {
    monitor.step(Step::Verifying);
    for part in &descriptor.parts {
        verify(handle, descriptor.server, part).await?;
    }
    Ok(())
}

async fn write(handle: &BackupHandle, part: &Part, path: &Path, monitor: &dyn Monitor) -> Result<(), EngineError> {
    let (_, mut body) = handle.get_stream(&part.name).await?;
    let half = PathBuf::from(format!("{}.part", path.display()));
    let fail = |error| EngineError::unwritable(&half, error);
    let mut file = fs::File::create(&half).await.map_err(fail)?;
    while let Some(chunk) = body.try_next().await? {
        file.write_all(&chunk).await.map_err(fail)?;
        monitor.advanced(chunk.len() as u64, chunk.len() as u64);
    }
    file.sync_all().await.map_err(fail)?;
    fs::rename(&half, path).await.map_err(|error| EngineError::unwritable(path, error))
}

/// Gives a backup back to a running server, in place of everything that it has. Consul takes it at one of its servers, and
/// hands it on; each of ZooKeeper's takes it for itself, so that all endpoints are asked.
///
/// # Errors
/// `InvalidArguments` for etcd, which is restored while it is down, and for files of a ZooKeeper; what the checks, the server
/// and storage say.
pub async fn to_server(
    storage: &BackupStorage,
    name: &str,
    access: &Access,
    monitor: &dyn Monitor,
) -> Result<Done, EngineError> {
    monitor.step(Step::ChoosingBackup);
    let (handle, descriptor) = catalogue::find(storage, name).await?;
    let [part] = &descriptor.parts[..] else {
        return Err(EngineError::invalid(
            "this backup has ZooKeeper's files, which are put into the empty data directory of a server that is down: write them \
             there by --output-dir",
        ));
    };
    if descriptor.server == TopologyServer::Etcd {
        return Err(EngineError::invalid(
            "etcd is restored while it is down: write the snapshot to a directory by --output-dir, and run `etcdutl snapshot \
             restore` (docs/topology.md)",
        ));
    }
    check(&handle, &descriptor, monitor).await?;
    monitor.step(Step::RestoringSnapshot);
    monitor.totals(descriptor.size_bytes, 1);
    match descriptor.server {
        TopologyServer::Zookeeper => {
            for endpoint in &access.endpoints {
                monitor.note(&format!("restoring ZooKeeper at {endpoint}"));
                send(&handle, part, descriptor.server, access, endpoint).await?;
            }
        }
        _ => to_first(&handle, part, descriptor.server, access, monitor).await?,
    }
    monitor.advanced(descriptor.size_bytes, descriptor.size_bytes);
    monitor.file_done();
    Ok(Done { descriptor, warnings: Vec::new() })
}

/// The next endpoint is asked only when one was never reached: whatever was begun somewhere is not begun twice.
async fn to_first(
    handle: &BackupHandle,
    part: &Part,
    server: TopologyServer,
    access: &Access,
    monitor: &dyn Monitor,
) -> Result<(), EngineError> {
    let mut unreachable = Vec::new();
    for endpoint in &access.endpoints {
        match send(handle, part, server, access, endpoint).await {
            Err(EngineError::Topology(error @ TopologyError::Unreachable { .. })) => {
                monitor.note(&error.to_string());
                unreachable.push(error);
            }
            other => return other,
        }
    }
    Err(match unreachable.len() {
        0 => TopologyError::NoEndpoint,
        1 => unreachable.remove(0),
        _ => TopologyError::Endpoints(unreachable),
    }
    .into())
}

async fn send(
    handle: &BackupHandle,
    part: &Part,
    server: TopologyServer,
    access: &Access,
    endpoint: &Endpoint,
) -> Result<(), EngineError> {
    let (length, body) = handle.get_stream(&part.name).await?;
    let at = endpoint.to_string();
    let body: Body = body
        .map_err(move |error| TopologyError::Failed {
            server: server.title(),
            endpoint: at.clone(),
            call: "take the snapshot",
            cause: error.to_string(),
        })
        .boxed();
    match server {
        TopologyServer::Zookeeper => zookeeper::restore(access, endpoint, length, body).await?,
        _ => consul::restore(access, endpoint, length, body).await?,
    }
    Ok(())
}
