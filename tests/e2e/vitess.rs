//! Vitess proves it: it restores ours, and we restore its.

use crate::backup::{storage_yaml, take};
use crate::ground::Ground;
use crate::restore::onto_tablet;

#[test]
fn a_vttablet_started_with_restore_from_backup_restores_our_backup_and_catches_up() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("main", "/"));
    let backup = take(&ground, "for-vitess", "main", 101);
    let name = backup["status"]["backupName"].as_str().expect("a name");
    ground.lib("remove_tablet 103");
    ground.lib("add_tablet 103 --restore-from-backup");
    ground.lib("wait_serving 103");
    let log = ground.kubectl(&["logs", "zone1-0000000103-0", "-c", "vttablet"]);
    println!("{}", log.lines().filter(|line| line.contains("estore")).collect::<Vec<_>>().join("\n"));
    assert!(log.contains(name), "Vitess restored our backup {name}");
    ground.assert_same_rows_as_primary(103);
    ground.lib("remove_tablet 103");
}

#[test]
fn our_restore_takes_a_backup_that_vtctldclient_made() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("main", "/"));
    ground.lib("vtctldclient Backup zone1-0000000101");
    ground.lib("wait_serving 101");
    let listed = ground.lib("vtctldclient GetBackups commerce/0");
    let newest = listed.lines().filter(|line| line.contains(".zone1-")).max().expect("a backup").trim().to_owned();
    let restore = onto_tablet(&ground, "of-vitess", "main", 102, "{latest: {}}");
    assert!(
        newest.contains(restore["status"]["backupName"].as_str().expect("a name")),
        "the newest is Vitess's own: {newest}; {:#}",
        restore["status"]
    );
    assert!(restore["status"]["manifest"].get("EmptyDirectories").is_none(), "made by Vitess, not by us");
    ground.assert_same_rows_as_primary(102);
}
