//! How a tablet's mysqld stands, and how it is put back there: read-only, semi-sync, replication.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::backup::report::ReplicationOutcome;
use crate::engine::EngineError;
use crate::engine::journal::{Replication, TabletState};
use crate::engine::tablet::{Server, Tablet};
use crate::mysqld::{IoState, Mysql, MysqldError, ReplicaStatus};
use crate::progress::{Monitor, Step};
use crate::replication::Position;

/// How long started replication threads may take to be up; Vitess's own limit.
const THREADS_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(500);
/// How often starting mysqld is tried when a tablet is put back, and the pause in between.
const START_TRIES: u32 = 3;
const START_PAUSE: Duration = Duration::from_secs(5);
/// A mysqld that is to be seen through its stop gets at least this long, however short the limit for the backup was.
const LEAST_STOP_TIMEOUT: Duration = Duration::from_secs(120);

/// What a run must be able to put back. mysqld is running.
pub async fn observe(mysql: &Mysql) -> Result<TabletState, MysqldError> {
    let status = mysql.replica_status().await?;
    let has_password = match &status {
        Some(_) => mysql.replication_source().await?.is_some_and(|source| !source.password.is_empty()),
        None => false,
    };
    Ok(TabletState {
        mysqld_running: true,
        read_only: mysql.read_only().await?,
        super_read_only: mysql.super_read_only().await?,
        semi_sync: mysql.semi_sync().await?,
        replication: status.map(|status| Replication {
            io_started: status.io_state != IoState::Stopped,
            sql_running: status.sql_running,
            source: status.source,
            has_password,
        }),
    })
}

impl Replication {
    /// Both threads were at work, or trying to be.
    pub fn was_started(&self) -> bool {
        self.io_started && self.sql_running
    }
}

/// A server that takes writes and follows nobody. Topology would know better, but the engine cannot always ask it: a
/// replica that Vitess set up is read-only and has a source; a primary is writable, and either has no source or one left
/// over from before that it does not listen to. A server without a source that is read-only (a tablet that has not joined
/// its shard yet, a demoted primary) serves no writes, so stopping it harms nobody.
pub fn is_primary(state: &TabletState) -> bool {
    let follows =
        state.replication.as_ref().is_some_and(|replication| replication.io_started || replication.sql_running);
    !state.read_only && !follows
}

/// Whether a server that stands so may be backed up. `warnings` gets what a replica that does not replicate means for it.
///
/// # Errors
/// `TabletIsPrimary`, unless that is allowed.
pub fn check_role(
    tablet: &Tablet,
    state: &TabletState,
    allow_primary: bool,
    warnings: &mut Vec<String>,
) -> Result<(), EngineError> {
    if is_primary(state) {
        if !allow_primary {
            let evidence = "it takes writes and follows no source".to_owned();
            return Err(EngineError::TabletIsPrimary { tablet: tablet.name(), evidence });
        }
    } else if !state.replication.as_ref().is_some_and(Replication::was_started) {
        warnings.push("replication was not running: the data may be older than the backup's time".to_owned());
    }
    Ok(())
}

/// Whether the server is not too far behind its source; `None`: it may be as far behind as it likes. A primary is behind nobody.
///
/// # Errors
/// `TabletLagging`.
pub async fn check_lag(
    tablet: &Tablet,
    mysql: &Mysql,
    state: &TabletState,
    limit: Option<Duration>,
) -> Result<(), EngineError> {
    let Some(limit) = limit.filter(|_| !is_primary(state)) else { return Ok(()) };
    let behind = mysql.replica_status().await?.and_then(|status| status.seconds_behind);
    if !lags(behind, limit) {
        return Ok(());
    }
    Err(EngineError::TabletLagging { tablet: tablet.name(), behind, limit })
}

/// Unknown counts as too far: a replica whose threads do not run falls behind without an end.
fn lags(behind: Option<u64>, limit: Duration) -> bool {
    behind.is_none_or(|seconds| seconds > limit.as_secs())
}

