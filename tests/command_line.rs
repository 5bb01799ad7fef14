//! The command line as people and scripts meet it: exit codes, output, help, a bar on a terminal. No mysqld is needed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's own functions may fail the test")]

use std::fs;
use std::path::Path;
use std::process::Command as Process;

use assert_cmd::Command;
use tempfile::TempDir;

const NAME: &str = "2026-11-22.152700.zone1-0000000101";

/// A storage with a backup that Vitess made, and a place for a tablet.
struct Case {
    root: TempDir,
}

impl Case {
    fn new() -> Self {
        let root = TempDir::new().unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vitess/zstd.tar.zst");
        let plain = zstd::stream::read::Decoder::new(fs::File::open(path).unwrap()).unwrap();
        tar::Archive::new(plain).unpack(root.path().join("backups")).unwrap();
        Self { root }
    }

    /// `STORAGE`, `TABLET` and `ELSEWHERE` (a keyspace without backups) stand for the flags that name this case's.
    fn words(&self, line: &str) -> Vec<String> {
        let root = self.root.path().display();
        let storage = format!("--backup-storage-implementation file --file-backup-storage-root {root}/backups");
        let tablet = format!("--keyspace commerce --shard 0 --tablet-dir {root}/vt_0000000101");
        let elsewhere = tablet.replace("commerce", "elsewhere");
        let line = line.replace("ELSEWHERE", &elsewhere);
        line.replace("STORAGE", &storage).replace("TABLET", &tablet).split_whitespace().map(str::to_owned).collect()
    }

    /// Runs to this exit code; gives stdout and stderr.
    fn run(&self, code: i32, line: &str) -> (String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vitess-backup"));
        let output = command.args(self.words(line)).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, log) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{line}\n{out}\n{log}");
        (out, log)
    }
}

#[test]
fn exit_code_0_what_was_asked_for_is_done() {
    let case = Case::new();
    case.run(0, &format!("verify STORAGE commerce/0 {NAME}"));
    let (out, _) = case.run(0, "restore ELSEWHERE STORAGE --mysqld stopped");
    assert!(out.contains("the tablet starts empty"), "{out}");
}

#[test]
fn exit_code_2_bad_usage() {
    let case = Case::new();
    case.run(2, "list --no-such-flag");
    let (_, log) = case.run(2, "list commerce/0");
    assert!(log.contains("--backup-storage-implementation is missing"), "{log}");
    let (_, log) = case.run(2, &format!("restore TABLET STORAGE --fallback --backup-name {NAME}"));
    assert!(log.contains("cannot be used with"), "{log}");
    let (_, log) = case.run(2, &format!("verify STORAGE --output json --report json commerce/0 {NAME}"));
    assert!(log.contains("cannot be used with"), "{log}");
}

#[test]
fn exit_code_3_no_usable_backup() {
    let case = Case::new();
    case.run(3, "verify STORAGE commerce/0 2020-01-01.000000.zone1-0000000101");
    fs::remove_file(case.root.path().join("backups/commerce/0").join(NAME).join("MANIFEST")).unwrap();
    let (_, log) = case.run(3, "restore TABLET STORAGE --mysqld stopped");
    assert!(log.contains("NoCompleteBackup"), "{log}");
}

#[test]
fn exit_code_4_storage() {
    let case = Case::new();
    // Not a directory. (One that is not there has no backups for `list`, and is refused by a backup.)
    fs::remove_dir_all(case.root.path().join("backups")).unwrap();
    fs::write(case.root.path().join("backups"), "").unwrap();
    let (_, log) = case.run(4, "list STORAGE commerce/0");
    assert!(log.contains("StorageUnreachable"), "{log}");
}

#[test]
fn exit_code_5_mysql_mysqlctld_or_a_tablet_that_another_run_holds() {
    let case = Case::new();
    let tablet = case.root.path().join("vt_0000000101");
    fs::create_dir(&tablet).unwrap();
    let lock = fs::File::create(tablet.join("vitess-backup.lock")).unwrap();
    lock.lock().unwrap();
    let (_, log) = case.run(5, "restore TABLET STORAGE --mysqld stopped");
    assert!(log.contains("TabletBusy"), "{log}");
}

#[test]
fn exit_code_6_data_refused() {
    let case = Case::new();
    let data = case.root.path().join("vt_0000000101/data");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("ibdata1"), "old").unwrap();
    let (_, log) = case.run(6, "restore TABLET STORAGE --mysqld stopped");
    assert!(log.contains("DataPresent") && log.contains("--existing-data replace"), "{log}");
}

#[test]
fn exit_code_7_the_deadline_came() {
    let case = Case::new();
    fs::create_dir(case.root.path().join("vt_0000000101")).unwrap();
    // It would wait for mysqlctld, which nobody starts.
    let (_, log) = case.run(7, "restore TABLET STORAGE --deadline 1s");
    assert!(log.contains("DeadlineExceeded"), "{log}");
}

