//! Looking before a backup: whether it can be taken at all.

use crate::engine::builtin::MARKER;
use crate::engine::journal::Replication;
use crate::engine::tablet::Server;
use crate::engine::xtrabackup::options::BackupOptions;
use crate::engine::xtrabackup::process;
use crate::engine::xtrabackup::tools::StreamMode;
use crate::engine::{EngineError, Tablet, replication};
use crate::mysqld::ServerVersion;
use crate::progress::Monitor;

/// What was seen.
#[derive(Clone, Debug)]
pub struct Checked {
    pub version: ServerVersion,
    /// "" of MariaDB, which has none.
    pub server_uuid: String,
    /// Bytes of the tablet's files, about; the server is at work.
    pub data_bytes: u64,
    pub warnings: Vec<String>,
}

/// # Errors
/// `RestoreInterrupted`, `TabletIsPrimary`, `TarNotSupported`, unreachable sockets, unreadable files.
pub async fn check(
    tablet: &Tablet,
    server: &Server,
    options: &BackupOptions,
    monitor: &dyn Monitor,
) -> Result<Checked, EngineError> {
    if tablet.directory.join(MARKER).exists() {
        return Err(EngineError::RestoreInterrupted { backup: "an unknown backup".to_owned() });
    }
    let mysql = &server.mysql;
    let before = replication::observe(mysql).await?;
    let mut warnings = Vec::new();
    if replication::is_primary(&before) {
        if !options.allow_primary {
            let evidence = "it takes writes and follows no source".to_owned();
            return Err(EngineError::TabletIsPrimary { tablet: tablet.name(), evidence });
        }
    } else if !before.replication.as_ref().is_some_and(Replication::was_started) {
        warnings.push("replication was not running: the data may be older than the backup's time".to_owned());
    }
    let version = mysql.version().await?;
    check_program(options, monitor).await?;
    let server_uuid = mysql.server_uuid_if_any().await?.map(|uuid| uuid.to_string()).unwrap_or_default();
    let layout = server.layout.clone();
    let data_bytes = tokio::task::spawn_blocking(move || {
        let roots = [layout.datadir, layout.innodb_data_home_dir, layout.innodb_log_group_home_dir];
        roots.iter().map(|root| bytes_below(root)).sum()
    });
    let data_bytes = data_bytes.await.map_err(|error| EngineError::internal(&error))?;
    Ok(Checked { version, server_uuid, data_bytes, warnings })
}

/// Notes which program it is; and what is known of it is told before it takes locks.
async fn check_program(options: &BackupOptions, monitor: &dyn Monitor) -> Result<(), EngineError> {
    let said = process::answer(&options.streamer.version()).await?;
    let line = said.lines().find(|line| line.contains("based on")).unwrap_or("xtrabackup of an unknown version").trim();
    monitor.note(line);
    // `xtrabackup version 8.0.35-31 based on MySQL server 8.0.35 Linux (x86_64) (revision id: 55ec21d7)`
    let series = line.split_once(" version ").and_then(|(_, rest)| rest.split('.').next()?.parse::<u32>().ok());
    if options.mode == StreamMode::Tar && series.is_some_and(|series| series >= 8) {
        let version = line.split(" based on").next().unwrap_or(line).to_owned();
        return Err(EngineError::TarNotSupported { version });
    }
    Ok(())
}

/// Of the files below a directory; what goes meanwhile counts for nothing.
fn bytes_below(directory: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_below(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
