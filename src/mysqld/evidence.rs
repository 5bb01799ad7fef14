//! Whether a mysqld lives on a tablet's files, also when it lives in another container.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Flock, FlockType, Pid};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};

use super::client::Mysql;
use super::error::MysqldError;
use super::layout::Layout;

/// What speaks for a living mysqld. Engine and mysqld may run in different containers of one node, so that the number in
/// the pid file alone says nothing: it is believed only when a process of that number, seen from here, is called mysqld
/// (or mariadbd). The socket and InnoDB's lock on `ibdata1` hold across containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Something accepts connections on the MySQL socket.
    pub socket_answers: bool,
    /// A process holds InnoDB's lock (fcntl, for writing) on `ibdata1`. (Another `innodb_data_file_path` is not followed.)
    pub data_locked: bool,
    /// The process of the pid file, when it is a mysqld that can be seen from here.
    pub process: Option<i32>,
    /// The socket file is there, answering or not.
    pub socket_exists: bool,
    /// The pid file is there, true or stale.
    pub pid_file_exists: bool,
}

impl Evidence {
    /// Looks at the tablet's socket, pid file and data.
    ///
    /// # Errors
    /// When one of them cannot be looked at, for example for want of permission: then nothing may be concluded.
    pub async fn gather(layout: &Layout) -> Result<Self, MysqldError> {
        let socket_exists = exists(&layout.socket).await?;
        let pid_file_exists = exists(&layout.pid_file).await?;
        Ok(Self {
            socket_answers: socket_exists && answers(&layout.socket).await?,
            data_locked: is_locked(&layout.innodb_data_home_dir.join("ibdata1"))?,
            process: if pid_file_exists { process_of(&layout.pid_file).await } else { None },
            socket_exists,
            pid_file_exists,
        })
    }

    /// A mysqld is running, starting or stopping.
    pub fn alive(&self) -> bool {
        self.socket_answers || self.data_locked || self.process.is_some()
    }

    /// Not alive, and nothing left lying about.
    pub fn gone(&self) -> bool {
        !self.alive() && !self.socket_exists && !self.pid_file_exists
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { socket_answers, data_locked, process, socket_exists, pid_file_exists } = *self;
        let mut signs = Vec::new();
        if socket_answers {
            signs.push("its socket accepts connections".to_owned());
        } else if socket_exists {
            signs.push("its socket file is there".to_owned());
        }
        if data_locked {
            signs.push("ibdata1 is locked".to_owned());
        }
        match process {
            Some(pid) => signs.push(format!("process {pid} is running")),
            None if pid_file_exists => signs.push("its pid file is there".to_owned()),
            None => {}
        }
        f.write_str(&if signs.is_empty() { "no sign of it".to_owned() } else { signs.join(", ") })
    }
}

/// How long a mysqld may take to answer after it was started: mysqlctld's own `--wait-time`.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Pause between two looks.
pub(super) const POLL: Duration = Duration::from_millis(100);

/// Waits for a mysqld that lives, perhaps still starting or already stopping: `true` once it answers SQL, `false` once it
/// does not live (any more).
pub(super) async fn wait_answering_or_gone(
    layout: &Layout,
    mysql: &Mysql,
    limit: Duration,
) -> Result<bool, MysqldError> {
    let begun = Instant::now();
    loop {
        let evidence = Evidence::gather(layout).await?;
        if !evidence.alive() {
            return Ok(false);
        }
        // A dying process may still accept a connection, so that only an answer counts.
        let last = match mysql.ping().await {
            Ok(()) => return Ok(true),
            Err(error) => format!("{evidence}; {error}"),
        };
        if begun.elapsed() >= limit {
            return Err(MysqldError::NotReady { socket: layout.socket.clone(), waited: limit, last });
        }
        sleep(POLL).await;
    }
}

/// Looks until there is no sign of mysqld any more.
pub(super) async fn wait_gone(layout: &Layout, limit: Duration) -> Result<(), MysqldError> {
    let begun = Instant::now();
    loop {
        let evidence = Evidence::gather(layout).await?;
        if evidence.gone() {
            return Ok(());
        }
        if begun.elapsed() >= limit {
            return Err(MysqldError::StillRunning { waited: begun.elapsed(), evidence: evidence.to_string() });
        }
        sleep(POLL).await;
    }
}

/// Removes what a killed mysqld left: its socket, the socket's lock file (whose number may meanwhile belong to another
/// process, which keeps mysqld from starting), its pid file. Only when it is known not to live.
pub(super) async fn clear_leftovers(layout: &Layout) -> Result<(), MysqldError> {
    let mut lock = layout.socket.clone().into_os_string();
    lock.push(".lock");
    for path in [&layout.socket, &PathBuf::from(lock), &layout.pid_file] {
        match tokio::fs::remove_file(path).await {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(MysqldError::File { verb: "remove", path: path.clone(), source });
            }
            _ => {}
        }
    }
    Ok(())
}

