//! Nothing is left behind: what Vitess's own walk over the files leaves out is in our backups, and Vitess restores it from
//! them. Real mysqld, and a real vttablet.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's own functions may fail the test")]

mod engine_support;
mod support;

use std::collections::BTreeMap;

use engine_support::{Notes, engine_tablet, storage_in};
use support::mysql::{Tablet, own};
use support::vitess::{Topology, Vttablet};
use vitess_backup::backup::manifest::{Manifest, Method};
use vitess_backup::engine::Done;
use vitess_backup::engine::Interrupt;
use vitess_backup::engine::builtin::{self, ExistingData, RestoreEnd};

/// What Vitess's walk would lose, and names that MySQL escapes in its files.
const DATA: &[&str] = &[
    "CREATE DATABASE vt_commerce",
    "CREATE TABLE vt_commerce.customer (id BIGINT PRIMARY KEY, email VARCHAR(128))",
    "INSERT INTO vt_commerce.customer VALUES (1, 'a@example.com'), (2, 'b@example.com')",
    "CREATE TABLESPACE archive ADD DATAFILE 'archive.ibd'",
    "CREATE TABLE vt_commerce.archived (id BIGINT PRIMARY KEY, v TEXT) TABLESPACE archive",
    "INSERT INTO vt_commerce.archived VALUES (1, REPEAT('x', 60000)), (2, 'two')",
    "CREATE UNDO TABLESPACE more ADD DATAFILE 'more.ibu'",
    "CREATE DATABASE vt_empty",
    "CREATE DATABASE vt_views",
    "CREATE VIEW vt_views.emails AS SELECT email FROM vt_commerce.customer",
    "CREATE TABLE vt_commerce.`t-1` (id BIGINT PRIMARY KEY)",
    "CREATE TABLE vt_commerce.t1 (id BIGINT PRIMARY KEY)",
    "CREATE TABLE vt_commerce.T1 (id BIGINT PRIMARY KEY)",
    "INSERT INTO vt_commerce.t1 VALUES (1)",
    "INSERT INTO vt_commerce.T1 VALUES (1), (2)",
    "CREATE TABLE vt_commerce.parted (id BIGINT, d BIGINT, PRIMARY KEY (id, d)) PARTITION BY RANGE (id) \
        SUBPARTITION BY HASH (d) SUBPARTITIONS 2 (PARTITION low VALUES LESS THAN (10), PARTITION rest VALUES LESS THAN MAXVALUE)",
    "INSERT INTO vt_commerce.parted VALUES (1, 1), (1, 2), (11, 1), (11, 2)",
    "CREATE DATABASE `vt_odd-é`",
    "CREATE TABLE `vt_odd-é`.`$x y` (id BIGINT PRIMARY KEY)",
    "INSERT INTO `vt_odd-é`.`$x y` VALUES (7)",
];

/// CHECKSUM TABLE of every table that is not MySQL's own, by name.
async fn sums(tablet: &Tablet) -> BTreeMap<String, String> {
    let statement = "SELECT CONCAT('`', table_schema, '`.`', table_name, '`') FROM information_schema.tables \
        WHERE table_type = 'BASE TABLE' AND table_schema LIKE 'vt\\_%' ORDER BY 1";
    let mut sums = BTreeMap::new();
    for row in tablet.sql(statement).await {
        let table = row.at(0).unwrap().to_owned();
        let sum = tablet.sql(&format!("CHECKSUM TABLE {table}")).await[0].at(1).unwrap_or("no such table").to_owned();
        sums.insert(table, sum);
    }
    sums
}

async fn undo_tablespaces(tablet: &Tablet) -> Vec<String> {
    let statement = "SELECT CONCAT(name, ' ', state) FROM information_schema.innodb_tablespaces \
        WHERE space_type = 'Undo' ORDER BY 1";
    tablet.sql(statement).await.iter().map(|row| row.at(0).unwrap().to_owned()).collect()
}

async fn filled(uid: u32) -> Tablet {
    let mut tablet = Tablet::at_rest(uid).await;
    tablet.start_container().await;
    tablet.make_writable().await;
    for statement in DATA {
        tablet.sql(statement).await;
    }
    tablet
}

async fn backup(tablet: &Tablet, backups: &std::path::Path) -> Done {
    let options = builtin::BackupOptions { allow_primary: true, ..engine_support::backup_options() };
    let engine_tablet = engine_tablet(&"commerce/0".parse().unwrap(), tablet);
    let storage = storage_in(backups);
    builtin::backup(&engine_tablet, &storage, &options, &Interrupt::new(), &Notes::default()).await.unwrap()
}

