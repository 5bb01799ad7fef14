//! The reader's half of the checklist in `docs/format.md`, where no other test has it.

use std::fs;
use std::path::Path;

use rstest::rstest;
use serde_json::{Value, json};

use vitess_backup::backup::choose::Wanted;
use vitess_backup::backup::failure::Reason;
use vitess_backup::engine::builtin::{ExistingData, RestoreEnd, RestoreOptions};
use vitess_backup::engine::{EngineError, catalogue};
use vitess_backup::progress::Quiet;

use crate::{NAME, Volume, gzip};

fn manifest() -> Value {
    let entry = |base: &str, name: &str| json!({"Base": base, "Name": name, "Hash": "00000000", "ParentPath": ""});
    json!({
        "BackupMethod": "builtin",
        "Position": "MySQL56/3e11fa47-71ca-11e1-9e33-c80aa9429562:1-1234",
        "BackupTime": "2024-01-02T03:04:05Z",
        "FileEntries": [
            entry("InnoDBData", "ibdata1"),
            entry("Data", "vt_commerce/T1.ibd"),
            entry("Data", "vt_commerce/t1.ibd"),
            entry("Data", "vt_commerce/t@002d1.ibd"),
            entry("Data", "vt_commerce/parted#p#p0#sp#p0sp1.ibd"),
        ],
    })
}

/// Reader 1: keys in any case, unknown keys, bytes after the value.
#[tokio::test]
async fn a_manifest_that_go_reads_is_restored_whatever_its_spelling() {
    let volume = Volume::new();
    volume.fill(manifest(), gzip);
    let stored = fs::read_to_string(volume.backup().join("MANIFEST")).unwrap();
    let odd = stored.replace("\"FileEntries\"", "\"fileENTRIES\"").replace("\"Name\"", "\"name\"");
    volume.put("MANIFEST", odd.replacen('{', "{\"Unheard\": [1, {}], ", 1) + "\n{\"Position\": 7} \0\0");
    assert_eq!(volume.restored().await.files, 5);
}

/// Reader 1: what Go would not decode hides the backup from Vitess, and is named by us.
#[rstest]
#[case("Position", json!(7), "field Position of the MANIFEST must be text")]
#[case("Incremental", json!("no"), "field Incremental of the MANIFEST must be true or false")]
#[case("FileEntries", json!({}), "field FileEntries of the MANIFEST must be a list")]
#[tokio::test]
async fn a_wrong_type_makes_a_backup_unreadable_by_its_name(
    #[case] key: &str,
    #[case] value: Value,
    #[case] words: &str,
) {
    let volume = Volume::new();
    let mut manifest = manifest();
    manifest[key] = value;
    volume.put("MANIFEST", manifest.to_string());
    let failure = volume.refused().await.failure();
    assert_eq!(failure.reason, Reason::NoCompleteBackup);
    assert!(failure.message.contains(words), "{failure:?}");
}

/// Reader 3: an entry without a name is skipped, and its index counts.
#[tokio::test]
async fn an_entry_without_a_name_is_skipped_and_its_index_counts() {
    let volume = Volume::new();
    let mut manifest = manifest();
    manifest["FileEntries"].as_array_mut().unwrap().insert(1, json!({"Base": "Data", "Name": "", "Hash": ""}));
    volume.fill(manifest, gzip);
    fs::remove_file(volume.backup().join("1")).unwrap();
    assert_eq!(volume.restored().await.files, 5);
    assert_eq!(volume.file("data/vt_commerce/T1.ibd"), "vt_commerce/T1.ibd", "it is object 2");
}

