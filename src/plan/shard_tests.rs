//! Which tablet a shard's backup is taken of.

#![allow(clippy::needless_pass_by_value)] // json!(…) at the call is what a test wants to read

use serde_json::json;

use super::world::{World, failed, object, refused, succeeded, tablet_pod};
use crate::api::{Phase, VitessBackup};
use crate::backup::failure::Reason;
use crate::backup::report::{Operation, Outcome};
use crate::resources::settings::TabletLabels;

fn of_shard(fields: serde_json::Value) -> World<VitessBackup> {
    let mut spec = json!({"storage": {"name": "backups"}, "shard": "commerce/0"});
    spec.as_object_mut().unwrap().extend(fields.as_object().cloned().unwrap());
    World::with(object("VitessBackup", spec))
}

fn label(world: &mut World<VitessBackup>, tablet: &str, key: &str, value: &str) {
    let name = Some(tablet.to_owned());
    let pod = world.seen.tablets.iter_mut().find(|pod| pod.metadata.name == name).unwrap();
    pod.metadata.labels.as_mut().unwrap().insert(format!("planetscale.com/{key}"), value.to_owned());
}

fn lagging(seconds: Option<u64>) -> Outcome {
    Outcome { lag_seconds: seconds, ..refused(Reason::TabletLagging) }
}

fn phase(world: &World<VitessBackup>) -> Phase {
    world.object.status.clone().unwrap().run.phase.unwrap()
}

/// The alias of the tablet that the newest engine works on.
fn taken(world: &World<VitessBackup>) -> String {
    world.args()[1].clone()
}

#[test]
fn rdonly_comes_before_replica_before_spare_and_each_in_order_of_alias() {
    let mut world = of_shard(json!({}));
    world.seen.tablets = [103, 102, 101, 100].map(tablet_pod).to_vec();
    world.add_claim("data-103");
    label(&mut world, "tablet-100", "tablet-type", "spare");
    label(&mut world, "tablet-103", "tablet-type", "rdonly");
    world.settle();
    let mut order = vec![taken(&world)];
    for _ in 0..3 {
        world.engine_ends(refused(Reason::SocketUnreachable));
        order.push(taken(&world));
    }
    assert_eq!(order, ["zone1-0000000103", "zone1-0000000101", "zone1-0000000102", "zone1-0000000100"]);
    world.engine_ends(succeeded(Operation::Backup));
    assert_eq!(phase(&world), Phase::Succeeded);
}

#[test]
fn the_chosen_tablet_and_why_are_on_the_object() {
    let mut world = of_shard(json!({}));
    label(&mut world, "tablet-102", "tablet-type", "rdonly");
    world.settle();
    world.engine_ends(refused(Reason::SocketUnreachable));
    let status = world.object.status.clone().unwrap();
    assert_eq!(status.run.tablet_alias.as_deref(), Some("zone1-0000000100"));
    let why = status.tablet_choice.unwrap();
    assert_eq!(
        why,
        "of the 3 tablets of its shard that may be backed up it is the first (replica; rdonly before replica before spare), \
         zone1-0000000102 was left: SocketUnreachable"
    );
    assert!(world.condition("Accepted").2.ends_with(&why), "{}", world.condition("Accepted").2);
    let named = json!({"storage": {"name": "backups"}, "tablet": "zone1-0000000101"});
    let mut world: World<VitessBackup> = World::with(object("VitessBackup", named));
    world.settle();
    assert_eq!(world.object.status.unwrap().tablet_choice.as_deref(), Some("spec.tablet names it"));
}

#[test]
fn a_tablet_of_a_shard_may_lag_half_a_minute_unless_the_spec_says_otherwise_and_a_named_one_as_it_likes() {
    let flag =
        |world: &World<VitessBackup>| world.args().into_iter().find(|arg| arg.starts_with("--max-replication-lag"));
    let mut world = of_shard(json!({}));
    world.settle();
    assert_eq!(flag(&world).as_deref(), Some("--max-replication-lag=30s"));
    let mut world = of_shard(json!({"maxReplicationLag": "0s"}));
    world.settle();
    assert_eq!(flag(&world), None);
    let named = json!({"storage": {"name": "backups"}, "tablet": "zone1-0000000101"});
    let mut world: World<VitessBackup> = World::with(object("VitessBackup", named));
    world.settle();
    assert_eq!(flag(&world), None);
}

#[test]
fn where_all_lag_the_one_that_lags_least_is_taken_after_all() {
    let mut world = of_shard(json!({}));
    world.settle();
    for lag in [Some(90), Some(60), None] {
        world.engine_ends(lagging(lag));
    }
    assert_eq!(taken(&world), "zone1-0000000101");
    assert!(!world.args().iter().any(|arg| arg.starts_with("--max-replication-lag")), "{:?}", world.args());
    let status = world.object.status.clone().unwrap();
    assert_eq!(status.tried.iter().map(|tried| tried.lag_seconds).collect::<Vec<_>>(), [Some(90), Some(60), None]);
    assert!(status.tablet_choice.unwrap().ends_with("60 s behind"));
    world.engine_ends(succeeded(Operation::Backup));
    assert_eq!(phase(&world), Phase::Succeeded);
}

