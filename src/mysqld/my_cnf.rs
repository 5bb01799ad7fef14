//! The text of a my.cnf: reading settings, writing one as Vitess's templates have it, changing the server id.

use std::collections::HashMap;
use std::fmt::Write;

use super::layout::Layout;
use super::version::ServerVersion;

/// The settings of the groups that mysqld reads, by name with `-`; later ones win.
#[derive(Debug, Default)]
pub(super) struct Settings(HashMap<String, String>);

impl Settings {
    pub(super) fn parse(text: &str) -> Self {
        let mut settings = HashMap::new();
        let mut ours = true; // Vitess looks at no groups at all; what stands before the first is taken for mysqld's.
        for line in text.lines().map(str::trim) {
            if let Some(group) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
                ours = matches!(group.trim(), "mysqld" | "server");
            } else if let Some((name, value)) = setting(line).filter(|_| ours) {
                settings.insert(name, value);
            }
        }
        Self(settings)
    }

    /// `name` with `-`. A setting without a value is the empty text.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Name (with `-`, without `loose-`) and value (without quotes and comment) of a line, if it is a setting.
fn setting(line: &str) -> Option<(String, String)> {
    if line.is_empty() || line.starts_with(['#', ';', '!']) {
        return None;
    }
    let (name, value) = line.split_once('=').unwrap_or((line, ""));
    let name = name.trim().replace('_', "-");
    let name = name.strip_prefix("loose-").unwrap_or(&name).to_owned();
    let value = value.trim();
    let value = match value.chars().next().filter(|quote| matches!(quote, '"' | '\'')) {
        Some(quote) => value[1..].split(quote).next().unwrap_or_default(),
        None => value.split('#').next().unwrap_or_default().trim_end(),
    };
    Some((name, value.to_owned()))
}

/// The same text with another server id: in place where one is set, else as the last line.
pub(super) fn with_server_id(text: &str, id: u32) -> String {
    let mut found = false;
    let mut new = String::with_capacity(text.len() + 24);
    for line in text.lines() {
        if setting(line.trim()).is_some_and(|(name, _)| name == "server-id") {
            found = true;
            let _ = writeln!(new, "server-id = {id}");
        } else {
            let _ = writeln!(new, "{line}");
        }
    }
    if !found {
        let _ = writeln!(new, "[mysqld]\nserver-id = {id}");
    }
    new
}

impl Layout {
    /// The settings of my.cnf that say where the tablet's files are, a line each.
    pub fn path_settings(&self) -> String {
        let paths = [
            ("datadir", &self.datadir),
            ("innodb_data_home_dir", &self.innodb_data_home_dir),
            ("innodb_log_group_home_dir", &self.innodb_log_group_home_dir),
            ("log-error", &self.error_log),
            ("log-bin", &self.log_bin),
            ("relay-log", &self.relay_log),
            ("relay-log-index", &self.relay_log_index),
            ("pid-file", &self.pid_file),
            ("secure-file-priv", &self.tmpdir),
            ("socket", &self.socket),
            ("tmpdir", &self.tmpdir),
        ];
        paths.map(|(name, path)| format!("{name} = {}\n", path.display())).concat()
    }
}

/// The settings of Vitess's `default.cnf`, then those of the file for the version. Without a version only what every
/// MySQL that Vitess supports understands.
pub(super) fn template(layout: &Layout, version: Option<&ServerVersion>) -> String {
    let mut text = String::from("[mysqld]\n");
    text.push_str(&layout.path_settings());
    let slow_log = layout.tablet_dir.join("slow-query.log");
    let _ = writeln!(text, "slow-query-log-file = {}", slow_log.display());
    let _ = writeln!(text, "port = {}\nserver-id = {}", layout.port, layout.server_id);
    text.push_str(EVERY_VERSION);
    if version.is_some_and(ServerVersion::is_mariadb) {
        text.push_str(MARIADB);
        return text;
    }
    text.push_str(EVERY_MYSQL);
    text.push_str(match version {
        None => "",
        Some(version) if version.at_least(8, 0, 26) => FROM_8_0_26,
        Some(version) if version.at_least(8, 0, 0) => BEFORE_8_0_26,
        Some(_) => MYSQL_5_7,
    });
    match version {
        Some(version) if version.at_least(9, 0, 0) => {}
        Some(version) if version.at_least(8, 4, 0) => text.push_str("mysql_native_password = ON\n"),
        Some(version) if version.at_least(8, 0, 0) && !version.at_least(8, 0, 26) => {
            text.push_str("default_authentication_plugin = mysql_native_password\n");
        }
        _ => {}
    }
    text
}

const EVERY_VERSION: &str = "\
long_query_time = 2
slow-query-log
skip-name-resolve
connect_timeout = 30
innodb_lock_wait_timeout = 20
max_allowed_packet = 64M
max_connections = 500
relay_log_recovery = 1
";

const EVERY_MYSQL: &str = "\
gtid_mode = ON
enforce_gtid_consistency
super-read-only
";

/// Of MariaDB 10.3 and later, where semi-sync is no plugin.
const MARIADB: &str = "\
read-only
skip_slave_start
sql_mode = STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION
gtid_strict_mode = 1
innodb_stats_persistent = 0
loose_rpl_semi_sync_master_timeout = 1000000000000000000
loose_rpl_semi_sync_master_wait_no_slave = 1
sync_binlog = 1
expire_logs_days = 3
binlog_format = ROW
log_slave_updates
slave_net_timeout = 60
character_set_server = utf8
collation_server = utf8_general_ci
";

const FROM_8_0_26: &str = "\
skip_replica_start
binlog_expire_logs_seconds = 259200
mysqlx = 0
plugin-load = rpl_semi_sync_source=semisync_source.so;rpl_semi_sync_replica=semisync_replica.so
loose_rpl_semi_sync_source_timeout = 1000000000000000000
loose_rpl_semi_sync_source_wait_no_replica = 1
replica_net_timeout = 8
";

const BEFORE_8_0_26: &str = "\
skip_slave_start
binlog_expire_logs_seconds = 259200
mysqlx = 0
plugin-load = rpl_semi_sync_master=semisync_master.so;rpl_semi_sync_slave=semisync_slave.so
loose_rpl_semi_sync_master_timeout = 1000000000000000000
loose_rpl_semi_sync_master_wait_no_slave = 1
";

const MYSQL_5_7: &str = "\
skip_slave_start
log_slave_updates
expire_logs_days = 3
master_info_repository = TABLE
relay_log_info_repository = TABLE
relay_log_purge = 1
character_set_server = utf8
collation_server = utf8_general_ci
plugin-load = rpl_semi_sync_master=semisync_master.so;rpl_semi_sync_slave=semisync_slave.so
rpl_semi_sync_master_timeout = 1000000000000000000
rpl_semi_sync_master_wait_no_slave = 1
";
