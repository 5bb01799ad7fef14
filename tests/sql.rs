//! Asking and telling a real mysqld 9.7: settings, GTID sets, replication between two of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use support::mysql::{PATIENCE, Tablet};
use vitess_backup::backup::failure::Reason;
use vitess_backup::mysqld::{IoState, Mysql, MysqldControl, MysqldError, ReplicaStatus, SemiSync};
use vitess_backup::replication::{GtidSet, Position};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_is_read_back() {
    let tablet = Tablet::start(108).await;
    let mysql = tablet.mysql();

    assert_eq!((mysql.read_only().await.unwrap(), mysql.super_read_only().await.unwrap()), (true, true));
    mysql.set_super_read_only(false).await.unwrap();
    assert_eq!((mysql.read_only().await.unwrap(), mysql.super_read_only().await.unwrap()), (true, false));
    mysql.set_read_only(false).await.unwrap();
    assert_eq!((mysql.read_only().await.unwrap(), mysql.super_read_only().await.unwrap()), (false, false));
    mysql.set_super_read_only(true).await.unwrap();
    assert_eq!((mysql.read_only().await.unwrap(), mysql.super_read_only().await.unwrap()), (true, true));

    assert_eq!(mysql.semi_sync().await.unwrap(), Some(SemiSync { source: false, replica: false }));
    for wanted in [SemiSync { source: true, replica: false }, SemiSync { source: false, replica: true }] {
        mysql.set_semi_sync(wanted).await.unwrap();
        assert_eq!(mysql.semi_sync().await.unwrap(), Some(wanted));
    }

    mysql.set_innodb_fast_shutdown(0).await.unwrap();
    assert_eq!(mysql.global_variable("innodb_fast_shutdown").await.unwrap().as_deref(), Some("0"));
    assert_eq!(mysql.global_variable("no_such_variable").await.unwrap(), None);
    let datadir = mysql.global_variable("datadir").await.unwrap().unwrap();
    assert_eq!(std::path::Path::new(&datadir), tablet.layout().datadir);

    tablet.make_writable().await;
    mysql.execute("CREATE DATABASE vt_commerce").await.unwrap();
    assert!(mysql.databases().await.unwrap().contains(&"vt_commerce".to_owned()));

    let uuid = mysql.server_uuid().await.unwrap();
    assert_eq!(mysql.server_uuid_if_any().await.unwrap(), Some(uuid));
    assert_eq!(mysql.gtid_executed().await.unwrap().to_string(), format!("{uuid}:1"));
    assert!(mysql.gtid_purged().await.unwrap().is_empty());
    assert!(mysql.version().await.unwrap().text().starts_with("Ver 9."));
    assert_eq!(mysql.replica_status().await.unwrap(), None);
    assert_eq!(mysql.replication_source().await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn gtid_purged_is_set_whatever_was_executed_before_and_stays() {
    let tablet = Tablet::start(109).await;
    let mysql = tablet.mysql();
    tablet.make_writable().await;
    mysql.execute("CREATE DATABASE vt_commerce").await.unwrap();
    // As after a restore: super_read_only is on.
    mysql.set_super_read_only(true).await.unwrap();
    let set: GtidSet =
        "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-1000:2000-3000,00010203-0405-0607-0809-0a0b0c0d0e0f:7".parse().unwrap();
    mysql.set_gtid_purged(&set).await.unwrap();
    assert_eq!(mysql.gtid_purged().await.unwrap(), set);
    assert_eq!(mysql.gtid_executed().await.unwrap(), set);
    // The same connection goes on after a restart, which forgets nothing of this.
    let control = tablet.mysqlctld();
    control.shutdown(PATIENCE).await.unwrap();
    assert!(mysql.ping().await.is_err());
    control.start(&[]).await.unwrap();
    assert_eq!(mysql.gtid_purged().await.unwrap(), set);
    assert_eq!(mysql.gtid_executed().await.unwrap(), set);
    assert_eq!(
        tablet.value("SELECT SCHEMA_NAME FROM information_schema.schemata WHERE SCHEMA_NAME = 'vt_commerce'").await,
        "vt_commerce"
    );
    mysql.set_gtid_purged(&GtidSet::new()).await.unwrap();
    assert!(mysql.gtid_executed().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_fail_by_name_and_time_out_without_breaking_what_follows() {
    let tablet = Tablet::start(110).await;
    let mysql = tablet.mysql();
    let error = mysql.execute("SELECT nonsense FROM nowhere.at_all").await.unwrap_err();
    assert_eq!(error.failure().reason, Reason::MysqlFailed);
    assert!(error.to_string().starts_with("statement `SELECT nonsense FROM nowhere.at_all` failed on /"), "{error}");
    let before = mysql.query("SELECT CONNECTION_ID()").await.unwrap();
    let error = mysql.execute_within("DO SLEEP(30)", Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(error, MysqldError::StatementTimeout { .. }), "{error}");
    assert_ne!(mysql.query("SELECT CONNECTION_ID()").await.unwrap(), before);
    let row = &mysql.query("SELECT NULL AS nothing, 'it''s' AS Something, 7").await.unwrap()[0];
    assert_eq!((row.get("nothing"), row.get("something"), row.at(2)), (None, Some("it's"), Some("7")));

    let error = Mysql::connect(tablet.tablet_dir().join("no.sock"), "vt_dba").await.unwrap_err();
    assert_eq!(error.failure().reason, Reason::SocketUnreachable);
    let begun = Instant::now();
    let error = Mysql::new(tablet.tablet_dir().join("no.sock"), "vt_dba").wait_ready(Duration::from_millis(300)).await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(error.unwrap_err().failure().reason, Reason::MysqldNotStarted);
}

#[tokio::test(flavor = "multi_thread")]
async fn replication_is_set_up_read_stopped_and_forgotten() {
    let (primary, replica) = tokio::join!(Tablet::start(111), Tablet::start(112));
    primary.make_writable().await;
    primary.sql("CREATE USER secretive@'%' IDENTIFIED BY 'it''s a \\\\ secret'").await;
    primary.sql("GRANT REPLICATION SLAVE ON *.* TO secretive@'%'").await;
    primary.sql("CREATE DATABASE vt_commerce").await;

    let mysql = replica.mysql();
    let mut source = primary.as_source();
    source.user = "secretive".to_owned();
    source.password = r"it's a \ secret".to_owned();
    mysql.change_replication_source(&source).await.unwrap();
    let status = mysql.replica_status().await.unwrap().unwrap();
    assert_eq!((status.io_state, status.sql_running, status.started()), (IoState::Stopped, false, false));
    assert!(status.auto_position);
    assert_eq!(status.seconds_behind, None);
    assert_eq!(mysql.replication_source().await.unwrap(), Some(source.clone()));
    source.password.clear();
    assert_eq!(status.source, source);

    mysql.start_replica().await.unwrap();
    replica.wait_replicating().await;
    replica.wait_caught_up(&primary).await;
    // On a busy machine the second in which the last event was applied takes a moment to be over.
    let status = status_when(&mysql, |status| status.seconds_behind == Some(0)).await;
    assert!(status.running() && status.started());
    assert_eq!((status.last_io_error.as_str(), status.last_sql_error.as_str()), ("", ""));
    let executed = primary.mysql().gtid_executed().await.unwrap();
    let position = Position::from(executed.clone());
    assert_eq!((&status.executed, &status.retrieved), (&position, &position));
    assert_eq!((mysql.position().await.unwrap(), mysql.gtid_purged().await.unwrap()), (position, GtidSet::new()));
    assert_eq!(mysql.gtid_executed().await.unwrap(), executed);
    assert!(mysql.databases().await.unwrap().contains(&"vt_commerce".to_owned()));

    // What cannot be applied shows.
    replica.make_writable().await;
    replica.sql("CREATE DATABASE errant").await;
    let errant = mysql.gtid_executed().await.unwrap().subtract(&executed);
    assert_eq!(errant.to_string(), format!("{}:1", mysql.server_uuid().await.unwrap()));
    primary.sql("CREATE DATABASE errant").await;
    let status = status_when(&mysql, |status| !status.sql_running).await;
    let primary_uuid = primary.mysql().server_uuid().await.unwrap().to_string();
    assert!(status.last_sql_error.contains(&primary_uuid), "{status:?}");
    assert!(!status.started());
    replica.sql("DROP DATABASE errant").await;

    // A source out of reach is waited for.
    mysql.stop_replica().await.unwrap();
    let mut nowhere = primary.as_source();
    nowhere.port = 1;
    mysql.change_replication_source(&nowhere).await.unwrap();
    mysql.start_replica().await.unwrap();
    let status = status_when(&mysql, |status| !status.last_io_error.is_empty()).await;
    assert_eq!((status.io_state, status.running(), status.started()), (IoState::Connecting, false, true));

    mysql.stop_replica().await.unwrap();
    mysql.reset_replica_all().await.unwrap();
    assert_eq!(mysql.replica_status().await.unwrap(), None);
    let error = mysql.start_replica().await.unwrap_err();
    assert_eq!(error.failure().reason, Reason::MysqlFailed);

    // Vitess's own user, without a password, and after all that.
    replica.replicate_from(&primary).await;
    replica.wait_caught_up(&primary).await;
}

async fn status_when(mysql: &Mysql, expected: impl Fn(&ReplicaStatus) -> bool) -> ReplicaStatus {
    let begun = Instant::now();
    loop {
        let status = mysql.replica_status().await.unwrap().unwrap();
        if expected(&status) {
            return status;
        }
        assert!(begun.elapsed() < PATIENCE, "{status:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
