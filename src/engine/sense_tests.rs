use serde_json::{Value, json};

use super::*;

const NAME: &str = "2026-11-22.152700.zone1-0000000101";

/// A MANIFEST that Vitess 24 wrote.
const BUILTIN: &str = include_str!("../../tests/fixtures/vitess/MANIFEST.zstd.2026-11-22.152700.zone1-0000000101.json");
const INCREMENTAL: &str =
    include_str!("../../tests/fixtures/vitess/MANIFEST.chain-zstd.2026-11-22.152737.zone1-0000000101.json");
const STRIPED: &str = include_str!("../../tests/fixtures/vitess/MANIFEST.xtrabackup-stripes3-zstd.json");

fn problems_of(manifest: &Value, shard: &str, name: &str) -> Vec<String> {
    let manifest = Manifest::decode(manifest.to_string().as_bytes()).unwrap();
    problems(&manifest, &shard.parse().unwrap(), name)
}

/// Of a full backup by the builtin engine in which one field was changed; `Null` takes it away.
fn with(pointer: &str, value: Value) -> Vec<String> {
    changed(BUILTIN, "commerce/0", NAME, pointer, value)
}

fn changed(manifest: &str, shard: &str, name: &str, pointer: &str, value: Value) -> Vec<String> {
    let mut manifest: Value = serde_json::from_str(manifest).unwrap();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = manifest.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Value::Null => drop(parent.remove(field)),
        value => drop(parent.insert(field.to_owned(), value)),
    }
    problems_of(&manifest, shard, name)
}

#[test]
fn manifests_as_vitess_writes_them_make_sense() {
    let of = |text: &str, shard: &str, name: &str| problems_of(&serde_json::from_str(text).unwrap(), shard, name);
    assert_eq!(of(BUILTIN, "commerce/0", NAME), Vec::<String>::new());
    assert_eq!(of(INCREMENTAL, "commerce/0", "2026-11-22.152737.zone1-0000000101"), Vec::<String>::new());
    assert_eq!(of(STRIPED, "maria/0", "2026-11-22.153925.zone1-0000000200"), Vec::<String>::new());
}

#[test]
fn those_of_older_versions_lack_what_came_later() {
    for (era, name) in [
        (include_str!("../../tests/fixtures/eras/original.json"), "2015-01-02.030405.zone1-0000000101"),
        (include_str!("../../tests/fixtures/eras/vitess-04-xtrabackup.json"), "2019-08-02.030405.zone1-0000000101"),
        (include_str!("../../tests/fixtures/eras/vitess-08-builtin.json"), "2020-11-02.030405.zone1-0000000101"),
        (include_str!("../../tests/fixtures/eras/vitess-16-builtin-lz4.json"), "2023-02-02.030405.zone1-0000000101"),
        (include_str!("../../tests/fixtures/eras/vitess-18-builtin.json"), "2023-02-02.030405.zone1-0000000101"),
    ] {
        let manifest: Value = serde_json::from_str(era).unwrap();
        assert_eq!(problems_of(&manifest, "commerce/0", name), Vec::<String>::new(), "{name}");
    }
}

