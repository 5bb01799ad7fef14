//! What a replica says about itself.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::client::Row;
use super::error::MysqldError;
use super::spelling::SemiSyncWords;
use super::version::ServerVersion;
use crate::replication::{GtidSet, MariaDbGtidSet, Position};

/// SHOW REPLICA STATUS of the default channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Where it replicates from; without the password.
    pub source: ReplicationSource,
    /// By GTID, whatever the position in the source's binary logs.
    pub auto_position: bool,
    pub io_state: IoState,
    pub sql_running: bool,
    /// How far behind the source, in seconds; none while that is not known, for example when a thread is not running.
    pub seconds_behind: Option<u64>,
    /// What was fetched from the source: `Retrieved_Gtid_Set`, since the relay logs were last reset; in MariaDB
    /// `Gtid_IO_Pos`, which is empty without auto-position.
    pub retrieved: Position,
    /// `Executed_Gtid_Set`; in MariaDB `Gtid_Slave_Pos`, what was applied.
    pub executed: Position,
    /// Empty when there is none.
    pub last_io_error: String,
    /// Empty when there is none.
    pub last_sql_error: String,
}

/// The thread that fetches from the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoState {
    Stopped,
    /// Tries to reach its source.
    Connecting,
    Running,
}

impl ReplicaStatus {
    /// Both threads are up and the source is connected.
    pub fn running(&self) -> bool {
        self.io_state == IoState::Running && self.sql_running
    }

    /// Someone wants it to replicate: neither thread was stopped, though the source may be out of reach just now. What
    /// Vitess calls healthy.
    pub fn started(&self) -> bool {
        self.io_state != IoState::Stopped && self.sql_running
    }
}

/// Where and how a replica logs in at its source. The password is neither shown nor serialized, so that no journal or log
/// gets it by accident.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicationSource {
    pub host: String,
    pub port: u16,
    pub user: String,
    #[serde(skip)]
    pub password: String,
    /// Seconds between attempts to connect; Vitess sets 10.
    pub connect_retry: u32,
    pub tls: SourceTls,
}

/// TLS towards the source: file names are on the replica's side, empty when not set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceTls {
    pub enabled: bool,
    pub ca: String,
    pub capath: String,
    pub cert: String,
    pub key: String,
    pub verify_server_cert: bool,
}

impl fmt::Debug for ReplicationSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, user, password: _, connect_retry, tls } = self;
        f.debug_struct("ReplicationSource")
            .field("host", host)
            .field("port", port)
            .field("user", user)
            .field("connect_retry", connect_retry)
            .field("tls", tls)
            .finish_non_exhaustive()
    }
}

/// Which sides of semi-synchronous replication are switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SemiSync {
    pub source: bool,
    pub replica: bool,
}

