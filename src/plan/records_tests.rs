use serde_json::{Value, json};

use super::*;
use crate::backup::report::ListedBackup;

const SHARD: &str = "commerce/0";
const NAME: &str = "2026-11-22.100000.zone1-0000000101";
const BEGUN: &str = "2026-11-22T11:00:00Z";

fn begun() -> Timestamp {
    BEGUN.parse().unwrap()
}

fn found(bytes: u64) -> Found {
    let backup: ListedBackup = serde_json::from_value(json!({
        "name": NAME, "complete": true, "engine": "builtin", "tabletAlias": "zone1-0000000101",
        "backupTime": "2026-11-22T10:00:00Z", "finishedTime": "2026-11-22T10:01:00.5Z", "position": "MySQL56/x:1-9",
        "mysqlVersion": "Ver 8.4.5", "sizeBytes": bytes, "objects": 3, "manifest": {"BackupMethod": "builtin"},
    }))
    .unwrap();
    Found { shard: SHARD.into(), has_manifest: true, files: Some(2), backup }
}

fn incomplete(bytes: u64) -> Found {
    let found = found(bytes);
    let problem = Some("it has no MANIFEST: it is incomplete or still being made".to_owned());
    let backup = ListedBackup {
        complete: false,
        problem,
        engine: None,
        finished_time: None,
        position: None,
        mysql_version: None,
        manifest: None,
        ..found.backup
    };
    Found { has_manifest: false, files: None, backup, ..found }
}

fn storage() -> crate::api::VitessBackupStorage {
    serde_json::from_value(json!({
        "apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessBackupStorage",
        "metadata": {"name": "main", "namespace": "demo", "uid": "storage-uid"},
        "spec": {"file": {"persistentVolumeClaim": {"claimName": "vitess-backups"}}},
    }))
    .unwrap()
}

/// A record as the operator made it of what was found.
fn record_of(found: &Found) -> VitessBackup {
    let mut made = record::record(&storage(), &found.shard.parse().unwrap(), &found.backup.name);
    made.metadata.uid = Some("record-uid".into());
    made.status = Some(status_of(None, &made.metadata, "main", found, begun()));
    made
}

#[allow(clippy::needless_pass_by_value)] // json!(…) at the call is what a test wants to read
fn run(status: Value) -> VitessBackup {
    serde_json::from_value(json!({
        "apiVersion": "backup.vitess.io/v1alpha1", "kind": "VitessBackup",
        "metadata": {"name": "nightly", "namespace": "demo", "uid": "run-uid"},
        "spec": {"storage": {"name": "main"}, "shard": SHARD}, "status": status,
    }))
    .unwrap()
}

fn succeeded(bytes: u64, finished: &str) -> VitessBackup {
    run(json!({
        "phase": "Succeeded", "shard": SHARD, "backupName": NAME, "sizeBytes": bytes, "finishedTime": finished,
        "ranAs": {"runAsUser": 4242},
        "conditions": [{
            "type": "Complete", "status": "True", "reason": "Succeeded", "message": "", "lastTransitionTime": finished,
        }],
    }))
}

fn persons_record() -> VitessBackup {
    let mut object = run(json!({}));
    object.spec.backup_name = Some(NAME.into());
    object.status = None;
    object
}

fn cluster(objects: &[&VitessBackup]) -> Cluster {
    let mut cluster = Cluster::default();
    for object in objects {
        cluster.note("main", object);
    }
    cluster
}

fn digest(found: &[Found]) -> Digest {
    Digest::of(found.iter().map(Found::trace))
}

fn changes(found: &[Found], objects: &[&VitessBackup]) -> Vec<Change> {
    settle(bucket_of(SHARD, NAME), found, &cluster(objects), begun())
}

#[test]
fn a_backup_that_nobody_stands_for_gets_a_record_with_all_that_is_known() {
    assert_eq!(changes(&[found(7)], &[]), [Change::Make(Box::new(found(7)))]);
    let meta = ObjectMeta { generation: Some(1), ..ObjectMeta::default() };
    let status = status_of(None, &meta, "main", &found(411_041_792), begun());
    let condition = |kind: &str| {
        json!({
            "type": kind, "status": "True", "reason": "FoundInStorage", "observedGeneration": 1,
            "message": "found in VitessBackupStorage main", "lastTransitionTime": BEGUN,
        })
    };
    assert_eq!(
        serde_json::to_value(status).unwrap(),
        json!({
            "observedGeneration": 1, "phase": "Succeeded", "conditions": [condition("Complete"), condition("Ready")],
            "backupName": NAME, "storageName": "main", "shard": SHARD, "tabletAlias": "zone1-0000000101",
            "engine": "builtin", "position": "MySQL56/x:1-9", "startTime": "2026-11-22T10:00:00Z",
            "finishedTime": "2026-11-22T10:01:00Z", "sizeBytes": 411_041_792, "size": "392.0Mi", "files": 2,
            "manifest": {"BackupMethod": "builtin"},
        })
    );
}

