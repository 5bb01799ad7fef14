//! A mysqld that we start ourselves.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::client::Mysql;
use super::control::MysqldControl;
use super::error::MysqldError;
use super::error_log;
use super::evidence::{self, Evidence, POLL};
use super::layout::Layout;
use super::mysql_root::MysqlRoot;
use super::version::ServerVersion;

/// Starts the tablet's mysqld as a process of its own, which goes on when we end.
///
/// **As whom.** mysqld refuses to run as root. When we are root, it runs as the owner of the tablet directory (the one
/// directory that a restore does not make anew): user and group are changed before it starts, so that the id needs no name
/// in /etc/passwd, and every file that it makes belongs to that owner, as if mysqlctld had started it. When root itself
/// owns the directory, mysqld is told `--user=root`: it is the owner's choice, and nobody else could write the files.
/// When we are not root it runs as we do.
///
/// A mysqld that someone else started is stopped with SQL `SHUTDOWN`, or, when we may not log in, with SIGTERM if its
/// process can be seen from here; both are the same clean shutdown.
#[derive(Debug)]
pub struct OwnProcess {
    layout: Layout,
    root: MysqlRoot,
    mysql: Mysql,
    start_timeout: Duration,
    /// Kept so that it can be waited for: a zombie would look alive.
    child: Mutex<Option<Child>>,
}

impl OwnProcess {
    /// `user` is the MySQL user that may log in on the socket without a password (`vt_dba`).
    pub fn new(layout: Layout, root: MysqlRoot, user: &str) -> Self {
        let mysql = Mysql::new(&layout.socket, user);
        Self { layout, root, mysql, start_timeout: evidence::START_TIMEOUT, child: Mutex::new(None) }
    }

    /// How long `start` waits until mysqld answers; 5 minutes by default. InnoDB may have to recover first.
    #[must_use]
    pub fn with_start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    async fn spawn(&self, extra_args: &[&str]) -> Result<Child, MysqldError> {
        let mysqld = self.root.program("mysqld")?;
        let owner = self.layout.owner().await?;
        let log = error_log::open(&self.layout.error_log, owner)?;
        let mut command = Command::new(&mysqld);
        command
            .arg(format!("--defaults-file={}", self.layout.my_cnf.display()))
            .arg(format!("--basedir={}", self.root.basedir().display()))
            .args(extra_args)
            .current_dir(self.root.root())
            .env("LD_LIBRARY_PATH", self.root.library_path())
            .process_group(0) // an interrupt at the terminal is for us, not for mysqld
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.map_or_else(Stdio::null, Stdio::from));
        if geteuid().is_root() {
            if owner.uid == 0 {
                command.arg("--user=root");
            } else {
                command.uid(owner.uid).gid(owner.gid);
            }
        }
        command.spawn().map_err(|source| MysqldError::Run { program: mysqld, source })
    }

    /// Returns when mysqld answers, or has ended, or the time is over.
    async fn wait_started(&self, child: &mut Option<Child>) -> Result<(), MysqldError> {
        let begun = Instant::now();
        loop {
            let pause = match self.mysql.ping().await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if let Some(Ok(Some(status))) = child.as_mut().map(Child::try_wait) {
                *child = None;
                let log = self.layout.error_log.clone();
                let tail = error_log::tail(&log);
                return Err(MysqldError::StartFailed { status: status.to_string(), log, tail });
            }
            if begun.elapsed() >= self.start_timeout {
                let socket = self.layout.socket.clone();
                return Err(MysqldError::NotReady { socket, waited: self.start_timeout, last: pause.to_string() });
            }
            sleep(POLL).await;
        }
    }

    /// Tells the mysqld that lives to stop; `Ok(false)` when it cannot be told yet, because it is only coming up.
    async fn tell_to_stop(&self, child: Option<&Child>, evidence: &Evidence) -> Result<bool, MysqldError> {
        if let Some(pid) = child.and_then(Child::id).and_then(|pid| i32::try_from(pid).ok()) {
            return terminate(pid).map(|()| true);
        }
        if evidence.socket_answers {
            let told = self.mysql.shutdown().await;
            self.mysql.close().await;
            return match (told, evidence.process) {
                (Ok(()), _) => Ok(true),
                (Err(_), Some(pid)) => terminate(pid).map(|()| true),
                (Err(error), None) => Err(error),
            };
        }
        match evidence.process {
            Some(pid) => terminate(pid).map(|()| true),
            None => Ok(false),
        }
    }
}

