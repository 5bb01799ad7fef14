//! Server versions, what each can do, and which backup may be restored under which server.

use std::fmt;

/// MySQL and its relatives, as Vitess tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavor {
    MySql,
    Percona,
    MariaDb,
}

/// A server's version: Vitess's text for it, and what can be read from that.
///
/// The text is what the MANIFEST carries as `MySQLVersion`: from a running server `Ver <@@version> <@@version_comment>`,
/// for example `Ver 8.0.36 MySQL Community Server - GPL`; from a binary the line that `mysqld --version` prints.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerVersion {
    text: String,
    flavor: Flavor,
    /// Major, minor, patch.
    number: (u32, u32, u32),
}

/// The text has no `Ver X.Y.Z`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("could not parse server version from: {0}")]
pub struct ParseVersionError(String);

impl ServerVersion {
    /// # Errors
    /// When the text does not hold `Ver X.Y.Z`. Source: Vitess `mysqlctl.ParseVersionString`.
    pub fn parse(text: &str) -> Result<Self, ParseVersionError> {
        let flavor = if text.contains("Percona") {
            Flavor::Percona
        } else if text.contains("MariaDB") {
            Flavor::MariaDb
        } else {
            Flavor::MySql
        };
        let number = text
            .match_indices("Ver ")
            .find_map(|(at, prefix)| version_number(&text[at + prefix.len()..]))
            .ok_or_else(|| ParseVersionError(text.to_owned()))?;
        Ok(Self { text: text.to_owned(), flavor, number })
    }

    /// As Vitess writes it, `Ver 9.7.4 (Debian)`.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn flavor(&self) -> Flavor {
        self.flavor
    }

    pub fn major(&self) -> u32 {
        self.number.0
    }

    pub fn minor(&self) -> u32 {
        self.number.1
    }

    pub fn patch(&self) -> u32 {
        self.number.2
    }

    pub fn at_least(&self, major: u32, minor: u32, patch: u32) -> bool {
        self.number >= (major, minor, patch)
    }

    pub fn is_mariadb(&self) -> bool {
        self.flavor == Flavor::MariaDb
    }

    /// MySQL or Percona Server, `at_least` the given version.
    fn mysql_at_least(&self, major: u32, minor: u32, patch: u32) -> bool {
        !self.is_mariadb() && self.at_least(major, minor, patch)
    }

    /// Upgrades its own data dictionary and system tables when it starts, so that `mysql_upgrade` is not run.
    pub fn upgrades_itself(&self) -> bool {
        self.mysql_at_least(8, 0, 16)
    }

    /// Understands REPLICA and SOURCE in every replication statement. (SHOW REPLICA STATUS came with 8.0.22, CHANGE
    /// REPLICATION SOURCE with 8.0.23; one switch for all is enough.)
    pub(crate) fn says_replica(&self) -> bool {
        self.mysql_at_least(8, 0, 23)
    }

    /// Understands RESET BINARY LOGS AND GTIDS; 8.4 no longer understands RESET MASTER.
    pub(crate) fn resets_binary_logs_and_gtids(&self) -> bool {
        self.mysql_at_least(8, 2, 0)
    }

    /// Has caching_sha2_password, which wants the source's public key on a plain connection.
    pub(crate) fn gets_public_keys(&self) -> bool {
        self.mysql_at_least(8, 0, 4)
    }

    /// Keeps its redo log in `#innodb_redo` instead of `ib_logfile*`.
    pub fn has_redo_directory(&self) -> bool {
        self.mysql_at_least(8, 0, 30)
    }

    /// Has `@@super_read_only`, `@@gtid_executed` and `@@gtid_purged`.
    pub(crate) fn has_mysql_gtids(&self) -> bool {
        self.mysql_at_least(5, 7, 8)
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `X.Y.Z` at the beginning of the text, whatever follows.
fn version_number(text: &str) -> Option<(u32, u32, u32)> {
    let mut rest = text;
    let mut next = |last: bool| -> Option<u32> {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number = rest[..end].parse().ok()?;
        rest = &rest[end..];
        if !last {
            rest = rest.strip_prefix('.')?;
        }
        Some(number)
    };
    Some((next(false)?, next(false)?, next(true)?))
}

/// Why a backup may not be restored under a server; the texts are Vitess's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionIncompatible {
    #[error(transparent)]
    Parse(#[from] ParseVersionError),
    #[error("cannot use backup between different flavors: {backup:?} vs. {server:?}")]
    Flavor { backup: String, server: String },
    #[error("running MySQL version {server:?} is older than backup MySQL version {backup:?}")]
    ServerOlder { backup: String, server: String },
    #[error(
        "running MySQL version {server:?} is newer than backup MySQL version {backup:?} which is not safe to upgrade"
    )]
    NotUpgradeSafe { backup: String, server: String },
    #[error("running MySQL version {server:?} is too new for backup MySQL version {backup:?}")]
    ServerTooNew { backup: String, server: String },
}

