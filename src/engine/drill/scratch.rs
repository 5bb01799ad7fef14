//! Where a drill restores to: a directory of its own, which nothing survives.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use crate::engine::drill::DrillOptions;
use crate::engine::{EngineError, Tablet};
use crate::mysqld::{Layout, ServerVersion};
use crate::progress::Monitor;

/// In the directory that was given.
const DIRECTORY: &str = "vitess-backup-drill";
const TABLET: &str = "vt_0000000001";
const TABLET_UID: u32 = 1;
/// The longest path of a unix socket, in bytes, without the NUL at its end.
const SOCKET_PATH_MAX: usize = 107;
/// How long a process that was killed may take to be gone: the kernel writes its last pages first.
const KILL_TIMEOUT: Duration = Duration::from_secs(60);

/// Held by one drill: while it lives no other one works in the same directory.
#[derive(Debug)]
pub struct Scratch {
    directory: PathBuf,
    /// Held for its advisory lock, which the kernel gives up when the process ends in whatever way.
    _lock: File,
}

impl Scratch {
    /// Makes the directory below `parent`, without what an earlier drill that was killed left there.
    ///
    /// # Errors
    /// `ScratchBusy`, `FileUnwritable`, `InvalidArguments` for a `parent` that is none or has too long a path.
    pub async fn take(parent: &Path, monitor: &dyn Monitor) -> Result<Self, EngineError> {
        let parent = parent.canonicalize().map_err(|error| {
            EngineError::InvalidArguments(format!("--scratch-dir {} cannot be used: {error}", parent.display()))
        })?;
        let scratch = Self::hold(parent.join(DIRECTORY))?;
        let socket = scratch.layout().socket;
        if socket.as_os_str().len() > SOCKET_PATH_MAX {
            let text = format!(
                "--scratch-dir is too long a path: MySQL's socket would be {}, and {SOCKET_PATH_MAX} bytes are the most",
                socket.display()
            );
            scratch.remove().await?;
            return Err(EngineError::InvalidArguments(text));
        }
        if scratch.is_used()? {
            monitor.note(&format!("removing what an earlier drill left in {}", scratch.directory.display()));
            scratch.empty().await?;
        }
        Ok(scratch)
    }