/// From the rows of SHOW REPLICA STATUS, of SHOW SLAVE STATUS with its older column names, or of MariaDB's SHOW ALL SLAVES
/// STATUS.
pub(super) fn status(version: &ServerVersion, rows: &[Row]) -> Result<Option<ReplicaStatus>, MysqldError> {
    let mariadb = version.is_mariadb();
    let channel = if mariadb { "Connection_name" } else { "Channel_Name" };
    let Some(row) = rows.iter().find(|row| row.get(channel).unwrap_or_default().is_empty()) else {
        return Ok(None);
    };
    let either = |new: &str, old: &str| row.get(new).or_else(|| row.get(old)).unwrap_or_default().to_owned();
    let number = |column: &'static str, text: &str| {
        let found = Some(text.to_owned());
        text.parse::<u64>().map_err(|_| MysqldError::Answer { statement: STATEMENT.to_owned(), column, found })
    };
    let position = |mysql: &'static str, maria: &'static str| {
        let column = if mariadb { maria } else { mysql };
        position(version, STATEMENT, column, row.get(column).unwrap_or_default())
    };
    let port = number("Source_Port", &either("Source_Port", "Master_Port"))?;
    let connect_retry = number("Connect_Retry", row.get("Connect_Retry").unwrap_or("60"))?;
    let behind = row.get("Seconds_Behind_Source").or_else(|| row.get("Seconds_Behind_Master"));
    let io_state = match either("Replica_IO_Running", "Slave_IO_Running").as_str() {
        "Yes" => IoState::Running,
        "Connecting" | "Preparing" => IoState::Connecting,
        _ => IoState::Stopped,
    };
    let tls = SourceTls {
        enabled: either("Source_SSL_Allowed", "Master_SSL_Allowed") == "Yes",
        ca: either("Source_SSL_CA_File", "Master_SSL_CA_File"),
        capath: either("Source_SSL_CA_Path", "Master_SSL_CA_Path"),
        cert: either("Source_SSL_Cert", "Master_SSL_Cert"),
        key: either("Source_SSL_Key", "Master_SSL_Key"),
        verify_server_cert: either("Source_SSL_Verify_Server_Cert", "Master_SSL_Verify_Server_Cert") == "Yes",
    };
    let source = ReplicationSource {
        host: either("Source_Host", "Master_Host"),
        port: u16::try_from(port).unwrap_or_default(),
        user: either("Source_User", "Master_User"),
        password: String::new(),
        connect_retry: u32::try_from(connect_retry).unwrap_or(u32::MAX),
        tls,
    };
    Ok(Some(ReplicaStatus {
        source,
        auto_position: if mariadb {
            matches!(row.get("Using_Gtid"), Some("Slave_Pos" | "Current_Pos"))
        } else {
            row.get("Auto_Position") == Some("1")
        },
        io_state,
        sql_running: either("Replica_SQL_Running", "Slave_SQL_Running") == "Yes",
        seconds_behind: behind.map(|text| number("Seconds_Behind_Source", text)).transpose()?,
        retrieved: position("Retrieved_Gtid_Set", "Gtid_IO_Pos")?,
        executed: position("Executed_Gtid_Set", "Gtid_Slave_Pos")?,
        last_io_error: either("Last_IO_Error", "Last_IO_Error"),
        last_sql_error: either("Last_SQL_Error", "Last_SQL_Error"),
    }))
}

const STATEMENT: &str = "SHOW REPLICA STATUS";

/// What a server of that version calls a position, in the column or variable that `statement` asked for.
pub(super) fn position(
    version: &ServerVersion,
    statement: &str,
    column: &'static str,
    text: &str,
) -> Result<Position, MysqldError> {
    if !version.is_mariadb() {
        let set = text.parse::<GtidSet>().map_err(|source| MysqldError::GtidSet { column, source })?;
        return Ok(Position::Mysql56(set));
    }
    let unusable = |_| MysqldError::Answer { statement: statement.to_owned(), column, found: Some(text.to_owned()) };
    text.parse::<MariaDbGtidSet>().map(Position::MariaDb).map_err(unusable)
}

