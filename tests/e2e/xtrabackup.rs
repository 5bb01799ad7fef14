//! The xtrabackup engine, on the shard `maria/0`: MariaDB 10.11, whose mariabackup and mbstream its tablets' image has under the
//! names of Percona's programs, and Vitess, whose own xtrabackup engine restores what we made, and the reverse.

use std::time::{Duration, Instant};

use crate::backup::{condition, storage_yaml};
use crate::ground::Ground;
use crate::restore::restore_yaml;
use serde_json::Value;

const BACKUPS: &str = "vitessbackups.backup.vitess.io";
const RESTORES: &str = "vitessrestores.backup.vitess.io";
const MINUTE: Duration = Duration::from_secs(60);
const ROWS: &str = "select count(*) from vt_maria.event";

/// A VitessBackup of the replica by xtrabackup; `options` is a YAML flow value, `more` whole lines.
fn backup_yaml(name: &str, options: &str, more: &str) -> String {
    format!(
        "apiVersion: backup.vitess.io/v1alpha1\nkind: VitessBackup\nmetadata: {{name: {name}}}\nspec:\n  \
         storage: {{name: main}}\n  tablet: zone1-0000000201\n  engine: xtrabackup\n  xtrabackup: {options}\n  \
         deletionPolicy: Retain\n{more}"
    )
}

/// The ground with `maria/0` and a storage, and no object of an earlier run by these names.
fn ground(objects: &[(&str, &str)]) -> Ground {
    let ground = Ground::take_maria();
    ground.apply(&storage_yaml("main", "/"));
    for (kind, name) in objects {
        ground.delete(kind, name);
    }
    ground
}

fn name_of(backup: &Value) -> String {
    backup["status"]["backupName"].as_str().expect("a backup name").to_owned()
}

/// Replaces the replica's data with that backup; the tablet replicates and has the primary's rows afterwards. No vtctld is
/// named, because Vitess 24's ReparentTablet fails over MariaDB: the replica follows the source that it had before.
fn restore_onto_replica(ground: &Ground, name: &str, backup: &str) -> Value {
    let target = "{tablet: zone1-0000000201}";
    let yaml = restore_yaml(name, "main", target, &format!("{{name: {backup}}}"), "  existingData: Replace\n");
    ground.apply(&yaml.replace("commerce/0", "maria/0"));
    let restore = ground.wait_succeeded(RESTORES, name);
    assert_eq!(restore["status"]["backupName"], backup, "{:#}", restore["status"]);
    assert_eq!(restore["status"]["engine"], "xtrabackup", "{:#}", restore["status"]);
    assert_eq!(condition(&restore, "Replicating")["status"], "True", "{:#}", restore["status"]);

    ground.lib("pause_maria_writer");
    ground.lib("maria_caught_up 201");
    let rows = [200, 201].map(|uid| ground.lib(&format!("maria_checksums {uid}")));
    ground.lib("resume_maria_writer");
    assert_eq!(rows[0].lines().count(), 2, "the primary has tables to compare: {rows:?}");
    assert_eq!(rows[1], rows[0], "checksums of the replica and of the primary");
    assert_eq!(ground.sql(201, "select @@global.read_only"), "1");
    ground.lib("wait_serving 201");
    restore
}

/// What an interruption of the replica would change.
#[derive(Debug, PartialEq)]
struct Unbroken {
    ready_since: Value,
    restarts: Vec<Value>,
    mysqld: String,
}

impl Unbroken {
    fn seen(ground: &Ground) -> Self {
        let pod = ground.get("pod", "zone1-0000000201-0").expect("the replica's pod");
        let ready = condition(&pod, "Ready");
        assert_eq!(ready["status"], "True", "{:#}", pod["status"]);
        let containers = pod["status"]["containerStatuses"].as_array().expect("containers");
        Self {
            ready_since: ready["lastTransitionTime"].clone(),
            restarts: containers.iter().map(|container| container["restartCount"].clone()).collect(),
            mysqld: ground.lib("tablet_exec 201 'cat /vt/vtdataroot/vt_0000000201/mysql.pid'"),
        }
    }
}

fn uptime(ground: &Ground) -> u64 {
    ground.number(201, "select variable_value from information_schema.global_status where variable_name = 'uptime'")
}