#[test]
fn one_that_lags_is_better_than_one_that_is_not_there() {
    let mut world = of_shard(json!({}));
    world.seen.tablets.retain(|pod| pod.metadata.name.as_deref() != Some("tablet-100"));
    let unready = world.seen.tablets.iter_mut().find(|pod| pod.metadata.name.as_deref() == Some("tablet-102")).unwrap();
    unready.status.as_mut().unwrap().conditions = None;
    world.settle();
    world.engine_ends(lagging(Some(3600)));
    assert_eq!((taken(&world).as_str(), world.made.len()), ("zone1-0000000101", 2));
}

#[test]
fn the_primary_is_taken_when_it_may_be_and_no_other_can() {
    let mut world = of_shard(json!({"allowPrimary": true}));
    world.settle();
    world.engine_ends(refused(Reason::TabletIsPrimary));
    world.engine_ends(lagging(Some(40)));
    world.engine_ends(refused(Reason::SocketUnreachable));
    assert_eq!(taken(&world), "zone1-0000000101", "a replica that lags before a primary");
    assert!(!world.args().contains(&"--allow-primary".to_owned()));
    world.engine_ends(refused(Reason::MysqlFailed));
    assert_eq!(taken(&world), "zone1-0000000100");
    assert!(world.args().contains(&"--allow-primary".to_owned()));
    world.engine_ends(succeeded(Operation::Backup));
    assert_eq!(phase(&world), Phase::Succeeded);
}

#[test]
fn what_failed_before_anything_was_touched_is_tried_on_the_next_tablet_and_what_failed_later_is_not() {
    let mut world = of_shard(json!({}));
    world.settle();
    world.engine_ends(refused(Reason::XtrabackupNotFound));
    assert_eq!(taken(&world), "zone1-0000000101");
    world.engine_ends(failed(Operation::Backup, Reason::StorageUnreachable));
    assert_eq!((phase(&world), world.made.len()), (Phase::Failed, 2));
    // What is wrong with the spec is wrong on every tablet.
    let mut world = of_shard(json!({}));
    world.settle();
    world.engine_ends(refused(Reason::InvalidArguments));
    assert_eq!((phase(&world), world.made.len()), (Phase::Failed, 1));
}

#[test]
fn a_pod_that_does_not_start_beside_one_tablet_may_start_beside_the_next() {
    let mut world = of_shard(json!({"waitingDeadlines": {"engineStart": "2m"}}));
    world.settle();
    world.pass(std::time::Duration::from_secs(120));
    world.settle();
    assert_eq!(taken(&world), "zone1-0000000101");
    let tried = world.object.status.clone().unwrap().tried;
    assert_eq!((tried.len(), tried[0].reason.as_str()), (1, "EngineLost"));
    assert!(tried[0].message.contains("within 2m"), "{}", tried[0].message);
}

/// The pod of a tablet as planetscale's operator makes it: its labels, its containers, and its sockets in an emptyDir.
fn planetscales() -> k8s_openapi::api::core::v1::Pod {
    serde_saphyr::from_str(include_str!("../resources/fixtures/planetscale-tablet.yaml")).unwrap()
}

#[test]
fn tablets_of_planetscales_operator_are_found_and_the_condition_names_what_is_in_the_way() {
    let mut world: World<VitessBackup> =
        World::with(object("VitessBackup", json!({"storage": {"name": "backups"}, "shard": "commerce/-80"})));
    world.seen.tablets = vec![planetscales()];
    world.settle();
    world.assert_condition("Accepted", "False", "SocketNotShared");
    let message = world.condition("Accepted").2;
    for words in ["zone1-2469782763", "/vt/socket/mysqlctl.sock", "emptyDir", "--socket-file of mysqlctld"] {
        assert!(message.contains(words), "{words}: {message}");
    }
}

#[test]
fn the_keys_of_labels_are_settings() {
    let mut world = of_shard(json!({}));
    let mut settings = (*world.seen.settings).clone();
    let key = |name: &str| format!("example.com/{name}");
    settings.tablet_labels = TabletLabels {
        keyspace: key("keyspace"),
        shard: key("shard"),
        cell: key("cell"),
        uid: key("uid"),
        tablet_type: key("type"),
    };
    world.seen.settings = std::sync::Arc::new(settings);
    world.settle();
    world.assert_condition("Accepted", "False", "TabletNotFound");
    let message = world.condition("Accepted").2;
    assert!(message.contains("example.com/keyspace"), "{message}");
    assert!(message.ends_with("or delete this object and create it with the right spec.shard"), "{message}");
    let labels = [("keyspace", "commerce"), ("shard", "0"), ("cell", "zone1"), ("uid", "100"), ("type", "rdonly")];
    let pod = &mut world.seen.tablets[1];
    pod.metadata.labels = Some(labels.map(|(name, value)| (key(name), value.to_owned())).into());
    world.settle();
    assert_eq!(taken(&world), "zone1-0000000100");
}
