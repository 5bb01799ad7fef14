//! `vitess-backup inventory` as people and the operator run it, on files: what is found, what is not told twice, and how long
//! it takes. No mysqld is needed.
//!
//! `VBO_MATRIX=whole` (`make test-all`) measures 10,000 backups, for docs/storage.md; else it is 500.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's own functions may fail the test")]

#[path = "support/matrix.rs"]
mod matrix;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Instant;

use assert_cmd::Command;
use serde_json::{Value, json};
use tempfile::TempDir;
use vitess_backup::backup::inventory::{Digest, Found, Totals};
use vitess_backup::backup::report::{Line, Outcome, Verdict};

const VITESS_NAME: &str = "2026-11-22.152700.zone1-0000000101";
const SHARD: &str = "commerce/0";

/// A storage of files.
struct Storage {
    root: TempDir,
}

/// What a run told.
struct Told {
    found: Vec<Found>,
    shards: Vec<Value>,
    totals: Totals,
    seconds: f64,
}

impl Storage {
    fn new() -> Self {
        Self { root: TempDir::new().unwrap() }
    }

    fn with_a_backup_of_vitess() -> Self {
        Self::unpacked("zstd.tar.zst")
    }

    /// What one of Vitess's programs wrote.
    fn unpacked(archive: &str) -> Self {
        let storage = Self::new();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vitess").join(archive);
        let plain = zstd::stream::read::Decoder::new(fs::File::open(path).unwrap()).unwrap();
        tar::Archive::new(plain).unpack(storage.root.path()).unwrap();
        storage
    }

    fn write(&self, path: &str, body: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, body).unwrap();
    }

    /// A complete backup, as small as one can be.
    fn backup(&self, shard: &str, name: &str) {
        let time = format!("{}T{}:{}:{}Z", &name[..10], &name[11..13], &name[13..15], &name[15..17]);
        let manifest = json!({
            "BackupName": name, "BackupMethod": "builtin", "BackupTime": time, "FinishedTime": time,
            "Position": format!("MySQL56/3e11fa47-71ca-11e1-9e33-c80aa9429562:1-{}", name.len()),
            "TabletAlias": "zone1-0000000101", "Keyspace": "commerce", "Shard": "0", "Incremental": false,
            "MySQLVersion": "Ver 8.4.5 MySQL Community Server - GPL", "FileEntries": [],
        });
        self.write(&format!("{shard}/{name}/0"), "data");
        self.write(&format!("{shard}/{name}/MANIFEST"), &manifest.to_string());
    }

    fn command(&self, rest: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vitess-backup"));
        let root = format!("--file-backup-storage-root={}", self.root.path().display());
        command.args(["inventory", "--backup-storage-implementation=file", &root]).args(rest);
        command
    }

    fn print(&self, output: &str) -> String {
        let output = self.command(&["--output", output]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn take(&self, known: Option<&Digest>, limit: &str) -> Told {
        let known = known.map(|known| format!("--known={known}"));
        let limit = format!("--report-limit={limit}");
        let begun = Instant::now();
        let rest: Vec<&str> = ["--report=json", &limit].into_iter().chain(known.as_deref()).collect();
        let output = self.command(&rest).output().unwrap();
        let seconds = begun.elapsed().as_secs_f64();
        assert!(output.status.success(), "{output:?}");
        let (mut found, mut shards, mut totals, mut bucket, mut seals) = (Vec::new(), Vec::new(), None, Vec::new(), 0);
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            match serde_json::from_str(line).unwrap() {
                Line::Found(one) => bucket.push(*one),
                Line::Bucket(seal) => {
                    assert!(seal.fits(&bucket), "a bucket is told whole before its seal");
                    found.append(&mut bucket);
                    seals += 1;
                }
                Line::Shard(shard) => shards.push(serde_json::to_value(shard).unwrap()),
                Line::Outcome(outcome) => {
                    let Outcome { verdict, inventory, .. } = *outcome;
                    assert_eq!(verdict, Verdict::Succeeded);
                    totals = inventory;
                }
                Line::Step { .. }
                | Line::Progress(_)
                | Line::Note { .. }
                | Line::Backup(_)
                | Line::TopologyBackup(_) => {}
            }
        }
        let totals: Totals = totals.expect("an outcome, last");
        assert_eq!((totals.buckets_told, totals.shards_told), (seals, shards.len() as u64));
        Told { found, shards, totals, seconds }
    }
}

fn digest<'a>(found: impl IntoIterator<Item = &'a Found>) -> Digest {
    Digest::of(found.into_iter().map(Found::trace))
}

