//! The engine as a process of its own, to be killed.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::Shard;
use crate::support::ground::ground;
use crate::support::mysql::{PATIENCE, Tablet};

/// The binary under test, in a place where no other build replaces it.
fn binary() -> &'static PathBuf {
    static BINARY: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = BINARY.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("vitess-backup");
        std::fs::copy(env!("CARGO_BIN_EXE_vitess-backup"), &path).unwrap();
        (directory, path)
    });
    path
}

/// `vitess-backup` with these arguments, blank-separated.
pub fn command(arguments: &str) -> Command {
    let mut command = Command::new(binary());
    command.env("VT_MYSQL_ROOT", &ground().mysql_root);
    command.args(arguments.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to the end.
pub fn run(arguments: &str) -> Output {
    command(arguments).output().unwrap()
}

/// Runs to the end, which must be this exit code; gives the outcome that it reported.
pub fn run_to(code: i32, arguments: &str) -> serde_json::Value {
    let output = run(&format!("{arguments} --report json"));
    let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments}\n{out}\n{log}");
    let last = out.lines().last().expect("there is an outcome");
    let outcome: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!(outcome["event"], "outcome", "{last}");
    outcome
}

/// Runs with a kill injected at this point (`vitess_backup::engine::kill_point`); false when the run came to a good end
/// before it came there.
pub fn run_killed_at(point: &str, arguments: &str) -> bool {
    let output = command(arguments).env("VITESS_BACKUP_TEST_KILL", point).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    match (output.status.signal(), output.status.code()) {
        (Some(9), _) => true,
        (_, Some(0)) => false,
        _ => panic!("{arguments} was to be killed at {point} and ended with {}:\n{log}", output.status),
    }
}

impl Shard {
    pub fn storage_arguments(&self) -> String {
        format!("--backup-storage-implementation file --file-backup-storage-root {}", self.backups.path().display())
    }

    pub fn tablet_arguments(&self, tablet: &Tablet) -> String {
        format!("--tablet-dir {} {}", tablet.tablet_dir().display(), self.storage_arguments())
    }

    /// A backup of the replica that takes its time.
    pub fn backup_arguments(&self) -> String {
        let tablet = self.tablet_arguments(&self.replica);
        format!("backup zone1-102 --keyspace commerce --shard 0 {tablet} --compression-level 9")
    }

    pub fn quick_backup_arguments(&self) -> String {
        self.backup_arguments().replace("--compression-level 9", "--compression-engine-name lz4")
    }

    pub fn restore_arguments(&self) -> String {
        let tablet = self.tablet_arguments(&self.replica);
        format!("restore --keyspace commerce --shard 0 {tablet} --existing-data replace")
    }
}

/// The engine at work.
pub struct Running {
    child: Child,
    journal: PathBuf,
    log: tempfile::NamedTempFile,
}

impl Running {
    pub fn start(arguments: &str, tablet: &Tablet) -> Self {
        let journal = tablet.tablet_dir().join("vitess-backup.journal");
        let mut command = command(arguments);
        let log = tempfile::NamedTempFile::new().unwrap();
        command.stdout(Stdio::null()).stderr(log.reopen().unwrap());
        Self { child: command.spawn().unwrap(), journal, log }
    }

    /// Waits until the journal says that the step has come; false when the run ended before that was seen.
    pub fn reach(&mut self, step: &str) -> bool {
        let wanted = format!("\"step\": \"{step}\"");
        let begun = Instant::now();
        loop {
            if std::fs::read_to_string(&self.journal).is_ok_and(|text| text.contains(&wanted)) {
                return true;
            }
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(begun.elapsed() < PATIENCE, "the engine did not reach {step}");
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; it must end with this exit code.
    pub fn terminate(mut self, code: i32, context: &str) {
        crate::support::container::signal(self.child.id(), "TERM");
        let status = self.child.wait().unwrap();
        let log = std::fs::read_to_string(self.log.path()).unwrap();
        assert_eq!(status.code(), Some(code), "{context}:\n{log}");
    }
}
