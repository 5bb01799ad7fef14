//! A restored tablet's way back into its shard: position, replication source, catching up.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::backup::report::ReplicationOutcome;
use crate::engine::journal::TabletState;
use crate::engine::tablet::Server;
use crate::engine::vtctld::{Reparented, Vtctld};
use crate::engine::{EngineError, replication};
use crate::mysqld::{Mysql, ReplicationSource};
use crate::progress::{Monitor, Step};
use crate::replication::Position;

/// The kubelet waits for 5 minutes at most before it starts a container again.
const VTCTLD_PATIENCE: Duration = Duration::from_secs(390);
const VTCTLD_PAUSE: Duration = Duration::from_secs(3);

/// Where a restored tablet may learn its replication source from.
pub struct Sources<'a> {
    pub vtctld: Option<&'a Vtctld>,
    /// How the tablet was before, from mysqld itself or from the journal of an earlier try.
    pub before: Option<&'a TabletState>,
    /// Its source with the password, when mysqld could be asked in this run.
    pub source: Option<&'a ReplicationSource>,
}

/// The position of the backup, and no replication source: the data brought the one of the tablet that was backed up.
///
/// # Errors
/// What MySQL says.
pub async fn set_position(
    mysql: &Mysql,
    position: Option<&Position>,
    monitor: &dyn Monitor,
) -> Result<(), EngineError> {
    monitor.step(Step::SettingPosition);
    forget_source(mysql).await?;
    match position.filter(|position| !position.is_empty()) {
        Some(Position::Mysql56(set)) => {
            if mysql.gtid_purged().await? != *set || mysql.gtid_executed().await? != *set {
                mysql.set_gtid_purged(set).await?;
            }
        }
        Some(Position::MariaDb(set)) => mysql.set_gtid_slave_pos(set).await?,
        Some(Position::FilePos(_)) | None => {
            monitor.note("the backup has no GTID position: the server's is left as the data has it");
        }
    }
    Ok(())
}

async fn forget_source(mysql: &Mysql) -> Result<(), EngineError> {
    if mysql.replica_status().await?.is_some() {
        mysql.stop_replica().await?;
        mysql.reset_replica_all().await?;
    }
    Ok(())
}

/// Sets the replication source, as far as one can be known, and starts replication. `warnings` gets what a person has to
/// do when none can.
///
/// # Errors
/// `Vtctld`, `ReplicationNotRestarted`, what MySQL says.
pub async fn rejoin(
    server: &Server,
    sources: &Sources<'_>,
    monitor: &dyn Monitor,
    warnings: &mut Vec<String>,
) -> Result<ReplicationOutcome, EngineError> {
    monitor.step(Step::RestartingReplication);
    let mysql = &server.mysql;
    if let Some(wanted) = sources.before.and_then(|before| before.semi_sync)
        && mysql.semi_sync().await?.is_some_and(|now| now != wanted)
    {
        mysql.set_semi_sync(wanted).await?;
    }
    if let Some(vtctld) = sources.vtctld {
        return by_vtctld(server, vtctld, monitor, warnings).await;
    }
    let Some(source) = remembered(sources, warnings) else { return Ok(ReplicationOutcome::NotConfigured) };
    forget_source(mysql).await?;
    mysql.change_replication_source(&source).await?;
    mysql.start_replica().await?;
    started(server, monitor).await
}

/// Asks vtctld until it can be done. A vttablet that went away with its mysqld comes back by itself, at the latest after
/// the kubelet's longest back-off; it then sets its source too, and that is just as good.
async fn by_vtctld(
    server: &Server,
    vtctld: &Vtctld,
    monitor: &dyn Monitor,
    warnings: &mut Vec<String>,
) -> Result<ReplicationOutcome, EngineError> {
    let begun = Instant::now();
    loop {
        match vtctld.reparent().await {
            Ok(Reparented::Under(primary)) => {
                monitor.note(&format!("vtctld set the tablet to follow {primary}"));
                return started(server, monitor).await;
            }
            Ok(Reparented::NotNow(cause)) => {
                warnings.push(format!("vtctld set no replication source: {cause}"));
                return Ok(ReplicationOutcome::NotConfigured);
            }
            Err(error) => {
                if server.mysql.replica_status().await?.is_some_and(|status| status.started()) {
                    monitor.note("the tablet replicates again; vttablet set its source");
                    return started(server, monitor).await;
                }
                if begun.elapsed() >= VTCTLD_PATIENCE {
                    return Err(error);
                }
                monitor.note(&format!("{error}; trying again"));
            }
        }
        sleep(VTCTLD_PAUSE).await;
    }
}

async fn started(server: &Server, monitor: &dyn Monitor) -> Result<ReplicationOutcome, EngineError> {
    replication::wait_started(&server.mysql, monitor).await?;
    Ok(ReplicationOutcome::Running)
}

/// The source that the tablet had, if it can be used again.
fn remembered(sources: &Sources<'_>, warnings: &mut Vec<String>) -> Option<ReplicationSource> {
    const ADVICE: &str = "run `vtctldclient ReparentTablet <alias>`, or let VTOrc do it";
    let Some(replication) = sources.before.and_then(|before| before.replication.as_ref()) else {
        warnings.push(format!("the tablet has no replication source that could be known here: {ADVICE}"));
        return None;
    };
    if replication.source.host.is_empty() {
        warnings.push(format!("the tablet's replication source was not set before: {ADVICE}"));
        return None;
    }
    match sources.source {
        Some(source) => Some(source.clone()),
        None if replication.has_password => {
            warnings.push(format!("the password of the tablet's replication source was lost with its data: {ADVICE}"));
            None
        }
        None => Some(replication.source.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::journal::Replication;

    fn before(host: &str, has_password: bool) -> TabletState {
        TabletState {
            replication: Some(Replication {
                io_started: true,
                sql_running: true,
                source: ReplicationSource { host: host.to_owned(), ..ReplicationSource::default() },
                has_password,
            }),
            ..TabletState::default()
        }
    }

    fn host(before: Option<&TabletState>, source: Option<&ReplicationSource>) -> (Option<String>, usize) {
        let mut warnings = Vec::new();
        let found = remembered(&Sources { vtctld: None, before, source }, &mut warnings);
        (found.map(|source| source.host), warnings.len())
    }

    #[test]
    fn the_source_from_before_is_used_again() {
        assert_eq!(host(Some(&before("primary", false)), None), (Some("primary".into()), 0));
    }

    #[test]
    fn a_source_whose_password_is_gone_is_not_guessed_at() {
        let with_password = ReplicationSource { host: "primary".into(), password: "s".into(), ..Default::default() };
        assert_eq!(host(Some(&before("primary", true)), None), (None, 1));
        assert_eq!(host(Some(&before("primary", true)), Some(&with_password)), (Some("primary".into()), 0));
    }

    #[test]
    fn a_tablet_that_followed_nobody_is_told_how_to_join() {
        assert_eq!(host(None, None), (None, 1));
        assert_eq!(host(Some(&TabletState::default()), None), (None, 1));
        assert_eq!(host(Some(&before("", false)), None), (None, 1));
    }
}
