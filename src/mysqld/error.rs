//! What goes wrong with mysqld, mysqlctld and their files, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::layout::LayoutError;
use super::version::ParseVersionError;
use crate::backup::failure::{Failure, Reason};
use crate::replication::ParseGtidSetError;

#[derive(Debug, thiserror::Error)]
pub enum MysqldError {
    #[error("could not connect to mysqld on {socket} as {user}: {source}", socket = socket.display())]
    Connect { socket: PathBuf, user: String, source: Box<mysql_async::Error> },
    #[error("mysqld on {socket} did not answer within {waited:?}: {last}", socket = socket.display())]
    NotReady { socket: PathBuf, waited: Duration, last: String },
    #[error("statement `{statement}` failed on {socket}: {source}", socket = socket.display())]
    Statement { socket: PathBuf, statement: String, source: Box<mysql_async::Error> },
    #[error("statement `{statement}` did not end within {waited:?} on {socket}", socket = socket.display())]
    StatementTimeout { socket: PathBuf, statement: String, waited: Duration },
    /// MySQL answered something that cannot be understood.
    #[error("statement `{statement}` answered without a usable {column}: {found:?}")]
    Answer { statement: String, column: &'static str, found: Option<String> },
    #[error("could not read the GTID set in {column}: {source}")]
    GtidSet { column: &'static str, source: ParseGtidSetError },
    #[error(transparent)]
    Version(#[from] ParseVersionError),
    #[error("{what} is not possible with {version}")]
    Unsupported { what: &'static str, version: String },

    #[error("could not reach mysqlctld on {socket} within {waited:?}: {last}", socket = socket.display())]
    MysqlctldUnreachable { socket: PathBuf, waited: Duration, last: String },
    /// mysqlctld went away while it was at it.
    #[error("mysqlctld on {socket} broke off {call}: {last}", socket = socket.display())]
    MysqlctldLost { socket: PathBuf, call: &'static str, last: String },
    #[error("mysqlctld on {socket} failed {call}: {message}", socket = socket.display())]
    MysqlctldFailed { socket: PathBuf, call: &'static str, message: String },
    #[error("mysqlctld on {socket} did not end {call} within {waited:?}", socket = socket.display())]
    MysqlctldTimeout { socket: PathBuf, call: &'static str, waited: Duration },

    #[error("could not find {program}: not in sbin, bin, libexec or scripts of {root}", root = root.display())]
    ProgramNotFound { program: &'static str, root: PathBuf },
    #[error("could not find mysqld: VT_MYSQL_ROOT is not set, and it is neither in PATH nor /usr/sbin/mysqld")]
    MysqldNotFound,
    #[error("could not run {program}: {source}", program = program.display())]
    Run { program: PathBuf, source: io::Error },
    #[error("{program} failed ({status}): {output}", program = program.display())]
    Exited { program: PathBuf, status: String, output: String },
    #[error("mysqld ended while it was starting ({status}); the end of {log}:\n{tail}", log = log.display())]
    StartFailed { status: String, log: PathBuf, tail: String },
    #[error("mysqld was still running after {waited:?}: {evidence}")]
    StillRunning { waited: Duration, evidence: String },
    /// Its files are then no more than what a crash leaves.
    #[error("mysqld did not stop cleanly ({status})")]
    UncleanStop { status: String },
    #[error("mysqld is running although the files were said to be at rest: {evidence}")]
    NotAtRest { evidence: String },
    /// Nothing may be concluded about a mysqld there.
    #[error("could not {verb} {path}: {source}", path = path.display())]
    Look { verb: &'static str, path: PathBuf, source: io::Error },
    #[error("could not {verb} {path}: {source}", path = path.display())]
    File { verb: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl MysqldError {
    /// As users meet it.
    pub fn failure(&self) -> Failure {
        let (reason, remedy) = self.reason_and_remedy();
        Failure { reason, message: self.to_string(), remedy: remedy.to_owned() }
    }

    fn reason_and_remedy(&self) -> (Reason, &'static str) {
        match self {
            Self::Connect { .. } => (
                Reason::SocketUnreachable,
                "check that mysqld is running, that its socket is on a volume which the engine shares with it, and that \
                 the user given with --db-dba-user may log in on it without a password",
            ),
            Self::NotReady { .. } => (
                Reason::MysqldNotStarted,
                "look into mysqld's error.log in the tablet directory; if it is only slow, run again with a longer deadline",
            ),
            Self::Statement { .. } | Self::StatementTimeout { .. } | Self::Answer { .. } | Self::GtidSet { .. } => (
                Reason::MysqlFailed,
                "look into mysqld's error.log in the tablet directory, and check the privileges of the user given with \
                 --db-dba-user; then run again",
            ),
            Self::Version(_) | Self::Unsupported { .. } => (
                Reason::MysqlFailed,
                "use MySQL or Percona Server 5.7 or later, as Vitess does; the builtin engine does not back up MariaDB",
            ),
            Self::MysqlctldUnreachable { .. } => (
                Reason::SocketUnreachable,
                "check that mysqlctld is running with --socket-file on a volume which the engine shares with it, and that \
                 the engine runs as the same user; or choose another way with --mysqld",
            ),
            Self::MysqlctldFailed { .. } | Self::MysqlctldLost { .. } | Self::MysqlctldTimeout { .. } => {
                (Reason::MysqlctlFailed, "look into mysqlctld's log and mysqld's error.log in the tablet directory")
            }
            Self::ProgramNotFound { .. } | Self::MysqldNotFound => (
                Reason::MysqldNotStarted,
                "use the tablet's own image, or set VT_MYSQL_ROOT to the folder that has sbin/mysqld",
            ),
            Self::Run { .. } | Self::Exited { .. } | Self::StartFailed { .. } => {
                (Reason::MysqldNotStarted, "look into mysqld's error.log in the tablet directory")
            }
            Self::StillRunning { .. } => (
                Reason::MysqldNotStopped,
                "wait until mysqld has written out its pages, then run again; a larger --deadline gives it more time",
            ),
            Self::UncleanStop { .. } => (
                Reason::MysqldNotStopped,
                "look into mysqld's error.log in the tablet directory, let mysqld recover by starting it, then run again",
            ),
            Self::NotAtRest { .. } => {
                (Reason::MysqldNotStopped, "stop mysqld first, or use --mysqld mysqlctld to let the engine stop it")
            }
            Self::Look { .. } => {
                (Reason::FileUnreadable, "run the engine as the user that owns the tablet directory, or as root")
            }
            Self::File { .. } | Self::Layout(LayoutError::Write { .. }) => (
                Reason::FileUnwritable,
                "run the engine as the user that owns the tablet directory, with the volume mounted writable",
            ),
            Self::Layout(_) => (
                Reason::TabletDirInvalid,
                "give the tablet's own directory with --tablet-dir: the one that has the my.cnf written by mysqlctl or mysqlctld",
            ),
        }
    }
}