#[test]
fn an_incomplete_backup_says_since_when_and_what_to_do_and_becomes_complete() {
    let record = record_of(&incomplete(7));
    let run = record.status.clone().unwrap().run;
    assert_eq!(run.phase, Some(Phase::Incomplete));
    assert_eq!(run.start_time.unwrap().0.to_string(), "2026-11-22T10:00:00Z");
    let condition = &run.conditions[0];
    assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("False", "Incomplete"));
    assert!(condition.message.contains("begun 2026-11-22T10:00:00Z"), "{}", condition.message);
    assert!(condition.message.contains("set deletionPolicy: Delete"), "{}", condition.message);
    assert_eq!(changes(&[incomplete(7)], &[&record]), []);
    let update = Change::Update { object: record.metadata.name.clone().unwrap(), found: Box::new(found(9)) };
    assert_eq!(changes(&[found(9)], &[&record]), [update]);
    let after = status_of(record.status.as_ref(), &record.metadata, "main", &found(9), begun());
    assert_eq!((after.run.phase, after.run.conditions[0].status.as_str()), (Some(Phase::Succeeded), "True"));
}

#[test]
fn a_manifest_that_cannot_be_read_is_told_apart_from_none_and_read_once() {
    let mut unreadable = found(7);
    unreadable.backup.complete = false;
    unreadable.backup.problem = Some("its MANIFEST cannot be read".into());
    let record = record_of(&unreadable);
    assert_eq!(record.status.as_ref().unwrap().run.conditions[0].reason, "ManifestUnreadable");
    assert_eq!(cluster(&[&record]).digest(), digest(&[unreadable]), "it is known, and not told again");
}

#[test]
fn nothing_is_told_of_what_stands_in_the_cluster_as_it_is_in_storage() {
    let finished = "2026-11-22T10:01:00Z";
    for object in [record_of(&found(7)), record_of(&incomplete(7)), succeeded(7, finished)] {
        let there =
            if object.status.as_ref().unwrap().run.phase == Some(Phase::Incomplete) { incomplete(7) } else { found(7) };
        assert_eq!(cluster(&[&object]).digest().changed(&digest(&[there])), Vec::<u8>::new(), "{object:?}");
    }
}

#[test]
fn a_run_stands_for_its_backup_whatever_became_of_it() {
    let running = run(json!({"phase": "Running", "shard": SHARD, "backupName": NAME}));
    assert_eq!(changes(&[incomplete(7)], &[&running]), []);
    let failed = run(json!({"phase": "Failed", "shard": SHARD, "backupName": NAME}));
    assert_eq!(changes(&[incomplete(7)], &[&failed]), []);
    assert_eq!(changes(&[found(7)], &[&succeeded(7, "2026-11-22T10:01:00Z")]), []);
    let mut elsewhere = succeeded(7, "2026-11-22T10:01:00Z");
    elsewhere.spec.storage.name = "other".into();
    assert_eq!(changes(&[found(7)], &[&elsewhere]), [Change::Make(Box::new(found(7)))]);
}

#[test]
fn a_record_beside_another_object_of_the_same_backup_goes() {
    let (record, run) = (record_of(&found(7)), succeeded(7, "2026-11-22T10:01:00Z"));
    let remove = Change::Remove { object: record.metadata.name.clone().unwrap(), uid: "record-uid".into() };
    assert_eq!(changes(&[found(7)], &[&record, &run]), [remove]);
    let both = cluster(&[&record, &run]).digest();
    assert_eq!(both.changed(&digest(&[found(7)])), [bucket_of(SHARD, NAME)], "so that its bucket is told");
}

#[test]
fn a_record_whose_deletion_removes_data_is_never_deleted_by_an_inventory() {
    let mut record = record_of(&found(7));
    record.spec.deletion_policy = crate::api::DeletionPolicy::Delete;
    let mark = Change::Mark { object: record.metadata.name.clone().unwrap(), in_storage: false };
    assert_eq!(changes(&[], &[&record]), [mark], "its backup was not found");
    let run = succeeded(7, "2026-11-22T10:01:00Z");
    assert_eq!(changes(&[found(7)], &[&record, &run]), [], "the object of a run stands for the same backup");
    assert_eq!(
        cluster(&[&record, &run]).digest(),
        cluster(&[&run]).digest(),
        "and as nothing is to be done, nothing is told"
    );
}

