//! What a replica says about itself.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::client::Row;
use super::error::MysqldError;
use super::spelling::SemiSyncWords;
use crate::replication::GtidSet;

/// SHOW REPLICA STATUS of the default channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Where it replicates from; without the password.
    pub source: ReplicationSource,
    pub auto_position: bool,
    pub io_state: IoState,
    pub sql_running: bool,
    /// How far behind the source, in seconds; none while that is not known, for example when a thread is not running.
    pub seconds_behind: Option<u64>,
    pub retrieved_gtid_set: GtidSet,
    pub executed_gtid_set: GtidSet,
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

/// From the rows of SHOW REPLICA STATUS, or of SHOW SLAVE STATUS with its older column names.
pub(super) fn status(rows: &[Row]) -> Result<Option<ReplicaStatus>, MysqldError> {
    let Some(row) = rows.iter().find(|row| row.get("Channel_Name").unwrap_or_default().is_empty()) else {
        return Ok(None);
    };
    let either = |new: &str, old: &str| row.get(new).or_else(|| row.get(old)).unwrap_or_default().to_owned();
    let number = |column: &'static str, text: &str| {
        let found = Some(text.to_owned());
        text.parse::<u64>().map_err(|_| MysqldError::Answer { statement: STATEMENT.to_owned(), column, found })
    };
    let set = |column: &'static str| {
        let text = row.get(column).unwrap_or_default();
        text.parse::<GtidSet>().map_err(|source| MysqldError::GtidSet { column, source })
    };
    let port = number("Source_Port", &either("Source_Port", "Master_Port"))?;
    let connect_retry = number("Connect_Retry", row.get("Connect_Retry").unwrap_or("60"))?;
    let behind = row.get("Seconds_Behind_Source").or_else(|| row.get("Seconds_Behind_Master"));
    let io_state = match either("Replica_IO_Running", "Slave_IO_Running").as_str() {
        "Yes" => IoState::Running,
        "Connecting" => IoState::Connecting,
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
        auto_position: row.get("Auto_Position") == Some("1"),
        io_state,
        sql_running: either("Replica_SQL_Running", "Slave_SQL_Running") == "Yes",
        seconds_behind: behind.map(|text| number("Seconds_Behind_Source", text)).transpose()?,
        retrieved_gtid_set: set("Retrieved_Gtid_Set")?,
        executed_gtid_set: set("Executed_Gtid_Set")?,
        last_io_error: either("Last_IO_Error", "Last_IO_Error"),
        last_sql_error: either("Last_SQL_Error", "Last_SQL_Error"),
    }))
}

const STATEMENT: &str = "SHOW REPLICA STATUS";

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
            retrieved_gtid_set: GtidSet::new(),
            executed_gtid_set: SET.parse().unwrap(),
            last_io_error: String::new(),
            last_sql_error: "oh".into(),
        };
        assert_eq!(status(&[other_channel, row]).unwrap(), Some(expected));
        assert_eq!(status(&[]).unwrap(), None);
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