/// Each field of the MANIFEST, changed to what makes no sense, is named.
#[test]
fn a_field_that_makes_no_sense_is_named() {
    let other_uuid = "MySQL56/00000000-e688-11f1-aa18-02fc00000001:1-3";
    for (pointer, value, expected) in [
        ("/BackupName", json!("2026-11-21.152700.zone1-0000000101"), "its BackupName is"),
        ("/BackupName", json!("x"), "commerce/0/2026-11-22.152700.zone1-0000000101"),
        ("/BackupMethod", Value::Null, "it has no BackupMethod, which every Vitess that writes BackupName writes"),
        ("/Position", json!("no position"), "its Position cannot be read"),
        ("/Position", json!(""), "it has no Position"),
        ("/PurgedPosition", json!("x"), "its PurgedPosition cannot be read"),
        ("/PurgedPosition", json!(other_uuid), "is not within its Position"),
        ("/FromPosition", json!(other_uuid), "it has FromPosition and is not incremental"),
        ("/FromBackup", json!(NAME), "it has FromBackup and is not incremental"),
        ("/Incremental", json!(true), "it is incremental and has no FromPosition"),
        ("/IncrementalDetails", json!({}), "it has IncrementalDetails and is not incremental"),
        ("/BackupTime", json!("yesterday"), "its BackupTime \"yesterday\" is no time"),
        ("/BackupTime", json!("2026-11-22T15:26:59Z"), "and its name says 2026-11-22T15:27:00Z"),
        ("/BackupTime", Value::Null, "it has no BackupTime"),
        ("/FinishedTime", json!("2026-11-22T15:26:00Z"), "is before its BackupTime"),
        ("/FinishedTime", Value::Null, "it has no FinishedTime"),
        ("/ServerUUID", json!("x"), "its ServerUUID \"x\" is none"),
        ("/TabletAlias", json!("zone1-0000000102"), "its TabletAlias is \"zone1-0000000102\""),
        ("/TabletAlias", json!("nobody"), "its TabletAlias \"nobody\" is none"),
        ("/TabletAlias", Value::Null, "it has no TabletAlias"),
        ("/Keyspace", json!("customer"), "its Keyspace is \"customer\""),
        ("/Shard", json!("-80"), "its Shard is \"-80\""),
        ("/Shard", Value::Null, "it has no Shard"),
        ("/MySQLVersion", json!("new"), "its MySQLVersion \"new\" is none"),
        ("/MySQLVersion", Value::Null, "it has no MySQLVersion"),
        ("/FileEntries", json!([]), "it names no files"),
        ("/FileEntries", Value::Null, "it names no files"),
        ("/FileEntries/0/Base", json!("BinLog"), "a binary log is in no full backup"),
        ("/FileEntries/0/Base", json!("Elsewhere"), "there is no Base Elsewhere"),
        ("/FileEntries/0/Name", Value::Null, "FileEntries[0] (): it has no Name"),
        ("/FileEntries/0/ParentPath", json!("/tmp"), "asks for the parent path"),
        ("/FileEntries/0/Name", json!("../x"), "is not a plain path"),
        ("/FileEntries/0/Hash", json!("0A0B0C0D"), "is not 8 lower-case hex digits"),
        ("/FileEntries/0/StoredBytes", json!("7"), "its StoredBytes is no number of bytes"),
        ("/FileEntries/0/StoredBytes", json!(7), "179 of its 180 FileEntries have no StoredBytes"),
        ("/DataBytes", json!(-1), "its DataBytes is no number"),
        ("/EmptyDirectories", json!([1]), "its EmptyDirectories is no list of texts"),
        ("/NotCarried", json!("x"), "its NotCarried is no list of texts"),
    ] {
        let told = with(pointer, value.clone());
        assert!(told.iter().any(|problem| problem.contains(expected)), "{pointer} {value}: {told:?}");
    }
}

#[test]
fn a_field_of_an_incremental_or_an_xtrabackup_manifest_is_named_too() {
    let incremental = |pointer: &str, value: Value| {
        changed(INCREMENTAL, "commerce/0", "2026-11-22.152737.zone1-0000000101", pointer, value)
    };
    let striped =
        |pointer: &str, value: Value| changed(STRIPED, "maria/0", "2026-11-22.153925.zone1-0000000200", pointer, value);
    for (told, expected) in [
        (incremental("/FromPosition", json!("")), "it is incremental and has no FromPosition"),
        (incremental("/Incremental", json!(false)), "it has FromPosition and is not incremental"),
        (incremental("/IncrementalDetails", Value::Null), "has no IncrementalDetails"),
        (incremental("/IncrementalDetails/LastTimestamp", json!("2026-11-22T15:00:00Z")), "before they begin"),
        (incremental("/FileEntries/0/Base", json!("Data")), "holds binary logs only"),
        (striped("/FileName", json!("../backup")), "is not the name of an object"),
        (striped("/NumStripes", json!(-3)), "its NumStripes is -3"),
        (striped("/StripeBlockSize", json!(-1)), "its StripeBlockSize is -1"),
        (striped("/Incremental", json!(true)), "the xtrabackup engine makes full backups only"),
    ] {
        assert!(told.iter().any(|problem| problem.contains(expected)), "{expected}: {told:?}");
    }
}

/// A base that is another of InnoDB's directories would put the file where mysqld does not look.
#[test]
fn every_file_of_a_real_backup_is_missed_in_the_wrong_directory() {
    let manifest: Value = serde_json::from_str(BUILTIN).unwrap();
    let entries = manifest["FileEntries"].as_array().unwrap();
    for (index, entry) in entries.iter().enumerate() {
        for base in ["InnoDBData", "InnoDBLog", "Data"].into_iter().filter(|base| entry["Base"] != *base) {
            let told = with(&format!("/FileEntries/{index}/Base"), json!(base));
            assert!(!told.is_empty(), "{entry} with Base {base}");
        }
    }
}

#[test]
fn many_wrong_entries_are_counted_and_not_all_told() {
    let mut manifest: Value = serde_json::from_str(BUILTIN).unwrap();
    for entry in manifest["FileEntries"].as_array_mut().unwrap() {
        entry["Base"] = json!("Elsewhere");
    }
    let told = problems_of(&manifest, "commerce/0", NAME);
    assert_eq!(told.len(), 2 + ENTRIES_TOLD + 1, "{told:?}");
    assert_eq!(told.last().unwrap(), "175 more of its FileEntries make no sense");
}