/// Long-term releases; an upgrade goes from one to the next.
const LONG_TERM: [(u32, u32); 3] = [(5, 7), (8, 0), (8, 4)];

/// From here on the data dictionary's format does not change within a release.
const STABLE_DICTIONARY: (u32, u32, u32) = (8, 0, 35);

/// Whether data of a backup made under `backup` (the MANIFEST's `MySQLVersion`) may be started by `server`
/// (`mysqld --version`, or [`ServerVersion::text`]). `upgrade_safe` is the MANIFEST's `UpgradeSafe`: mysqld was stopped
/// with `innodb_fast_shutdown=0`. An empty `backup` says nothing and is let through, as in Vitess.
///
/// # Errors
/// Says which rule refuses. Source: Vitess v24 `validateMySQLVersionUpgradeCompatible`.
pub fn check_compatible(backup: &str, server: &str, upgrade_safe: bool) -> Result<(), VersionIncompatible> {
    if backup.is_empty() || backup == server {
        return Ok(());
    }
    let (from, to) = (ServerVersion::parse(backup)?, ServerVersion::parse(server)?);
    let (backup, server) = (backup.to_owned(), server.to_owned());
    if from.flavor != to.flavor {
        return Err(VersionIncompatible::Flavor { backup, server });
    }
    let (old, new) = (from.number, to.number);
    if (old.0, old.1) == (new.0, new.1) {
        let stable = old >= STABLE_DICTIONARY && new >= STABLE_DICTIONARY;
        return match old.cmp(&new) {
            _ if stable => Ok(()),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(VersionIncompatible::ServerOlder { backup, server }),
            std::cmp::Ordering::Less if upgrade_safe => Ok(()),
            std::cmp::Ordering::Less => Err(VersionIncompatible::NotUpgradeSafe { backup, server }),
        };
    }
    if new < old {
        return Err(VersionIncompatible::ServerOlder { backup, server });
    }
    let release = |number: (u32, u32, u32)| LONG_TERM.iter().position(|r| *r == (number.0, number.1));
    match release(old) {
        _ if !upgrade_safe => Err(VersionIncompatible::NotUpgradeSafe { backup, server }),
        Some(place) if release(new) == Some(place + 1) => Ok(()),
        Some(_) => Err(VersionIncompatible::ServerTooNew { backup, server }),
        None => Err(VersionIncompatible::NotUpgradeSafe { backup, server }),
    }
}