/// Starts mysqld, trying more than once: it must not stay down for a passing trouble.
///
/// `told_to_stop`: it may have been told to stop without anyone having seen it stopped. Such a mysqld still answers for a
/// moment and would then be gone; so it is first seen through its stop.
pub async fn start_stubbornly(server: &Server, told_to_stop: bool, monitor: &dyn Monitor) -> Result<(), MysqldError> {
    if told_to_stop && let Err(error) = server.stop_within(server.shutdown_timeout.max(LEAST_STOP_TIMEOUT)).await {
        monitor.note(&format!("mysqld was told to stop and has not yet: {error}"));
    }
    let mut tries = 1;
    loop {
        match server.control.start(&[]).await {
            Ok(()) => return Ok(()),
            Err(error) if tries >= START_TRIES => return Err(error),
            Err(error) => monitor.note(&format!("starting mysqld failed, trying again: {error}")),
        }
        tries += 1;
        sleep(START_PAUSE).await;
    }
}

/// Puts read-only, semi-sync and replication back as they were; mysqld is running. Does nothing that is done already.
///
/// When someone made the server a primary meanwhile (it takes writes now and did not before), it is left alone.
pub async fn put_back(
    server: &Server,
    before: &TabletState,
    monitor: &dyn Monitor,
) -> Result<ReplicationOutcome, EngineError> {
    let mysql = &server.mysql;
    let now = observe(mysql).await?;
    if is_primary(&now) && !is_primary(before) {
        monitor.note("the tablet takes writes now and did not before the run: it is left as it is");
        return Ok(ReplicationOutcome::LeftStopped);
    }
    set_read_only(mysql, &now, before).await?;
    if let Some(wanted) = before.semi_sync.filter(|wanted| now.semi_sync != Some(*wanted)) {
        mysql.set_semi_sync(wanted).await?;
    }
    let Some(replication) = &before.replication else { return Ok(ReplicationOutcome::LeftStopped) };
    match (replication.io_started, replication.sql_running) {
        (false, false) => return Ok(ReplicationOutcome::LeftStopped),
        (true, true) => mysql.start_replica().await?,
        (io, _) => start_one_thread(mysql, if io { "IO_THREAD" } else { "SQL_THREAD" }).await?,
    }
    if !replication.was_started() {
        return Ok(ReplicationOutcome::LeftStopped);
    }
    wait_started(mysql, monitor).await?;
    Ok(ReplicationOutcome::Running)
}

async fn set_read_only(mysql: &Mysql, now: &TabletState, before: &TabletState) -> Result<(), MysqldError> {
    if now.super_read_only != before.super_read_only {
        mysql.set_super_read_only(before.super_read_only).await?;
    }
    if mysql.read_only().await? != before.read_only {
        mysql.set_read_only(before.read_only).await?;
    }
    Ok(())
}

async fn start_one_thread(mysql: &Mysql, thread: &str) -> Result<(), MysqldError> {
    let replica = if mysql.version().await?.says_replica() { "REPLICA" } else { "SLAVE" };
    mysql.execute(&format!("START {replica} {thread}")).await
}

/// Waits until both threads are up. A source that is out of reach is nothing that waiting here would mend: then the
/// receiver keeps trying, and that is noted.
pub async fn wait_started(mysql: &Mysql, monitor: &dyn Monitor) -> Result<(), EngineError> {
    let begun = Instant::now();
    loop {
        let Some(status) = mysql.replica_status().await? else {
            return Err(EngineError::ReplicationNotRestarted {
                cause: "the tablet has no replication source".to_owned(),
            });
        };
        if status.running() {
            return Ok(());
        }
        if begun.elapsed() >= THREADS_TIMEOUT {
            if status.started() {
                monitor.note(&format!("replication is on but its source does not answer: {}", trouble(&status)));
                return Ok(());
            }
            return Err(EngineError::ReplicationNotRestarted { cause: trouble(&status) });
        }
        sleep(POLL).await;
    }
}