#[test]
fn a_run_that_ended_after_the_last_inventory_is_told_so_that_the_storage_counts_it() {
    let run = succeeded(7, "2026-11-22T10:01:00Z");
    let cluster = cluster(&[&run]);
    let (before, after) = ("2026-11-22T10:00:00Z".parse().unwrap(), "2026-11-22T10:02:00Z".parse().unwrap());
    assert_eq!(cluster.digest_after(after), cluster.digest());
    assert_eq!(cluster.digest_after(before).changed(&cluster.digest()).len(), 1);
}

#[test]
fn what_is_gone_from_storage_goes_from_the_cluster_but_for_what_people_made() {
    let record = record_of(&found(7));
    let remove = Change::Remove { object: record.metadata.name.clone().unwrap(), uid: "record-uid".into() };
    assert_eq!(changes(&[], &[&record]), std::slice::from_ref(&remove));
    assert!(remove.takes_away());
    let mut run = succeeded(7, "2026-11-22T10:01:00Z");
    let mark = Change::Mark { object: "nightly".into(), in_storage: false };
    assert_eq!(changes(&[], &[&run]), std::slice::from_ref(&mark));
    assert!(mark.takes_away());
    run.status = Some(marked(&run, false, begun()));
    let condition = run.status.as_ref().unwrap().run.conditions[1].clone();
    assert_eq!((condition.type_.as_str(), condition.reason.as_str()), ("InStorage", "GoneFromStorage"));
    assert_eq!(changes(&[], &[&run]), [], "said once");
    assert_eq!(cluster(&[&run]).digest(), Digest::default());
    let back = Change::Mark { object: "nightly".into(), in_storage: true };
    assert_eq!(changes(&[found(7)], &[&run]), std::slice::from_ref(&back));
    assert!(!back.takes_away());
    run.status = Some(marked(&run, true, begun()));
    assert_eq!(changes(&[found(7)], &[&run]), []);
}

#[test]
fn a_backup_that_was_finished_after_the_listing_began_is_not_missed() {
    assert_eq!(changes(&[], &[&succeeded(7, "2026-11-22T11:00:01Z")]), []);
    assert_eq!(changes(&[], &[&run(json!({"phase": "Running", "shard": SHARD, "backupName": NAME}))]), []);
}

#[test]
fn a_record_that_a_person_wrote_is_filled_and_never_removed() {
    let mut object = persons_record();
    let bucket = bucket_of(SHARD, NAME);
    assert_eq!(cluster(&[&object]).digest().changed(&Digest::default()), [bucket], "it waits to be told");
    let update = Change::Update { object: "nightly".into(), found: Box::new(found(7)) };
    assert_eq!(changes(&[found(7)], &[&object]), [update]);
    object.status = Some(status_of(None, &object.metadata, "main", &found(7), begun()));
    assert_eq!(changes(&[found(7)], &[&object]), []);
    assert_eq!(changes(&[], &[&object]), [Change::Mark { object: "nightly".into(), in_storage: false }]);
    object.status = Some(marked(&object, false, begun()));
    let again = status_of(object.status.as_ref(), &object.metadata, "main", &found(7), begun());
    assert!(again.run.conditions.iter().all(|condition| condition.type_ != IN_STORAGE), "there again");
}

#[test]
fn what_others_wrote_on_a_record_stays() {
    let mut record = record_of(&incomplete(7));
    let status = record.status.as_mut().unwrap();
    let time = Time(begun());
    set_condition(&mut status.run.conditions, time, None, "Verified", "True", "Verified", String::new());
    let after = status_of(record.status.as_ref(), &record.metadata, "main", &found(9), begun());
    assert!(after.run.conditions.iter().any(|condition| condition.type_ == "Verified"));
}

#[test]
fn the_newest_run_says_as_whom_to_read() {
    let older = succeeded(7, "2026-11-22T10:01:00Z");
    let mut newer = succeeded(7, "2026-11-22T10:02:00Z");
    newer.status.as_mut().unwrap().run.ran_as.as_mut().unwrap().run_as_user = Some(1);
    assert_eq!(cluster(&[&newer, &older]).ran_as().unwrap().run_as_user, Some(1));
    assert_eq!(cluster(&[&persons_record()]).ran_as(), None);
}
