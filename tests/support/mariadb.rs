//! MariaDB on a tablet's files, run as the tablets' user.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use vitess_backup::mysqld::{Layout, ServerVersion};

use super::container::command_as_user;
use super::ground::mariadb;
use super::mysql::{PATIENCE, free_port, own};

/// `vt_<uid>` in `vtdataroot`, as Vitess lays it out for MariaDB, with Vitess's my.cnf and no data.
pub async fn lay_out(vtdataroot: &Path, uid: u32) -> Layout {
    let tablet_dir = vtdataroot.join(format!("vt_{uid:010}"));
    let layout = Layout { port: free_port(), ..Layout::vitess_default_for_uid(&tablet_dir, uid) };
    for directory in layout.directories() {
        fs::create_dir_all(directory).expect("a tablet directory can be made");
    }
    let (extra, programs) = (vtdataroot.join("extra.cnf"), mariadb().join("root/usr"));
    let lines = format!(
        "user = root\nbind-address = 127.0.0.1\nskip-name-resolve\ninnodb_buffer_pool_size = 64M\n\
         lc-messages-dir = {programs}/share/mysql\nplugin-dir = {programs}/lib/mysql/plugin\n",
        programs = programs.display()
    );
    fs::write(&extra, lines).expect("extra.cnf can be written");
    let version = ServerVersion::parse("Ver 10.11.0-MariaDB").expect("a version");
    layout.write_my_cnf(Some(&version), &[extra]).await.expect("my.cnf can be written");
    own(&tablet_dir);
    layout
}

/// As whom xtrabackup logs in: docs/xtrabackup.md, for MariaDB.
pub const XTRA: &str = "CREATE USER xtra@localhost; \
    GRANT RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR, SLAVE MONITOR ON *.* TO xtra@localhost";

/// Makes MariaDB's own tables, Vitess's users, and [`XTRA`].
pub fn install(tablet_dir: &Path) {
    const USERS: &str = "FLUSH PRIVILEGES;\n\
        CREATE USER vt_dba@localhost;\nGRANT ALL ON *.* TO vt_dba@localhost WITH GRANT OPTION;\n\
        CREATE USER vt_app@localhost;\nGRANT ALL ON *.* TO vt_app@localhost;\n\
        CREATE USER vt_allprivs@localhost;\nGRANT ALL ON *.* TO vt_allprivs@localhost;\n\
        CREATE USER vt_filtered@localhost;\nGRANT ALL ON *.* TO vt_filtered@localhost;\n\
        CREATE USER vt_repl@'%';\nGRANT REPLICATION SLAVE ON *.* TO vt_repl@'%';\n";
    let users = tablet_dir.join("users.sql");
    let xtra = XTRA.replace("; ", ";\n");
    fs::write(&users, format!("{USERS}{xtra};\n")).expect("the tablet's directory can be written");
    let output = Command::new("timeout")
        .arg(PATIENCE.as_secs().to_string())
        .arg(mariadb().join("bin/mariadb-install-db"))
        .arg(format!("--defaults-file={}", tablet_dir.join("my.cnf").display()))
        .arg(format!("--basedir={}", mariadb().join("root/usr").display()))
        .arg(format!("--extra-file={}", users.display()))
        .args(["--skip-test-db", "--auth-root-authentication-method=normal"])
        .output()
        .expect("mariadb-install-db runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    fs::remove_file(users).expect("the tablet's directory can be written");
    // Its own transactions are of no interest.
    fs::remove_dir_all(tablet_dir.join("bin-logs")).expect("bin-logs can be removed");
    fs::create_dir(tablet_dir.join("bin-logs")).expect("bin-logs can be made");
    own(tablet_dir);
}

/// SQL as `vt_dba`, by way of MariaDB's own client.
pub struct Client {
    tablet_dir: PathBuf,
}

impl Client {
    pub fn of(tablet_dir: &Path) -> Self {
        Self { tablet_dir: tablet_dir.to_owned() }
    }

    /// The client, to which statements can be written.
    pub fn client(&self) -> Command {
        let mut command = Command::new(mariadb().join("bin/mariadb"));
        command.args(["--no-defaults", "-u", "vt_dba", "-N", "-B", "-S"]).arg(self.tablet_dir.join("mysql.sock"));
        command
    }

    pub fn try_sql(&self, statement: &str) -> Result<String, String> {
        let output = self.client().args(["-e", statement]).output().expect("mariadb's client runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    pub fn sql(&self, statement: &str) -> String {
        self.try_sql(statement).unwrap_or_else(|error| panic!("{statement}: {error}"))
    }

    pub fn error_log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.tablet_dir.join("error.log")).unwrap_or_default()).into_owned()
    }

    /// Shuts the server down, whoever started it.
    pub fn shut_down(&self) {
        self.sql("SHUTDOWN");
        let begun = Instant::now();
        while self.tablet_dir.join("mysql.pid").exists() {
            assert!(begun.elapsed() < PATIENCE, "mariadbd did not end:\n{}", self.error_log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// mariadbd on a tablet's files, killed on drop.
pub struct Server {
    client: Client,
    process: Child,
}

impl Deref for Server {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Server {
    /// The files become the tablets' user's.
    pub fn start(tablet_dir: &Path) -> Self {
        own(tablet_dir);
        let process = command_as_user(&mariadb().join("sbin/mysqld"))
            .arg(format!("--defaults-file={}", tablet_dir.join("my.cnf").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("setpriv runs");
        let mut server = Self { client: Client::of(tablet_dir), process };
        let begun = Instant::now();
        while server.try_sql("SELECT 1").is_err() {
            let ended = server.process.try_wait().expect("a child can be waited for").is_some();
            assert!(!ended, "mariadbd ended:\n{}", server.error_log());
            assert!(begun.elapsed() < PATIENCE, "mariadbd did not start:\n{}", server.error_log());
            std::thread::sleep(Duration::from_millis(100));
        }
        server
    }

    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