fn names(number: u32) -> Vec<String> {
    let name = |n: u32| {
        let (month, day, hour, minute, second) = (n % 12 + 1, n % 28 + 1, n / 3600, n / 60 % 60, n % 60);
        format!("2026-{month:02}-{day:02}.{hour:02}{minute:02}{second:02}.zone1-0000000101")
    };
    (0..number).map(name).collect()
}

#[test]
fn everything_in_a_storage_is_listed_and_what_is_neither_backup_nor_shard_is_named() {
    let storage = Storage::with_a_backup_of_vitess();
    storage.backup("customer/-80", "2026-01-02.030405.zone1-0000000201");
    storage.write("customer/-80/2026-01-03.030405.zone1-0000000201/0", "half");
    storage.write("lost+found/x", "");
    storage.write("README", "by hand");
    storage.write("customer/notes.txt", "by hand");
    storage.write("customer/-80/notes.txt", "by hand");
    storage.write("customer/-80/9999-junk/0", "junk");
    storage.write(".snapshot/hourly/commerce/0/x", "a snapshot is no keyspace");
    let told = storage.take(None, "0");
    let names: Vec<_> = told
        .found
        .iter()
        .map(|found| (found.shard.as_str(), found.backup.name.as_str(), found.backup.complete))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    assert_eq!(
        names,
        [
            (SHARD, VITESS_NAME, true),
            ("customer/-80", "2026-01-02.030405.zone1-0000000201", true),
            ("customer/-80", "2026-01-03.030405.zone1-0000000201", false),
        ]
    );
    let Totals { backups, incomplete, shards, strays, stray_names, .. } = &told.totals;
    assert_eq!((*backups, *incomplete, *shards, *strays), (2, 1, 2, 6));
    assert_eq!(
        *stray_names,
        [".snapshot", "README", "customer/-80/9999-junk", "customer/-80/notes.txt", "customer/notes.txt", "lost+found"]
    );
    // What Vitess wrote is read: its MANIFEST's facts, and the number of its files.
    let vitess = told.found.iter().find(|found| found.shard == SHARD).unwrap();
    assert_eq!(vitess.backup.engine.as_deref(), Some("builtin"));
    assert!(vitess.backup.position.as_deref().unwrap().starts_with("MySQL56/"), "{vitess:?}");
    assert!(vitess.files.unwrap() > 50, "{vitess:?}");
    assert!(vitess.backup.manifest.as_ref().unwrap().get("FileEntries").is_none());
    let shard = told.shards.iter().find(|shard| shard["shard"] == "customer/-80").unwrap();
    assert_eq!(
        *shard,
        json!({
            "shard": "customer/-80", "backups": 1, "incomplete": 1, "bytes": shard["bytes"],
            "latestBackupName": "2026-01-02.030405.zone1-0000000201", "latestBackupTime": "2026-01-02T03:04:05Z",
            "latestPosition": "MySQL56/3e11fa47-71ca-11e1-9e33-c80aa9429562:1-34",
            "firstRestorableTime": "2026-01-02T03:04:05Z",
        })
    );

    let table = storage.print("table");
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("SHARD"), "{table}");
    assert!(lines[1].starts_with(SHARD) && lines[2].starts_with("customer/-80"), "{table}");
    assert!(lines[3].contains("incomplete"), "{table}");
    assert!(table.contains("neither backup nor shard: README"), "{table}");
    let parsed: Vec<Found> = serde_json::from_str(&storage.print("json")).unwrap();
    assert_eq!(digest(&parsed), digest(&told.found));
    assert!(storage.print("yaml").contains("customer/-80"));
}

#[test]
fn a_backup_that_vtbackup_made_is_listed_like_any_other() {
    let storage = Storage::unpacked("vtbackup-initial-pargzip.tar.zst");
    let told = storage.take(None, "0");
    let [found] = &told.found[..] else { panic!("{:?}", told.found) };
    assert_eq!((found.shard.as_str(), found.has_manifest), ("fresh/0", true));
    let backup = &found.backup;
    assert_eq!((backup.name.as_str(), backup.complete), ("2026-11-22.153504.vtbackup-1690055660", true));
    assert_eq!(backup.engine.as_deref(), Some("builtin"));
    // It is of no tablet, and this is what it calls itself.
    assert_eq!(backup.tablet_alias.as_deref(), Some("vtbackup-1690055660"));
    assert_eq!(backup.position.as_deref(), Some("MySQL56/4788136f-e68a-11f1-859b-02fc00000001:1"));
    assert_eq!((found.files, backup.objects), (Some(158), 159));
    let Totals { backups, incomplete, shards, strays, .. } = &told.totals;
    assert_eq!((*backups, *incomplete, *shards, *strays), (1, 0, 1, 0));
    let table = storage.print("table");
    assert!(table.lines().nth(1).unwrap().contains("2026-11-22.153504.vtbackup-1690055660"), "{table}");
    assert_eq!(storage.take(Some(&digest(&told.found)), "0").found.len(), 0, "nor is it told again");
}

