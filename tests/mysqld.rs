//! Starting, stopping and asking a real mysqld 9.7, under a real mysqlctld 0.24 and by ourselves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use support::container;
use support::mysql::{PATIENCE, Tablet};
use vitess_backup::backup::failure::Reason;
use vitess_backup::mysqld::{
    Evidence, IoState, Layout, Mysql, MysqlRoot, Mysqlctld, MysqldControl, MysqldError, OwnProcess, ReplicaStatus,
    SemiSync, ServerVersion, Stopped,
};
use vitess_backup::replication::GtidSet;

/// A tablet, and one of the ways to control it that start a mysqld.
struct Case {
    tablet: Tablet,
    control: Box<dyn MysqldControl>,
    in_container: bool,
}

impl Case {
    async fn mysqlctld() -> Self {
        let mut tablet = Tablet::at_rest(101).await;
        tablet.start_container().await;
        // Long enough for a call, short enough for a test of a mysqlctld that is gone.
        let control = Box::new(tablet.mysqlctld().with_patience(Duration::from_secs(2)));
        Self { tablet, control, in_container: true }
    }

    async fn own_process() -> Self {
        let tablet = Tablet::at_rest(102).await;
        let control = Box::new(tablet.own_process());
        Self { tablet, control, in_container: false }
    }

    async fn start(&self, extra_args: &[&str]) {
        self.control.start(extra_args).await.unwrap_or_else(|error| panic!("{error}\n{}", self.tablet.logs()));
    }

    async fn shutdown(&self) {
        self.control.shutdown(PATIENCE).await.unwrap_or_else(|error| panic!("{error}\n{}", self.tablet.logs()));
    }

    async fn evidence(&self) -> Evidence {
        Evidence::gather(&self.tablet.layout()).await.unwrap()
    }

    fn mysqld_pid(&self) -> u32 {
        if self.in_container {
            return self.tablet.mysqld_pid().expect("mysqld is running");
        }
        std::fs::read_to_string(&self.tablet.layout().pid_file).unwrap().trim().parse().unwrap()
    }

    /// SIGKILL, and whatever is left is as it was.
    async fn kill_mysqld(&mut self) {
        if self.in_container {
            self.tablet.kill_mysqld();
            return;
        }
        container::signal(self.mysqld_pid(), "KILL");
        let begun = Instant::now();
        while self.evidence().await.alive() {
            assert!(begun.elapsed() < PATIENCE, "{}", self.evidence().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// One test for each clause of the contract and each implementation.
macro_rules! contract {
    ($($clause:ident)+) => {
        mod mysqlctld_keeps_the_contract {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $clause() { super::$clause(super::Case::mysqlctld().await).await; })+
        }
        mod own_process_keeps_the_contract {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $clause() { super::$clause(super::Case::own_process().await).await; })+
        }
    };
}

contract! {
    starts_and_stops_again_and_again
    starts_with_arguments_for_once
    sees_a_killed_mysqld_and_clears_up_after_it
    says_why_mysqld_does_not_start
    gives_a_new_server_id_and_tells_the_version
}

async fn starts_and_stops_again_and_again(case: Case) {
    case.start(&[]).await;
    case.tablet.make_writable().await;
    case.tablet.sql("CREATE DATABASE vt_commerce").await;
    case.tablet.sql("CREATE TABLE vt_commerce.t (id INT PRIMARY KEY)").await;
    case.tablet.sql("INSERT INTO vt_commerce.t VALUES (42)").await;

    // Starting what runs does nothing: this setting would be gone.
    case.tablet.sql("SET GLOBAL max_connections = 123").await;
    case.start(&["--max-connections=321"]).await;
    assert_eq!(case.tablet.value("SELECT @@max_connections").await, "123");

    let pid = case.mysqld_pid();
    let evidence = case.evidence().await;
    assert!(evidence.socket_answers && evidence.data_locked && evidence.pid_file_exists, "{evidence:?}");
    // A container's process cannot be told by its number; our own can.
    assert_eq!(evidence.process.is_none(), case.in_container);

    case.shutdown().await;
    assert_eq!(case.evidence().await, Evidence::default());
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "process {pid} is still there");
    let left: Vec<_> = std::fs::read_dir(case.tablet.tablet_dir()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_str().unwrap().starts_with("mysql.")), "{left:?}");