/// Whether `mysql_upgrade` is to be run on the data of a backup made under `backup` before `server` serves it; both as in
/// [`check_compatible`], no `server` when it could not be asked. A release of MariaDB does not change its system tables:
/// `mariadb-upgrade` itself goes by that.
pub fn needs_mysql_upgrade(backup: &str, server: Option<&str>) -> bool {
    let Some(Ok(to)) = server.map(ServerVersion::parse) else { return true };
    if !to.is_mariadb() {
        return !to.upgrades_itself();
    }
    let same = |from: &ServerVersion| from.is_mariadb() && (from.major(), from.minor()) == (to.major(), to.minor());
    !ServerVersion::parse(backup).is_ok_and(|from| same(&from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_every_text_that_vitess_knows() {
        let cases = [
            ("Ver 8.0.36 MySQL Community Server - GPL", Flavor::MySql, (8, 0, 36)),
            ("mysqld  Ver 5.7.27-0ubuntu0.19.04.1 for Linux on x86_64 ((Ubuntu))", Flavor::MySql, (5, 7, 27)),
            ("/usr/sbin/mysqld  Ver 8.0.32-24 for Linux on x86_64 (Percona Server (GPL))", Flavor::Percona, (8, 0, 32)),
            ("mysqld  Ver 10.11.6-MariaDB-0+deb12u1 for debian-linux-gnu", Flavor::MariaDb, (10, 11, 6)),
            ("/srv/Ver b/mysqld  Ver 9.7.4 for Linux on x86_64 ((Debian))", Flavor::MySql, (9, 7, 4)),
        ];
        for (text, flavor, number) in cases {
            let version = ServerVersion::parse(text).unwrap();
            assert_eq!((version.flavor(), version.number, version.text()), (flavor, number, text));
        }
        for wrong in ["", "8.0.36", "Ver 8.0", "Ver x.y.z"] {
            assert!(ServerVersion::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn capabilities_follow_the_version_and_never_hold_for_mariadb() {
        // (self-upgrade, REPLICA words, RESET BINARY LOGS AND GTIDS, redo directory)
        let cases = [
            ("Ver 5.7.44", (false, false, false, false)),
            ("Ver 8.0.16", (true, false, false, false)),
            ("Ver 8.0.22", (true, false, false, false)),
            ("Ver 8.0.23", (true, true, false, false)),
            ("Ver 8.0.30", (true, true, false, true)),
            ("Ver 8.4.0", (true, true, true, true)),
            ("Ver 9.7.4", (true, true, true, true)),
            ("Ver 10.11.6-MariaDB", (false, false, false, false)),
        ];
        for (text, expected) in cases {
            let v = ServerVersion::parse(text).unwrap();
            let found =
                (v.upgrades_itself(), v.says_replica(), v.resets_binary_logs_and_gtids(), v.has_redo_directory());
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn mysql_upgrade_is_left_out_where_it_has_nothing_to_do() {
        const MARIADB: &str = "mysqld  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu";
        let cases = [
            ("Ver 5.7.44", Some("Ver 5.7.44"), true),
            ("Ver 5.7.44", Some("Ver 8.0.36"), false),
            ("Ver 10.11.6-MariaDB-log Debian 12", Some(MARIADB), false),
            ("Ver 10.6.18-MariaDB", Some(MARIADB), true),
            ("", Some(MARIADB), true),
            ("Ver 8.0.36", None, true),
            ("Ver 8.0.36", Some("no version at all"), true),
        ];
        for (backup, server, expected) in cases {
            assert_eq!(needs_mysql_upgrade(backup, server), expected, "{backup} -> {server:?}");
        }
    }

    /// Each line of section 7.4's table, and the runs of Vitess that it rests on: backup, server, outcome without and
    /// with UpgradeSafe.
    #[test]
    fn a_backup_is_restored_under_the_servers_that_vitess_would_restore_it_under() {
        const YES: &str = "";
        const OLDER: &str = "is older than backup";
        const UNSAFE: &str = "not safe to upgrade";
        const TOO_NEW: &str = "is too new for backup";
        const FLAVOR: &str = "between different flavors";
        const PARSE: &str = "could not parse";
        let cases = [
            ("", "Ver 9.7.4", YES, YES),
            ("", "no version at all", YES, YES),
            ("not a version", "not a version", YES, YES),
            ("8.0.36", "Ver 8.0.36", PARSE, PARSE),
            ("Ver 8.0.36", "8.0.36", PARSE, PARSE),
            ("Ver 8.0.36 Percona Server", "Ver 8.0.36", FLAVOR, FLAVOR),
            ("Ver 8.0.36", "Ver 10.11.6-MariaDB", FLAVOR, FLAVOR),
            ("Ver 8.0.31 MySQL Community Server - GPL", "mysqld  Ver 8.0.31 for Linux", YES, YES),
            ("Ver 8.0.36", "Ver 8.0.40", YES, YES),
            ("Ver 8.0.40", "Ver 8.0.36", YES, YES),
            ("Ver 8.0.35", "Ver 8.0.36", YES, YES),
            ("Ver 8.4.2", "Ver 8.4.1", YES, YES),
            ("Ver 9.7.4", "Ver 9.7.1", YES, YES),
            ("Ver 8.0.34", "Ver 8.0.35", UNSAFE, YES),
            ("Ver 8.0.35", "Ver 8.0.34", OLDER, OLDER),
            ("Ver 8.0.30", "Ver 8.0.31", UNSAFE, YES),
            ("Ver 8.0.31", "Ver 8.0.30", OLDER, OLDER),
            ("Ver 5.7.40", "Ver 5.7.44", UNSAFE, YES),
            ("Ver 5.7.44", "Ver 8.0.36", UNSAFE, YES),
            ("Ver 8.0.36", "Ver 8.4.0", UNSAFE, YES),
            ("Ver 8.0.36", "Ver 8.1.0", UNSAFE, TOO_NEW),
            ("Ver 5.7.44", "Ver 8.4.0", UNSAFE, TOO_NEW),
            ("Ver 5.7.44", "Ver 9.0.0", UNSAFE, TOO_NEW),
            ("Ver 8.4.0", "Ver 9.7.4", UNSAFE, TOO_NEW),
            ("Ver 8.1.0", "Ver 8.4.0", UNSAFE, UNSAFE),
            ("Ver 9.1.0", "Ver 9.7.4", UNSAFE, UNSAFE),
            ("Ver 8.0.36", "Ver 5.7.44", OLDER, OLDER),
            ("Ver 8.4.0", "Ver 8.0.40", OLDER, OLDER),
            ("Ver 9.7.4", "Ver 8.4.0", OLDER, OLDER),
        ];
        for (backup, server, unsafe_outcome, safe_outcome) in cases {
            for (upgrade_safe, expected) in [(false, unsafe_outcome), (true, safe_outcome)] {
                match check_compatible(backup, server, upgrade_safe) {
                    Ok(()) => assert_eq!(expected, YES, "{backup} -> {server}, safe {upgrade_safe}: let through"),
                    Err(error) => assert!(
                        !expected.is_empty() && error.to_string().contains(expected),
                        "{backup} -> {server}, safe {upgrade_safe}: {error}"
                    ),
                }
            }
        }
    }
}
