//! Backups that Vitess's xtrabackup engine made, restored by us: mariadbd starts on them and has the rows. And what is wrong
//! with others is told.

use std::fs;

use serde_json::Value;

use crate::engine_support::SmallDisk;
use crate::tablet::{Case, SINGLE, STRIPED, failure, tools, vitess_rows};

#[test]
fn backups_of_one_object_and_of_three_stripes_are_restored_and_mariadb_starts_on_them() {
    for (fixture, objects, position) in
        [(SINGLE, 1, "MariaDB/0-1673791492-24"), (STRIPED, 3, "MariaDB/0-1673791492-32")]
    {
        let case = Case::new(fixture);
        // What a killed run would have left.
        let left = case.tablet_dir().join("tmp/xtrabackup-restore/ibdata1");
        fs::create_dir(left.parent().unwrap()).unwrap();
        fs::write(left, "left").unwrap();
        let (code, outcome) = case.restore_with_tools("");
        assert_eq!((code, &outcome["verdict"]), (0, &Value::from("Succeeded")), "{outcome:#}");
        assert_eq!((&outcome["engine"], &outcome["files"]), (&Value::from("xtrabackup"), &Value::from(objects)));
        assert_eq!(outcome["backupName"], fixture.1);
        assert_eq!(outcome["position"], position, "{outcome:#}");
        assert!(!case.old_data().exists() && case.is_tidy());
        assert!(!case.tablet_dir().join("restore_in_progress").exists());
        let server = case.start();
        let rows = vitess_rows(&server);
        assert_eq!((rows.len(), rows["reparent_journal"]), (20, 1), "{rows:?}");
    }
}

#[test]
fn without_the_programs_nothing_is_touched() {
    let case = Case::new(SINGLE);
    let nowhere = case.root.path().join("nowhere");
    let ended = case.restore(&format!("--xtrabackup-root-path {}", nowhere.display()));
    let (code, reason, message) = failure(&ended);
    assert_eq!((code, reason), (5, "XtrabackupNotFound"));
    assert_eq!(message, format!("cannot find xbstream in {}", nowhere.display()));
    assert!(case.is_untouched());
}

#[test]
fn a_stripe_that_is_not_there_is_named_and_nothing_is_touched() {
    let case = Case::new(STRIPED);
    fs::remove_file(case.object("backup.xbstream.zst-001")).unwrap();
    let ended = case.restore_with_tools("");
    let (code, reason, message) = failure(&ended);
    assert_eq!((code, reason), (6, "ObjectMissing"));
    assert!(message.contains("backup.xbstream.zst-001"), "{message}");
    assert!(case.is_untouched());
}

#[test]
fn a_stripe_that_was_cut_short_ends_the_restore_which_can_be_run_again_with_a_whole_one() {
    let case = Case::new(STRIPED);
    let whole = fs::read(case.object("backup.xbstream.zst-002")).unwrap();
    fs::write(case.object("backup.xbstream.zst-002"), &whole[..whole.len() / 2]).unwrap();
    let verified = case.run(&format!("verify maria/0 {}", case.backup));
    assert_eq!(failure(&verified).1, "DecompressionFailed");
    let ended = case.restore_with_tools("");
    let (code, reason, message) = failure(&ended);
    assert_eq!((code, reason), (6, "DecompressionFailed"), "{message}");
    assert!(message.contains("backup.xbstream.zst-002"), "{message}");
    assert!(case.tablet_dir().join("restore_in_progress").exists() && case.is_tidy());

    fs::write(case.object("backup.xbstream.zst-002"), whole).unwrap();
    let (code, outcome) = case.restore_with_tools("");
    assert_eq!(code, 0, "{outcome:#}");
    assert_eq!(vitess_rows(&case.start())["reparent_journal"], 1);
}

#[test]
fn a_prepare_that_fails_is_told_with_its_line() {
    let case = Case::new(SINGLE);
    let ended = case.restore_with_tools("--xtrabackup-prepare-flags=--no-such-flag");
    let (code, reason, message) = failure(&ended);
    assert_eq!((code, reason), (6, "PrepareFailed"), "{message}");
    assert!(message.contains("no-such-flag"), "{message}");
    assert!(case.tablet_dir().join("restore_in_progress").exists() && case.is_tidy());
}

#[test]
fn a_full_disk_is_told_as_one() {
    let case = Case::new(SINGLE);
    let disk = SmallDisk::mount(&case.tablet_dir().join("tmp"));
    let ended = case.restore_with_tools("");
    let (code, reason, message) = failure(&ended);
    assert_eq!((code, reason), (6, "NoSpace"), "{message}");
    assert!(message.contains("tmp/xtrabackup-restore"), "{message}");
    drop(disk);
}

#[test]
fn verifying_reads_every_object_and_says_what_cannot_be_checked() {
    for (fixture, objects) in [(SINGLE, 1), (STRIPED, 3)] {
        let case = Case::new(fixture);
        let (code, outcome) = case.run(&format!("verify maria/0 {}", case.backup));
        assert_eq!((code, &outcome["files"]), (0, &Value::from(objects)), "{outcome:#}");
        let warnings = outcome["warnings"].as_array().unwrap();
        assert!(warnings.iter().any(|warning| warning.as_str().unwrap().contains("have no hashes")), "{outcome:#}");
    }
}

#[test]
fn a_backup_is_tried_out_with_a_mariadbd_of_its_own_and_nothing_is_left() {
    let case = Case::new(STRIPED);
    let scratch = case.root.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    let drill = |assertion: &str| {
        case.run(&format!(
            "verify --level restore --scratch-dir {} {} --assertion={assertion} maria/0 {}",
            scratch.display(),
            tools(),
            case.backup
        ))
    };
    let (code, outcome) = drill("journal=SELECT/**/COUNT(*)/**/FROM/**/_vt.reparent_journal");
    assert_eq!((code, &outcome["verdict"]), (0, &Value::from("Succeeded")), "{outcome:#}");
    assert!(outcome["verification"]["tables"].as_u64().unwrap() > 20, "{outcome:#}");
    assert_eq!((&outcome["engine"], &outcome["verification"]["assertions"]), (&"xtrabackup".into(), &1.into()));
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);

    let ended = drill("write=DELETE/**/FROM/**/_vt.reparent_journal");
    let (code, reason, message) = failure(&ended);
    assert_eq!((code, reason), (6, "AssertionFailed"), "{message}");
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
    assert!(case.is_untouched());
}