async fn exists(path: &Path) -> Result<bool, MysqldError> {
    let found = tokio::fs::try_exists(path).await;
    found.map_err(|source| MysqldError::Look { verb: "look at", path: path.to_path_buf(), source })
}

/// Whether anything accepts connections there. A full backlog counts as an answer; so does a silent server.
async fn answers(socket: &Path) -> Result<bool, MysqldError> {
    match tokio::time::timeout(Duration::from_secs(2), UnixStream::connect(socket)).await {
        Err(_) | Ok(Ok(_)) => Ok(true),
        Ok(Err(error)) => match error.kind() {
            // Reset: it listened when we knocked, and died before it could accept.
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset | io::ErrorKind::NotFound => Ok(false),
            io::ErrorKind::WouldBlock => Ok(true),
            _ => Err(MysqldError::Look { verb: "connect to", path: socket.to_path_buf(), source: error }),
        },
    }
}

/// Whether another process holds a lock that would keep us from locking the file for writing, as InnoDB does
/// (`os_file_lock`). A file that is not there is not locked.
fn is_locked(path: &Path) -> Result<bool, MysqldError> {
    let failed = |source| MysqldError::Look { verb: "look for locks on", path: path.to_path_buf(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    let found = rustix::process::fcntl_getlk(&file, &Flock::from(FlockType::WriteLock));
    Ok(found.map_err(|error| failed(error.into()))?.is_some())
}

async fn process_of(pid_file: &Path) -> Option<i32> {
    let text = tokio::fs::read_to_string(pid_file).await.ok()?;
    let pid: i32 = text.trim().parse().ok()?;
    is_mysqld(pid).await.then_some(pid)
}

/// Whether that process is there, no zombie, and called mysqld or mariadbd.
pub(super) async fn is_mysqld(pid: i32) -> bool {
    if Pid::from_raw(pid).is_none() {
        return false;
    }
    // `<pid> (<command>) <state> …`: the command may hold anything, also parentheses.
    let stat = tokio::fs::read_to_string(format!("/proc/{pid}/stat")).await.unwrap_or_default();
    let Some((head, tail)) = stat.rsplit_once(") ") else { return false };
    let command = head.split_once('(').map_or("", |(_, command)| command);
    matches!(command, "mysqld" | "mariadbd") && !tail.starts_with(['Z', 'X'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn tablet() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::vitess_default_for_uid(dir.path(), 1);
        for directory in layout.directories() {
            std::fs::create_dir_all(directory).unwrap();
        }
        (dir, layout)
    }

    #[tokio::test]
    async fn an_empty_tablet_shows_no_sign() {
        let (_dir, layout) = tablet();
        let evidence = Evidence::gather(&layout).await.unwrap();
        assert_eq!(evidence, Evidence::default());
        assert!(evidence.gone());
        assert_eq!(evidence.to_string(), "no sign of it");
    }

    #[tokio::test]
    async fn what_a_killed_mysqld_leaves_is_no_life() {
        let (_dir, layout) = tablet();
        drop(UnixListener::bind(&layout.socket).unwrap());
        std::fs::write(layout.innodb_data_home_dir.join("ibdata1"), "x").unwrap();
        // This very process: alive, but no mysqld, as when the number was given to another one.
        std::fs::write(&layout.pid_file, std::process::id().to_string()).unwrap();
        let evidence = Evidence::gather(&layout).await.unwrap();
        assert!(!evidence.alive() && !evidence.gone(), "{evidence:?}");
        assert_eq!(evidence.to_string(), "its socket file is there, its pid file is there");
    }

    #[tokio::test]
    async fn an_answering_socket_is_life() {
        let (_dir, layout) = tablet();
        let _listener = UnixListener::bind(&layout.socket).unwrap();
        let evidence = Evidence::gather(&layout).await.unwrap();
        assert!(evidence.alive());
        assert_eq!(evidence.to_string(), "its socket accepts connections");
    }

    #[tokio::test]
    async fn a_directory_that_may_not_be_searched_is_an_error_and_not_a_stopped_mysqld() {
        let (_dir, mut layout) = tablet();
        std::fs::write(layout.tablet_dir.join("file"), "").unwrap();
        layout.innodb_data_home_dir = layout.tablet_dir.join("file");
        let error = Evidence::gather(&layout).await.unwrap_err().to_string();
        assert!(error.contains("could not look for locks on") && error.contains("ibdata1"), "{error}");
    }
}
