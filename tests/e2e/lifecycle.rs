//! A run from its place in the line to its end: cancelled, tried again, taken on by another operator.

use std::time::{Duration, Instant};

use crate::backup::{backup_yaml, condition, storage_yaml};
use crate::ground::Ground;
use serde_json::Value;

const BACKUPS: &str = "vitessbackups.backup.vitess.io";
const MINUTE: Duration = Duration::from_secs(60);
/// A twentieth of a core stretches the copying to seconds, so that what a scenario does surely falls into it.
const SLOW: &str = "  podTemplate: {resources: {limits: {cpu: 50m}}}\n";

fn copies(object: &Value) -> bool {
    object["status"]["progress"]["step"] == "CopyingFiles"
}

#[test]
fn a_backup_that_is_cancelled_half_way_puts_its_tablet_back_and_the_next_in_line_goes() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("main", "/"));
    for name in ["cancelled", "next-in-line"] {
        ground.delete(BACKUPS, name);
    }
    let before = ground.lib("vtctldclient GetBackups commerce/0");
    ground.apply(&format!("{}{SLOW}", backup_yaml("cancelled", "main", 102, "Retain")));
    let running = ground.wait(BACKUPS, "cancelled", MINUTE * 2, "copying files", copies);

    // Another tablet of the same shard: one backup of a shard at a time.
    ground.apply(&backup_yaml("next-in-line", "main", 101, "Retain"));
    let waiting = ground
        .wait(BACKUPS, "next-in-line", MINUTE, "in the line", |object| object["status"]["queue"]["position"] == 1);
    assert_eq!(waiting["status"]["phase"], "Pending", "{:#}", waiting["status"]);
    assert_eq!(condition(&waiting, "EngineRunning")["reason"], "Busy", "{:#}", waiting["status"]);
    let shown = ground.kubectl(&["get", BACKUPS, "next-in-line"]);
    assert!(shown.contains("Queued (1)"), "{shown}");

    // The engine works where `restricted` is enforced, and has no token for the API server.
    let uid = running["metadata"]["uid"].as_str().expect("a uid");
    let engine = format!("backup.vitess.io/run-uid={uid}");
    let volumes = ground.kubectl(&["get", "pod", "-l", &engine, "-o", "jsonpath={.items[0].spec.volumes[*].name}"]);
    assert!(volumes.contains("vitess-backup-binary") && !volumes.contains("kube-api-access"), "{volumes}");
    for namespace in [ground.namespace.as_str(), "vitess-backup-operator"] {
        let level = ground.kubectl(&["get", "namespace", namespace, "-o", "jsonpath={.metadata.labels}"]);
        assert!(level.contains(r#""pod-security.kubernetes.io/enforce":"restricted""#), "{namespace}: {level}");
    }

    let cancel = |value: &str| {
        let patch = format!(r#"{{"spec":{{"cancel":{value}}}}}"#);
        ground.try_kubectl(&["patch", BACKUPS, "cancelled", "--type", "merge", "-p", &patch])
    };
    cancel("true").expect("cancel may be set while the run is under way");
    let cancelled = ground.wait_finished(BACKUPS, "cancelled");
    let status = &cancelled["status"];
    assert_eq!(
        (&status["phase"], &status["failure"]["reason"]),
        (&"Cancelled".into(), &"Cancelled".into()),
        "{status:#}"
    );
    assert_eq!(condition(&cancelled, "TabletRecovered")["status"], "True", "{status:#}");
    assert!(ground.replicates(102), "mysqld runs and replicates again");
    assert_eq!(ground.sql(102, "SELECT @@global.super_read_only"), "1");
    let refused = cancel("false").expect_err("cancel is for good");
    assert!(refused.contains("cancel cannot be taken back"), "{refused}");

    let next = ground.wait_succeeded(BACKUPS, "next-in-line");
    assert!(next["status"].get("queue").is_none(), "{:#}", next["status"]);
    let after = ground.lib("vtctldclient GetBackups commerce/0");
    let new: Vec<&str> = after.lines().filter(|line| !before.contains(*line)).collect();
    assert_eq!(new, [next["status"]["backupName"].as_str().expect("a name")], "no half backup is left");
    ground.assert_same_rows_as_primary(102);
}

#[test]
fn a_backup_that_fails_is_tried_again_where_everybody_can_see_it() {
    let ground = Ground::take();
    // What an earlier run stored there would be a way in.
    let root = format!("/no-entry-{}", std::process::id());
    ground.lib(&format!("tablet_exec 101 'mkdir -p /backups{root} && chmod 500 /backups{root}' vttablet"));
    ground.apply(&storage_yaml("no-entry", &root));
    ground.delete(BACKUPS, "tried-again");
    ground.apply(&format!("{}  retries: 2\n", backup_yaml("tried-again", "no-entry", 101, "Retain")));
    let failed_once = |object: &Value| object["status"]["attempts"][0]["failure"]["reason"] == "StorageDenied";
    let retrying = ground.wait(BACKUPS, "tried-again", MINUTE * 2, "tried again", failed_once);
    assert_eq!(retrying["status"]["phase"], "Running", "{:#}", retrying["status"]);
    assert!(retrying["status"].get("failure").is_none(), "it has not failed yet: {:#}", retrying["status"]);
    assert!(ground.replicates(101), "between two tries the tablet serves");

    ground.lib(&format!("tablet_exec 101 'chmod 700 /backups{root}' vttablet"));
    let done = ground.wait_succeeded(BACKUPS, "tried-again");
    let attempts = done["status"]["attempts"].as_array().expect("the failed tries stay to be read").len();
    assert_eq!(done["status"]["launches"], attempts + 1, "{:#}", done["status"]);
    let events = ground.kubectl(&["events", "--for", &format!("{BACKUPS}/tried-again")]);
    assert!(events.contains("Retrying"), "{events}");
    ground.delete(BACKUPS, "tried-again");
    ground.delete("vitessbackupstorages.backup.vitess.io", "no-entry");
}

/// For a thing that is missing, until it is cancelled or its time is over.
#[test]
fn a_run_that_only_waits_ends_when_it_is_cancelled_and_when_it_has_waited_too_long() {
    const NOBODY: &str = "waiting-for-nobody";
    let ground = Ground::take();
    ground.apply(&storage_yaml("main", "/"));
    for (more, ends_as) in [("", "Cancelled"), ("  waitingDeadlines: {accepted: 5s}\n", "DeadlineExceeded")] {
        ground.delete(BACKUPS, NOBODY);
        ground.apply(&format!("{}{more}", backup_yaml(NOBODY, "main", 999, "Retain")));
        if more.is_empty() {
            let missing = |object: &Value| condition(object, "Accepted")["reason"] == "TabletNotFound";
            ground.wait(BACKUPS, NOBODY, MINUTE, "waiting", missing);
            ground.kubectl(&["patch", BACKUPS, NOBODY, "--type", "merge", "-p", r#"{"spec":{"cancel":true}}"#]);
        }
        let ended = ground.wait_finished(BACKUPS, NOBODY);
        assert_eq!(ended["status"]["failure"]["reason"], ends_as, "{:#}", ended["status"]);
        assert_eq!(condition(&ended, "Complete")["reason"], ends_as, "{:#}", ended["status"]);
    }
    ground.delete(BACKUPS, NOBODY);
}

#[test]
fn an_operator_that_hangs_is_replaced_within_twenty_seconds_and_its_run_is_taken_on() {
    let ground = Ground::take_alone();
    ground.apply(&storage_yaml("main", "/"));
    ground.delete(BACKUPS, "taken-on");
    ground.lib("both_operators_ready");
    ground.apply(&format!("{}{SLOW}", backup_yaml("taken-on", "main", 102, "Retain")));
    let running = ground.wait(BACKUPS, "taken-on", MINUTE * 2, "copying files", copies);

    let leader = ground.lib("leading_operator");
    let begun = Instant::now();
    let frozen = ground.lib_and_afterwards(&format!("freeze_operator {leader}"), &[&format!("thaw_operator {leader}")]);
    let successor = loop {
        let holder = ground.lib("leading_operator");
        if !holder.is_empty() && holder != leader {
            break holder;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{holder} still leads after {:?}", begun.elapsed());
        std::thread::sleep(Duration::from_millis(200));
    };
    assert!(begun.elapsed() < Duration::from_secs(20), "{successor} leads after {:?}", begun.elapsed());

    let done = ground.wait_succeeded(BACKUPS, "taken-on");
    assert_eq!(done["status"]["startTime"], running["status"]["startTime"], "it was not begun anew");
    assert_eq!(done["status"]["backupName"], running["status"]["backupName"]);
    assert_eq!(done["status"]["launches"], 1, "one engine: {:#}", done["status"]);
    let uid = running["metadata"]["uid"].as_str().expect("a uid");
    let jobs = ground.kubectl(&["get", "jobs", "-l", &format!("backup.vitess.io/run-uid={uid}"), "-o", "name"]);
    assert!(jobs.lines().count() <= 1, "{jobs}");
    drop(frozen);
    // The one that was frozen sees that another leads, and stands by.
    ground.lib("both_operators_ready");
    assert_eq!(ground.lib("leading_operator"), successor);
    ground.assert_same_rows_as_primary(102);
}