fn files(manifest: &Manifest) -> Vec<String> {
    let Method::Builtin(part) = &manifest.method else { panic!("{:?}", manifest.method) };
    part.file_entries.iter().map(|entry| format!("{} {}", entry.base, entry.name)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_vitess_would_leave_behind_comes_back_from_our_backup_restored_by_us_and_by_vitess() {
    let backups = engine_support::open_directory();
    let tablet = filled(101).await;
    let (rows, undo) = (sums(&tablet).await, undo_tablespaces(&tablet).await);
    assert_eq!(rows.len(), 7, "{rows:?}");
    assert!(undo.contains(&"more active".to_owned()), "{undo:?}");
    let done = backup(&tablet, backups.path()).await;
    assert_eq!(done.not_carried, [""; 0]);
    let files = files(&done.manifest);
    for wanted in [
        "Data archive.ibd",
        "Data vt_commerce/t@002d1.ibd",
        "Data vt_commerce/t1.ibd",
        "Data vt_commerce/T1.ibd",
        "Data vt_commerce/parted#p#low#sp#lowsp1.ibd",
        "Data vt_odd@002d@0p/@0024x@0020y.ibd",
    ] {
        assert!(files.contains(&wanted.to_owned()), "{wanted} is not in {files:#?}");
    }
    assert!(files.iter().any(|name| name.ends_with(" more.ibu")), "{files:#?}");
    assert_eq!(done.manifest.unknown["EmptyDirectories"], serde_json::json!(["vt_empty", "vt_views"]));
    drop(tablet);

    restored_by_us(backups.path(), &done, &rows, &undo).await;
    own(backups.path());
    restored_by_vitess(backups.path(), &done, &rows, &undo).await;
}

async fn restored_by_us(backups: &std::path::Path, done: &Done, rows: &BTreeMap<String, String>, undo: &[String]) {
    let mut tablet = Tablet::at_rest(102).await;
    tablet.start_container().await;
    let options = engine_support::restore_options(ExistingData::Refuse);
    let engine_tablet = engine_tablet(&"commerce/0".parse().unwrap(), &tablet);
    let end =
        builtin::restore(&engine_tablet, &storage_in(backups), &options, &Interrupt::new(), &Notes::default()).await;
    let RestoreEnd::Restored(restored) = end.unwrap() else { panic!("there is a backup") };
    assert_eq!(restored.name, done.name);
    assert_eq!((&sums(&tablet).await, &undo_tablespaces(&tablet).await[..]), (rows, undo));
    let names: Vec<_> = tablet.mysql().databases().await.unwrap();
    assert!(names.contains(&"vt_empty".to_owned()) && names.contains(&"vt_views".to_owned()), "{names:?}");
    assert_eq!(tablet.value("SELECT COUNT(*) FROM vt_views.emails").await, "2");
    assert!(tablet.layout().datadir.join("vt_empty").is_dir(), "the directory is there again");
    tablet.make_writable().await;
    tablet.sql("CREATE TABLE vt_empty.t (id BIGINT PRIMARY KEY)").await;
    tablet.sql("INSERT INTO vt_commerce.archived VALUES (3, 'three')").await;
}

/// Vitess ignores EmptyDirectories; a mysqld with a data dictionary (8.0 on) has these schemas all the same.
async fn restored_by_vitess(backups: &std::path::Path, done: &Done, rows: &BTreeMap<String, String>, undo: &[String]) {
    let topology = Topology::start();
    let mut tablet = Tablet::at_rest(103).await;
    tablet.start_container().await;
    let mut vttablet = Vttablet::restore_from_backup(&tablet, &topology, backups, "commerce");
    vttablet.wait_restored(&tablet, &done.manifest.position).await;
    assert!(vttablet.log().contains(&done.name), "Vitess restored our backup:\n{}", vttablet.log());
    assert_eq!((&sums(&tablet).await, &undo_tablespaces(&tablet).await[..]), (rows, undo));
    assert!(!tablet.layout().datadir.join("vt_empty").exists(), "Vitess knows no empty directories");
    let names: Vec<_> = tablet.mysql().databases().await.unwrap();
    assert!(names.contains(&"vt_empty".to_owned()) && names.contains(&"vt_views".to_owned()), "{names:?}");
    assert_eq!(tablet.value("SELECT COUNT(*) FROM vt_views.emails").await, "2");
    drop(vttablet);
    tablet.make_writable().await;
    tablet.sql("CREATE TABLE vt_empty.t (id BIGINT PRIMARY KEY)").await;
    tablet.sql("INSERT INTO vt_commerce.archived VALUES (3, 'three')").await;
}