#[async_trait]
impl MysqldControl for OwnProcess {
    async fn start(&self, extra_args: &[&str]) -> Result<(), MysqldError> {
        let mut child = self.child.lock().await;
        reap(&mut child);
        if evidence::wait_answering_or_gone(&self.layout, &self.mysql, self.start_timeout).await? {
            return Ok(());
        }
        reap(&mut child);
        evidence::clear_leftovers(&self.layout).await?;
        *child = Some(self.spawn(extra_args).await?);
        self.wait_started(&mut child).await
    }

    async fn shutdown(&self, timeout: Duration) -> Result<(), MysqldError> {
        self.mysql.close().await;
        let mut child = self.child.lock().await;
        let begun = Instant::now();
        let mut told = false;
        let mut status = None;
        loop {
            status = reap(&mut child).or(status);
            let evidence = Evidence::gather(&self.layout).await?;
            if child.is_none() && !evidence.alive() {
                break;
            }
            if begun.elapsed() >= timeout {
                return Err(MysqldError::StillRunning { waited: timeout, evidence: evidence.to_string() });
            }
            if !told {
                told = self.tell_to_stop(child.as_ref(), &evidence).await?;
            }
            sleep(POLL).await;
        }
        evidence::clear_leftovers(&self.layout).await?;
        match status.filter(|status| told && !status.success()) {
            Some(status) => Err(MysqldError::UncleanStop { status: status.to_string() }),
            None => Ok(()),
        }
    }

    async fn run_mysql_upgrade(&self) -> Result<(), MysqldError> {
        if ServerVersion::parse(&self.version_string().await?)?.upgrades_itself() {
            return Ok(());
        }
        // MariaDB's newer packages have the newer name only.
        let mut names = ["mysql_upgrade", "mariadb-upgrade"].into_iter();
        let Some(program) = names.find_map(|name| self.root.program(name).ok()) else {
            tracing::warn!("there is no mysql_upgrade in {}: not run", self.root.root().display());
            return Ok(());
        };
        let mut command = Command::new(&program);
        command
            .args(["--no-defaults", "--force"])
            .arg(format!("--socket={}", self.layout.socket.display()))
            .arg(format!("--user={}", self.mysql.user()))
            .env("LD_LIBRARY_PATH", self.root.library_path());
        output_of(command, &program).await.map(|_| ())
    }

    async fn reinit_config(&self) -> Result<(), MysqldError> {
        Ok(self.layout.clone().randomize_server_id().await?)
    }

    async fn version_string(&self) -> Result<String, MysqldError> {
        match self.mysql.version().await {
            Ok(version) => Ok(version.text().to_owned()),
            Err(_) => binary_version(&self.root).await,
        }
    }

    fn kind(&self) -> &'static str {
        "own"
    }
}

/// The line that `mysqld --version` prints.
pub(super) async fn binary_version(root: &MysqlRoot) -> Result<String, MysqldError> {
    let mysqld = root.program("mysqld")?;
    let mut command = Command::new(&mysqld);
    command.arg("--version").env("LD_LIBRARY_PATH", root.library_path());
    output_of(command, &mysqld).await
}

/// Standard output without the last line break; the other goes into the error.
async fn output_of(mut command: Command, program: &Path) -> Result<String, MysqldError> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.map_err(|source| MysqldError::Run { program: program.to_path_buf(), source })?;
    let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    if output.status.success() {
        return Ok(text);
    }
    let output_text = format!("{text}\n{}", String::from_utf8_lossy(&output.stderr)).trim().to_owned();
    Err(MysqldError::Exited { program: program.to_path_buf(), status: output.status.to_string(), output: output_text })
}

fn terminate(pid: i32) -> Result<(), MysqldError> {
    let sent = Pid::from_raw(pid).map_or(Ok(()), |pid| kill_process(pid, Signal::TERM));
    match sent {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(MysqldError::File {
            verb: "send SIGTERM to",
            path: format!("/proc/{pid}").into(),
            source: error.into(),
        }),
    }
}

/// Takes the exit status of a child that has ended.
fn reap(child: &mut Option<Child>) -> Option<std::process::ExitStatus> {
    let status = child.as_mut()?.try_wait().ok()??;
    *child = None;
    Some(status)
}

#[cfg(test)]
#[path = "own_process_tests.rs"]
mod tests;