fn trouble(status: &ReplicaStatus) -> String {
    let mut texts: Vec<&str> = Vec::new();
    for text in [&status.last_io_error, &status.last_sql_error] {
        if !text.is_empty() {
            texts.push(text);
        }
    }
    if texts.is_empty() {
        format!("receiver {:?}, applier {}", status.io_state, if status.sql_running { "running" } else { "stopped" })
    } else {
        texts.join("; ")
    }
}

/// Waits until the replica keeps up with its source, for at most the tablet's catch-up limit.
///
/// MySQL counts the seconds behind from what has been received, so that a receiver that was just connected can seem to be
/// up to date. Hence all that the replica had received a second ago, connected already, must be applied by now; what came
/// since does not count, or a busy source could never be caught up with.
///
/// # Errors
/// When a thread stops for good.
pub async fn wait_caught_up(server: &Server, monitor: &dyn Monitor) -> Result<ReplicationOutcome, EngineError> {
    const PAUSE: Duration = Duration::from_secs(1);
    monitor.step(Step::CatchingUp);
    let begun = Instant::now();
    let mut received: Option<Position> = None;
    let mut stopped_since: Option<Instant> = None;
    loop {
        let Some(status) = server.mysql.replica_status().await? else {
            return Err(EngineError::ReplicationNotRestarted {
                cause: "the tablet has no replication source".to_owned(),
            });
        };
        if received.is_some_and(|received| keeps_up(&status, &received)) {
            return Ok(ReplicationOutcome::CaughtUp);
        }
        received = status.running().then(|| status.retrieved.clone());
        if status.started() {
            stopped_since = None;
        } else if stopped_since.get_or_insert_with(Instant::now).elapsed() >= THREADS_TIMEOUT {
            return Err(EngineError::ReplicationNotRestarted { cause: trouble(&status) });
        }
        if begun.elapsed() >= server.catch_up_timeout {
            return Ok(ReplicationOutcome::Running);
        }
        sleep(PAUSE).await;
    }
}

/// Whole seconds of two clocks are compared: a replica that is up to date shows 1 now and then.
fn keeps_up(status: &ReplicaStatus, received: &Position) -> bool {
    status.running() && status.seconds_behind.is_some_and(|seconds| seconds <= 1) && status.executed.at_least(received)
}

/// Said when a run ends before replication has caught up.
pub fn not_caught_up(limit: Duration) -> String {
    format!("replication runs but had not caught up after {} s", limit.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mysqld::ReplicationSource;

    fn state(read_only: bool, replication: Option<(bool, bool)>) -> TabletState {
        TabletState {
            mysqld_running: true,
            read_only,
            super_read_only: read_only,
            semi_sync: None,
            replication: replication.map(|(io_started, sql_running)| Replication {
                io_started,
                sql_running,
                source: ReplicationSource::default(),
                has_password: false,
            }),
        }
    }

    #[test]
    fn a_replica_lags_when_it_is_further_behind_than_allowed_or_nobody_knows_how_far() {
        let limit = Duration::from_secs(30);
        let lagging = [Some(0), Some(30), Some(31), None].map(|behind| lags(behind, limit));
        assert_eq!(lagging, [false, false, true, true]);
    }

    #[test]
    fn a_primary_is_who_takes_writes_and_follows_nobody() {
        assert!(is_primary(&state(false, None)));
        assert!(is_primary(&state(false, Some((false, false)))), "a source left over from before");
        assert!(!is_primary(&state(true, None)), "not in its shard yet, or demoted");
        assert!(!is_primary(&state(true, Some((true, true)))), "a replica");
        assert!(!is_primary(&state(true, Some((false, false)))), "a replica that is stopped");
        assert!(!is_primary(&state(false, Some((true, true)))), "a replica that someone made writable");
    }
}
