//! Starting, stopping and asking a real mysqld 9.7, under a real mysqlctld 0.24 and by ourselves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use support::container;
use support::mysql::{PATIENCE, Tablet};
use vitess_backup::backup::failure::Reason;
use vitess_backup::mysqld::{
    Evidence, Layout, Mysql, MysqlRoot, Mysqlctld, MysqldControl, OwnProcess, ServerVersion, Stopped,
};

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
    let process = format!("/proc/{pid}");
    // mysqlctld goes by the pid file, which mysqld removes just before it ends.
    let begun = Instant::now();
    while case.in_container && begun.elapsed() < Duration::from_secs(10) && Path::new(&process).exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!Path::new(&process).exists(), "process {pid} is still there");
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

async fn as_the_tablets_own_user(tablet_dir: &Path) {
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
