//! Looking at a tablet before a restore: whether mysqld runs, what it follows, what data there is.

use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};

use crate::engine::builtin::restored::BeforeStart;
use crate::engine::journal::TabletState;
use crate::engine::tablet::Server;
use crate::engine::{EngineError, MysqldAccess, Tablet, replication};
use crate::mysqld::{Evidence, Layout, LayoutError, MysqldError, ReplicationSource};
use crate::progress::Monitor;
use crate::topo::KeyspaceShard;

/// How long a mysqld that lives may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A tablet as it was found.
pub struct Scene {
    pub server: Server,
    /// `None`: mysqld does not run, or is too broken to be asked.
    pub before: Option<TabletState>,
    /// With its password.
    pub source: Option<ReplicationSource>,
    /// What data there is, one sentence; `None`: nothing that a restore could destroy.
    pub data: Option<String>,
    /// There is no my.cnf yet.
    pub is_new: bool,
}

pub enum Look {
    Found(Box<Scene>),
    /// mysqlctld does not answer and no mysqld lives.
    Unreachable {
        /// What data there is, one sentence.
        data: Option<String>,
    },
}

/// Looks; touches nothing.
pub async fn look(
    tablet: &Tablet,
    shard: &KeyspaceShard,
    before_start: Option<&BeforeStart>,
    monitor: &dyn Monitor,
) -> Result<Look, EngineError> {
    let (layout, is_new) = match Layout::read(&tablet.directory).await {
        Ok(layout) => (layout, false),
        Err(LayoutError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            if let MysqldAccess::Mysqlctld { socket } = &tablet.mysqld
                && !answers(socket).await
            {
                // A mysqlctld that finds no my.cnf makes everything anew.
                return Ok(Look::Unreachable { data: None });
            }
            let layout = match before_start {
                Some(before_start) => before_start.layout(tablet).await?,
                None => Layout::vitess_default(&tablet.directory)?,
            };
            (layout, true)
        }
        Err(error) => return Err(error.into()),
    };
    let evidence = Evidence::gather(&layout).await?;
    if tablet.is_at_rest() && evidence.alive() {
        return Err(MysqldError::NotAtRest { evidence: evidence.to_string() }.into());
    }
    if !evidence.alive() {
        let data = if is_empty(&layout.datadir)? {
            None
        } else {
            Some(format!(
                "{} is not empty, and no mysqld runs that could be asked what it holds",
                layout.datadir.display()
            ))
        };
        if let MysqldAccess::Mysqlctld { socket } = &tablet.mysqld
            && !answers(socket).await
        {
            return Ok(Look::Unreachable { data });
        }
        let server = tablet.server_at(layout)?;
        return Ok(Look::Found(Box::new(Scene { server, before: None, source: None, data, is_new })));
    }
    ask(tablet.server_at(layout)?, shard, monitor).await.map(|scene| Look::Found(Box::new(scene)))
}

/// A mysqld lives.
async fn ask(server: Server, shard: &KeyspaceShard, monitor: &dyn Monitor) -> Result<Scene, EngineError> {
    let database = format!("vt_{}", shard.keyspace());
    if let Err(error) = server.mysql.wait_ready(ANSWER_TIMEOUT).await {
        monitor.note(&format!("mysqld lives and cannot be asked anything: {error}"));
        let data = Some(format!("a mysqld runs on {} and does not answer", server.layout.datadir.display()));
        return Ok(Scene { server, before: None, source: None, data, is_new: false });
    }
    let mysql = &server.mysql;
    let before = replication::observe(mysql).await?;
    let source = mysql.replication_source().await?;
    let exists = mysql.databases().await?.contains(&database);
    let data = exists.then(|| format!("database {database} exists"));
    Ok(Scene { before: Some(before), source, data, server, is_new: false })
}

fn is_empty(directory: &Path) -> Result<bool, EngineError> {
    match std::fs::read_dir(directory) {
        Ok(entries) => Ok(entries.flatten().all(|entry| entry.file_name() == "lost+found")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(EngineError::unreadable(directory, error)),
    }
}

/// Whether anybody listens there.
pub async fn answers(socket: &Path) -> bool {
    matches!(tokio::time::timeout(Duration::from_secs(2), UnixStream::connect(socket)).await, Ok(Ok(_)))
}

/// Waits for mysqlctld, whose container starts again and again on destroyed data: the next time it finds Vitess's marker
/// and leaves mysqld down. When it had just begun to wait for mysqld, that takes its `--wait-time` (5 minutes by default).
///
/// # Errors
/// `MysqlctldUnreachable` after `limit`.
pub async fn wait_for_mysqlctld(socket: &Path, limit: Duration, monitor: &dyn Monitor) -> Result<(), EngineError> {
    const PAUSE: Duration = Duration::from_millis(500);
    const NOTE_EVERY: Duration = Duration::from_secs(60);
    let begun = Instant::now();
    let mut noted: Option<Instant> = None;
    while !answers(socket).await {
        if begun.elapsed() >= limit {
            let last = "nobody listens there".to_owned();
            return Err(MysqldError::MysqlctldUnreachable { socket: socket.to_owned(), waited: limit, last }.into());
        }
        if noted.is_none_or(|at| at.elapsed() >= NOTE_EVERY) {
            noted = Some(Instant::now());
            monitor.note(&format!(
                "mysqld is down and mysqlctld does not answer on {}; waiting up to {} s for its container to start again, \
                 which from now on leaves mysqld down and answers",
                socket.display(),
                limit.saturating_sub(begun.elapsed()).as_millis().div_ceil(1000)
            ));
        }
        sleep(PAUSE).await;
    }
    Ok(())
}
