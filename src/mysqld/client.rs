//! SQL over MySQL's unix socket.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, Value};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::error::MysqldError;
use super::evidence::POLL;
use super::master_info;
use super::replica::{self, ReplicaStatus, ReplicationSource, SemiSync};
use super::spelling;
use super::version::ServerVersion;
use crate::replication::{GtidSet, MariaDbGtidSet, Position, ServerUuid};

/// A tablet's MySQL server, through its socket, as a user without a password.
///
/// Holds one connection, opened when first needed and again after mysqld was restarted; so one value serves a whole run.
/// Statements run one at a time, and each has a time limit: 60 seconds, unless said otherwise. After a time-out the
/// connection is given up; the server may still be at work on the statement.
pub struct Mysql {
    socket: PathBuf,
    user: String,
    connection: Mutex<Option<Connection>>,
}

struct Connection {
    conn: Conn,
    version: ServerVersion,
}

/// A row of a result: every value as text, NULL as none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    values: Vec<(String, Option<String>)>,
}

impl Row {
    /// The value in the column of that name, in any letter case; none when NULL or when there is no such column.
    pub fn get(&self, column: &str) -> Option<&str> {
        let found = self.values.iter().find(|(name, _)| name.eq_ignore_ascii_case(column));
        found.and_then(|(_, value)| value.as_deref())
    }

    #[cfg(test)]
    pub(crate) fn of(values: &[(&str, &str)]) -> Self {
        Self { values: values.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect() }
    }