    // Stopping what is stopped does nothing, and soon.
    let begun = Instant::now();
    case.shutdown().await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());

    case.start(&[]).await;
    assert_eq!(case.tablet.value("SELECT id FROM vt_commerce.t").await, "42");
    assert_ne!(case.tablet.value("SELECT @@max_connections").await, "123");
    case.shutdown().await;
}

async fn starts_with_arguments_for_once(case: Case) {
    case.shutdown().await;
    case.start(&["--skip-grant-tables", "--skip-networking"]).await;
    Mysql::connect(case.tablet.mysql_socket(), "stranger").await.unwrap();
    assert_eq!(case.tablet.value("SELECT @@skip_networking").await, "1");
    assert!(std::net::TcpStream::connect(("127.0.0.1", case.tablet.port)).is_err());
    case.control.run_mysql_upgrade().await.unwrap();
    case.shutdown().await;
    assert!(case.evidence().await.gone());

    case.start(&[]).await;
    let error = Mysql::connect(case.tablet.mysql_socket(), "stranger").await.unwrap_err();
    assert_eq!(error.failure().reason, Reason::SocketUnreachable);
    assert!(error.to_string().contains("mysql.sock as stranger: "), "{error}");
    assert!(std::net::TcpStream::connect(("127.0.0.1", case.tablet.port)).is_ok());
    case.shutdown().await;
}

async fn sees_a_killed_mysqld_and_clears_up_after_it(mut case: Case) {
    case.start(&[]).await;
    case.kill_mysqld().await;
    let evidence = case.evidence().await;
    assert!(!evidence.alive() && evidence.socket_exists && evidence.pid_file_exists, "{evidence:?}");
    assert!(!evidence.gone());

    if case.in_container {
        // mysqlctld went with it, and could come back with a mysqld at any time: there is no saying that all is stopped.
        let error = case.control.shutdown(PATIENCE).await.unwrap_err();
        let expected = format!("could not reach mysqlctld on {} within 2s: ", case.tablet.mysqlctl_socket().display());
        assert!(error.to_string().starts_with(&expected) && error.to_string().contains("refused"), "{error}");
        assert_eq!(error.failure().reason, Reason::SocketUnreachable);
        case.tablet.start_container().await;
        case.shutdown().await;
        // Once it is stopped on purpose, mysqlctld stays. Then leftovers can only be older than it; they are no obstacle,
        // not even when their number is that of a living process (mysqlctld's own parent, here).
        drop(std::os::unix::net::UnixListener::bind(case.tablet.mysql_socket()).unwrap());
        std::fs::write(case.tablet.tablet_dir().join("mysql.sock.lock"), "1\n").unwrap();
        std::fs::write(&case.tablet.layout().pid_file, "1\n").unwrap();
        assert!(!case.evidence().await.gone());
        let begun = Instant::now();
        case.shutdown().await;
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        assert!(case.evidence().await.gone());
        std::fs::write(case.tablet.tablet_dir().join("mysql.sock.lock"), "1\n").unwrap();
    } else {
        case.shutdown().await;
        assert!(case.evidence().await.gone());
        case.start(&[]).await;
        case.kill_mysqld().await;
        std::fs::write(case.tablet.tablet_dir().join("mysql.sock.lock"), "1\n").unwrap();
    }

    case.start(&[]).await;
    assert!(case.evidence().await.alive());
    case.shutdown().await;
    assert!(case.evidence().await.gone());
}

async fn says_why_mysqld_does_not_start(mut case: Case) {
    case.shutdown().await;
    let ibdata = case.tablet.layout().innodb_data_home_dir.join("ibdata1");
    let aside = case.tablet.tablet_dir().join("ibdata1.aside");
    std::fs::rename(&ibdata, &aside).unwrap();
    let begun = Instant::now();
    let error = case.control.start(&[]).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert_eq!(error.failure().reason, Reason::MysqldNotStarted);
    assert!(error.to_string().contains("[ERROR]") && error.to_string().contains("error.log"), "{error}");

    std::fs::rename(&aside, &ibdata).unwrap();
    if case.in_container {
        // mysqlctld left together with its mysqld.
        case.tablet.container().wait_ended(PATIENCE);
        case.tablet.start_container().await;
    }
    case.start(&[]).await;
    case.shutdown().await;
}