    fn hold(directory: PathBuf) -> Result<Self, EngineError> {
        let failed = |error| EngineError::unwritable(&directory, error);
        loop {
            match fs::create_dir(&directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
                _ => {}
            }
            let lock = match File::open(&directory) {
                // The drill that held it has just removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.map_err(failed)?,
            };
            match lock.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => return Err(EngineError::ScratchBusy { path: directory.clone() }),
                Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
            }
            let ours = lock.metadata().map_err(failed)?;
            if fs::symlink_metadata(&directory).is_ok_and(|there| there.ino() == ours.ino() && there.is_dir()) {
                return Ok(Self { directory, _lock: lock });
            }
        }
    }

    pub fn tablet_dir(&self) -> PathBuf {
        self.directory.join(TABLET)
    }

    fn layout(&self) -> Layout {
        Layout::vitess_default_for_uid(&self.tablet_dir(), TABLET_UID)
    }

    fn is_used(&self) -> Result<bool, EngineError> {
        let mut entries =
            fs::read_dir(&self.directory).map_err(|error| EngineError::unreadable(&self.directory, error))?;
        Ok(entries.next().is_some())
    }

    /// The tablet's directory with a my.cnf in it, for the mysqld that is found here.
    ///
    /// # Errors
    /// When there is no mysqld; `InvalidArguments` when my.cnf leads out of the scratch; `FileUnwritable`.
    pub async fn lay_out(&self, tablet: &Tablet, options: &DrillOptions) -> Result<(), EngineError> {
        let layout = self.layout();
        fs::create_dir(&layout.tablet_dir).map_err(|error| EngineError::unwritable(&layout.tablet_dir, error))?;
        let server = tablet.server_at(layout.clone()).map_err(|error| no_mysqld(&error))?;
        let version = server.control.version_string().await.map_err(|error| no_mysqld(&error))?;
        let ours = layout.tablet_dir.join("drill.cnf");
        fs::write(&ours, lines(&layout, options)).map_err(|error| EngineError::unwritable(&ours, error))?;
        let files: Vec<PathBuf> = options.extra_my_cnf.iter().cloned().chain([ours]).collect();
        layout.write_my_cnf(ServerVersion::parse(&version).ok().as_ref(), &files).await?;
        let read = Layout::read(&layout.tablet_dir).await?;
        match read.outside_tablet_dir().first() {
            None => Ok(()),
            Some(path) => Err(EngineError::InvalidArguments(format!(
                "the drill's my.cnf leads out of the scratch: {}",
                path.display()
            ))),
        }
    }

    /// Ends what runs here and removes everything, the directory too.
    ///
    /// # Errors
    /// `FileUnwritable`; a process that cannot be ended.
    pub async fn remove(&self) -> Result<(), EngineError> {
        self.empty().await?;
        fs::remove_dir(&self.directory).map_err(|error| EngineError::unwritable(&self.directory, error))
    }

    async fn empty(&self) -> Result<(), EngineError> {
        self.end_processes().await?;
        let tablet = self.tablet_dir();
        let removed = tokio::task::spawn_blocking(move || match fs::remove_dir_all(&tablet) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(EngineError::unwritable(&tablet, error)),
            _ => Ok(()),
        });
        removed.await.map_err(|error| EngineError::internal(&error))?
    }

    /// Nothing of what they write is wanted any more, so that they are killed: a mysqld whose data is damaged may not stop.
    async fn end_processes(&self) -> Result<(), EngineError> {
        let begun = Instant::now();
        loop {
            let processes = self.processes();
            if processes.is_empty() {
                return Ok(());
            }
            if begun.elapsed() >= KILL_TIMEOUT {
                let text = format!(
                    "processes {processes:?} of an earlier drill in {} cannot be ended",
                    self.directory.display()
                );
                return Err(EngineError::Internal(text));
            }
            for process in processes.into_iter().filter_map(Pid::from_raw) {
                let _ = kill_process(process, Signal::KILL);
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// The mysqld and the XtraBackup that were told to work here, by their arguments. A number in a pid file would not do: it
    /// may be another tablet's mysqld by now.
    fn processes(&self) -> Vec<i32> {
        let tablet = self.tablet_dir();
        let named: Vec<Vec<u8>> = [("--defaults-file=", tablet.join("my.cnf")), ("--target-dir=", tablet)]
            .into_iter()
            .map(|(flag, path)| [flag.as_bytes(), path.as_os_str().as_bytes()].concat())
            .collect();
        let works_here = |cmdline: &[u8]| {
            cmdline.split(|byte| *byte == 0).any(|word| named.iter().any(|named| word.starts_with(named)))
        };
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
            .filter(|process| fs::read(format!("/proc/{process}/cmdline")).is_ok_and(|cmdline| works_here(&cmdline)))
            .collect()
    }
}

/// That there is none says nothing of the backup.
fn no_mysqld(error: &dyn std::fmt::Display) -> EngineError {
    EngineError::InvalidArguments(format!(
        "there is no mysqld to start on the backup: {error}; use an image that has one (in a VitessBackup drill.image), or set \
         VT_MYSQL_ROOT"
    ))
}

/// The last part of my.cnf, so that it wins: the user's lines, and after them what makes a drill one.
fn lines(layout: &Layout, options: &DrillOptions) -> String {
    let mut text = String::from("[mysqld]\n");
    for line in &options.my_cnf {
        let _ = writeln!(text, "{line}");
    }
    text.push_str("\n[mysqld]\n");
    text.push_str(&layout.path_settings());
    text.push_str(DRILL);
    text
}

/// `loose-`: not every MySQL and MariaDB has it. Variables that the backup's own server persisted come after my.cnf otherwise.
const DRILL: &str = "\
skip-networking
loose-mysqlx = OFF
event_scheduler = DISABLED
loose-skip-replica-start
loose-skip-slave-start
read-only = ON
loose-super-read-only = ON
loose-persisted-globals-load = OFF
local-infile = OFF
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Quiet;

    #[tokio::test]
    async fn a_scratch_is_one_drills_alone_and_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::take(parent.path(), &Quiet).await.unwrap();
        let busy = Scratch::take(parent.path(), &Quiet).await.unwrap_err();
        assert!(matches!(busy, EngineError::ScratchBusy { .. }), "{busy}");
        fs::create_dir_all(scratch.tablet_dir().join("data")).unwrap();
        scratch.remove().await.unwrap();
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_a_killed_drill_left_is_gone_before_the_next_one_begins() {
        let parent = tempfile::tempdir().unwrap();
        let left = parent.path().join(DIRECTORY).join(TABLET);
        fs::create_dir_all(left.join("data/vt_commerce")).unwrap();
        let cnf = format!("--defaults-file={}", left.canonicalize().unwrap().join("my.cnf").display());
        // A shell that does as if it were that drill's mysqld.
        let mut mysqld = std::process::Command::new("sh");
        mysqld.args(["-c", "read nothing", "sh", &cnf]).stdin(std::process::Stdio::piped());
        let mut mysqld = mysqld.spawn().unwrap();
        let scratch = Scratch::take(parent.path(), &Quiet);
        // Whoever was killed is there until it is waited for.
        let wait = tokio::task::spawn_blocking(move || mysqld.wait());
        let scratch = scratch.await.unwrap();
        assert!(!left.exists());
        assert!(!wait.await.unwrap().unwrap().success());
        scratch.remove().await.unwrap();
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_for_a_socket_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let long = parent.path().join("x".repeat(90));
        fs::create_dir(&long).unwrap();
        let error = Scratch::take(&long, &Quiet).await.unwrap_err();
        assert!(error.to_string().contains("too long a path"), "{error}");
        assert_eq!(fs::read_dir(&long).unwrap().count(), 0);
    }

    #[test]
    fn the_users_lines_come_before_those_of_the_drill() {
        let parent = tempfile::tempdir().unwrap();
        let layout = Layout::vitess_default_for_uid(parent.path(), 1);
        let text = lines(&layout, &super::super::tests::options(parent.path(), &["event_scheduler = ON"]));
        let (on, disabled) = (text.find("event_scheduler = ON"), text.find("event_scheduler = DISABLED"));
        assert!(on.is_some() && on < disabled, "{text}");
    }
}