#[test]
fn what_is_known_is_not_told_again_and_its_manifest_is_not_read() {
    let storage = Storage::new();
    for name in names(60) {
        storage.backup(SHARD, &name);
    }
    let first = storage.take(None, "0");
    assert_eq!((first.found.len(), first.shards.len()), (60, 1));
    let known = digest(&first.found);
    // A MANIFEST that was read would be found unreadable.
    let victim = storage.root.path().join(SHARD).join(&names(60)[7]).join("MANIFEST");
    let length = fs::metadata(&victim).unwrap().len();
    fs::write(&victim, "x".repeat(usize::try_from(length).unwrap())).unwrap();
    let second = storage.take(Some(&known), "0");
    assert_eq!((second.found.len(), second.shards.len()), (0, 0));
    assert_eq!((second.totals.backups, second.totals.buckets_told), (60, 0));

    storage.backup(SHARD, "2027-01-02.030405.zone1-0000000101");
    let third = storage.take(Some(&known), "0");
    assert_eq!(third.totals.buckets_told, 1);
    assert!(third.found.iter().any(|found| found.backup.name.starts_with("2027")));
    assert!(third.found.len() < 10, "its bucket and no other: {}", third.found.len());
    assert_eq!(third.shards[0]["latestBackupName"], "2027-01-02.030405.zone1-0000000101");

    fs::remove_dir_all(storage.root.path().join(SHARD)).unwrap();
    let fourth = storage.take(Some(&known), "0");
    assert_eq!((fourth.found.len(), fourth.totals.backups), (0, 0));
    assert!(fourth.totals.buckets_told > 30, "buckets that are empty now are told as such");
}

#[test]
fn what_is_too_much_for_one_log_is_told_by_the_next() {
    let storage = Storage::new();
    for name in names(120) {
        storage.backup(SHARD, &name);
    }
    let mut known: Vec<Found> = Vec::new();
    let mut rounds = 0;
    loop {
        let told = storage.take(Some(&digest(&known)).filter(|_| !known.is_empty()), "8KiB");
        rounds += 1;
        let bytes: usize = told.found.iter().map(|found| serde_json::to_string(found).unwrap().len()).sum();
        assert!(bytes < 16 << 10, "{bytes}");
        known.extend(told.found);
        if !told.totals.more {
            break;
        }
    }
    let names_told: BTreeSet<_> = known.iter().map(|found| found.backup.name.clone()).collect();
    assert_eq!((known.len(), names_told.len()), (120, 120), "each once, in {rounds} rounds");
    assert!(rounds > 3, "{rounds}");
}

#[test]
fn a_storage_that_is_not_there_is_told_from_one_that_is_empty() {
    let storage = Storage::new();
    let told = storage.take(None, "0");
    assert_eq!(told.totals, Totals::default());
    let output = Command::new(env!("CARGO_BIN_EXE_vitess-backup"))
        .args(["inventory", "--backup-storage-implementation=file", "--file-backup-storage-root=/nowhere/at/all"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("StorageMisconfigured"));
}

#[test]
fn ten_thousand_backups_are_listed_in_seconds() {
    let number = if matrix::is_whole() { 10_000 } else { 500 };
    let storage = Storage::new();
    for name in names(number) {
        storage.backup(SHARD, &name);
    }
    let first = storage.take(None, "0");
    assert_eq!(first.found.len(), number as usize);
    let known = digest(&first.found);
    let second = storage.take(Some(&known), "0");
    storage.backup(SHARD, "2027-01-02.030405.zone1-0000000101");
    let third = storage.take(Some(&known), "0");
    println!(
        "{number} backups: {:.2} s at first, {:.2} s when nothing has changed, {:.2} s when one is new",
        first.seconds, second.seconds, third.seconds
    );
    assert_eq!((second.found.len(), third.totals.buckets_told), (0, 1));
    assert!(second.seconds < 60.0 && third.seconds < 60.0, "{} {}", second.seconds, third.seconds);
}
