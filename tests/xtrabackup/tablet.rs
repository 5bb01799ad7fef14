//! A tablet of MariaDB, and a storage with a backup that Vitess made of one.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::engine_support;
use crate::support::mariadb::{self, Server};
use crate::support::{self, ground};

pub const SINGLE: (&str, &str) = ("xtrabackup-maria-pargzip.tar.zst", "2026-11-22.153817.zone1-0000000200");
pub const STRIPED: (&str, &str) = ("xtrabackup-maria-stripes3-zstd.tar.zst", "2026-11-22.153925.zone1-0000000200");

/// A directory with a storage and with tablets.
pub struct Case {
    pub root: TempDir,
    pub backup: &'static str,
}

impl Case {
    /// With one backup of Vitess's, and a tablet with some old data.
    pub fn new((archive, backup): (&str, &'static str)) -> Self {
        let case = Self { root: engine_support::open_directory(), backup };
        support::unpack_fixture(archive, &case.backups());
        case.lay_out(201);
        fs::write(case.old_data(), "old").unwrap();
        case
    }

    /// A tablet directory as Vitess lays it out, for MariaDB, without data.
    pub fn lay_out(&self, uid: u32) {
        if self.tablet_dir_of(uid).exists() {
            fs::remove_dir_all(self.tablet_dir_of(uid)).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(mariadb::lay_out(self.root.path(), uid));
    }

    pub fn backups(&self) -> PathBuf {
        self.root.path().join("backups")
    }

    pub fn tablet_dir_of(&self, uid: u32) -> PathBuf {
        self.root.path().join(format!("vt_0000000{uid}"))
    }

    pub fn tablet_dir(&self) -> PathBuf {
        self.tablet_dir_of(201)
    }

    /// What a restore that is refused in time leaves alone.
    pub fn old_data(&self) -> PathBuf {
        self.tablet_dir().join("data/old.ibd")
    }

    pub fn object(&self, name: &str) -> PathBuf {
        self.backups().join("maria/0").join(self.backup).join(name)
    }

    /// The names of all backups, oldest first.
    pub fn names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.backups().join("maria/0")) else { return Vec::new() };
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    /// `vitess-backup`, ready to run.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vitess-backup"));
        command
            .args(arguments.split_whitespace())
            .args(["--backup-storage-implementation", "file", "--report", "json", "--file-backup-storage-root"])
            .arg(self.backups())
            .env("VT_MYSQL_ROOT", ground::mariadb())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs `vitess-backup`; gives the exit code and the outcome.
    pub fn run(&self, arguments: &str) -> (i32, Value) {
        ended(&self.command(arguments).output().unwrap(), arguments)
    }

    pub fn restore(&self, arguments: &str) -> (i32, Value) {
        self.restore_onto(201, arguments)
    }

    pub fn restore_onto(&self, uid: u32, arguments: &str) -> (i32, Value) {
        self.run(&format!(
            "restore --keyspace maria --shard 0 --mysqld stopped --existing-data replace --tablet-dir {} {arguments}",
            self.tablet_dir_of(uid).display()
        ))
    }

    pub fn restore_with_tools(&self, arguments: &str) -> (i32, Value) {
        self.restore(&format!("{} {arguments}", tools()))
    }

    /// The arguments of a backup of the tablet, which runs.
    pub fn backup_arguments(&self, arguments: &str) -> String {
        format!(
            "backup zone1-201 --keyspace maria --shard 0 --mysqld own --tablet-dir {} {} \
             --backup-engine-implementation xtrabackup --allow-primary {arguments}",
            self.tablet_dir().display(),
            tools()
        )
    }

    pub fn backup(&self, arguments: &str) -> (i32, Value) {
        self.run(&self.backup_arguments(arguments))
    }

    pub fn is_untouched(&self) -> bool {
        fs::read_to_string(self.old_data()).is_ok_and(|text| text == "old")
            && !self.tablet_dir().join("restore_in_progress").exists()
    }

    /// Nothing of a run is left in tmp.
    pub fn is_tidy(&self) -> bool {
        let entries = fs::read_dir(self.tablet_dir().join("tmp")).unwrap();
        // But mariadbd's own.
        entries.map(|entry| entry.unwrap().file_name()).all(|name| name.to_string_lossy().starts_with('#'))
    }

    /// Nothing of a backup is left on the tablet.
    pub fn has_been_left_alone(&self) -> bool {
        self.is_tidy() && !self.tablet_dir().join("vitess-backup.journal").exists()
    }

    pub fn start(&self) -> Server {
        Server::start(&self.tablet_dir())
    }
}

/// The last word of a run.
pub fn ended(output: &std::process::Output, arguments: &str) -> (i32, Value) {
    let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let last = out.lines().last().unwrap_or_else(|| panic!("no outcome of {arguments}:\n{log}"));
    (output.status.code().unwrap(), serde_json::from_str(last).unwrap())
}

/// Where mariabackup and mbstream are.
pub fn tools() -> String {
    format!("--xtrabackup-root-path {}/xtrabackup", ground::mariadb().display())
}

/// What a refused or failed run said.
pub fn failure((code, outcome): &(i32, Value)) -> (i32, &str, &str) {
    assert_eq!(outcome["verdict"], "Failed", "{outcome}");
    let text = |key: &str| outcome["failure"][key].as_str().unwrap();
    assert!(!text("remedy").is_empty());
    (*code, text("reason"), text("message"))
}

/// Every table of Vitess's sidecar database (the keyspace itself was empty) with its rows, each checked.
pub fn vitess_rows(server: &Server) -> BTreeMap<String, u64> {
    let databases = server.sql("SHOW DATABASES");
    assert!(databases.lines().any(|name| name == "vt_maria"), "{databases}");
    let tables = server.sql("SELECT table_name FROM information_schema.tables WHERE table_schema = '_vt'");
    let each = |form: &dyn Fn(&str) -> String, between| tables.lines().map(form).collect::<Vec<_>>().join(between);
    let checked = server.sql(&format!("CHECK TABLE {}", each(&|table| format!("_vt.{table}"), ", ")));
    assert!(checked.lines().all(|line| line.ends_with("status\tOK")), "{checked}");
    let counts = each(&|table| format!("SELECT '{table}', COUNT(*) FROM _vt.{table}"), " UNION ALL ");
    let row = |line: &str| line.split_once('\t').map(|(table, count)| (table.to_owned(), count.parse().unwrap()));
    server.sql(&counts).lines().filter_map(row).collect()
}