/// Writer 7 and reader 4: names are written to disk as MySQL escaped them, case and all.
#[tokio::test]
async fn names_come_back_as_mysql_escaped_them() {
    let volume = Volume::new();
    volume.fill(manifest(), gzip);
    volume.restored().await;
    let mut names: Vec<_> = fs::read_dir(volume.tablet_dir().join("data/vt_commerce"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["T1.ibd", "parted#p#p0#sp#p0sp1.ibd", "t1.ibd", "t@002d1.ibd"]);
    assert_eq!(volume.file("data/vt_commerce/t1.ibd"), "vt_commerce/t1.ibd");
}

/// Reader 4: what a link in the old data points to is neither written through nor removed.
#[tokio::test]
async fn a_restore_does_not_write_through_links_in_the_old_data() {
    let volume = Volume::new();
    volume.fill(manifest(), gzip);
    let outside = volume.0.path().join("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("T1.ibd"), "not ours").unwrap();
    fs::create_dir_all(volume.tablet_dir().join("data")).unwrap();
    std::os::unix::fs::symlink(&outside, volume.tablet_dir().join("data/vt_commerce")).unwrap();
    let replace = RestoreOptions { existing_data: ExistingData::Replace, ..Volume::options() };
    assert!(matches!(volume.restore_with(&replace).await, Ok(RestoreEnd::Restored(_))));
    assert_eq!(fs::read_to_string(outside.join("T1.ibd")).unwrap(), "not ours");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(volume.file("data/vt_commerce/T1.ibd"), "vt_commerce/T1.ibd");
}

/// Reader 4: a command in a MANIFEST runs only for an operator who asked for that, and theirs comes first.
#[tokio::test]
async fn a_command_in_the_manifest_is_not_run_unless_the_operator_opted_in() {
    let volume = Volume::new();
    let witness = volume.0.path().join("witness");
    let mut manifest = manifest();
    manifest["CompressionEngine"] = "external".into();
    manifest["ExternalDecompressor"] = format!("tee -a {}", witness.display()).into();
    volume.fill(manifest, <[u8]>::to_vec);
    let failure = volume.refused().await.failure();
    assert!(failure.message.contains("--external-decompressor"), "{failure:?}");
    assert!(!witness.exists() && volume.is_untouched());
    let own = RestoreOptions {
        external_decompressor: Some("cat".to_owned()),
        external_decompressor_use_manifest: true,
        ..Volume::options()
    };
    assert!(matches!(volume.restore_with(&own).await, Ok(RestoreEnd::Restored(_))));
    assert!(!witness.exists(), "the operator's own command wins");
    fs::remove_dir_all(volume.tablet_dir()).unwrap();
    let opted_in = RestoreOptions { external_decompressor_use_manifest: true, ..Volume::options() };
    assert!(matches!(volume.restore_with(&opted_in).await, Ok(RestoreEnd::Restored(_))));
    assert!(fs::read_to_string(&witness).unwrap().contains("ibdata1"), "it ran");
}

/// Reader 5: five ways of being no good, five messages.
#[tokio::test]
async fn missing_truncated_unreadable_incompatible_and_filtered_backups_are_told_apart() {
    let volume = Volume::new();
    let backup = |day: u8, manifest: Option<Vec<u8>>| {
        let folder = volume.root().join(format!("commerce/0/2024-01-{day:02}.030405.zone1-0000000101"));
        fs::create_dir_all(&folder).unwrap();
        if let Some(bytes) = manifest {
            fs::write(folder.join("MANIFEST"), bytes).unwrap();
        }
    };
    let whole = manifest().to_string().into_bytes();
    backup(2, None);
    backup(3, Some(whole[..whole.len() / 2].to_vec()));
    backup(4, Some(br#"{"Position": 7}"#.to_vec()));
    let mut incremental = manifest();
    incremental["Incremental"] = true.into();
    backup(5, Some(incremental.to_string().into_bytes()));
    let mut other = manifest();
    other["BackupMethod"] = "mysqlshell".into();
    backup(6, Some(other.to_string().into_bytes()));
    let options = RestoreOptions { allowed_engines: vec!["builtin".to_owned()], ..Volume::options() };
    let Err(error) = volume.restore_with(&options).await else { panic!() };
    assert_eq!(error.failure().reason, Reason::NoCompleteBackup);
    let message = error.to_string();
    for words in [
        "2024-01-02.030405.zone1-0000000101: it has no MANIFEST",
        "2024-01-03.030405.zone1-0000000101: its MANIFEST cannot be read: the MANIFEST is not JSON (cut short?)",
        "2024-01-04.030405.zone1-0000000101: its MANIFEST cannot be read: field Position",
        "2024-01-05.030405.zone1-0000000101: it is incremental",
        "2024-01-06.030405.zone1-0000000101: its engine \"mysqlshell\" is not among the allowed",
    ] {
        assert!(message.contains(words), "{words} is not in {message}");
    }
    assert!(volume.is_untouched());
}

/// Reader 6: storage that cannot be listed is never storage without backups.
#[rstest]
#[case::the_shard_is_a_file("commerce/0")]
#[case::the_keyspace_is_a_file("commerce")]
#[tokio::test]
async fn trouble_with_listing_is_an_error_and_never_no_backup(#[case] place: &str) {
    let volume = Volume::new();
    fs::remove_dir_all(volume.root().join(place)).unwrap();
    fs::write(volume.root().join(place), "a file").unwrap();
    match volume.restore_with(&Volume::options()).await {
        Ok(RestoreEnd::NoBackup) => panic!("taken for no backups at all"),
        Ok(RestoreEnd::Restored(_)) => panic!("restored"),
        Err(error) => assert!(matches!(error, EngineError::Storage(_)), "{error}"),
    }
    assert!(catalogue::list(&volume.storage(), &"commerce/0".parse().unwrap(), &Quiet).await.is_err());
    assert!(volume.is_untouched());
}

/// Reader 6: a stray directory, which Vitess takes for a backup of the future, does not hide the real one and is told.
#[tokio::test]
async fn a_stray_directory_is_passed_over_and_told() {
    let volume = Volume::new();
    volume.fill(manifest(), gzip);
    fs::create_dir(volume.root().join("commerce/0/9999-junk")).unwrap();
    let done = volume.restored().await;
    assert_eq!(done.name, NAME);
    assert!(done.warnings.iter().any(|text| text.contains("9999-junk: it has no MANIFEST")), "{:?}", done.warnings);
}

/// Writer 1 and section "Names": a time asks BackupTime, not the name; a cell with a dot restores like any other.
#[tokio::test]
async fn a_backup_whose_name_does_not_parse_is_restored_by_its_manifests_time() {
    let volume = Volume::new();
    volume.fill(manifest(), gzip);
    let dotted = volume.root().join("commerce/0/2030-01-02.030405.zone.1-0000000101");
    fs::rename(volume.backup(), dotted).unwrap();
    let options =
        RestoreOptions { wanted: Wanted::AtOrBefore("2024-01-02T03:04:05Z".parse().unwrap()), ..Volume::options() };
    let Ok(RestoreEnd::Restored(done)) = volume.restore_with(&options).await else { panic!() };
    assert_eq!(done.name, "2030-01-02.030405.zone.1-0000000101");
    assert!(Path::new(&volume.tablet_dir()).join("data/vt_commerce").is_dir());
}

/// Our addition: what a backup was made without is said again when it is restored.
#[tokio::test]
async fn what_a_backup_lacks_is_said_when_it_is_restored() {
    let volume = Volume::new();
    let mut manifest = manifest();
    manifest["NotCarried"] = json!(["/far/t.ibd is outside"]);
    volume.fill(manifest, gzip);
    let done = volume.restored().await;
    let told = "the backup does not have everything: /far/t.ibd is outside".to_owned();
    assert!(done.warnings.contains(&told), "{:?}", done.warnings);
}