#[test]
fn a_tablet_is_backed_up_while_it_serves_and_replicates_and_is_restored_from_that() {
    let ground = ground(&[(BACKUPS, "hot"), (RESTORES, "from-hot")]);
    let (before, up, begun) = (Unbroken::seen(&ground), uptime(&ground), Instant::now());
    // 10 MB are to go to storage: slow enough to look at the replica meanwhile.
    ground.apply(&backup_yaml(
        "hot",
        "{user: xtrabackup, stripes: 3}",
        "  compression: {engine: zstd}\n  bandwidthLimit: 1Mi\n",
    ));
    let copying = |object: &Value| object["status"]["progress"]["step"] == "CopyingFiles";
    ground.wait(BACKUPS, "hot", MINUTE * 2, "copying files", copying);
    let mut rows = Vec::new();
    while ground.get(BACKUPS, "hot").is_some_and(|object| copying(&object)) && begun.elapsed() < MINUTE * 3 {
        ground.lib("maria_replicating 201");
        rows.push(ground.number(201, ROWS));
    }
    let backup = ground.wait_succeeded(BACKUPS, "hot");
    println!("rows of the replica while it was backed up: {rows:?}");
    assert!(rows.len() >= 2 && rows.is_sorted() && rows.first() < rows.last(), "it went on replicating: {rows:?}");
    assert_eq!(Unbroken::seen(&ground), before, "its pod stayed Ready, its mysqld the same");
    assert!(uptime(&ground) >= up + begun.elapsed().as_secs() - 1, "mysqld was never down");

    let status = &backup["status"];
    assert!(name_of(&backup).ends_with(".zone1-0000000201"), "{status:#}");
    assert_eq!(status["engine"], "xtrabackup", "{status:#}");
    assert!(status["position"].as_str().is_some_and(|position| position.starts_with("MariaDB/")), "{status:#}");
    assert_eq!(status.get("downtimeSeconds"), None, "{status:#}");
    assert_eq!(condition(&backup, "Complete")["status"], "True", "{status:#}");
    let manifest = &status["manifest"];
    assert_eq!(manifest["BackupMethod"], "xtrabackup", "{manifest:#}");
    assert_eq!(manifest["NumStripes"], 3, "{manifest:#}");
    assert_eq!(manifest["CompressionEngine"], "zstd", "{manifest:#}");
    assert_eq!(manifest["Position"], status["position"]);
    assert!(ground.lib("vtctldclient GetBackups maria/0").contains(&name_of(&backup)), "Vitess sees it");

    let restore = restore_onto_replica(&ground, "from-hot", &name_of(&backup));
    assert_eq!(restore["status"]["position"], status["position"]);
}

/// Vitess 24's restore stops at starting replication from MariaDB (`invalid MySQL 5.6 SID ""`), with the data in place. What a
/// backup holds is then a beginning of the primary's rows.
#[test]
fn vitess_restores_what_we_made() {
    let ground = ground(&[(BACKUPS, "for-vitess-hot")]);
    ground.lib("remove_tablet 202");
    let at_least = ground.number(201, ROWS);
    ground.apply(&backup_yaml("for-vitess-hot", "{user: xtrabackup, stripes: 3}", "  compression: {engine: zstd}\n"));
    let ours = ground.wait_succeeded(BACKUPS, "for-vitess-hot");

    ground.lib("add_maria_tablet 202 --restore-from-backup --compression-engine-name=zstd");
    let begun = Instant::now();
    // It starts mysqld for mysql_upgrade first, and again when that is done.
    while !restoring_log(&ground).contains("Restore: complete") {
        assert!(begun.elapsed() < MINUTE * 3, "nothing was restored:\n{}", restoring_log(&ground));
        std::thread::sleep(Duration::from_secs(1));
    }
    let restored = ground.number(202, "select max(event_id) from vt_maria.event");
    let log = restoring_log(&ground);
    println!("{}", log.lines().filter(|line| line.contains("estore")).collect::<Vec<_>>().join("\n"));
    assert!(log.contains(&name_of(&ours)), "Vitess restored our backup {}:\n{log}", name_of(&ours));

    let rows = format!("select count(*), sum(crc32(detail)) from vt_maria.event where event_id <= {restored}");
    assert!(ground.number(202, ROWS) >= at_least);
    assert_eq!(ground.sql(202, &rows), ground.sql(200, &rows), "the rows up to {restored}");
    let documents = "checksum table vt_maria.document";
    assert_eq!(ground.sql(202, documents), ground.sql(200, documents));
    ground.lib("remove_tablet 202");
}

