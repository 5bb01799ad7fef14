//! What is in storage shows in the cluster, whoever made it, and goes when it is gone.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::backup::condition;
use crate::ground::Ground;
use crate::matrix;
use serde_json::Value;

const BACKUPS: &str = "vitessbackups.backup.vitess.io";
const STORAGES: &str = "vitessbackupstorages.backup.vitess.io";
const MINUTE: Duration = Duration::from_secs(60);

/// A storage on the shard's volume for backups that is listed all the time.
fn listed(name: &str, root: &str) -> String {
    format!(
        "apiVersion: backup.vitess.io/v1alpha1\nkind: VitessBackupStorage\nmetadata: {{name: {name}}}\nspec:\n  \
         file: {{persistentVolumeClaim: {{claimName: vitess-backups}}, root: {root}}}\n  inventoryInterval: 10s\n"
    )
}

/// A root that no earlier run of the tests has used.
fn root(name: &str) -> String {
    format!("/{name}-{}", std::process::id())
}

/// The records of a storage.
fn records(ground: &Ground, storage: &str) -> Vec<Value> {
    let selector = format!("backup.vitess.io/origin=inventory,backup.vitess.io/storage={storage}");
    let listed: Value =
        serde_json::from_str(&ground.kubectl(&["get", BACKUPS, "-l", &selector, "-o", "json"])).unwrap();
    listed["items"].as_array().cloned().unwrap_or_default()
}

fn record_of(ground: &Ground, storage: &str, backup: &str) -> Option<Value> {
    records(ground, storage).into_iter().find(|record| record["spec"]["backupName"] == backup)
}

/// The names of a storage's records, each with its version.
fn versions(ground: &Ground, storage: &str) -> BTreeSet<String> {
    let selector = format!("backup.vitess.io/origin=inventory,backup.vitess.io/storage={storage}");
    let each = "jsonpath={range .items[*]}{.metadata.name}={.metadata.resourceVersion} {end}";
    let listed = ground.kubectl(&["get", BACKUPS, "-l", &selector, "-o", each]);
    listed.split_whitespace().map(str::to_owned).collect()
}