async fn gives_a_new_server_id_and_tells_the_version(case: Case) {
    case.shutdown().await;
    let before = Layout::read(case.tablet.tablet_dir()).await.unwrap();
    case.control.reinit_config().await.unwrap();
    let after = Layout::read(case.tablet.tablet_dir()).await.unwrap();
    assert_ne!(after.server_id, before.server_id);
    assert!((100..1 << 31).contains(&after.server_id));
    assert_eq!(after, Layout { server_id: after.server_id, ..before });

    let stopped = case.control.version_string().await.unwrap();
    case.start(&[]).await;
    assert_eq!(case.tablet.value("SELECT @@server_id").await, after.server_id.to_string());
    let running = case.control.version_string().await.unwrap();
    let sql = case.tablet.mysql().version().await.unwrap();
    assert_eq!(running, sql.text());
    assert_eq!(running, running.trim());
    let (stopped, running) = (ServerVersion::parse(&stopped).unwrap(), ServerVersion::parse(&running).unwrap());
    assert_eq!(
        (stopped.flavor(), stopped.major(), stopped.minor(), stopped.patch()),
        (running.flavor(), running.major(), running.minor(), running.patch())
    );
    assert!(running.at_least(9, 0, 0));
    case.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mysqlctld_accepts_the_my_cnf_that_we_write_and_regenerates_it() {
    let mut tablet = Tablet::at_rest(103).await;
    let path = tablet.layout().my_cnf;
    let ours = std::fs::read_to_string(&path).unwrap();
    tablet.start_container().await;
    let theirs = std::fs::read_to_string(&path).unwrap();
    assert_ne!(ours, theirs);
    assert_eq!(Layout::read(tablet.tablet_dir()).await.unwrap(), tablet.layout());
    // What Vitess's template has and ours might have forgotten: every setting of theirs, with the same value.
    let settings = |text: &str| -> Vec<String> {
        let lines =
            text.lines().map(|line| line.split('#').next().unwrap().replace([' ', '_'], "-").replace("--", "-"));
        let mut all: Vec<_> =
            lines.map(|l| l.trim_matches('-').replace("-=-", "=")).filter(|l| !l.is_empty()).collect();
        all.sort();
        all.dedup();
        all
    };
    assert_eq!(settings(&ours), settings(&theirs));
}

#[tokio::test(flavor = "multi_thread")]
async fn own_process_takes_over_a_mysqld_that_it_did_not_start() {
    let tablet = Tablet::at_rest(104).await;
    let first = tablet.own_process();
    first.start(&[]).await.unwrap();
    // Another run of the engine: no child of its own.
    let second = tablet.own_process();
    second.start(&[]).await.unwrap();
    // The process stays a zombie until the first one looks, which must not hold up the second.
    second.shutdown(PATIENCE).await.unwrap();
    assert!(Evidence::gather(&tablet.layout()).await.unwrap().gone());
    first.shutdown(PATIENCE).await.unwrap();

    // Without a login SIGTERM does, as the process can be seen from here.
    first.start(&[]).await.unwrap();
    tablet.make_writable().await;
    tablet.sql("DROP USER vt_dba@localhost").await;
    tablet.own_process().shutdown(PATIENCE).await.unwrap();
    assert!(Evidence::gather(&tablet.layout()).await.unwrap().gone());
}

#[tokio::test(flavor = "multi_thread")]
async fn own_process_leaves_all_files_to_the_owner_of_the_tablet() {
    use std::os::unix::fs::MetadataExt;
    let tablet = Tablet::at_rest(105).await;
    let _ = std::fs::remove_file(&tablet.layout().error_log);
    let own = tablet.own_process();
    own.start(&[]).await.unwrap();
    own.reinit_config().await.unwrap();
    let pid = std::fs::read_to_string(&tablet.layout().pid_file).unwrap();
    assert_eq!(std::fs::metadata(format!("/proc/{}", pid.trim())).unwrap().uid(), 65534);
    let mut folders = vec![tablet.tablet_dir().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let found = entry.metadata().unwrap();
            assert_eq!((found.uid(), found.gid()), (65534, 65534), "{}", entry.path().display());
            if found.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    own.shutdown(PATIENCE).await.unwrap();
}

/// The engine's pod runs as the tablet's user, not as root: this test runs itself once more as that user.
#[tokio::test(flavor = "multi_thread")]
async fn the_tablets_own_user_may_do_it_all_too() {
    const TABLET: &str = "VBO_TEST_TABLET_DIR";
    if let Some(tablet_dir) = std::env::var_os(TABLET) {
        assert!(std::fs::read_dir("/root").is_err(), "this is to run as a user without rights");
        return as_the_tablets_own_user(tablet_dir.as_ref()).await;
    }
    let mut tablet = Tablet::at_rest(113).await;
    tablet.start_container().await;
    let copy = tablet.vtdataroot().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let output = container::command_as_user(&copy)
        .args(["--exact", "the_tablets_own_user_may_do_it_all_too", "--nocapture"])
        .env(TABLET, tablet.tablet_dir())
        .env("VT_MYSQL_ROOT", &support::ground::ground().mysql_root)
        .current_dir("/")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

async fn as_the_tablets_own_user(tablet_dir: &std::path::Path) {
    let layout = Layout::read(tablet_dir).await.unwrap();
    let mysql = Mysql::connect(&layout.socket, "vt_dba").await.unwrap();
    let mysqlctld = Mysqlctld::new(layout.clone(), tablet_dir.join("mysqlctl.sock"), "vt_dba");
    mysqlctld.shutdown(PATIENCE).await.unwrap();
    assert!(Evidence::gather(&layout).await.unwrap().gone());

    let own = OwnProcess::new(layout.clone(), MysqlRoot::find().unwrap(), "vt_dba");
    own.start(&[]).await.unwrap();
    mysql.ping().await.unwrap();
    own.shutdown(PATIENCE).await.unwrap();
    own.reinit_config().await.unwrap();
    Stopped::new(layout.clone()).shutdown(PATIENCE).await.unwrap();

    mysqlctld.start(&[]).await.unwrap();
    mysql.ping().await.unwrap();
    assert!(Evidence::gather(&layout).await.unwrap().alive());
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_refuses_while_a_mysqld_lives_even_in_another_container() {
    let tablet = Tablet::start(106).await;
    let stopped = Stopped::new(tablet.layout());
    let error = stopped.shutdown(PATIENCE).await.unwrap_err();
    assert_eq!(error.failure().reason, Reason::MysqldNotStopped);
    assert!(error.to_string().contains("its socket accepts connections, ibdata1 is locked"), "{error}");
    // Without socket and pid file only the lock tells.
    std::fs::remove_file(tablet.mysql_socket()).unwrap();
    std::fs::remove_file(&tablet.layout().pid_file).unwrap();
    let error = stopped.shutdown(PATIENCE).await.unwrap_err();
    assert!(error.to_string().ends_with(": ibdata1 is locked"), "{error}");
    assert!(tablet.mysqld_pid().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_is_content_with_files_at_rest() {
    let tablet = Tablet::at_rest(107).await;
    let stopped = Stopped::new(tablet.layout());
    stopped.shutdown(PATIENCE).await.unwrap();
    stopped.start(&[]).await.unwrap();
    stopped.run_mysql_upgrade().await.unwrap();
    stopped.reinit_config().await.unwrap();
    assert_ne!(Layout::read(tablet.tablet_dir()).await.unwrap().server_id, tablet.layout().server_id);
    assert!(Evidence::gather(&tablet.layout()).await.unwrap().gone());
}

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
    let status = mysql.replica_status().await.unwrap().unwrap();
    assert!(status.running() && status.started());
    assert_eq!(status.seconds_behind, Some(0));
    assert_eq!((status.last_io_error.as_str(), status.last_sql_error.as_str()), ("", ""));
    let executed = primary.mysql().gtid_executed().await.unwrap();
    assert_eq!((&status.executed_gtid_set, &status.retrieved_gtid_set), (&executed, &executed));
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