/// What the restoring vttablet said, also before its container was started again.
fn restoring_log(ground: &Ground) -> String {
    [&["--previous"][..], &[]]
        .map(|which| {
            let arguments = [&["logs", "zone1-0000000202-0", "-c", "vttablet"], which].concat();
            ground.try_kubectl(&arguments).unwrap_or_default()
        })
        .concat()
}

#[test]
fn we_restore_what_vitess_made() {
    let ground = ground(&[(RESTORES, "of-vitess-hot")]);
    ground.lib("vtctldclient Backup zone1-0000000201");
    let listed = ground.lib("vtctldclient GetBackups maria/0");
    let newest = listed.lines().filter(|line| line.contains(".zone1-")).max().expect("a backup").trim().to_owned();
    let newest = newest.rsplit('/').next().expect("a name");
    let restore = restore_onto_replica(&ground, "of-vitess-hot", newest);
    let manifest = &restore["status"]["manifest"];
    assert!(manifest.get("DataBytes").is_none(), "made by Vitess, not by us: {manifest:#}");
    assert_eq!(manifest["BackupMethod"], "xtrabackup", "{manifest:#}");
    assert_eq!(manifest["CompressionEngine"], "pargzip", "{manifest:#}");
}

/// A backup that fails for this reason; its message or the end of its log has the line that told.
fn refused(ground: &Ground, name: &str, options: &str, reason: &str) -> Value {
    ground.apply(&backup_yaml(name, options, ""));
    let object = ground.wait_finished(BACKUPS, name);
    let failure = object["status"]["failure"].clone();
    assert_eq!(object["status"]["phase"], "Failed", "{:#}", object["status"]);
    assert_eq!(failure["reason"], reason, "{failure:#}");
    assert!(failure["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{failure:#}");
    let events = ground.kubectl(&["events", "--for", &format!("{BACKUPS}/{name}")]);
    assert!(events.contains(reason), "an Event says so: {events}");
    failure
}

fn log_tail_has(failure: &Value, line: &str) -> bool {
    let tail = failure["logTail"].as_array().expect("the end of the log");
    tail.iter().any(|said| said.as_str().is_some_and(|said| said.contains(line)))
}

#[test]
fn a_backup_that_xtrabackup_cannot_make_says_why_and_leaves_the_tablet_alone() {
    let ground = ground(&[(BACKUPS, "denied"), (BACKUPS, "as-tar"), (BACKUPS, "nowhere")]);
    let before = (Unbroken::seen(&ground), ground.lib("vtctldclient GetBackups maria/0"));

    let denied = refused(&ground, "denied", "{user: nobody}", "XtrabackupDenied");
    let line = "Access denied for user 'nobody'@'localhost'";
    assert!(denied["message"].as_str().is_some_and(|message| message.contains(line)), "{denied:#}");
    assert!(log_tail_has(&denied, line), "{denied:#}");
    assert!(denied["remedy"].as_str().is_some_and(|remedy| remedy.contains("docs/xtrabackup.md")), "{denied:#}");

    let tar = refused(&ground, "as-tar", "{user: xtrabackup, streamMode: tar}", "TarNotSupported");
    assert!(log_tail_has(&tar, "tar"), "{tar:#}");
    assert!(tar["remedy"].as_str().is_some_and(|remedy| remedy.contains("xbstream")), "{tar:#}");

    let nowhere = refused(&ground, "nowhere", "{user: xtrabackup, rootPath: /nowhere}", "XtrabackupNotFound");
    assert_eq!(nowhere["message"], "cannot find xtrabackup in /nowhere", "{nowhere:#}");

    ground.lib("maria_replicating 201");
    assert_eq!((Unbroken::seen(&ground), ground.lib("vtctldclient GetBackups maria/0")), before);

    // Finished pods go after `finishedPodTtl`, a minute; what they said stays.
    let object = ground.get(BACKUPS, "denied").expect("the backup");
    let uid = object["metadata"]["uid"].as_str().expect("a uid");
    ground.lib(&format!("await 150 'the pods of a run that has ended to go' engines_gone {uid}"));
    let object = ground.get(BACKUPS, "denied").expect("the backup");
    assert_eq!(object["status"]["failure"], denied, "{:#}", object["status"]);
}

#[test]
fn a_backup_by_xtrabackup_without_a_user_is_refused_by_the_api_server() {
    let ground = Ground::take();
    let complaint = ground.try_apply(&backup_yaml("no-user", "{stripes: 3}", "")).expect_err("refused");
    assert!(complaint.contains("engine xtrabackup needs xtrabackup.user"), "{complaint}");
}
