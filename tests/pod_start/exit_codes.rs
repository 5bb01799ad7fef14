//! The table "Exit codes" of docs/pod-start.md: a test for each of its rows, and the table has a row for each test.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::pod::{BACKUP, OLDER_ARCHIVE, OLDER_BACKUP, Pod, assert_as_vitess_leaves_it};
use crate::support::mysql::own;

const PAGE: &str = include_str!("../../docs/pod-start.md");
const SOURCE: &str = include_str!("exit_codes.rs");

/// Exit code and test of each row.
fn rows() -> Vec<(&'static str, &'static str)> {
    let table = PAGE.split_once("\n## Exit codes\n").expect("the page has the table").1;
    let rows =
        table.lines().skip_while(|line| !line.starts_with("| ")).take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [_, code, _, test] = cells[..] else { panic!("not four columns: {row}") };
        (code, test.trim_matches('`'))
    })
    .collect()
}

#[test]
fn every_row_has_its_test_and_every_test_its_row() {
    let rows = rows();
    assert!(rows.len() >= 14, "the table was not read: {rows:?}");
    for (code, test) in &rows {
        let body = SOURCE.split_once(&format!("fn {test}()")).unwrap_or_else(|| panic!("there is no test {test}")).1;
        let body = body.split("\n}\n").next().unwrap();
        let asserted = [format!("exits_with({code},"), format!("fails_with({code},")];
        assert!(asserted.iter().any(|call| body.contains(call)), "{test} does not assert the exit code {code}");
    }
    let tests: Vec<_> = SOURCE.split("\nasync fn ").skip(1).filter_map(|rest| rest.split("()").next()).collect();
    for test in tests {
        assert!(rows.iter().any(|(_, named)| *named == test), "docs/pod-start.md has no row for {test}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_is_present_is_left_alone_within_a_tenth_of_a_second() {
    let pod = Pod::initialised(301, &["vt_commerce"]).await;
    let before = std::fs::read(pod.tablet.layout().my_cnf).unwrap();
    let mut took = Vec::new();
    for _ in 0..10 {
        // The storage is not even looked for: it may be out of reach.
        let ran = pod.start("--file_backup_storage_root /nowhere").exits_with(0, "DataPresent");
        took.push(ran.took);
    }
    took.sort();
    let median = took[took.len() / 2];
    assert!(median < Duration::from_millis(100), "{took:?}");
    assert_eq!(std::fs::read(pod.tablet.layout().my_cnf).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_volume_is_restored_and_left_as_vitess_leaves_it() {
    let mut pod = Pod::with_backup(302);
    let ran = pod.start("").exits_with(0, "Succeeded");
    assert_eq!(ran.outcome["backupName"], BACKUP);
    assert_eq!(ran.outcome["replication"], "NotConfigured");
    assert_eq!(ran.outcome["tabletAlias"], "zone1-0000000302");
    assert!(ran.outcome.get("warnings").is_none(), "{ran:#?}");
    assert!(!pod.marker().exists());
    // What the init container takes beyond the restore itself.
    let time = |field: &str| ran.outcome[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let run = time("finishedTime").duration_since(time("startTime")).unsigned_abs();
    assert!(ran.took < run + Duration::from_secs(1), "{run:?} of {:?}", ran.took);
    assert_as_vitess_leaves_it(&mut pod.tablet, &ran.outcome["position"]).await;
    // And when the pod starts again, all is there.
    pod.tablet.stop_container();
    pod.start("").exits_with(0, "DataPresent");
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_alone_say_all_that_flags_would() {
    let mut pod = Pod::with_backup(316);
    let (port, backups) = (pod.tablet.port.to_string(), pod.backups.path().to_owned());
    let variables = [
        ("VITESS_BACKUP_ON_POD_START", Path::new("true")),
        ("VITESS_BACKUP_RESTORE_FROM_BACKUP", Path::new("true")),
        ("VITESS_BACKUP_INIT_KEYSPACE", Path::new("commerce")),
        ("VITESS_BACKUP_INIT_SHARD", Path::new("0")),
        ("VITESS_BACKUP_INIT_TABLET_TYPE", Path::new("replica")),
        ("VITESS_BACKUP_TABLET_PATH", Path::new("zone1-0000000316")),
        ("VITESS_BACKUP_MYSQL_PORT", Path::new(&port)),
        ("VITESS_BACKUP_BACKUP_STORAGE_IMPLEMENTATION", Path::new("file")),
        ("VITESS_BACKUP_FILE_BACKUP_STORAGE_ROOT", backups.as_path()),
        ("VITESS_BACKUP_REPORT", Path::new("json")),
    ];
    let ran = pod.start_by(&variables).exits_with(0, "Succeeded");
    assert_eq!(ran.outcome["backupName"], BACKUP);
    assert_eq!(ran.outcome["tabletAlias"], "zone1-0000000316");
    assert_as_vitess_leaves_it(&mut pod.tablet, &ran.outcome["position"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_time_the_newest_backup_of_then_is_restored_though_there_is_a_newer_one() {
    let mut pod = Pod::with_backup(317);
    pod.store_backup_of(OLDER_ARCHIVE);
    let ran = pod.start("--restore_from_backup_ts 2026-11-22.152708").exits_with(0, "Succeeded");
    assert_eq!(ran.outcome["backupName"], OLDER_BACKUP);
    assert_as_vitess_leaves_it(&mut pod.tablet, &ran.outcome["position"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mysqld_that_was_only_initialised_is_restored_over() {
    let mut pod = Pod::initialised(303, &["_vt"]).await;
    pod.store_backup();
    let ran = pod.start("").exits_with(0, "Succeeded");
    assert_as_vitess_leaves_it(&mut pod.tablet, &ran.outcome["position"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_was_cut_short_starts_over() {
    let mut pod = Pod::initialised(304, &["vt_commerce"]).await;
    pod.store_backup();
    std::fs::write(pod.marker(), "").unwrap();
    own(pod.tablet.tablet_dir());
    let ran = pod.start("").exits_with(0, "Succeeded");
    assert!(ran.notes.iter().any(|note| note.contains("starting over")), "{ran:#?}");
    assert!(!pod.marker().exists());
    assert_as_vitess_leaves_it(&mut pod.tablet, &ran.outcome["position"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_backup_at_all_the_tablet_starts_empty() {
    let pod = Pod::new(305);
    let ran = pod.start("").exits_with(0, "StartedEmpty");
    assert!(ran.notes.iter().any(|note| note.contains("starts empty")), "{ran:#?}");
    assert!(!pod.tablet.tablet_dir().exists(), "mysqlctld finds nothing and makes everything anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_with_one_line_a_look_and_restores_what_appears() {
    let mut pod = Pod::new(306);
    let waiting = pod.begin("--wait_for_backup_interval 300ms");
    waiting.wait_said("commerce/0 has no backup yet: looking again in 0.3s", 1);
    let first = Instant::now();
    waiting.wait_said("commerce/0 has no backup yet: looking again in 0.3s", 3);
    // One is being made.
    pod.store_half_a_backup();
    waiting.wait_said("commerce/0 has no complete backup yet", 2);
    assert!(!pod.tablet.tablet_dir().exists(), "nothing was touched so far");
    pod.store_backup();
    let waited = first.elapsed();
    let ran = waiting.end().exits_with(0, "Succeeded");
    let looks = ran.notes.iter().filter(|note| note.contains("looking again")).count();
    // The first is not waited for, and one may be under way at either end. A look itself takes its time on a busy machine.
    let intervals = usize::try_from(waited.as_millis() / 300).unwrap();
    assert!(looks <= intervals + 3 && looks >= intervals / 3, "{looks} looks in {waited:?}");
    let steps = ran.log.lines().count();
    assert!(looks >= 5 && steps < looks, "a look is one line: {ran:#?}");
    assert_as_vitess_leaves_it(&mut pod.tablet, &ran.outcome["position"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_to_be_restored_is_not() {
    let pod = Pod::with_backup(307);
    let flags = pod.flags().replace("--restore_from_backup ", "--restore_from_backup=false ");
    pod.start_with(&flags).exits_with(0, "StartedEmpty");
    assert!(!pod.tablet.tablet_dir().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_that_nobody_knows_or_that_contradict_each_other_are_refused() {
    let pod = Pod::with_backup(308);
    for (flags, says) in [
        ("--restore_from_backups", "--restore-from-backups"),
        ("--restore-with-clone", "--restore-with-clone"),
        ("--restore_to_pos=x", "--restore-to-pos"),
        ("--init_tablet_type=primary", "replica, rdonly or spare"),
        ("--keyspace customer", "--init-keyspace commerce and --keyspace customer"),
        ("--tablet-uid 7", "--tablet-path zone1-0000000308 and --tablet-uid 7"),
        ("--restore_from_backup_ts yesterday", "2021-04-29.133050"),
        ("--mysqld mysqlctld", "--mysqld is own or stopped"),
    ] {
        let flags = match flags {
            "--init_tablet_type=primary" => pod.flags().replace("--init_tablet_type replica", flags),
            more => format!("{} {more}", pod.flags()),
        };
        let ran = pod.start_with(&flags);
        let told = format!("{}{}", ran.log, ran.outcome);
        assert!(told.contains(says), "{flags}: {told}");
        let verdict = if ran.outcome.is_null() { "" } else { "Failed" };
        ran.exits_with(2, verdict);
    }
    assert!(!pod.tablet.tablet_dir().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_incomplete_backups_only_it_never_starts_empty() {
    let pod = Pod::new(309);
    pod.store_half_a_backup();
    let ran = pod.start("").fails_with(3, "NoCompleteBackup");
    let remedy = ran.outcome["failure"]["remedy"].as_str().unwrap();
    assert!(remedy.contains("Take a backup") && remedy.contains("remove what is broken"), "{remedy}");
    // A whole one that must not be taken is not "no backup" either.
    let pod = Pod::with_backup(318);
    let ran = pod.start("--restore_from_backup_allowed_engines xtrabackup").fails_with(3, "NoCompleteBackup");
    assert!(ran.outcome.to_string().contains("not among the allowed engines"), "{ran:#?}");
    assert!(!pod.tablet.tablet_dir().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_restore_without_a_backup_does_not_start_empty() {
    let pod = Pod::initialised(310, &["vt_commerce"]).await;
    std::fs::write(pod.marker(), "").unwrap();
    own(pod.tablet.tablet_dir());
    pod.start("").fails_with(3, "NoBackupFound");
    assert!(pod.marker().exists(), "neither does a mysqlctld start mysqld");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_cannot_be_had_is_no_empty_one() {
    let pod = Pod::new(311);
    let flags = "--backup_storage_implementation s3 --s3_backup_storage_bucket b --s3_backup_aws_endpoint \
                 http://127.0.0.1:1 --s3_backup_aws_retries 1 --wait_for_backup_interval 1s";
    let file = pod.flags();
    let (own_flags, _) = file.split_once("--backup_storage_implementation").unwrap();
    let credentials = [("AWS_ACCESS_KEY_ID", "a".as_ref()), ("AWS_SECRET_ACCESS_KEY", "b".as_ref())];
    pod.start_in(&format!("{own_flags} {flags}"), &credentials).fails_with(4, "StorageUnreachable");

    // Root's alone: the tablet's user may not look into it.
    let locked = pod.backups.path().join("locked");
    std::fs::create_dir(&locked).unwrap();
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o700)).unwrap();
    let root = |path: &Path| format!("--file_backup_storage_root {} --wait_for_backup_interval 1s", path.display());
    pod.start(&root(&locked)).fails_with(4, "StorageDenied");
    pod.start(&root(Path::new("/nowhere/at-all"))).fails_with(4, "StorageMisconfigured");
    assert!(!pod.tablet.tablet_dir().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_mysqld_nothing_is_touched() {
    let pod = Pod::with_backup(312);
    let ran = pod.start_in(&pod.flags(), &[("VT_MYSQL_ROOT", "/nowhere".as_ref())]);
    let reason = ran.outcome["failure"]["reason"].clone();
    ran.fails_with(5, reason.as_str().unwrap());
    assert!(!pod.tablet.tablet_dir().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_keyspaces_data_is_refused_unless_it_may_be_replaced() {
    let mut pod = Pod::initialised(313, &["vt_customer"]).await;
    pod.store_backup();
    let ran = pod.start("").fails_with(6, "DataPresent");
    assert!(ran.outcome["failure"]["message"].as_str().unwrap().contains("vt_customer"), "{ran:#?}");
    assert!(pod.tablet.layout().datadir.join("vt_customer").exists());
    let ran = pod.start("--existing-data replace").exits_with(0, "Succeeded");
    assert_as_vitess_leaves_it(&mut pod.tablet, &ran.outcome["position"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_backup_is_not_restored_and_the_next_start_says_so_again() {
    let pod = Pod::with_backup(314);
    std::fs::remove_file(pod.shard().join(BACKUP).join("7")).unwrap();
    for _ in 0..2 {
        pod.start("").fails_with(6, "ObjectMissing");
        assert!(!pod.tablet.layout().datadir.join("mysql.ibd").exists());
    }
    // What only reading shows: all objects are there, and one of them holds another's bytes.
    let pod = Pod::with_backup(319);
    let backup = pod.shard().join(BACKUP);
    std::fs::copy(backup.join("83"), backup.join("84")).unwrap();
    for _ in 0..2 {
        pod.start("").fails_with(6, "HashMismatch");
        assert!(pod.marker().exists(), "half a restore is not taken for data");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_at_once_when_the_pod_goes() {
    let pod = Pod::new(315);
    let waiting = pod.begin("--wait_for_backup_interval 1h");
    waiting.wait_said("looking again in 1h", 1);
    let begun = Instant::now();
    waiting.terminate();
    waiting.end().fails_with(7, "Cancelled");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(!pod.tablet.tablet_dir().exists());
    let ran = pod.start("--wait_for_backup_interval 1h --deadline 1s").fails_with(7, "DeadlineExceeded");
    assert!(ran.took < Duration::from_secs(3), "{:?}", ran.took);
    assert!(!pod.tablet.tablet_dir().exists());

    // While files are copied too; the next start has no half tablet to begin with.
    let mut pod = Pod::with_backup(320);
    let copying = pod.begin("--bandwidth_limit 16KiB");
    copying.wait_said(r#""step":"CopyingFiles""#, 1);
    let begun = Instant::now();
    copying.terminate();
    copying.end().fails_with(7, "Cancelled");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(pod.marker().exists());
    let ran = pod.start("").exits_with(0, "Succeeded");
    assert_as_vitess_leaves_it(&mut pod.tablet, &ran.outcome["position"]).await;
}
