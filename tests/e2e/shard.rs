//! Backing up a shard: which of its tablets is taken, and what is told of those that were left.

use serde_json::Value;

use crate::backup::{backup_yaml, condition, storage_yaml};
use crate::ground::Ground;

const BACKUPS: &str = "vitessbackups.backup.vitess.io";
const UPTIME: &str = "SELECT variable_value FROM performance_schema.global_status WHERE variable_name = 'Uptime'";

#[test]
fn of_a_shard_the_first_tablet_is_taken_that_is_no_primary_and_does_not_lag_and_the_others_are_left_alone() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("main", "/"));
    ground.delete(BACKUPS, "of-a-shard");
    ground.lib("wait_caught_up 102");
    let again = "tablet_sql 101 'START REPLICA' && wait_caught_up 101";
    let stopped = ground.lib_and_afterwards("tablet_sql 101 'STOP REPLICA'", &[again]);
    let up = [100, 101].map(|uid| ground.number(uid, UPTIME));
    let of_shard = backup_yaml("of-a-shard", "main", 101, "Retain");
    ground.apply(&of_shard.replace("tablet: zone1-0000000101", "shard: commerce/0"));
    let backup = ground.wait_succeeded(BACKUPS, "of-a-shard");
    let status = &backup["status"];

    assert_eq!(status["tabletAlias"], "zone1-0000000102", "{status:#}");
    let name = status["backupName"].as_str().expect("a backup name");
    assert!(name.ends_with(".zone1-0000000102"), "{name}");
    let tried = status["tried"].as_array().expect("the tablets that were left");
    let tried: Vec<(&Value, &Value)> = tried.iter().map(|one| (&one["tabletAlias"], &one["reason"])).collect();
    let (primary, lagging) = (Value::from("zone1-0000000100"), Value::from("zone1-0000000101"));
    let reasons = ["TabletIsPrimary", "TabletLagging"].map(Value::from);
    assert_eq!(tried, [(&primary, &reasons[0]), (&lagging, &reasons[1])], "{status:#}");
    assert_eq!(status["launches"], 3, "{status:#}");
    let choice = status["tabletChoice"].as_str().expect("why that tablet");
    let left = "zone1-0000000100 was left: TabletIsPrimary, zone1-0000000101 was left: TabletLagging";
    assert!(choice.ends_with(left), "{choice}");
    let accepted = condition(&backup, "Accepted")["message"].as_str().unwrap_or_default();
    assert!(accepted.ends_with(choice), "{accepted}");

    // Nothing of the two was disturbed.
    let still_up = [100, 101].map(|uid| ground.number(uid, UPTIME));
    assert!(still_up.iter().zip(up).all(|(now, before)| *now >= before), "mysqld ran on: {up:?}, {still_up:?}");
    assert!(!ground.replicates(101), "it is as it was found");
    ground.assert_same_rows_as_primary(102);
    drop(stopped);
    assert!(ground.replicates(101));
    ground.delete(BACKUPS, "of-a-shard");
}
