//! How each version of MySQL, and MariaDB, wants a statement spelled.

use super::replica::{ReplicationSource, SemiSync};
use super::version::ServerVersion;

pub(super) fn show_replica_status(version: &ServerVersion) -> &'static str {
    match version {
        // As Vitess: only this one has Gtid_Slave_Pos too.
        version if version.is_mariadb() => "SHOW ALL SLAVES STATUS",
        version if version.says_replica() => "SHOW REPLICA STATUS",
        _ => "SHOW SLAVE STATUS",
    }
}

pub(super) fn start_replica(version: &ServerVersion) -> &'static str {
    if version.says_replica() { "START REPLICA" } else { "START SLAVE" }
}

pub(super) fn stop_replica(version: &ServerVersion) -> &'static str {
    if version.says_replica() { "STOP REPLICA" } else { "STOP SLAVE" }
}

pub(super) fn reset_replica_all(version: &ServerVersion) -> &'static str {
    if version.says_replica() { "RESET REPLICA ALL" } else { "RESET SLAVE ALL" }
}

pub(super) fn reset_binary_logs(version: &ServerVersion) -> &'static str {
    if version.resets_binary_logs_and_gtids() { "RESET BINARY LOGS AND GTIDS" } else { "RESET MASTER" }
}

/// The settings that Vitess gives a source: auto-position, and over a plain connection the source's public key, which
/// caching_sha2_password needs.
///
/// For MariaDB Vitess has `current_pos`, which is deprecated since 10.10. It differs from `slave_pos` only where the replica
/// has transactions of its own, and [`super::Mysql::set_gtid_slave_pos`] leaves none.
pub(super) fn change_replication_source(version: &ServerVersion, source: &ReplicationSource) -> String {
    let ReplicationSource { host, port, user, password, connect_retry, tls } = source;
    let replica = version.says_replica();
    let word = if replica { "SOURCE" } else { "MASTER" };
    let mut settings = vec![
        format!("{word}_HOST = {}", quoted(host)),
        format!("{word}_PORT = {port}"),
        format!("{word}_USER = {}", quoted(user)),
        format!("{word}_PASSWORD = {}", quoted(password)),
        format!("{word}_CONNECT_RETRY = {connect_retry}"),
    ];
    if tls.enabled {
        settings.push(format!("{word}_SSL = 1"));
    } else {
        settings.push(format!("{word}_SSL = 0"));
        if version.gets_public_keys() {
            settings.push(format!("GET_{word}_PUBLIC_KEY = 1"));
        }
    }
    for (name, file) in [("CA", &tls.ca), ("CAPATH", &tls.capath), ("CERT", &tls.cert), ("KEY", &tls.key)] {
        if !file.is_empty() {
            settings.push(format!("{word}_SSL_{name} = {}", quoted(file)));
        }
    }
    // MariaDB verifies by default from 11.4 on.
    if tls.verify_server_cert || version.is_mariadb() {
        settings.push(format!("{word}_SSL_VERIFY_SERVER_CERT = {}", u8::from(tls.verify_server_cert)));
    }
    let position = if version.is_mariadb() { "USE_GTID = slave_pos" } else { "AUTO_POSITION = 1" };
    settings.push(format!("{word}_{position}"));
    let statement = if replica { "CHANGE REPLICATION SOURCE TO" } else { "CHANGE MASTER TO" };
    format!("{statement} {}", settings.join(", "))
}

/// The words of the loaded semi-sync plugins. Both sets exist from 8.0.26 on, so that the version does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SemiSyncWords {
    SourceReplica,
    MasterSlave,
}

impl SemiSyncWords {
    /// The variables that switch the source's and the replica's side.
    pub(super) fn variables(self) -> (&'static str, &'static str) {
        match self {
            Self::SourceReplica => ("rpl_semi_sync_source_enabled", "rpl_semi_sync_replica_enabled"),
            Self::MasterSlave => ("rpl_semi_sync_master_enabled", "rpl_semi_sync_slave_enabled"),
        }
    }
}

