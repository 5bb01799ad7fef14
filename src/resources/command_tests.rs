//! The engine's command lines, whole.

use serde_json::{Value, json};

use super::*;

fn attachment() -> Attachment {
    Attachment {
        container: k8s_openapi::api::core::v1::Container::default(),
        node: "node1".into(),
        tablet_dir: "/vt/vt_0000000101".into(),
        mysqlctl_socket: "/vt/mysqlctl.sock".into(),
        mysql_socket: None,
        volumes: Vec::new(),
        mounts: Vec::new(),
        claims: Vec::new(),
    }
}

const PRIMARY: Terms = Terms { allow_primary: true, max_lag: None };

/// What of the command line the spec's own fields make: all but where the tablet and the storage are, and the reporting.
fn of_backup(fields: &Value, terms: Terms) -> Vec<String> {
    let mut spec = json!({"storage": {"name": "backups"}, "tablet": "zone1-0000000101"});
    spec.as_object_mut().unwrap().extend(fields.as_object().cloned().unwrap());
    let spec: VitessBackupSpec = serde_json::from_value(spec).unwrap();
    let (alias, shard) = ("zone1-0000000101".parse().unwrap(), "commerce/0".parse().unwrap());
    let started = "2026-11-22T10:00:00.5Z".parse().unwrap();
    let args = backup(&spec, &alias, &shard, &attachment(), &["STORAGE".to_owned()], terms, started);
    let common = [
        "backup",
        "zone1-0000000101",
        "--keyspace=commerce",
        "--shard=0",
        "--tablet-dir=/vt/vt_0000000101",
        "--mysqld=mysqlctld",
        "--mysqlctl-socket=/vt/mysqlctl.sock",
        "STORAGE",
    ];
    between(&args, &common)
}

fn of_restore(fields: &Value, onto: &RestoreOnto<'_>, common: &[&str]) -> Vec<String> {
    let mut spec = json!({"storage": {"name": "backups"}, "shard": "commerce/0"});
    spec.as_object_mut().unwrap().extend(fields.as_object().cloned().unwrap());
    between(&restore(&serde_json::from_value(spec).unwrap(), onto, &["STORAGE".to_owned()]), common)
}

