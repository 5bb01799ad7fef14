use serde_json::{Value, json};

use super::*;
use crate::backup::failure::Failure;
use crate::backup::report::Operation;
use crate::plan::world::{World, failed, object, outcome, succeeded};
use crate::progress::Step;

const NAME: &str = "2026-11-22.100000.zone1-0000000101";

fn spec(more: &Value) -> Value {
    let mut spec = json!({"storage": {"name": "backups"}, "tablet": "zone1-0000000101"});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

/// A backup that has just succeeded and given back what it held.
fn taken(more: &Value) -> World<VitessBackup> {
    let mut world: World<VitessBackup> = World::with(object("VitessBackup", spec(more)));
    world.settle();
    world.engine_ends(succeeded(Operation::Backup));
    assert_eq!(world.object.status.as_ref().unwrap().run.phase, Some(Phase::Succeeded));
    world
}

fn verified(level: &str) -> World<VitessBackup> {
    let mut world = taken(&json!({"verify": level}));
    world.settle();
    world
}

fn whole(verification: Verification) -> Outcome {
    Outcome { verification: Some(verification), ..succeeded(Operation::Verify) }
}

fn status(world: &World<VitessBackup>) -> VerificationStatus {
    world.object.status.clone().unwrap().verification.unwrap()
}

fn annotate(world: &mut World<VitessBackup>, key: &str, value: &str) {
    world.object.metadata.annotations.get_or_insert_default().insert(key.to_owned(), value.to_owned());
}

fn ask_for_a_drill(world: &mut World<VitessBackup>) {
    annotate(world, names::ANNOTATION_VERIFY_AT, "now");
    annotate(world, names::ANNOTATION_VERIFY, "Restore");
    world.settle();
}

#[test]
fn a_backup_that_asks_for_nothing_is_not_verified() {
    let mut world = taken(&json!({}));
    world.settle();
    assert_eq!((world.made.len(), is_due(&world.object)), (1, false));
    assert_eq!(world.object.status.unwrap().verification, None);
    world.seen.jobs.clear();
}

#[test]
fn objects_are_read_by_a_pod_of_the_operators_image_when_the_run_has_given_back_what_it_held() {
    let mut world = verified("Objects");
    assert_eq!(world.job_name(), "nightly-11112222-verify-1");
    let pod = world.made.last().unwrap().spec.clone().unwrap().template.spec.unwrap();
    assert_eq!(pod.containers[0].image.as_deref(), Some("operator:1"));
    assert_eq!((pod.automount_service_account_token, pod.init_containers), (Some(false), None));
    // As the tablet ran, whose files they are.
    assert_eq!(pod.security_context.unwrap().run_as_user, Some(4242));
    assert_eq!(
        world.args(),
        [
            "verify",
            "--backup-storage-implementation=file",
            "--file-backup-storage-root=/backup-storage/demo",
            "--level=objects",
            "--report=json",
            "--termination-log=/dev/termination-log",
            "--deadline=6h",
            "commerce/0",
            NAME,
        ]
    );
    world.engine_runs(Step::Verifying);
    world.assert_condition(VERIFIED, "Unknown", "Running");
    world.engine_ends(whole(Verification::default()));
    world.assert_condition(VERIFIED, "True", "ObjectsRead");
    assert!(
        world.condition(VERIFIED).2.contains("all 120 objects (392.0Mi) were read"),
        "{:?}",
        world.condition(VERIFIED)
    );
    let status = status(&world);
    assert_eq!((status.level, status.files, status.tries, status.job), (Some(Verify::Objects), Some(120), 1, None));
    assert!(status.finished_time.is_some());
    assert!(world.seen.jobs["nightly-11112222-verify-1"].expires);
    assert!(world.told().contains(&"Verified"));
    assert_eq!(world.object.status.as_ref().unwrap().run.phase, Some(Phase::Succeeded));
    // And that was it.
    assert!(!is_due(&world.object));
    assert_eq!(world.settle(), Requeue::OnChange);
    assert_eq!(world.made.len(), 2);
}

#[test]
fn a_drill_runs_in_the_image_of_the_tablet_that_was_backed_up_even_when_it_is_gone() {
    let mut world = taken(&json!({}));
    world.seen.tablets.clear();
    ask_for_a_drill(&mut world);
    let pod = world.made.last().unwrap().spec.clone().unwrap().template.spec.unwrap();
    assert_eq!(pod.containers[0].image.as_deref(), Some("vitess:24"));
    assert!(world.args().contains(&"--level=restore".to_owned()));
    assert!(world.args().contains(&"--scratch-dir=/vitess-backup-scratch".to_owned()));
    world.engine_ends(whole(Verification { tables: Some(34), rows: Some(1234), assertions: Some(2) }));
    world.assert_condition(VERIFIED, "True", "Restored");
    let (.., message) = world.condition(VERIFIED);
    assert!(message.contains("34 tables are whole (about 1234 rows), 2 assertions hold"), "{message}");
    let status = status(&world);
    assert_eq!((status.tables, status.rows, status.assertions), (Some(34), Some(1234), Some(2)));
}

#[test]
fn a_damaged_backup_is_named_with_its_object_and_stays_succeeded() {
    let mut world = verified("Objects");
    let message = format!("vt_commerce/customer.ibd of backup {NAME} (object 7) hashes to 0, and its MANIFEST says 1");
    let failure = Failure { reason: Reason::HashMismatch, message, remedy: "Use another one.".into() };
    world.engine_ends(Outcome { failure: Some(failure), ..outcome(Operation::Verify, Verdict::Failed) });
    world.assert_condition(VERIFIED, "False", "HashMismatch");
    assert!(world.condition(VERIFIED).2.contains("(object 7)"));
    assert_eq!(status(&world).failure.unwrap().reason, "HashMismatch");
    assert_eq!(world.object.status.as_ref().unwrap().run.phase, Some(Phase::Succeeded));
    assert!(world.told().contains(&"VerificationFailed"));
    assert!(!is_due(&world.object));
}

#[test]
fn a_pod_that_goes_away_is_tried_again_three_times_in_all_and_then_nobody_knows() {
    let mut world = verified("Objects");
    for number in 1..=3 {
        assert_eq!(world.job_name(), format!("nightly-11112222-verify-{number}"));
        world.engine_dies();
        world.assert_condition(VERIFIED, "Unknown", "EngineLost");
        world.pass(Duration::from_secs(60));
        world.settle();
    }
    assert_eq!(world.made.len(), 4, "the backup's and three");
    let status = status(&world);
    assert_eq!((status.tries, status.job), (3, None));
    let failure = status.failure.unwrap();
    assert!(failure.message.contains("try 3 of 3") && failure.remedy.contains("verify-at"), "{failure:?}");
    assert!(world.told().contains(&"NotVerified"));
}

#[test]
fn a_job_that_nobody_saw_the_end_of_is_lost_too() {
    let mut world = verified("Objects");
    world.engine_runs(Step::Verifying);
    world.seen.jobs.clear();
    world.settle();
    world.assert_condition(VERIFIED, "Unknown", "EngineLost");
    world.pass(Duration::from_secs(20));
    world.settle();
    assert_eq!(world.job_name(), "nightly-11112222-verify-2");
}

#[test]
fn trouble_on_the_way_is_no_verdict_and_is_tried_again_where_that_may_help() {
    for (reason, again) in [
        (Reason::StorageUnreachable, true),
        (Reason::Cancelled, true),
        (Reason::StorageDenied, false),
        (Reason::NoSpace, false),
        (Reason::DeadlineExceeded, false),
    ] {
        let mut world = verified("Objects");
        world.engine_ends(failed(Operation::Verify, reason));
        world.assert_condition(VERIFIED, "Unknown", &format!("{reason:?}"));
        world.pass(Duration::from_secs(60));
        world.settle();
        assert_eq!(world.made.len(), if again { 3 } else { 2 }, "{reason:?}");
    }
}

#[test]
fn a_pod_that_does_not_start_is_given_up() {
    let mut world = verified("Objects");
    world.pass(Duration::from_secs(16 * 60));
    world.settle();
    world.assert_condition(VERIFIED, "Unknown", "EngineLost");
    assert!(world.condition(VERIFIED).2.contains("did not start within 15 minutes"));
    assert!(!world.seen.jobs.contains_key("nightly-11112222-verify-1"));
}

#[test]
fn a_new_value_of_the_annotation_asks_again_and_the_same_value_does_not() {
    let mut world = taken(&json!({}));
    world.settle();
    annotate(&mut world, names::ANNOTATION_VERIFY_AT, "monday");
    assert!(is_due(&world.object));
    world.settle();
    assert!(world.args().contains(&"--level=objects".to_owned()), "of verify: None");
    world.engine_ends(whole(Verification::default()));
    world.assert_condition(VERIFIED, "True", "ObjectsRead");
    assert_eq!(status(&world).request, "monday");
    assert!(!is_due(&world.object));

    annotate(&mut world, names::ANNOTATION_VERIFY_AT, "tuesday");
    annotate(&mut world, names::ANNOTATION_VERIFY, "Restore");
    world.settle();
    assert_eq!(world.job_name(), "nightly-11112222-verify-2");
    assert!(world.args().contains(&"--level=restore".to_owned()));
    world.engine_ends(failed(Operation::Verify, Reason::TableCorrupt));
    world.assert_condition(VERIFIED, "False", "TableCorrupt");

    world.object.metadata.annotations = None;
    assert!(!is_due(&world.object), "an answer is not asked for again when its annotation goes");
}

#[test]
fn what_a_drill_needs_is_waited_for() {
    let mut world = taken(&json!({}));
    world.object.status.as_mut().unwrap().tablet_image = None;
    let tablets = std::mem::take(&mut world.seen.tablets);
    ask_for_a_drill(&mut world);
    world.assert_condition(VERIFIED, "Unknown", "ImageNotFound");
    world.seen.tablets = tablets;
    let storage = world.seen.storage.take();
    world.settle();
    world.assert_condition(VERIFIED, "Unknown", "StorageNotFound");
    world.seen.storage = storage;
    world.settle();
    assert_eq!(world.job_name(), "nightly-11112222-verify-1");
}

#[test]
fn an_incremental_backup_is_not_tried_out() {
    let mut world = taken(&json!({}));
    world.object.status.as_mut().unwrap().run.manifest = json!({"Incremental": true}).as_object().cloned();
    ask_for_a_drill(&mut world);
    world.assert_condition(VERIFIED, "Unknown", "Incremental");
    assert_eq!(world.made.len(), 1);
}

#[test]
fn a_job_of_somebody_elses_under_the_name_is_not_taken_for_ours() {
    let mut world = verified("Objects");
    let name = world.job_name();
    world.seen.jobs.get_mut(&name).unwrap().owner_uid = Some("other".into());
    world.settle();
    world.assert_condition(VERIFIED, "Unknown", "JobNameTaken");
}

#[test]
fn an_object_that_goes_takes_its_verification_with_it() {
    let mut world = verified("Objects");
    world.engine_runs(Step::Verifying);
    world.delete();
    world.settle();
    assert!(!world.seen.jobs.contains_key("nightly-11112222-verify-1"));
    assert!(world.gone);
}