/// Polls until there is something.
fn wait_for<T>(what: &str, limit: Duration, look: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < limit, "still no {what} after {limit:?}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Waits until the storage was listed by an inventory that began after now.
fn wait_listed(ground: &Ground, storage: &str) -> Value {
    let number = |object: &Value| object["status"]["inventory"]["number"].as_i64().unwrap_or_default();
    let before = ground.get(STORAGES, storage).map_or(0, |object| number(&object));
    ground.wait(STORAGES, storage, 2 * MINUTE, "listed anew", |object| {
        let under_way = object["status"]["inventory"].get("job").is_some();
        number(object) >= before + 2 || (number(object) == before + 1 && !under_way)
    })
}

fn is_reachable(value: &'static str, reason: &'static str) -> impl Fn(&Value) -> bool {
    move |object| {
        let reachable = condition(object, "Reachable");
        reachable["status"] == value && reachable["reason"] == reason
    }
}

#[test]
fn vitesss_own_backup_appears_as_a_record_is_not_rewritten_and_vanishes_when_vitess_removed_it() {
    let ground = Ground::take();
    ground.delete(STORAGES, "listed");
    ground.lib("vtctldclient Backup zone1-0000000102");
    ground.lib("wait_caught_up 102");
    let listed_by_vitess = ground.lib("vtctldclient GetBackups commerce/0");
    let name = listed_by_vitess.split_whitespace().rfind(|word| word.ends_with(".zone1-0000000102"));
    let name = name.unwrap_or_else(|| panic!("no backup of tablet 102: {listed_by_vitess}")).to_owned();
    let name = name.rsplit('/').next().expect("a name").trim_matches(['"', ',']).to_owned();

    ground.apply(&listed("listed", "/"));
    let record = wait_for("record of Vitess's backup", 2 * MINUTE, || {
        record_of(&ground, "listed", &name).filter(|record| record["status"]["phase"] == "Succeeded")
    });
    let status = &record["status"];
    assert_eq!(status["shard"], "commerce/0");
    assert_eq!(status["engine"], "builtin", "{status:#}");
    assert_eq!(status["tabletAlias"], "zone1-0000000102");
    assert_eq!(status["manifest"]["Position"], status["position"]);
    assert!(status["sizeBytes"].as_u64().expect("a size") > 1_000_000, "{status:#}");
    assert_eq!(record["spec"]["deletionPolicy"], "Retain");
    let object = record["metadata"]["name"].as_str().expect("a name");
    let shown = ground.kubectl(&["get", BACKUPS, object, "-o", "wide"]);
    for text in ["commerce/0", "zone1-0000000102", "builtin", "Succeeded", "MySQL56/", &name] {
        assert!(shown.contains(text), "{text} is shown: {shown}");
    }

    // The storage tells of its shards.
    let storage = ground.wait(STORAGES, "listed", MINUTE, "listed", is_reachable("True", "Listed"));
    let shards = storage["status"]["shards"].as_array().expect("shards");
    let shard = shards.iter().find(|shard| shard["shard"] == "commerce/0").expect("the shard");
    assert!(shard["backups"].as_i64().expect("a number") >= 1, "{shard:#}");
    assert!(shard["latestBackupName"].as_str().expect("a name") >= name.as_str(), "{shard:#}");
    assert!(shard["latestPosition"].as_str().is_some_and(|position| position.starts_with("MySQL56/")), "{shard:#}");
    assert!(shard["firstRestorableTime"].as_str() <= shard["latestBackupTime"].as_str(), "{shard:#}");
    let shown = ground.kubectl(&["get", STORAGES, "listed"]);
    for column in ["ACCEPTED", "REACHABLE", "BACKUPS", "INCOMPLETE", "SIZE", "INVENTORY"] {
        assert!(shown.contains(column), "{column} is a column: {shown}");
    }

    // A second inventory writes none of them.
    let before = versions(&ground, "listed");
    let first = wait_listed(&ground, "listed")["status"]["lastInventoryTime"].clone();
    let second = wait_listed(&ground, "listed")["status"]["lastInventoryTime"].clone();
    assert_ne!(first, second);
    assert_eq!(versions(&ground, "listed"), before, "no object is rewritten when nothing has changed");

    ground.lib(&format!("vtctldclient RemoveBackup commerce/0 {name}"));
    wait_for("end of the record", 2 * MINUTE, || record_of(&ground, "listed", &name).is_none().then_some(()));

    // Records go with their storage, and the data stays.
    let others = records(&ground, "listed");
    ground.delete(STORAGES, "listed");
    wait_for("end of the records", MINUTE, || records(&ground, "listed").is_empty().then_some(()));
    let left = ground.lib("tablet_exec 101 'ls /backups/commerce/0' vttablet");
    for record in others.iter().filter(|record| record["status"]["shard"] == "commerce/0") {
        let name = record["spec"]["backupName"].as_str().expect("a name");
        assert!(left.contains(name), "{name} stays in storage: {left}");
    }
}

#[test]
fn what_is_incomplete_or_stray_is_shown_and_what_a_record_says_is_removed_when_it_is_told_to() {
    let ground = Ground::take();
    let root = root("odds");
    let name = "2021-04-29.133050.zone1-0000000109";
    let shard = format!("/backups{root}/commerce/-80");
    ground.lib(&format!(
        "tablet_exec 101 'mkdir -p {shard}/{name}; echo half > {shard}/{name}/0; echo x > {shard}/notes' vttablet"
    ));
    ground.delete(STORAGES, "odds");
    ground.apply(&listed("odds", &root));
    let storage = ground.wait(STORAGES, "odds", 2 * MINUTE, "listed", is_reachable("True", "Listed"));
    assert_eq!((&storage["status"]["backups"], &storage["status"]["incomplete"]), (&Value::from(0), &Value::from(1)));
    let strays = condition(&storage, "StraysFound");
    assert_eq!(strays["status"], "True");
    assert!(strays["message"].as_str().is_some_and(|text| text.contains("commerce/-80/notes")), "{strays:#}");

    let record = record_of(&ground, "odds", name).expect("a record");
    assert_eq!(record["status"]["phase"], "Incomplete");
    assert_eq!(record["status"]["startTime"], "2021-04-29T13:30:50Z", "its age");
    assert_eq!(condition(&record, "Complete")["reason"], "Incomplete");
    let object = record["metadata"]["name"].as_str().expect("a name").to_owned();
    assert_eq!(record["metadata"]["labels"]["backup.vitess.io/shard"], "x-80");

    ground.kubectl(&["patch", BACKUPS, &object, "--type=merge", "-p", r#"{"spec":{"deletionPolicy":"Delete"}}"#]);
    let refused =
        ground.try_kubectl(&["patch", BACKUPS, &object, "--type=merge", "-p", r#"{"spec":{"backupName":"x"}}"#]);
    assert!(refused.expect_err("which backup it is of cannot change").contains("cannot be changed"));
    ground.wait(BACKUPS, &object, MINUTE, "guarded", |object| {
        object["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|all| all.contains(&"backup.vitess.io/remove-backup".into()))
    });
    ground.delete(BACKUPS, &object);
    let left = ground.lib(&format!("tablet_exec 101 'ls {shard}' vttablet"));
    assert_eq!(left.trim(), "notes", "the backup is removed and the stray left alone");
    ground.wait(STORAGES, "odds", MINUTE, "listed after the removal", |object| object["status"]["incomplete"] == 0);
    ground.delete(STORAGES, "odds");
}

#[test]
fn a_storage_that_refuses_is_not_reachable_with_the_cause_and_heals_and_nothing_is_removed_meanwhile() {
    let ground = Ground::take();
    let root = root("denied");
    let shard = format!("/backups{root}/commerce/0");
    let name = "2021-04-29.133050.zone1-0000000109";
    ground.lib(&format!("tablet_exec 101 'mkdir -p {shard}/{name}; echo half > {shard}/{name}/0' vttablet"));
    ground.delete(STORAGES, "denied");
    ground.apply(&listed("denied", &root));
    ground.wait(STORAGES, "denied", 2 * MINUTE, "listed", is_reachable("True", "Listed"));
    assert_eq!(records(&ground, "denied").len(), 1);

    ground.lib(&format!("tablet_exec 101 'chmod 000 {shard}' vttablet"));
    let denied = ground.wait(STORAGES, "denied", MINUTE, "denied", is_reachable("False", "StorageDenied"));
    let message = condition(&denied, "Reachable")["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("commerce/0") && message.contains("Give the engine access"), "{message}");
    assert_eq!(condition(&denied, "Accepted")["status"], "True");
    assert_eq!(records(&ground, "denied").len(), 1, "an inventory that failed removes nothing");
    let events = ground.kubectl(&["events", "--for", &format!("{STORAGES}/denied")]);
    assert!(events.contains("Unreachable"), "{events}");

    ground.lib(&format!("tablet_exec 101 'chmod 770 {shard}' vttablet"));
    ground.wait(STORAGES, "denied", 2 * MINUTE, "reachable again", is_reachable("True", "Listed"));
    assert_eq!(records(&ground, "denied").len(), 1);
    ground.delete(STORAGES, "denied");
}

#[test]
fn a_backup_of_ours_is_listed_soon_after_its_run_and_gets_no_second_object() {
    let ground = Ground::take();
    let root = root("own");
    ground.delete(STORAGES, "own");
    ground.apply(&listed("own", &root).replace("10s", "1h"));
    ground.wait(STORAGES, "own", 2 * MINUTE, "listed", is_reachable("True", "Listed"));
    let backup = crate::backup::take(&ground, "own-backup", "own", 101);
    let name = backup["status"]["backupName"].as_str().expect("a name");
    let storage =
        ground.wait(STORAGES, "own", MINUTE, "listed after the run", |object| object["status"]["backups"] == 1);
    assert_eq!(storage["status"]["shards"][0]["latestBackupName"], *name);
    assert_eq!(storage["status"]["bytes"], backup["status"]["sizeBytes"], "the run and the inventory count the same");
    assert_eq!(storage["status"]["incomplete"], 0);
    assert!(records(&ground, "own").is_empty(), "its own object stands for it");
    ground.delete(STORAGES, "own");
    ground.delete(BACKUPS, "own-backup");
}

/// 10,000 with `VBO_MATRIX=whole` (`make test-all`): that many objects take minutes to make on a small machine. Else 300.
#[test]
fn ten_thousand_backups_are_mirrored_within_a_minute_and_50_mib_and_not_rewritten() {
    let number = if matrix::is_whole() { 10_000 } else { 300 };
    // What other scenarios make the operator hold would be counted too.
    let ground = if matrix::is_whole() { Ground::take_alone() } else { Ground::take() };
    let root = root("many");
    let shard = format!("/backups{root}/commerce/0");
    let make = format!(
        "mkdir -p {shard} && cd {shard} && names=() && for ((n = 0; n < {number}; n++)); do \
         printf -v name \"2026-01-%02d.%02d%02d%02d.zone1-0000000101\" $((n % 28 + 1)) $((n / 3600)) $((n / 60 % 60)) $((n % 60)); \
         names+=(\"$name\"); done && mkdir \"${{names[@]}}\" && for name in \"${{names[@]}}\"; do echo data > $name/0; \
         echo \"{{\\\"BackupName\\\":\\\"$name\\\",\\\"BackupMethod\\\":\\\"builtin\\\",\\\"Position\\\":\\\"MySQL56/3e11fa47-71ca-11e1-9e33-c80aa9429562:1-9\\\"}}\" > $name/MANIFEST; \
         done"
    );
    ground.lib(&format!("tablet_exec 101 '{make}' vttablet"));
    let memory = |field: &str| -> u64 { ground.lib(&format!("operator_memory {field}")).trim().parse().expect("KiB") };
    ground.delete(STORAGES, "many");
    let leader = ground.lib("leading_operator");
    ground.lib("forget_operator_peak");
    let before = memory("VmRSS");
    let begun = Instant::now();
    ground.apply(&listed("many", &root));
    ground.wait(STORAGES, "many", 20 * MINUTE, "mirrored", |object| {
        let inventory = &object["status"]["inventory"];
        object["status"]["backups"] == number && inventory.get("more").is_none() && inventory.get("job").is_none()
    });
    let first = begun.elapsed();
    let written = versions(&ground, "many");
    assert_eq!(written.len(), number);
    let begun = Instant::now();
    let last = wait_listed(&ground, "many");
    let second = begun.elapsed();
    let rewritten = versions(&ground, "many").difference(&written).count();
    let [grown, at_most] = ["VmRSS", "VmHWM"].map(|field| memory(field).saturating_sub(before) >> 10);
    assert_eq!(ground.lib("leading_operator"), leader, "it is one process that was measured");
    println!(
        "{number} backups: {first:?} at first, {second:?} later (10 s of it the interval), the operator grew by {grown} MiB, \
         {at_most} MiB at most"
    );
    assert_eq!(last["status"]["backups"], number);
    assert!(second < MINUTE, "{second:?}");
    assert_eq!(rewritten, 0, "objects were rewritten although nothing had changed");
    assert!(at_most < 50, "the operator grew by {at_most} MiB at most, {grown} MiB in the end");
    ground.delete(STORAGES, "many");
    ground.lib(&format!("tablet_exec 101 'rm -rf /backups{root}' vttablet"));
}
