//! Looking before a backup: whether it can be taken at all.

use crate::engine::builtin::size_below;
use crate::engine::tablet::Server;
use crate::engine::xtrabackup::options::BackupOptions;
use crate::engine::xtrabackup::process;
use crate::engine::xtrabackup::tools::StreamMode;
use crate::engine::{EngineError, Tablet, recover, replication};
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
/// `RestoreInterrupted`, `TabletIsPrimary`, `TabletLagging`, `TarNotSupported`, unreachable sockets, unreadable files.
pub async fn check(
    tablet: &Tablet,
    server: &Server,
    options: &BackupOptions,
    monitor: &dyn Monitor,
) -> Result<Checked, EngineError> {
    recover::check_no_restore(tablet)?;
    let mysql = &server.mysql;
    let before = replication::observe(mysql).await?;
    let mut warnings = Vec::new();
    replication::check_role(tablet, &before, options.allow_primary, &mut warnings)?;
    replication::check_lag(tablet, mysql, &before, options.max_lag).await?;
    let version = mysql.version().await?;
    check_program(options, monitor).await?;
    let server_uuid = mysql.server_uuid_if_any().await?.map(|uuid| uuid.to_string()).unwrap_or_default();
    let layout = server.layout.clone();
    let data_bytes = tokio::task::spawn_blocking(move || {
        let roots = [layout.datadir, layout.innodb_data_home_dir, layout.innodb_log_group_home_dir];
        roots.iter().map(|root| size_below(root)).sum()
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
    if options.streamer.mode() == StreamMode::Tar && series.is_some_and(|series| series >= 8) {
        let version = line.split(" based on").next().unwrap_or(line).to_owned();
        return Err(EngineError::TarNotSupported { version });
    }
    Ok(())
}