    /// The value of the column at that place, from 0.
    pub fn at(&self, place: usize) -> Option<&str> {
        self.values.get(place).and_then(|(_, value)| value.as_deref())
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// STOP REPLICA waits for the event group at hand, which may be a large transaction; RESET removes many files.
const SLOW_STATEMENT_TIMEOUT: Duration = Duration::from_secs(10 * 60);

impl Mysql {
    /// Opens nothing yet.
    pub fn new(socket: impl Into<PathBuf>, user: &str) -> Self {
        Self { socket: socket.into(), user: user.to_owned(), connection: Mutex::new(None) }
    }

    /// Opens the connection.
    ///
    /// # Errors
    /// When nothing answers on the socket, or the user may not log in there.
    pub async fn connect(socket: impl Into<PathBuf>, user: &str) -> Result<Self, MysqldError> {
        let mysql = Self::new(socket, user);
        mysql.ping().await?;
        Ok(mysql)
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub fn user(&self) -> &str {
        &self.user
    }

    /// Closes the connection until it is needed again. A server that is told to stop waits two seconds for its clients to
    /// go before it cuts them off.
    pub async fn close(&self) {
        if let Some(connection) = self.connection.lock().await.take() {
            let _ = timeout(CONNECT_TIMEOUT, connection.conn.disconnect()).await;
        }
    }

    /// # Errors
    /// When the server does not answer.
    pub async fn ping(&self) -> Result<(), MysqldError> {
        self.with_connection(async |_| Ok(())).await
    }

    /// Waits until the server answers; tries every 100 ms.
    ///
    /// # Errors
    /// When it still does not after `limit`.
    pub async fn wait_ready(&self, limit: Duration) -> Result<(), MysqldError> {
        let begun = Instant::now();
        while let Err(error) = self.ping().await {
            if begun.elapsed() >= limit {
                let socket = self.socket.clone();
                return Err(MysqldError::NotReady { socket, waited: limit, last: error.to_string() });
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// The running server's version, in Vitess's words: `Ver <@@version> <@@version_comment>`.
    pub async fn version(&self) -> Result<ServerVersion, MysqldError> {
        self.with_connection(async |connection| Ok(connection.version.clone())).await
    }

    /// Runs a statement and gives its rows.
    pub async fn query(&self, statement: &str) -> Result<Vec<Row>, MysqldError> {
        self.run(statement, statement, STATEMENT_TIMEOUT).await
    }

    /// As [`Self::query`], with a time limit of one's own.
    pub async fn query_within(&self, statement: &str, limit: Duration) -> Result<Vec<Row>, MysqldError> {
        self.run(statement, statement, limit).await
    }

    /// As [`Self::query_within`], prepared first: what is more than one statement is an error.
    pub async fn query_prepared(&self, statement: &str, limit: Duration) -> Result<Vec<Row>, MysqldError> {
        self.with_connection(async |connection| {
            let answer = timeout(limit, connection.conn.exec::<mysql_async::Row, _, _>(statement, ())).await;
            self.read(answer, statement, limit)
        })
        .await
    }

    /// Runs a statement that gives no rows.
    pub async fn execute(&self, statement: &str) -> Result<(), MysqldError> {
        self.query(statement).await.map(|_| ())
    }

    /// As [`Self::execute`], with a time limit of one's own.
    pub async fn execute_within(&self, statement: &str, limit: Duration) -> Result<(), MysqldError> {
        self.run(statement, statement, limit).await.map(|_| ())
    }

    /// The first value of the first row.
    async fn value(&self, statement: &str) -> Result<Option<String>, MysqldError> {
        let rows = self.query(statement).await?;
        Ok(rows.first().and_then(|row| row.at(0)).map(str::to_owned))
    }

    /// A global variable's value; none when the server has no such variable, or it is NULL.
    pub async fn global_variable(&self, name: &str) -> Result<Option<String>, MysqldError> {
        // SHOW instead of @@, which is an error for an unknown variable; and _ is a wildcard that matches itself.
        let rows = self.query(&format!("SHOW GLOBAL VARIABLES LIKE {}", spelling::quoted(name))).await?;
        let row = rows.iter().find(|row| row.at(0).is_some_and(|found| found.eq_ignore_ascii_case(name)));
        Ok(row.and_then(|row| row.at(1)).map(str::to_owned))
    }

    async fn is_on(&self, variable: &'static str) -> Result<bool, MysqldError> {
        match self.global_variable(variable).await?.as_deref() {
            Some("ON" | "1") => Ok(true),
            Some("OFF" | "0") => Ok(false),
            found => Err(MysqldError::Answer {
                statement: "SHOW GLOBAL VARIABLES".to_owned(),
                column: variable,
                found: found.map(str::to_owned),
            }),
        }
    }

    pub async fn read_only(&self) -> Result<bool, MysqldError> {
        self.is_on("read_only").await
    }

    /// Never on in MariaDB, which has no such setting.
    pub async fn super_read_only(&self) -> Result<bool, MysqldError> {
        if self.version().await?.is_mariadb() {
            return Ok(false);
        }
        self.is_on("super_read_only").await
    }

    /// ON also sets read_only; OFF leaves read_only as it is. In MariaDB, where users with READ ONLY ADMIN can write all the
    /// same, ON sets read_only and OFF does nothing.
    pub async fn set_super_read_only(&self, on: bool) -> Result<(), MysqldError> {
        if self.version().await?.is_mariadb() {
            return if on { self.set_read_only(true).await } else { Ok(()) };
        }
        self.execute(&format!("SET GLOBAL super_read_only = {}", u8::from(on))).await
    }

    /// OFF also clears super_read_only; ON leaves super_read_only as it is.
    pub async fn set_read_only(&self, on: bool) -> Result<(), MysqldError> {
        self.execute(&format!("SET GLOBAL read_only = {}", u8::from(on))).await
    }

    /// `SET GLOBAL innodb_fast_shutdown`: 0 writes out everything, so that another version may start on the files.
    pub async fn set_innodb_fast_shutdown(&self, level: u8) -> Result<(), MysqldError> {
        self.execute(&format!("SET GLOBAL innodb_fast_shutdown = {level}")).await
    }

    /// Which sides of semi-synchronous replication are switched on; none when its plugins are not loaded.
    pub async fn semi_sync(&self) -> Result<Option<SemiSync>, MysqldError> {
        let rows = self.query("SHOW GLOBAL VARIABLES LIKE 'rpl_semi_sync_%_enabled'").await?;
        Ok(replica::semi_sync(&rows).map(|(found, _)| found))
    }

    /// Does nothing where the plugins are not loaded and nothing is to be switched on.
    pub async fn set_semi_sync(&self, wanted: SemiSync) -> Result<(), MysqldError> {
        let rows = self.query("SHOW GLOBAL VARIABLES LIKE 'rpl_semi_sync_%_enabled'").await?;
        match replica::semi_sync(&rows) {
            Some((_, words)) => self.execute(&spelling::set_semi_sync(words, wanted)).await,
            None if wanted == SemiSync::default() => Ok(()),
            None => {
                let version = self.version().await?.text().to_owned();
                Err(MysqldError::Unsupported { what: "semi-sync without its plugins", version })
            }
        }
    }

    /// None when the server has no replication source, and never had or was made to forget it.
    pub async fn replica_status(&self) -> Result<Option<ReplicaStatus>, MysqldError> {
        let version = self.version().await?;
        let rows = self.query(spelling::show_replica_status(&version)).await?;
        replica::status(&version, &rows)
    }

    /// Where the server replicates from, and how it logs in there, for a later [`Self::change_replication_source`]: the
    /// password too, which only `mysql.slave_master_info` tells, and with MariaDB only a file in its datadir.
    pub async fn replication_source(&self) -> Result<Option<ReplicationSource>, MysqldError> {
        let Some(mut source) = self.replica_status().await?.map(|status| status.source) else { return Ok(None) };
        if self.version().await?.is_mariadb() {
            let datadir = self.global_variable("datadir").await?.unwrap_or_default();
            source.password = master_info::password(Path::new(&datadir)).await?;
            return Ok(Some(source));
        }
        let passwords = "SELECT user_password FROM mysql.slave_master_info WHERE channel_name = ''";
        source.password = self.value(passwords).await?.unwrap_or_default();
        Ok(Some(source))
    }

    /// Stops both threads; waits for the transaction at hand, up to 10 minutes.
    pub async fn stop_replica(&self) -> Result<(), MysqldError> {
        let version = self.version().await?;
        self.execute_within(spelling::stop_replica(&version), SLOW_STATEMENT_TIMEOUT).await
    }

    pub async fn start_replica(&self) -> Result<(), MysqldError> {
        let version = self.version().await?;
        self.execute(spelling::start_replica(&version)).await
    }

    /// Forgets the source and removes the relay logs. Replication must be stopped.
    pub async fn reset_replica_all(&self) -> Result<(), MysqldError> {
        let version = self.version().await?;
        self.execute_within(spelling::reset_replica_all(&version), SLOW_STATEMENT_TIMEOUT).await
    }

    /// Sets where to replicate from, with auto-position (in MariaDB from `gtid_slave_pos`). Replication must be stopped, and
    /// is not started.
    pub async fn change_replication_source(&self, source: &ReplicationSource) -> Result<(), MysqldError> {
        let version = self.version().await?;
        let statement = spelling::change_replication_source(&version, source);
        let shown = format!("CHANGE REPLICATION SOURCE TO {}:{}", source.host, source.port); // no password in errors
        self.run(&statement, &shown, STATEMENT_TIMEOUT).await.map(|_| ())
    }

    /// What the server has executed: `@@gtid_executed`, in MariaDB `@@gtid_current_pos`. (Vitess asks a MariaDB for
    /// `@@gtid_binlog_pos`, which lacks what was applied without being logged; with its my.cnf nothing is.)
    pub async fn position(&self) -> Result<Position, MysqldError> {
        const STATEMENT: &str = "SELECT @@GLOBAL.gtid_current_pos";
        let version = self.version().await?;
        if !version.is_mariadb() {
            return self.gtid_executed().await.map(Position::Mysql56);
        }
        let text = self.value(STATEMENT).await?.unwrap_or_default();
        replica::position(&version, STATEMENT, "gtid_current_pos", &text)
    }

    /// `@@gtid_executed`.
    pub async fn gtid_executed(&self) -> Result<GtidSet, MysqldError> {
        self.gtid_set("gtid_executed").await
    }

    /// `@@gtid_purged`.
    pub async fn gtid_purged(&self) -> Result<GtidSet, MysqldError> {
        self.gtid_set("gtid_purged").await
    }

    async fn gtid_set(&self, variable: &'static str) -> Result<GtidSet, MysqldError> {
        let version = self.version().await?;
        if !version.has_mysql_gtids() {
            return Err(MysqldError::Unsupported { what: variable, version: version.text().to_owned() });
        }
        // Not through SHOW, which cuts long values short.
        let text = self.value(&format!("SELECT @@GLOBAL.{variable}")).await?.unwrap_or_default();
        text.parse().map_err(|source| MysqldError::GtidSet { column: variable, source })
    }

    /// Makes the server forget its binary logs and what it has executed, and take `set` for executed and purged.
    pub async fn set_gtid_purged(&self, set: &GtidSet) -> Result<(), MysqldError> {
        let version = self.version().await?;
        self.execute_within(spelling::reset_binary_logs(&version), SLOW_STATEMENT_TIMEOUT).await?;
        self.execute(&format!("SET GLOBAL gtid_purged = '{set}'")).await
    }

    /// MariaDB's counterpart of [`Self::set_gtid_purged`]: makes the server forget its binary logs, replicate on from `set`,
    /// and know as a source that it has seen all up to there. Replication must be stopped. Source: Vitess
    /// `mariadbFlavor.setReplicationPositionCommands`.
    pub async fn set_gtid_slave_pos(&self, set: &MariaDbGtidSet) -> Result<(), MysqldError> {
        let version = self.version().await?;
        if !version.is_mariadb() {
            return Err(MysqldError::Unsupported { what: "gtid_slave_pos", version: version.text().to_owned() });
        }
        self.execute_within(spelling::reset_binary_logs(&version), SLOW_STATEMENT_TIMEOUT).await?;
        self.execute(&format!("SET GLOBAL gtid_slave_pos = '{set}'")).await?;
        self.execute(&format!("SET GLOBAL gtid_binlog_state = '{set}'")).await
    }

    /// As [`Self::server_uuid`]; none in MariaDB, whose servers have none.
    pub async fn server_uuid_if_any(&self) -> Result<Option<ServerUuid>, MysqldError> {
        if self.version().await?.is_mariadb() {
            return Ok(None);
        }
        self.server_uuid().await.map(Some)
    }

    /// `@@server_uuid`.
    pub async fn server_uuid(&self) -> Result<ServerUuid, MysqldError> {
        let version = self.version().await?;
        if version.is_mariadb() {
            return Err(MysqldError::Unsupported { what: "server_uuid", version: version.text().to_owned() });
        }
        let statement = "SELECT @@GLOBAL.server_uuid";
        let found = self.value(statement).await?;
        let uuid = found.as_deref().and_then(|text| text.parse().ok());
        uuid.ok_or_else(|| MysqldError::Answer { statement: statement.to_owned(), column: "server_uuid", found })
    }

    /// SHOW DATABASES.
    pub async fn databases(&self) -> Result<Vec<String>, MysqldError> {
        let rows = self.query("SHOW DATABASES").await?;
        Ok(rows.iter().filter_map(|row| row.at(0)).map(str::to_owned).collect())
    }

    /// Tells the server to stop cleanly, and returns before it has. Through mysqlctld or a child process
    /// [`super::MysqldControl::shutdown`] is the way.
    pub async fn shutdown(&self) -> Result<(), MysqldError> {
        match self.execute("SHUTDOWN").await {
            // The answer may be lost as the server goes down.
            Err(MysqldError::Statement { source, .. }) if source.is_fatal() => Ok(()),
            other => other,
        }
    }

    /// Runs `statement`; `shown` is what errors say.
    async fn run(&self, statement: &str, shown: &str, limit: Duration) -> Result<Vec<Row>, MysqldError> {
        self.with_connection(async |connection| {
            let answer = timeout(limit, connection.conn.query::<mysql_async::Row, _>(statement)).await;
            self.read(answer, shown, limit)
        })
        .await
    }

    fn read(
        &self,
        answer: Result<Result<Vec<mysql_async::Row>, mysql_async::Error>, tokio::time::error::Elapsed>,
        shown: &str,
        limit: Duration,
    ) -> Result<Vec<Row>, MysqldError> {
        let (socket, statement) = (self.socket.clone(), shown.to_owned());
        match answer {
            Ok(Ok(rows)) => Ok(rows.into_iter().map(row).collect()),
            Ok(Err(source)) => Err(MysqldError::Statement { socket, statement, source: Box::new(source) }),
            Err(_) => Err(MysqldError::StatementTimeout { socket, statement, waited: limit }),
        }
    }

    /// Takes the connection, opened anew when the old one no longer answers, and keeps it unless it broke.
    async fn with_connection<T>(
        &self,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, MysqldError>,
    ) -> Result<T, MysqldError> {
        let mut slot = self.connection.lock().await;
        // Out of the slot while in use: a future that is dropped half-way must not leave a connection in mid-answer.
        let mut kept = slot.take();
        if let Some(old) = &mut kept
            && !matches!(timeout(CONNECT_TIMEOUT, old.conn.ping()).await, Ok(Ok(())))
        {
            kept = None;
        }
        let mut connection = match kept {
            Some(old) => old,
            None => self.open().await?,
        };
        let outcome = work(&mut connection).await;
        let broken = match &outcome {
            Err(MysqldError::Statement { source, .. }) => source.is_fatal(),
            Err(MysqldError::StatementTimeout { .. }) => true,
            _ => false,
        };
        if !broken {
            *slot = Some(connection);
        }
        outcome
    }

    async fn open(&self) -> Result<Connection, MysqldError> {
        let options = OptsBuilder::default()
            .socket(Some(self.socket.to_string_lossy()))
            .user(Some(&self.user))
            .stmt_cache_size(0)
            // Our literals are written for the default rules of quoting.
            .init(vec!["SET SESSION sql_mode = ''"]);
        let opened = timeout(CONNECT_TIMEOUT, async {
            let mut conn = Conn::new(options).await?;
            let version: Option<String> = conn.query_first(VERSION_STATEMENT).await?;
            Ok((conn, version))
        });
        let opened = opened.await.unwrap_or_else(|_| Err(timed_out()));
        let (conn, version) = opened.map_err(|source| MysqldError::Connect {
            socket: self.socket.clone(),
            user: self.user.clone(),
            source: Box::new(source),
        })?;
        let version = ServerVersion::parse(&version.unwrap_or_default())?;
        Ok(Connection { conn, version })
    }
}

/// Vitess's own: its answer is the MANIFEST's MySQLVersion.
const VERSION_STATEMENT: &str = "SELECT CONCAT('Ver ', @@global.version, ' ', @@global.version_comment)";

fn timed_out() -> mysql_async::Error {
    std::io::Error::new(std::io::ErrorKind::TimedOut, format!("no answer within {CONNECT_TIMEOUT:?}")).into()
}

fn row(row: mysql_async::Row) -> Row {
    let names: Vec<String> = row.columns_ref().iter().map(|column| column.name_str().into_owned()).collect();
    let values = row.unwrap_raw().into_iter().map(|value| value.and_then(text));
    Row { values: names.into_iter().zip(values).collect() }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        other => Some(other.as_sql(true).trim_matches('\'').to_owned()), // not in the text protocol
    }
}

impl fmt::Debug for Mysql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mysql").field("socket", &self.socket).field("user", &self.user).finish_non_exhaustive()
    }
}
