//! Damaged backups, each kind with its own reason; and what a restore leaves alone when it refuses. No mysqld is needed:
//! the files are at rest.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's own functions may fail the test")]

mod engine_support;
mod support;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rstest::rstest;
use serde_json::{Value, json};
use tempfile::TempDir;

use vitess_backup::backup::choose::Wanted;
use vitess_backup::backup::failure::{Failure, Reason};
use vitess_backup::engine::builtin::{self, ExistingData, Limits, RestoreEnd, RestoreOptions, VerifyOptions};
use vitess_backup::engine::xtrabackup::XtrabackupOptions;
use vitess_backup::engine::{EngineError, Interrupt, MysqldAccess, Tablet, catalogue};
use vitess_backup::progress::Quiet;
use vitess_backup::storage::{BackupStorage, Location};
use vitess_backup::topo::KeyspaceShard;

const NAME: &str = "2026-11-22.152700.zone1-0000000101";
const OLDER: &str = "2026-11-21.010203.zone1-0000000101";

/// A backup that Vitess made, on its way to an empty volume.
struct Case {
    root: TempDir,
    shard: KeyspaceShard,
}

impl Case {
    fn new() -> Self {
        Self::of("zstd.tar.zst")
    }

    fn of(archive: &str) -> Self {
        let root = TempDir::new().unwrap();
        support::unpack_fixture(archive, &root.path().join("backups"));
        Self { root, shard: "commerce/0".parse().unwrap() }
    }