pub(super) fn set_semi_sync(words: SemiSyncWords, wanted: SemiSync) -> String {
    let (source, replica) = words.variables();
    let SemiSync { source: source_on, replica: replica_on } = wanted;
    format!("SET GLOBAL {source} = {}, GLOBAL {replica} = {}", u8::from(source_on), u8::from(replica_on))
}

/// A string literal under the default sql_mode.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::super::replica::SourceTls;
    use super::*;

    fn version(text: &str) -> ServerVersion {
        ServerVersion::parse(text).unwrap()
    }

    #[test]
    fn each_version_gets_the_words_that_it_knows() {
        let old = ["SHOW SLAVE STATUS", "START SLAVE", "STOP SLAVE", "RESET SLAVE ALL", "RESET MASTER"];
        let new = ["SHOW REPLICA STATUS", "START REPLICA", "STOP REPLICA", "RESET REPLICA ALL", "RESET MASTER"];
        let newest = [new[0], new[1], new[2], new[3], "RESET BINARY LOGS AND GTIDS"];
        let cases = [
            ("Ver 5.7.44", old),
            ("Ver 8.0.22", old),
            ("Ver 8.0.36", new),
            ("Ver 8.4.0", newest),
            ("Ver 9.7.4", newest),
            ("Ver 10.11.6-MariaDB", ["SHOW ALL SLAVES STATUS", old[1], old[2], old[3], old[4]]),
        ];
        for (text, expected) in cases {
            let v = version(text);
            let found = [
                show_replica_status(&v),
                start_replica(&v),
                stop_replica(&v),
                reset_replica_all(&v),
                reset_binary_logs(&v),
            ];
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_source_is_spelled_out_as_vitess_does() {
        let mut source = ReplicationSource {
            host: "primary.example".into(),
            port: 17101,
            user: "vt_repl".into(),
            password: r"it's a \ secret".into(),
            connect_retry: 10,
            tls: SourceTls::default(),
        };
        assert_eq!(
            change_replication_source(&version("Ver 9.7.4"), &source),
            r"CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'primary.example', SOURCE_PORT = 17101, SOURCE_USER = 'vt_repl', SOURCE_PASSWORD = 'it''s a \\ secret', SOURCE_CONNECT_RETRY = 10, SOURCE_SSL = 0, GET_SOURCE_PUBLIC_KEY = 1, SOURCE_AUTO_POSITION = 1"
        );
        assert_eq!(
            change_replication_source(&version("Ver 10.11.6-MariaDB"), &source),
            r"CHANGE MASTER TO MASTER_HOST = 'primary.example', MASTER_PORT = 17101, MASTER_USER = 'vt_repl', MASTER_PASSWORD = 'it''s a \\ secret', MASTER_CONNECT_RETRY = 10, MASTER_SSL = 0, MASTER_SSL_VERIFY_SERVER_CERT = 0, MASTER_USE_GTID = slave_pos"
        );
        source.tls =
            SourceTls { enabled: true, ca: "/ca.pem".into(), verify_server_cert: true, ..SourceTls::default() };
        source.password = String::new();
        assert_eq!(
            change_replication_source(&version("Ver 5.7.44"), &source),
            "CHANGE MASTER TO MASTER_HOST = 'primary.example', MASTER_PORT = 17101, MASTER_USER = 'vt_repl', MASTER_PASSWORD = '', MASTER_CONNECT_RETRY = 10, MASTER_SSL = 1, MASTER_SSL_CA = '/ca.pem', MASTER_SSL_VERIFY_SERVER_CERT = 1, MASTER_AUTO_POSITION = 1"
        );
    }

    #[test]
    fn a_password_is_never_shown_or_serialized() {
        let source = ReplicationSource { password: "secret".into(), ..ReplicationSource::default() };
        assert!(!format!("{source:?}").contains("secret"));
        assert!(!serde_json::to_string(&source).unwrap().contains("secret"));
    }
}