/// From `SHOW GLOBAL VARIABLES LIKE 'rpl_semi_sync_%_enabled'`: what is on, and in which words the plugins speak.
pub(super) fn semi_sync(rows: &[Row]) -> Option<(SemiSync, SemiSyncWords)> {
    let value = |name: &str| rows.iter().find(|row| row.at(0) == Some(name)).map(|row| row.at(1) == Some("ON"));
    [SemiSyncWords::SourceReplica, SemiSyncWords::MasterSlave].into_iter().find_map(|words| {
        let (source, replica) = words.variables();
        let (source, replica) = (value(source), value(replica));
        let found = SemiSync { source: source.unwrap_or(false), replica: replica.unwrap_or(false) };
        (source.is_some() || replica.is_some()).then_some((found, words))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5";

    /// What MySQL 5.7 answers; newer ones are asked for real in `tests/sql.rs`.
    #[test]
    fn the_older_column_names_are_understood() {
        let other_channel = Row::of(&[("Channel_Name", "clone"), ("Master_Host", "elsewhere")]);
        let row = Row::of(&[
            ("Slave_IO_State", "Waiting for master to send event"),
            ("Master_Host", "primary.example"),
            ("Master_User", "vt_repl"),
            ("Master_Port", "17100"),
            ("Connect_Retry", "10"),
            ("Slave_IO_Running", "Yes"),
            ("Slave_SQL_Running", "Yes"),
            ("Master_SSL_Allowed", "Yes"),
            ("Master_SSL_CA_File", "/ca.pem"),
            ("Master_SSL_Verify_Server_Cert", "No"),
            ("Seconds_Behind_Master", "7"),
            ("Last_IO_Error", ""),
            ("Last_SQL_Error", "oh"),
            ("Retrieved_Gtid_Set", ""),
            ("Executed_Gtid_Set", SET),
            ("Auto_Position", "1"),
            ("Channel_Name", ""),
        ]);
        let expected = ReplicaStatus {
            source: ReplicationSource {
                host: "primary.example".into(),
                port: 17100,
                user: "vt_repl".into(),
                password: String::new(),
                connect_retry: 10,
                tls: SourceTls { enabled: true, ca: "/ca.pem".into(), ..SourceTls::default() },
            },
            auto_position: true,
            io_state: IoState::Running,
            sql_running: true,
            seconds_behind: Some(7),
            retrieved: GtidSet::new().into(),
            executed: Position::Mysql56(SET.parse().unwrap()),
            last_io_error: String::new(),
            last_sql_error: "oh".into(),
        };
        let version = ServerVersion::parse("Ver 5.7.44").unwrap();
        assert_eq!(status(&version, &[other_channel, row]).unwrap(), Some(expected));
        assert_eq!(status(&version, &[]).unwrap(), None);
    }

    /// MariaDB 10.11 is asked for real in `tests/mariadb.rs`.
    #[test]
    fn the_default_connection_of_mariadb_is_the_one_without_a_name() {
        let version = ServerVersion::parse("Ver 10.11.6-MariaDB").unwrap();
        let row = |name: &'static str, using: &'static str, io: &'static str| {
            Row::of(&[
                ("Connection_name", name),
                ("Master_Port", "3306"),
                ("Slave_IO_Running", "Preparing"),
                ("Using_Gtid", using),
                ("Gtid_IO_Pos", io),
                ("Gtid_Slave_Pos", "0-1-8,1-2-3"),
            ])
        };
        let rows = [row("other", "Slave_Pos", "7-7-7"), row("", "No", "")];
        let found = status(&version, &rows).unwrap().unwrap();
        assert!(!found.auto_position);
        assert_eq!(found.io_state, IoState::Connecting);
        assert_eq!(
            (found.retrieved.to_string(), found.executed.to_string()),
            ("MariaDB/".into(), "MariaDB/0-1-8,1-2-3".into())
        );
        let found = status(&version, &[row("", "Current_Pos", "0-1-9")]).unwrap().unwrap();
        assert_eq!((found.auto_position, found.retrieved.to_string()), (true, "MariaDB/0-1-9".into()));
        assert_eq!(status(&version, &rows[..1]).unwrap(), None);
        let error = status(&version, &[row("", "No", "x")]).unwrap_err().to_string();
        assert!(error.contains("Gtid_IO_Pos: Some(\"x\")"), "{error}");
    }

    #[test]
    fn semi_sync_is_read_in_the_words_of_the_plugins_that_are_loaded() {
        let row = |name: &str, value: &str| Row::of(&[("Variable_name", name), ("Value", value)]);
        let old = [row("rpl_semi_sync_master_enabled", "OFF"), row("rpl_semi_sync_slave_enabled", "ON")];
        assert_eq!(semi_sync(&old), Some((SemiSync { source: false, replica: true }, SemiSyncWords::MasterSlave)));
        let new = [row("rpl_semi_sync_source_enabled", "ON")];
        assert_eq!(semi_sync(&new), Some((SemiSync { source: true, replica: false }, SemiSyncWords::SourceReplica)));
        assert_eq!(semi_sync(&[]), None);
    }
}