    /// The same backup once more, under an older name.
    fn with_an_older_one() -> Self {
        let case = Self::new();
        let (from, to) = (case.object(""), case.root.path().join("backups/commerce/0").join(OLDER));
        fs::create_dir(&to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
        case
    }

    fn storage(&self) -> BackupStorage {
        BackupStorage::open(&Location::File { root: self.root.path().join("backups") }).unwrap()
    }

    fn object(&self, object: &str) -> PathBuf {
        self.root.path().join("backups/commerce/0").join(NAME).join(object)
    }

    fn tablet_dir(&self) -> PathBuf {
        self.root.path().join("vt_0000000101")
    }

    fn change_manifest(&self, change: impl FnOnce(&mut Value)) {
        let mut manifest: Value = serde_json::from_slice(&fs::read(self.object("MANIFEST")).unwrap()).unwrap();
        change(&mut manifest);
        fs::write(self.object("MANIFEST"), serde_json::to_vec(&manifest).unwrap()).unwrap();
    }

    fn options() -> RestoreOptions {
        RestoreOptions {
            wanted: Wanted::Latest,
            fallback: false,
            existing_data: ExistingData::Refuse,
            allowed_engines: Vec::new(),
            limits: Limits { concurrency: 2, ..Limits::default() },
            allow_primary: false,
            vtctld: None,
            external_decompressor: None,
            external_decompressor_use_manifest: false,
            xtrabackup: XtrabackupOptions::default(),
            mysqlctld_timeout: Duration::from_secs(1),
            before_start: None,
        }
    }

    async fn restore_with(&self, options: &RestoreOptions) -> Result<RestoreEnd, EngineError> {
        let tablet = Tablet {
            shard: Some(self.shard.clone()),
            alias: None,
            directory: self.tablet_dir(),
            mysqld: MysqldAccess::Stopped,
            mysql_socket: None,
            dba_user: "vt_dba".to_owned(),
            shutdown_timeout: Duration::from_secs(1),
            catch_up_timeout: Duration::from_secs(1),
        };
        builtin::restore(&tablet, &self.storage(), options, &Interrupt::new(), &Quiet).await
    }

    async fn restore_failure(&self) -> Failure {
        match self.restore_with(&Self::options()).await {
            Ok(_) => panic!("a damaged backup was restored"),
            Err(error) => error.failure(),
        }
    }

    async fn verify_failure(&self) -> Failure {
        let options =
            VerifyOptions { limits: Limits { concurrency: 2, ..Limits::default() }, ..VerifyOptions::default() };
        builtin::verify(&self.storage(), &self.shard, NAME, &options, &Quiet).await.unwrap_err().failure()
    }

    /// Nothing of a tablet was made, and no restore is under way.
    fn is_untouched(&self) -> bool {
        let directory = self.tablet_dir();
        !directory.join("data").exists() && !directory.join("restore_in_progress").exists()
    }
}

fn flip_a_byte(case: &Case) {
    let path = case.object("0");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn cut_short(case: &Case) {
    let path = case.object("3");
    let bytes = fs::read(&path).unwrap();
    fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
}

fn empty(case: &Case) {
    fs::write(case.object("2"), "").unwrap();
}

/// Both a restore and a verification find it. A restore finds it when the old data is gone: it says so and keeps its marker.
#[rstest]
#[case::a_flipped_byte(flip_a_byte)]
#[case::a_missing_end(cut_short)]
#[case::an_empty_object(empty)]
#[tokio::test]
async fn damage_inside_an_object_is_found_and_the_restore_is_not_called_done(#[case] damage: fn(&Case)) {
    let case = Case::new();
    damage(&case);
    let failure = case.restore_failure().await;
    assert!(matches!(failure.reason, Reason::HashMismatch | Reason::DecompressionFailed), "{failure:?}");
    assert!(
        failure.message.contains(NAME) && failure.message.contains("the tablet's data is not whole"),
        "{failure:?}"
    );
    assert!(
        failure.remedy.contains("another backup") && failure.remedy.contains("Run the restore again"),
        "{failure:?}"
    );
    assert!(case.tablet_dir().join("restore_in_progress").exists());
    assert_eq!(case.verify_failure().await.reason, Reason::HashMismatch);
}

fn lose_an_object(case: &Case) {
    fs::remove_file(case.object("7")).unwrap();
}

fn lose_bytes(case: &Case) {
    tell_sizes(case);
    cut_short(case);
}

/// As our own MANIFESTs do.
fn tell_sizes(case: &Case) {
    case.change_manifest(|manifest| {
        for (index, entry) in manifest["FileEntries"].as_array_mut().unwrap().iter_mut().enumerate() {
            entry["StoredBytes"] = fs::metadata(case.object(&index.to_string())).unwrap().len().into();
        }
    });
}

fn garble_the_manifest(case: &Case) {
    fs::write(case.object("MANIFEST"), "not JSON").unwrap();
}

fn garble_the_position(case: &Case) {
    case.change_manifest(|manifest| manifest["Position"] = json!("no position"));
}

/// Found before anything is touched, named together with the older backup, and only by word of mouth is that one taken.
#[rstest]
#[case(lose_an_object, Reason::ObjectMissing, "7")]
#[case(lose_bytes, Reason::ObjectMissing, "object 3")]
#[case(garble_the_manifest, Reason::ManifestUnreadable, "MANIFEST")]
#[case(garble_the_position, Reason::ManifestUnreadable, "position")]
#[tokio::test]
async fn a_damaged_newest_backup_is_told_with_the_next_older_one_which_only_a_fallback_restores(
    #[case] damage: fn(&Case),
    #[case] reason: Reason,
    #[case] words: &str,
) {
    let case = Case::with_an_older_one();
    fs::create_dir_all(case.tablet_dir().join("data/vt_commerce")).unwrap();
    fs::write(case.tablet_dir().join("data/vt_commerce/old.ibd"), "old").unwrap();
    damage(&case);
    let replace = RestoreOptions { existing_data: ExistingData::Replace, ..Case::options() };
    let Err(error) = case.restore_with(&replace).await else { panic!("a damaged backup was restored") };
    let failure = error.failure();
    assert_eq!(failure.reason, reason, "{failure:?}");
    assert!(failure.message.contains(NAME) && failure.message.contains(words), "{failure:?}");
    assert!(failure.message.contains(&format!("the next older complete backup is {OLDER}")), "{failure:?}");
    assert!(
        failure.remedy.contains(&format!("--backup-name {OLDER}")) && failure.remedy.contains("fallback: true"),
        "{failure:?}"
    );
    assert_eq!(fs::read(case.tablet_dir().join("data/vt_commerce/old.ibd")).unwrap(), b"old");
    assert!(!case.tablet_dir().join("restore_in_progress").exists());
    assert!(!case.tablet_dir().join("vitess-backup.journal").exists());

    falls_back(&case, &RestoreOptions { fallback: true, ..replace }).await;
}

async fn falls_back(case: &Case, options: &RestoreOptions) {
    let Ok(RestoreEnd::Restored(done)) = case.restore_with(options).await else { panic!("it did not fall back") };
    assert_eq!((done.name.as_str(), done.files), (OLDER, 180));
    let told = done.warnings.iter().find(|warning| warning.contains("is damaged")).expect("a warning");
    assert!(told.contains(NAME) && told.contains(&format!("the older backup {OLDER} was restored")), "{told}");
    assert!(case.tablet_dir().join("data/vt_commerce/customer.ibd").exists());
    assert!(!case.tablet_dir().join("data/vt_commerce/old.ibd").exists());
    assert!(!case.tablet_dir().join("restore_in_progress").exists());
}

/// Found when the old data is gone already.
#[rstest]
#[case(flip_a_byte)]
#[case(cut_short)]
#[tokio::test]
async fn damage_that_only_writing_shows_makes_a_fallback_start_over_with_the_older_backup(#[case] damage: fn(&Case)) {
    let case = Case::with_an_older_one();
    damage(&case);
    let failure = case.restore_failure().await;
    assert!(matches!(failure.reason, Reason::HashMismatch | Reason::DecompressionFailed), "{failure:?}");
    assert!(failure.message.contains(&format!("the next older complete backup is {OLDER}")), "{failure:?}");
    assert!(failure.message.contains("the tablet's data is not whole"), "{failure:?}");
    falls_back(&case, &RestoreOptions { fallback: true, ..Case::options() }).await;
}

#[tokio::test]
async fn a_named_backup_is_not_replaced_by_another_and_a_fallback_without_another_says_so() {
    let case = Case::with_an_older_one();
    lose_an_object(&case);
    let named = RestoreOptions { wanted: Wanted::Named(NAME.to_owned()), fallback: true, ..Case::options() };
    let Err(error) = case.restore_with(&named).await else { panic!() };
    assert_eq!(error.failure().reason, Reason::ObjectMissing);
    assert!(!error.to_string().contains(OLDER), "{error}");
    fs::remove_dir_all(case.root.path().join("backups/commerce/0").join(OLDER)).unwrap();
    let Err(error) = case.restore_with(&RestoreOptions { fallback: true, ..Case::options() }).await else { panic!() };
    assert!(error.to_string().contains("lacks 1 of its objects: 7; there is no older complete backup"), "{error}");
    assert!(case.is_untouched());
}

#[tokio::test]
async fn a_volume_that_is_too_small_is_found_before_its_data_goes() {
    let case = Case::new();
    case.change_manifest(|manifest| manifest["DataBytes"] = json!(100 << 20));
    fs::create_dir(case.tablet_dir()).unwrap();
    let disk = engine_support::SmallDisk::mount(&case.tablet_dir());
    fs::create_dir_all(case.tablet_dir().join("data/vt_commerce")).unwrap();
    fs::write(case.tablet_dir().join("data/vt_commerce/old.ibd"), "old").unwrap();
    let replace = RestoreOptions { existing_data: ExistingData::Replace, fallback: true, ..Case::options() };
    let Err(error) = case.restore_with(&replace).await else { panic!() };
    let failure = error.failure();
    assert_eq!(failure.reason, Reason::NoSpace, "{failure:?}");
    assert!(
        failure.message.contains("vt_0000000101 has ") && failure.message.contains("needs at least 104857600"),
        "{failure:?}"
    );
    assert_eq!(fs::read(case.tablet_dir().join("data/vt_commerce/old.ibd")).unwrap(), b"old");
    assert!(!case.tablet_dir().join("restore_in_progress").exists());
    drop(disk);
}

#[tokio::test]
async fn valid_bytes_that_are_not_those_of_the_manifest_are_a_hash_mismatch() {
    let case = Case::new();
    assert_ne!(fs::read(case.object("0")).unwrap(), fs::read(case.object("5")).unwrap());
    fs::copy(case.object("0"), case.object("5")).unwrap();
    let failure = case.restore_failure().await;
    assert_eq!(failure.reason, Reason::HashMismatch);
    assert!(failure.message.contains("(object 5)"), "{failure:?}");
}

#[tokio::test]
async fn a_missing_object_is_found_before_anything_is_touched() {
    let case = Case::new();
    fs::remove_file(case.object("7")).unwrap();
    for failure in [case.restore_failure().await, case.verify_failure().await] {
        assert_eq!(failure.reason, Reason::ObjectMissing);
        assert!(failure.message.contains("lacks 1 of its objects: 7"), "{failure:?}");
    }
    assert!(case.is_untouched());
}

/// Each is refused before anything is touched, and says what is wrong.
#[rstest]
#[case::above(json!("../../etc/passwd"), "not a plain path")]
#[case::absolute(json!("/etc/passwd"), "not a plain path")]
#[case::nul(json!("a\u{0}b"), "not a plain path")]
#[case::twice(json!("ibdata1"), "twice")]
#[tokio::test]
async fn a_name_that_leaves_the_tablet_is_refused(#[case] name: Value, #[case] words: &str) {
    let case = Case::new();
    case.change_manifest(|manifest| {
        manifest["FileEntries"][5]["Base"] = json!("InnoDBData");
        manifest["FileEntries"][5]["Name"] = name;
    });
    for failure in [case.restore_failure().await, case.verify_failure().await] {
        assert_eq!(failure.reason, Reason::ManifestUnreadable);
        assert!(failure.message.contains(words), "{failure:?}");
    }
    assert!(case.is_untouched());
}

#[rstest]
#[case("Base", json!("Elsewhere"), "unknown base", Reason::ManifestUnreadable)]
#[case("ParentPath", json!("/tmp"), "parent path", Reason::ManifestUnreadable)]
#[case("Chunks", json!([{"Offset": 0}]), "chunks", Reason::ManifestUnreadable)]
#[case("Hash", json!(""), "no hash", Reason::HashMismatch)]
#[tokio::test]
async fn an_entry_that_cannot_be_restored_is_refused(
    #[case] key: &str,
    #[case] value: Value,
    #[case] words: &str,
    #[case] reason: Reason,
) {
    let case = Case::new();
    case.change_manifest(|manifest| manifest["FileEntries"][5][key] = value);
    let failure = case.restore_failure().await;
    assert_eq!(failure.reason, reason);
    assert!(failure.message.contains(words), "{failure:?}");
    assert!(case.is_untouched());
}

#[rstest]
#[case(json!({"TransformHook": "encrypt"}), Reason::ManifestUnreadable, "TransformHook")]
#[case(json!({"CompressionEngine": "brotli"}), Reason::ManifestUnreadable, "brotli")]
#[case(json!({"CompressionEngine": "external"}), Reason::ManifestUnreadable, "--external-decompressor")]
#[case(json!({"BackupMethod": "xtrabackup", "FileName": "backup.xbstream.gz"}), Reason::ObjectMissing, "backup.xbstream.gz")]
#[case(json!({"Position": "no position"}), Reason::ManifestUnreadable, "position")]
#[case(json!({"EmptyDirectories": ["../x"]}), Reason::ManifestUnreadable, "EmptyDirectories")]
#[tokio::test]
async fn a_backup_of_a_kind_that_cannot_be_restored_is_refused(
    #[case] changes: Value,
    #[case] reason: Reason,
    #[case] words: &str,
) {
    let case = Case::new();
    case.change_manifest(|manifest| {
        for (key, value) in changes.as_object().unwrap() {
            manifest[key] = value.clone();
        }
    });
    let failure = case.restore_failure().await;
    assert_eq!(failure.reason, reason, "{failure:?}");
    assert!(failure.message.contains(words), "{failure:?}");
    assert!(case.is_untouched());
}

/// The MANIFEST itself.
#[rstest]
#[case::garbage(Some("not JSON".as_bytes()), "MANIFEST cannot be read")]
#[case::cut(Some(r#"{"BackupName": "2026"#.as_bytes()), "MANIFEST cannot be read")]
#[case::wrong_type(Some(r#"{"Position": 7}"#.as_bytes()), "MANIFEST cannot be read")]
#[case::missing(None, "it has no MANIFEST")]
#[tokio::test]
async fn a_backup_without_a_manifest_is_passed_over_and_never_taken_for_none(
    #[case] text: Option<&[u8]>,
    #[case] words: &str,
) {
    let case = Case::new();
    match text {
        Some(text) => fs::write(case.object("MANIFEST"), text).unwrap(),
        None => fs::remove_file(case.object("MANIFEST")).unwrap(),
    }
    let failure = case.restore_failure().await;
    assert_eq!(failure.reason, Reason::NoCompleteBackup);
    assert!(failure.message.contains(words), "{failure:?}");
    assert!(case.is_untouched());
    let listed = catalogue::list(&case.storage(), &case.shard, &Quiet).await.unwrap();
    assert!(!listed[0].complete && listed[0].problem.as_ref().unwrap().contains(words), "{listed:?}");
    let named = RestoreOptions { wanted: Wanted::Named(NAME.to_owned()), ..Case::options() };
    let Err(error) = case.restore_with(&named).await else { panic!() };
    assert!(error.to_string().contains(words), "{error}");
}

#[tokio::test]
async fn no_backup_at_all_is_an_answer_and_a_wrong_name_is_an_error() {
    let case = Case::new();
    let elsewhere = Case { shard: "commerce/-80".parse().unwrap(), ..case };
    assert!(matches!(elsewhere.restore_with(&Case::options()).await, Ok(RestoreEnd::NoBackup)));
    assert!(!elsewhere.tablet_dir().exists(), "nothing was touched");
    let named = RestoreOptions { wanted: Wanted::Named(NAME.to_owned()), ..Case::options() };
    let Err(error) = elsewhere.restore_with(&named).await else { panic!() };
    assert_eq!(error.failure().reason, Reason::BackupNotFound);
}

#[tokio::test]
async fn data_on_the_volume_is_refused_and_replaced_only_when_that_was_asked_for() {
    let case = Case::new();
    fs::create_dir_all(case.tablet_dir().join("data/vt_commerce")).unwrap();
    fs::write(case.tablet_dir().join("data/vt_commerce/old.ibd"), "old").unwrap();
    let failure = case.restore_failure().await;
    assert_eq!(failure.reason, Reason::DataPresent);
    assert!(failure.remedy.contains("--existing-data replace"), "{failure:?}");
    let replace = RestoreOptions { existing_data: ExistingData::Replace, ..Case::options() };
    let Ok(RestoreEnd::Restored(done)) = case.restore_with(&replace).await else { panic!() };
    assert_eq!(done.files, 180);
    assert!(!case.tablet_dir().join("data/vt_commerce/old.ibd").exists());
    assert!(case.tablet_dir().join("data/vt_commerce/customer.ibd").exists());
    assert!(case.tablet_dir().join("my.cnf").exists());
    assert!(!case.tablet_dir().join("restore_in_progress").exists());
}

#[tokio::test]
async fn a_restore_that_was_cut_short_may_be_run_again_although_there_is_data() {
    let case = Case::new();
    flip_a_byte(&case);
    case.restore_failure().await;
    assert!(case.tablet_dir().join("data").exists());
    let whole = Case::new();
    fs::copy(whole.object("0"), case.object("0")).unwrap();
    assert!(matches!(case.restore_with(&Case::options()).await, Ok(RestoreEnd::Restored(_))));
}

#[tokio::test]
async fn the_only_good_backup_is_not_removed_unless_forced() {
    let case = Case::of("chain-zstd.tar.zst");
    let storage = case.storage();
    let full = "2026-11-22.152730.zone1-0000000101";
    let refused = catalogue::remove(&storage, &case.shard, full, false, &Quiet).await.unwrap_err();
    assert_eq!(refused.failure().reason, Reason::LastGoodBackup);
    assert_eq!(storage.list_backups(&case.shard).await.unwrap().len(), 3);
    // Incrementals and broken ones go at a word.
    let incremental = "2026-11-22.152740.zone1-0000000101";
    assert_eq!(catalogue::remove(&storage, &case.shard, incremental, false, &Quiet).await.unwrap().removed.objects, 2);
    assert_eq!(catalogue::remove(&storage, &case.shard, incremental, false, &Quiet).await.unwrap().removed.objects, 0);
    catalogue::remove(&storage, &case.shard, full, true, &Quiet).await.unwrap();
    assert_eq!(storage.list_backups(&case.shard).await.unwrap(), ["2026-11-22.152737.zone1-0000000101"]);
}
