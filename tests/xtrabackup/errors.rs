//! The errors of Vitess's page and some more, each made by a real mariabackup, mariadbd or mysqld; what only Percona's programs
//! say is recorded beside `engine/xtrabackup/diagnosis.rs`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::backing_up::Running;
use crate::engine_support::{self, SmallDisk};
use crate::support;
use crate::support::mysql::{PATIENCE, Tablet};
use crate::tablet::{ended, failure, tools};

impl Running {
    /// The run has failed for this reason, the server goes on, and nothing is left of the backup.
    fn has_failed(&self, ended: &(i32, Value), expected: (i32, &str)) -> String {
        let (code, reason, message) = failure(ended);
        assert_eq!((code, reason), expected, "{message}");
        assert_eq!(self.case.names(), Vec::<String>::new());
        assert_eq!(self.server.sql("SELECT 1"), "1");
        message.to_owned()
    }
}

#[test]
fn without_a_user_nothing_is_begun() {
    let running = Running::start();
    let ended = running.case.backup("");
    running.has_failed(&ended, (2, "XtrabackupUserMissing"));
    assert!(ended.1["failure"]["remedy"].as_str().unwrap().contains("--xtrabackup-user"), "{:#}", ended.1);
}

#[test]
fn a_program_that_is_nowhere_is_named_with_the_place() {
    let running = Running::start();
    let arguments = running.case.backup_arguments("--xtrabackup-user xtra");
    let ended = running.case.run(&arguments.replace(&tools(), "--xtrabackup-root-path /nowhere"));
    let message = running.has_failed(&ended, (5, "XtrabackupNotFound"));
    assert_eq!(message, "cannot find xtrabackup in /nowhere");
    let mut without_path = running.case.command(&arguments.replace(&tools(), ""));
    let ended = ended_of(without_path.env("PATH", "/nowhere"));
    assert_eq!(
        running.has_failed(&ended, (5, "XtrabackupNotFound")),
        "cannot find xtrabackup in any directory of PATH"
    );
}

fn ended_of(command: &mut std::process::Command) -> (i32, Value) {
    ended(&command.output().unwrap(), "backup")
}

#[test]
fn a_program_that_cannot_write_tar_is_told_with_its_line() {
    let running = Running::start();
    let ended = running.case.backup("--xtrabackup-user xtra --xtrabackup-stream-mode tar");
    let message = running.has_failed(&ended, (2, "TarNotSupported"));
    assert!(message.contains("tar"), "{message}");
    assert!(ended.1["failure"]["remedy"].as_str().unwrap().contains("xbstream"), "{:#}", ended.1);
}

/// XtraBackup 8.0 is not to be had here; this says what it says, and must never be asked for a backup.
#[test]
fn xtrabackup_8_is_not_asked_for_tar() {
    let running = Running::start();
    let root = running.case.root.path().join("pxb");
    fs::create_dir(&root).unwrap();
    let script = "#!/bin/sh\n[ \"$*\" = --version ] || exit 9\n\
        echo 'xtrabackup version 8.0.35-31 based on MySQL server 8.0.35 Linux (x86_64) (revision id: 55ec21d7)' >&2\n";
    fs::write(root.join("xtrabackup"), script).unwrap();
    fs::set_permissions(root.join("xtrabackup"), fs::Permissions::from_mode(0o755)).unwrap();
    let arguments = running.case.backup_arguments("--xtrabackup-user xtra --xtrabackup-stream-mode tar");
    let ended = running.case.run(&arguments.replace(&tools(), &format!("--xtrabackup-root-path {}", root.display())));
    let message = running.has_failed(&ended, (2, "TarNotSupported"));
    assert_eq!(message, "xtrabackup version 8.0.35-31 cannot write a tar stream");
}

