//! Looking before touching: whether a tablet can be backed up.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use crate::engine::builtin::files::{self, Roots, Selection};
use crate::engine::builtin::options::BackupOptions;
use crate::engine::journal::{TabletState, TypeBefore};
use crate::engine::tablet::{Server, Tablet};
use crate::engine::{EngineError, TabletType};
use crate::engine::{recover, replication};
use crate::mysqld::{Layout, Mysql, ServerVersion};
use crate::progress::Monitor;
use crate::replication::ServerUuid;

/// What was seen, and must be put back.
#[derive(Clone, Debug)]
pub struct Checked {
    pub before: TabletState,
    pub version: ServerVersion,
    pub server_uuid: ServerUuid,
    /// innodb_fast_shutdown.
    pub fast_shutdown: u8,
    /// mysqld does not start replication by itself.
    pub starts_without_replication: bool,
    /// The type to put back, when it is to be BACKUP meanwhile.
    pub type_before: Option<TypeBefore>,
    pub warnings: Vec<String>,
    /// What the backup will not have, one sentence each; it was allowed.
    pub not_carried: Vec<String>,
}

/// # Errors
/// `TabletIsPrimary`, `TabletLagging`, `FilesNotCarried`, `RestoreInterrupted`, unreachable sockets, unreadable files.
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
    if replication::is_primary(&before) {
        warnings.push("the tablet is a primary: its shard took no writes during the backup".to_owned());
    }
    let type_before = type_before(tablet, options, &mut warnings).await?;
    // Whoever is to stop and start mysqld must answer before it is needed.
    server.control.version_string().await?;
    let mut not_carried = walk(&server.layout).await?;
    not_carried.extend(beyond(mysql, &server.layout).await?);
    allow(&not_carried, options.allow_incomplete)?;
    for what in &not_carried {
        monitor.note(what);
    }
    Ok(Checked {
        version: mysql.version().await?,
        server_uuid: mysql.server_uuid().await?,
        fast_shutdown: fast_shutdown(mysql).await?,
        starts_without_replication: starts_without_replication(mysql).await?,
        before,
        type_before,
        warnings,
        not_carried,
    })
}

/// The topology's word, when there is a vtctld to ask: it knows a primary that does not look like one.
async fn type_before(
    tablet: &Tablet,
    options: &BackupOptions,
    warnings: &mut Vec<String>,
) -> Result<Option<TypeBefore>, EngineError> {
    let Some(vtctld) = &options.vtctld else { return Ok(None) };
    match vtctld.tablet_type().await? {
        TabletType::Primary if !options.allow_primary => {
            let evidence = "the topology says so".to_owned();
            Err(EngineError::TabletIsPrimary { tablet: tablet.name(), evidence })
        }
        // Vitess does not let a primary change its type.
        TabletType::Primary => Ok(None),
        other @ (TabletType::Backup | TabletType::Restore | TabletType::Unknown) => {
            warnings.push(format!("the tablet was of type {other:?} before the backup, and is left so"));
            Ok(None)
        }
        tablet_type => Ok(Some(TypeBefore { vtctld: vtctld.clone(), tablet_type })),
    }
}

/// # Errors
/// `FilesNotCarried`, unless an incomplete backup is allowed.
pub fn allow(not_carried: &[String], allow_incomplete: bool) -> Result<(), EngineError> {
    if not_carried.is_empty() || allow_incomplete {
        return Ok(());
    }
    Err(EngineError::FilesNotCarried(not_carried.to_vec()))
}

/// What the files on disk show already, and that they can be read at all. The list that counts is made when mysqld is down.
async fn walk(layout: &Layout) -> Result<Vec<String>, EngineError> {
    let layout = layout.clone();
    let walk = tokio::task::spawn_blocking(move || {
        let Selection { files, empty_directories: _, not_carried } = files::select(Roots::of(&layout))?;
        for file in files {
            match std::fs::File::open(&file.path) {
                Ok(_) => {}
                // A table dropped since: mysqld is at work.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(EngineError::unreadable(file.path, error)),
            }
        }
        Ok(not_carried)
    });
    walk.await.map_err(|error| EngineError::internal(&error))?
}

/// Tablespaces that MySQL has elsewhere than below the directories of my.cnf (DATA DIRECTORY, general tablespaces with a
/// path, innodb_undo_directory).
async fn beyond(mysql: &Mysql, layout: &Layout) -> Result<Vec<String>, EngineError> {
    const STATEMENT: &str = "SELECT DISTINCT FILE_NAME FROM information_schema.FILES \
        WHERE ENGINE = 'InnoDB' AND FILE_TYPE IN ('TABLESPACE', 'UNDO LOG') AND FILE_NAME IS NOT NULL";
    let rows = mysql.query(STATEMENT).await?;
    let named: HashSet<PathBuf> =
        rows.iter().filter_map(|row| row.at(0)).map(|name| normal(&layout.datadir.join(name))).collect();
    let mut roots = Vec::new();
    for root in [&layout.innodb_data_home_dir, &layout.datadir] {
        roots.push(normal(root));
        // my.cnf may name a symbolic link that MySQL resolves.
        if let Ok(resolved) = root.canonicalize() {
            roots.push(resolved);
        }
    }
    let mut beyond: Vec<String> = named
        .into_iter()
        .filter(|path| !roots.iter().any(|root| path.starts_with(root)))
        .map(|path| format!("{} is outside of the directories that a backup has places for", path.display()))
        .collect();
    beyond.sort_unstable();
    Ok(beyond)
}

/// Without `.` and `..`, as text: MySQL writes `./vt_commerce/customer.ibd` and may write `../innodb/data/undo_001`.
fn normal(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

async fn fast_shutdown(mysql: &Mysql) -> Result<u8, EngineError> {
    let value = mysql.global_variable("innodb_fast_shutdown").await?;
    Ok(value.and_then(|value| value.parse().ok()).unwrap_or(1))
}

/// `skip_replica_start` from MySQL 8.0.26 on; before 8.0.24 it cannot be asked, and Vitess's my.cnf sets it.
async fn starts_without_replication(mysql: &Mysql) -> Result<bool, EngineError> {
    for variable in ["skip_replica_start", "skip_slave_start"] {
        if let Some(value) = mysql.global_variable(variable).await? {
            return Ok(value == "ON" || value == "1");
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_without_detours() {
        let plain = |path: &str| normal(Path::new(path)).display().to_string();
        assert_eq!(plain("/vt/data/./vt_commerce/customer.ibd"), "/vt/data/vt_commerce/customer.ibd");
        assert_eq!(plain("/vt/data/../innodb/data/undo_001"), "/vt/innodb/data/undo_001");
    }

    #[test]
    fn what_is_not_carried_is_refused_unless_that_is_allowed() {
        let what = ["x.isl points away".to_owned()];
        assert!(matches!(allow(&what, false), Err(EngineError::FilesNotCarried(_))));
        assert!(allow(&what, true).is_ok());
        assert!(allow(&[], false).is_ok());
    }
}
