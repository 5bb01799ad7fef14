use super::*;

fn passed_over(why: Why) -> PassedOver {
    PassedOver { name: "2024-01-02.030405.zone1-0000000101".into(), why }
}

fn full() -> io::Error {
    io::Error::from(io::ErrorKind::StorageFull)
}

/// One of each kind that a user can meet.
#[allow(clippy::too_many_lines, reason = "a table")]
fn all() -> Vec<(EngineError, Reason)> {
    let shard: KeyspaceShard = "commerce/0".parse().unwrap();
    let name = "2024-01-02.030405.zone1-0000000101".to_owned();
    let (object, file) = ("7".to_owned(), "vt_commerce/customer.ibd".to_owned());
    let path = PathBuf::from("/vt/vt_0000000101/data");
    let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
    vec![
        (EngineError::invalid("--x is missing"), Reason::InvalidArguments),
        (EngineError::Interrupted(Cause::Signal("SIGTERM")), Reason::Cancelled),
        (EngineError::Interrupted(Cause::Deadline(Duration::from_secs(60))), Reason::DeadlineExceeded),
        (
            EngineError::TabletIsPrimary { tablet: "zone1-0000000101".into(), evidence: "x".into() },
            Reason::TabletIsPrimary,
        ),
        (
            EngineError::TabletLagging {
                tablet: "zone1-0000000101".into(),
                behind: Some(75),
                limit: Duration::from_secs(30),
            },
            Reason::TabletLagging,
        ),
        (EngineError::DataPresent { what: "database vt_commerce exists".into() }, Reason::DataPresent),
        (EngineError::TabletBusy { path: path.clone() }, Reason::TabletBusy),
        (EngineError::ScratchBusy { path: path.clone() }, Reason::TabletBusy),
        (EngineError::TabletDir { path: path.clone(), source: denied() }, Reason::TabletDirInvalid),
        (EngineError::JournalUnreadable { path: path.clone(), cause: "x".into() }, Reason::InterruptedRun),
        (EngineError::RestoreInterrupted { backup: name.clone() }, Reason::InterruptedRun),
        (EngineError::InterruptedRun { what: "x".into() }, Reason::InterruptedRun),
        (EngineError::PositionMoved { noted: "a".into(), found: "b".into() }, Reason::ReplicationNotRestarted),
        (EngineError::MysqldStartedMeanwhile { evidence: "x".into() }, Reason::MysqldStartedMeanwhile),
        (EngineError::ReplicationNotRestarted { cause: "x".into() }, Reason::ReplicationNotRestarted),
        (EngineError::DirectoriesOverlap { inner: "/vt/data".into(), outer: "/vt".into() }, Reason::FilesNotCarried),
        (EngineError::FilesNotCarried(vec!["x.isl points away".into()]), Reason::FilesNotCarried),
        (EngineError::CloneImpossible { cause: "x".into() }, Reason::CloneNotSupported),
        (EngineError::NoSpace { path: path.clone(), needed: 2, available: 1 }, Reason::NoSpace),
        (EngineError::unwritable(&path, full()), Reason::NoSpace),
        (EngineError::unwritable(&path, denied()), Reason::FileUnwritable),
        (EngineError::unreadable(&path, denied()), Reason::FileUnreadable),
        (EngineError::FileChanged { path: path.clone(), expected: 1, found: 2 }, Reason::FileUnreadable),
        (
            EngineError::NoCompleteBackup { shard: shard.clone(), passed_over: vec![passed_over(Why::Incomplete)] },
            Reason::NoCompleteBackup,
        ),
        (EngineError::BackupNotFound { shard: shard.clone(), name: name.clone() }, Reason::BackupNotFound),
        (EngineError::NothingToRestore { shard: shard.clone() }, Reason::NoBackupFound),
        (EngineError::BackupUnusable(passed_over(Why::Incomplete)), Reason::NoCompleteBackup),
        (EngineError::BackupUnusable(passed_over(Why::ManifestUnreadable("x".into()))), Reason::ManifestUnreadable),
        (EngineError::BackupUnusable(passed_over(Why::VersionIncompatible("x".into()))), Reason::VersionIncompatible),
        (EngineError::BackupUnusable(passed_over(Why::EngineNotAllowed("x".into()))), Reason::EngineNotAllowed),
        (
            EngineError::StreamDamaged { backup: name.clone(), object: object.clone(), cause: "x".into() },
            Reason::DecompressionFailed,
        ),
        (
            EngineError::ObjectsUnexpected { backup: name.clone(), objects: vec!["180".into()] },
            Reason::ObjectUnexpected,
        ),
        (
            EngineError::TablesCorrupt { backup: name.clone(), tables: vec!["vt_commerce.customer: Corrupt".into()] },
            Reason::TableCorrupt,
        ),
        (
            EngineError::AssertionsFailed { backup: name.clone(), failed: vec!["customers: it gives NULL".into()] },
            Reason::AssertionFailed,
        ),
        (EngineError::ManifestUnusable { backup: name.clone(), cause: "x".into() }, Reason::ManifestUnreadable),
        (EngineError::CompressionUnknown { backup: name.clone(), cause: "x".into() }, Reason::ManifestUnreadable),
        (
            EngineError::BackupDamaged {
                cause: Box::new(EngineError::ObjectsMissing { backup: name.clone(), objects: vec!["7".into()] }),
                older: Some("2024-01-01.030405.zone1-0000000101".into()),
            },
            Reason::ObjectMissing,
        ),
        (EngineError::DumpElsewhere { backup: name.clone(), location: "/dumps".into() }, Reason::EngineNotSupported),
        (EngineError::EngineNotSupported { engine: "mysqlshell".into() }, Reason::EngineNotSupported),
        (
            EngineError::HashMismatch {
                backup: name.clone(),
                object: object.clone(),
                file: file.clone(),
                expected: "0a1b2c3d".into(),
                found: "ffffffff".into(),
            },
            Reason::HashMismatch,
        ),
        (
            EngineError::HashAbsent { backup: name.clone(), object: object.clone(), file: file.clone() },
            Reason::HashMismatch,
        ),
        (EngineError::ObjectsMissing { backup: name.clone(), objects: vec!["7".into()] }, Reason::ObjectMissing),
        (
            EngineError::ObjectSize { backup: name.clone(), object: object.clone(), expected: 1, found: 0 },
            Reason::ObjectMissing,
        ),
        (
            EngineError::Decompression { backup: name.clone(), object, file, cause: "x".into() },
            Reason::DecompressionFailed,
        ),
        (EngineError::BackupExists { shard: shard.clone(), name: name.clone() }, Reason::BackupExists),
        (EngineError::LastGoodBackup { shard, name }, Reason::LastGoodBackup),
    ]
}