#[test]
fn a_user_that_may_not_log_in_or_lacks_a_privilege_is_told_so() {
    let running = Running::start();
    // Anybody would be let in as nobody.
    running.server.sql("DROP USER IF EXISTS ''@localhost");
    let ended = running.case.backup("--xtrabackup-user nobody_of_that_name");
    let message = running.has_failed(&ended, (5, "XtrabackupDenied"));
    assert!(message.contains("Access denied for user 'nobody_of_that_name'@'localhost'"), "{message}");
    running.server.sql("CREATE USER poor@localhost");
    let ended = running.case.backup("--xtrabackup-user poor");
    let message = running.has_failed(&ended, (5, "XtrabackupDenied"));
    assert!(message.contains("missing required privilege RELOAD on *.*"), "{message}");
}

/// A mysqld of MySQL 9.7, which mariabackup does not know; what Percona's says of such a one is recorded.
#[tokio::test]
async fn a_server_of_a_version_that_the_program_does_not_know_is_told_so() {
    let tablet = Tablet::start(203).await;
    let backups = engine_support::open_directory();
    let arguments = format!(
        "backup zone1-203 --keyspace commerce --shard 0 --tablet-dir {} --backup-storage-implementation file \
         --file-backup-storage-root {} --backup-engine-implementation xtrabackup --xtrabackup-user vt_dba --allow-primary \
         --xtrabackup-backup-flags=--plugin-dir={} {}",
        tablet.tablet_dir().display(),
        backups.path().display(),
        // How MySQL lets anybody log in by now.
        support::ground::mariadb().join("root/usr/lib/x86_64-linux-gnu/libmariadb3/plugin").display(),
        tools()
    );
    let outcome = engine_support::process::run_to(5, &arguments);
    let failure = &outcome["failure"];
    assert_eq!(failure["reason"], "UnsupportedServerVersion", "{outcome:#}");
    assert!(failure["message"].as_str().unwrap().contains("Unknown system variable"), "{outcome:#}");
    assert!(failure["remedy"].as_str().unwrap().contains("--no-server-version-check"), "{outcome:#}");
    assert_eq!(tablet.value("SELECT 1").await, "1");
    assert_eq!(fs::read_dir(backups.path().join("commerce/0")).unwrap().count(), 0);
}

#[test]
fn a_server_that_goes_away_in_the_middle_is_told_so() {
    let mut running = Running::start();
    let arguments =
        running.case.backup_arguments("--xtrabackup-user xtra --bandwidth-limit 1Mi --compression-engine-name lz4");
    let child = running.case.command(&arguments).spawn().unwrap();
    let begun = Instant::now();
    while running.case.names().is_empty() {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(500));
    running.server.kill();
    let ended = ended(&child.wait_with_output().unwrap(), &arguments);
    let (code, reason, message) = failure(&ended);
    assert_eq!((code, reason), (5, "ServerGone"), "{message}");
    assert_eq!(running.case.names(), Vec::<String>::new());
}

#[test]
fn a_full_tmpdir_is_told_as_one() {
    let running = Running::start();
    let directory = running.case.tablet_dir().join("tmp/xtrabackup-backup");
    let disk = SmallDisk::mount(&running.case.tablet_dir().join("tmp"));
    let filler = fs::File::create(running.case.tablet_dir().join("tmp/filler")).unwrap();
    let mut disk_end = &filler;
    while std::io::Write::write(&mut disk_end, &[0; 4096]).is_ok_and(|written| written > 0) {}
    let ended = running.case.backup("--xtrabackup-user xtra");
    let message = running.has_failed(&ended, (6, "NoSpace"));
    assert!(message.contains(&directory.display().to_string()), "{message}");
    drop(disk);
}

#[test]
fn what_is_of_the_other_engine_is_refused() {
    let running = Running::start();
    for flag in ["--upgrade-safe", "--allow-incomplete", "--copy-mode clone", "--vtctld-server x:1"] {
        let ended = running.case.backup(&format!("--xtrabackup-user xtra {flag}"));
        let message = running.has_failed(&ended, (2, "InvalidArguments"));
        assert!(message.starts_with(flag.split(' ').next().unwrap()), "{message}");
    }
    let ended = running.case.backup("--xtrabackup-user xtra --xtrabackup-backup-flags=--incremental-lsn=1");
    let message = running.has_failed(&ended, (2, "InvalidArguments"));
    assert!(message.contains("full backups only"), "{message}");
}