#[test]
fn list_and_remove_say_whose_backups_they_are_to_be_told() {
    let case = Case::new();
    for (line, words) in [
        ("list STORAGE", "<KEYSPACE/SHARD|--topology>"),
        ("list STORAGE --topology commerce/0", "'--topology' cannot be used with '[KEYSPACE/SHARD]'"),
        ("remove STORAGE", "<KEYSPACE/SHARD|--topology <BACKUP_NAME>>"),
        ("remove STORAGE commerce/0", "not provided:\n  <BACKUP_NAME>"),
        ("remove STORAGE --topology", "a value is required for '--topology <BACKUP_NAME>'"),
        ("remove STORAGE --topology commerce/0", "for example 2026-11-27.060000.global.etcd"),
        (&format!("remove STORAGE --topology {NAME}"), "for example 2026-11-27.060000.global.etcd"),
        ("remove STORAGE --topology 2026-11-27.060000.global.etcd commerce/0 x", "cannot be used with"),
    ] {
        let (_, log) = case.run(2, line);
        assert!(log.contains(words), "{line}: {log}");
    }
    // That there is none is no error, and nothing to list either.
    case.run(0, "remove STORAGE --topology 2026-11-27.060000.global.etcd");
    let (out, _) = case.run(0, "list STORAGE --topology");
    assert_eq!(out.lines().count(), 1, "{out}");
    let (_, log) = case.run(3, "topology restore STORAGE --output-dir /nowhere 2026-11-27.060000.global.etcd");
    assert!(log.contains("there is no backup 2026-11-27.060000.global.etcd of the topology server"), "{log}");
}

#[test]
fn the_outcome_is_one_json_document_or_a_summary_to_read() {
    let case = Case::new();
    let (out, _) = case.run(0, &format!("verify STORAGE --output json commerce/0 {NAME}"));
    let outcome: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&outcome["verdict"], &outcome["files"]), (&"Succeeded".into(), &180.into()), "{out}");
    let (out, _) = case.run(0, &format!("verify STORAGE commerce/0 {NAME}"));
    assert!(out.starts_with("Verified: the backup is whole; in ") && out.contains("\n  files       180\n"), "{out}");
    // A failure is a document too, and for a person it is on stderr alone.
    let (out, _) = case.run(3, "verify STORAGE --output=json commerce/0 2020-01-01.000000.zone1-0000000101");
    let outcome: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(outcome["failure"]["reason"], "BackupNotFound", "{out}");
    let (out, log) = case.run(3, "verify STORAGE commerce/0 2020-01-01.000000.zone1-0000000101");
    assert!(out.is_empty() && log.contains("BackupNotFound"), "{out}\n{log}");
    // As the operator has it: nothing but lines, the outcome last.
    let (out, _) = case.run(0, &format!("verify STORAGE --report json commerce/0 {NAME}"));
    let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.last().unwrap()["event"], "outcome", "{out}");
    let progress = lines.iter().rfind(|line| line["event"] == "progress").expect("progress is told");
    assert_eq!(progress["bytesDone"], progress["bytesTotal"], "{out}");
    for format in ["table", "json", "yaml"] {
        let (out, _) = case.run(0, &format!("list STORAGE --output {format} commerce/0"));
        assert!(out.contains(NAME), "{format}: {out}");
    }
}

#[test]
fn on_a_terminal_there_is_a_bar_and_elsewhere_there_are_lines() {
    let case = Case::new();
    let line = format!("verify STORAGE commerce/0 {NAME}");
    let (_, log) = case.run(0, &line);
    assert!(log.contains("Verifying 100 %, ") && !log.contains('█'), "{log}");
    let program = [env!("CARGO_BIN_EXE_vitess-backup").to_owned()].into_iter().chain(case.words(&line));
    let output = Process::new("script")
        .args(["--quiet", "--return", "--command", &program.collect::<Vec<_>>().join(" "), "/dev/null"])
        .env("TERM", "xterm")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains('█') && text.contains("Verifying 100 %, "), "{text}");
}

#[test]
fn the_help_of_each_subcommand_has_an_example_the_exit_codes_and_its_flags_in_groups() {
    let case = Case::new();
    for name in ["backup", "restore", "list", "remove", "verify", "recover"] {
        let (help, _) = case.run(0, &format!("{name} --help"));
        for words in ["Example", &format!("  vitess-backup {name} "), "Exit codes:", "Storage:", "Run:"] {
            assert!(help.contains(words), "{name} lacks {words}:\n{help}");
        }
        assert_eq!(help.contains("\nTablet:\n"), ["backup", "restore", "recover"].contains(&name), "{help}");
        let (short, _) = case.run(0, &format!("{name} -h"));
        assert!(short.lines().count() < help.lines().count(), "{short}");
    }
    let (help, _) = case.run(0, "--help");
    for code in
        ["0  done", "2  bad usage", "3  no usable", "4  storage", "5  MySQL", "6  data", "7  cancelled", "70  a bug"]
    {
        assert!(help.contains(code), "{code}: {help}");
    }
}