#[test]
fn each_failure_has_its_reason_and_says_what_to_do_next() {
    for (error, reason) in all() {
        let failure = error.failure();
        assert_eq!(failure.reason, reason, "{error}");
        assert!(!failure.message.is_empty() && !failure.message.ends_with('.'), "{}", failure.message);
        let remedy = &failure.remedy;
        assert!(
            remedy.len() > 20 && remedy.ends_with('.') && !remedy.ends_with("..") && !remedy.contains("bug"),
            "{error}: {remedy}"
        );
    }
}

#[test]
fn who_has_an_object_and_no_flags_is_told_what_to_do_too() {
    for (error, _) in all() {
        let remedy = error.failure().remedy;
        // What only a command line can be wrong about.
        let by_hand = ["--help", "--tablet-dir"].iter().any(|flag| remedy.contains(flag));
        let of_objects = ["in a Vitess", "an object"].iter().any(|words| remedy.contains(words));
        assert!(!remedy.contains("--") || by_hand || of_objects, "{error}: {remedy}");
    }
    let remedy = |wanted: Reason| {
        all().into_iter().find(|(_, reason)| *reason == wanted).map(|(error, _)| error.failure().remedy).unwrap()
    };
    assert!(remedy(Reason::TabletIsPrimary).contains("--allow-primary; in a VitessBackup allowPrimary: true"));
    assert!(remedy(Reason::LastGoodBackup).contains("--force; on an object the annotation"));
    assert!(remedy(Reason::BackupNotFound).contains("the column BACKUP of `kubectl get"));
}

#[test]
fn a_hash_mismatch_names_the_file_the_object_and_both_hashes() {
    let (error, _) = all().into_iter().find(|(error, _)| matches!(error, EngineError::HashMismatch { .. })).unwrap();
    assert_eq!(
        error.to_string(),
        "vt_commerce/customer.ibd of backup 2024-01-02.030405.zone1-0000000101 (object 7) hashes to ffffffff, \
         and its MANIFEST says 0a1b2c3d"
    );
}

#[test]
fn only_unusable_backups_are_each_named_with_their_reason_up_to_five() {
    let many: Vec<PassedOver> = (0..7).map(|_| passed_over(Why::Incomplete)).collect();
    let error = EngineError::NoCompleteBackup { shard: "commerce/0".parse().unwrap(), passed_over: many };
    let text = error.to_string();
    assert_eq!(text.matches("it has no MANIFEST").count(), 5, "{text}");
    assert!(text.ends_with("; and 2 more"), "{text}");
}

#[test]
fn a_tablet_that_was_not_put_back_tells_both_failures_and_takes_the_graver_reason() {
    let error = EngineError::NotPutBack {
        cause: Box::new(EngineError::ReplicationNotRestarted { cause: "the SQL thread stopped".into() }),
        run: "the run itself had failed before: the deadline of 60 s came".into(),
    };
    let failure = error.failure();
    assert_eq!(failure.reason, Reason::ReplicationNotRestarted);
    assert!(
        failure.message.contains("the SQL thread stopped") && failure.message.contains("the deadline of 60 s came")
    );
    assert!(failure.remedy.contains("SHOW REPLICA STATUS"), "{}", failure.remedy);
}

#[test]
fn exit_codes_follow_the_reasons() {
    assert_eq!(EngineError::Interrupted(Cause::Signal("SIGTERM")).failure().reason.exit_code(), 7);
    assert_eq!(EngineError::unwritable("/x", full()).failure().reason.exit_code(), 6);
    assert_eq!(EngineError::Panicked.failure().reason.exit_code(), 70);
}

#[test]
fn what_is_damaged_is_told_all_at_once_with_the_reason_of_the_first() {
    let missing = |object: &str| EngineError::ObjectsMissing { backup: "b".into(), objects: vec![object.to_owned()] };
    assert!(EngineError::several("b", Vec::new()).is_none());
    let one = EngineError::several("b", vec![missing("1")]).unwrap();
    assert_eq!(one.to_string(), "backup b lacks 1 of its objects: 1");
    let many = EngineError::several("b", (1..=8).map(|object| missing(&object.to_string())).collect()).unwrap();
    assert_eq!(many.failure().reason, Reason::ObjectMissing);
    let text = many.to_string();
    assert!(text.starts_with("8 things are wrong with backup b: backup b lacks 1 of its objects: 1; "), "{text}");
    assert!(text.ends_with("; and 2 more") && many.is_damage(), "{text}");
}