fn between(args: &[String], common: &[&str]) -> Vec<String> {
    let reporting = ["--report=json", "--termination-log=/dev/termination-log", "--deadline=6h"];
    let (before, rest) = args.split_at(common.len());
    let (between, after) = rest.split_at(rest.len() - reporting.len());
    assert_eq!((before, after), (owned(common).as_slice(), owned(&reporting).as_slice()));
    between.to_vec()
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn a_tablet_of_a_shard_is_told_how_far_behind_it_may_be() {
    let terms = Terms { allow_primary: false, max_lag: Some("1m30s".parse().unwrap()) };
    assert!(of_backup(&json!({}), terms).contains(&"--max-replication-lag=1m30s".to_owned()));
}

#[test]
fn a_backup_by_the_builtin_engine_is_told_what_the_spec_says() {
    let time = "--backup-time=2026-11-22T10:00:00Z";
    assert_eq!(of_backup(&json!({}), Terms::default()), ["--backup-engine-implementation=builtin", time]);
    let all = json!({
        "engine": "builtin", "concurrency": 8, "bandwidthLimit": "50Mi", "compression": {"engine": "zstd", "level": 3},
        "builtin": {"upgradeSafe": true, "allowIncomplete": true, "copyMode": "InPlace"},
        "vtctld": {"address": "vtctld:15999"},
        "podTemplate": {"resources": {"limits": {"memory": "1Gi"}, "requests": {"cpu": 4}}},
    });
    assert_eq!(
        of_backup(&all, PRIMARY),
        [
            "--backup-engine-implementation=builtin",
            "--concurrency=8",
            "--compression-engine-name=zstd",
            "--compression-level=3",
            "--allow-primary",
            "--memory-limit=858993456",
            "--bandwidth-limit=50Mi",
            "--upgrade-safe",
            "--allow-incomplete",
            "--copy-mode=in-place",
            time,
            "--vtctld-server=vtctld:15999",
        ]
    );
}

#[test]
fn a_backup_by_xtrabackup_is_told_its_own_options_and_nothing_of_vtctld_and_concurrency() {
    let time = "--backup-time=2026-11-22T10:00:00Z";
    assert_eq!(
        of_backup(&json!({"engine": "xtrabackup", "xtrabackup": {"user": "vt_backup"}}), Terms::default()),
        [
            "--backup-engine-implementation=xtrabackup",
            "--xtrabackup-user=vt_backup",
            "--xtrabackup-stream-mode=xbstream",
            time,
        ]
    );
    let all = json!({
        "engine": "xtrabackup", "concurrency": 8, "bandwidthLimit": "50Mi", "compression": {"engine": "zstd", "level": 3},
        "xtrabackup": {
            "user": "vt_backup", "streamMode": "tar", "rootPath": "/opt/xtrabackup/bin", "stripes": 8,
            "stripeBlockSize": 1024, "backupFlags": "--no-server-version-check --databases='a b $(PASSWORD)'",
        },
        "vtctld": {"address": "vtctld:15999"},
        "podTemplate": {"resources": {"limits": {"memory": "1Gi"}, "requests": {"cpu": "2500m"}}},
    });
    assert_eq!(
        of_backup(&all, PRIMARY),
        [
            "--backup-engine-implementation=xtrabackup",
            "--compression-engine-name=zstd",
            "--compression-level=3",
            "--allow-primary",
            "--memory-limit=858993456",
            "--bandwidth-limit=50Mi",
            "--xtrabackup-user=vt_backup",
            "--xtrabackup-root-path=/opt/xtrabackup/bin",
            "--xtrabackup-stream-mode=tar",
            "--xtrabackup-backup-flags=--no-server-version-check --databases='a b $$(PASSWORD)'",
            "--xtrabackup-stripes=8",
            "--xtrabackup-stripe-block-size=1024",
            "--xtrabackup-parallel=3",
            time,
        ]
    );
}

#[test]
fn xtrabackup_gets_as_many_threads_as_the_container_asks_for_cores() {
    for (requests, threads) in [
        (json!({}), None),
        (json!({"memory": "1Gi"}), None),
        (json!({"cpu": 4}), Some(4)),
        (json!({"cpu": 0.5}), Some(1)),
        (json!({"cpu": "100m"}), Some(1)),
        (json!({"cpu": "1000m"}), Some(1)),
        (json!({"cpu": "1001m"}), Some(2)),
        (json!({"cpu": "1000.5m"}), Some(2)),
        (json!({"cpu": "1.0"}), Some(1)),
        (json!({"cpu": "1.001"}), Some(2)),
        (json!({"cpu": 0}), None),
        (json!({"cpu": "1e3"}), None),
        (json!({"cpu": "2k"}), None),
        (json!({"cpu": "18446744073709551615.5"}), None),
    ] {
        let fields = json!({
            "engine": "xtrabackup", "xtrabackup": {"user": "u"}, "podTemplate": {"resources": {"requests": requests}},
        });
        let passed: Vec<String> = of_backup(&fields, Terms::default());
        let passed: Vec<&str> = passed.iter().filter_map(|arg| arg.strip_prefix("--xtrabackup-parallel=")).collect();
        let expected: Vec<String> = threads.iter().map(i32::to_string).collect();
        assert_eq!(passed, expected, "{requests}");
    }
}

#[test]
fn a_restore_considers_the_backups_of_every_engine_unless_the_spec_names_some() {
    let (alias, attachment) = ("zone1-0000000101".parse().unwrap(), attachment());
    let tablet = RestoreOnto::Tablet { alias: &alias, attachment: &attachment };
    let on_tablet = [
        "restore",
        "--keyspace=commerce",
        "--shard=0",
        "--tablet-dir=/vt/vt_0000000101",
        "--mysqld=mysqlctld",
        "--mysqlctl-socket=/vt/mysqlctl.sock",
        "STORAGE",
    ];
    let files = RestoreOnto::Files { tablet_dir: "/vt/vt_0000000101".into() };
    let at_rest = [
        "restore",
        "--keyspace=commerce",
        "--shard=0",
        "--tablet-dir=/vt/vt_0000000101",
        "--mysqld=stopped",
        "STORAGE",
    ];
    let target = ["--existing-data=refuse", "--no-backup=empty"];
    let all = json!({
        "allowedBackupEngines": ["xtrabackup", "builtin"],
        "xtrabackup": {
            "rootPath": "/opt/xtrabackup/bin", "streamMode": "tar", "prepareFlags": "--use-memory=1G",
            "restoreFlags": "--decompress --parallel=2",
        },
    });
    let told = [
        "--restore-from-backup-allowed-engines=xtrabackup,builtin",
        "--xtrabackup-root-path=/opt/xtrabackup/bin",
        "--xtrabackup-stream-mode=tar",
        "--xtrabackup-prepare-flags=--use-memory=1G",
        "--xbstream-restore-flags=--decompress --parallel=2",
    ];
    for (onto, common) in [(&tablet, &on_tablet[..]), (&files, &at_rest[..])] {
        assert_eq!(of_restore(&json!({}), onto, common), target);
        assert_eq!(of_restore(&json!({"xtrabackup": {}}), onto, common), target);
        assert_eq!(of_restore(&all, onto, common), [&target[..], &told[..]].concat());
    }
}

#[test]
fn a_verification_of_objects_knows_nothing_of_drills() {
    let spec: VitessBackupSpec = serde_json::from_value(json!({
        "storage": {"name": "backups"}, "tablet": "zone1-101", "concurrency": 8, "verify": "Restore",
        "podTemplate": {"resources": {"limits": {"memory": "1Gi"}}},
        "drill": {"assertions": [{"name": "a", "sql": "SELECT 1"}]},
    }))
    .unwrap();
    let args =
        verify(&spec, Verify::Objects, "commerce/0", "2026-11-22.100000.zone1-0000000101", &["STORAGE".to_owned()]);
    assert_eq!(
        args,
        [
            "verify",
            "STORAGE",
            "--level=objects",
            "--concurrency=8",
            "--memory-limit=858993456",
            "--report=json",
            "--termination-log=/dev/termination-log",
            "--deadline=6h",
            "commerce/0",
            "2026-11-22.100000.zone1-0000000101",
        ]
    );
}

#[test]
fn a_drill_is_told_all_that_the_spec_says_of_it() {
    let spec: VitessBackupSpec = serde_json::from_value(json!({
        "storage": {"name": "backups"}, "tablet": "zone1-101", "engine": "xtrabackup", "verify": "Restore",
        "xtrabackup": {"user": "vt_backup", "rootPath": "/opt/xtrabackup/bin"},
        "drill": {
            "image": "mysql:9", "scratch": {"emptyDir": {}}, "assertionTimeout": "30s",
            "myCnf": "innodb_page_size = 64k\n\n  lower_case_table_names = 1\n",
            "xtrabackup": {"prepareFlags": "--use-memory=1G"},
            "assertions": [{"name": "customers", "sql": "SELECT COUNT(*) > 0 FROM customer WHERE note <> '$(X)'"}],
        },
    }))
    .unwrap();
    let args = verify(&spec, Verify::Restore, "commerce/0", "b", &["STORAGE".to_owned()]);
    assert_eq!(
        args[..args.len() - 5],
        [
            "verify",
            "STORAGE",
            "--level=restore",
            "--scratch-dir=/vitess-backup-scratch",
            "--xtrabackup-root-path=/opt/xtrabackup/bin",
            "--xtrabackup-prepare-flags=--use-memory=1G",
            "--my-cnf=innodb_page_size = 64k",
            "--my-cnf=lower_case_table_names = 1",
            "--assertion-timeout=30s",
            "--assertion=customers=SELECT COUNT(*) > 0 FROM customer WHERE note <> '$$(X)'",
        ]
    );
}
