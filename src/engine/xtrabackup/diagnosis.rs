//! What a program of XtraBackup failed of, by what it said.

use std::io;
use std::path::Path;

use crate::backup::failure::Reason;
use crate::engine::EngineError;
use crate::engine::xtrabackup::process::{Ended, RunError};

/// What a program was to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Backup,
    Xbstream,
    Tar,
    Prepare,
    MoveBack,
}

impl What {
    /// As messages call it.
    fn command(self) -> &'static str {
        match self {
            Self::Backup => "xtrabackup --backup",
            Self::Xbstream => "xbstream -x",
            Self::Tar => "tar -x",
            Self::Prepare => "xtrabackup --prepare",
            Self::MoveBack => "xtrabackup --move-back",
        }
    }
}

/// What the programs say, in lower case, of Percona XtraBackup 2.4 to 8.4 and of mariabackup 10 and 11; the first of the
/// rows with which any line fits counts, so that a cause stands before what follows from it.
const SIGNS: [(Reason, &[&str]); 4] = [
    (
        Reason::TarNotSupported,
        &["invalid --stream argument: tar", "streaming in tar format is no longer supported", "unknown value 'tar'"],
    ),
    (
        Reason::UnsupportedServerVersion,
        &[
            "unsupported server version",
            "unsupported mysql server version",
            // mariabackup at a server that is no MariaDB.
            "unknown system variable 'max_statement_time'",
        ],
    ),
    (
        Reason::XtrabackupDenied,
        &[
            "access denied",
            // The plugin that the user is identified by.
            "is not loaded",
            "cannot be loaded",
            "missing required privilege",
            "command denied to user",
            "insufficient privileges",
        ],
    ),
    (
        Reason::ServerGone,
        &[
            "lost connection to",
            "server has gone away",
            "can't connect to",
            "failed to connect to mysql server",
            "failed to connect to mariadb server",
            "connection was killed",
        ],
    ),
];

/// The error of a program that did not end well; `directory` is the one that it worked in.
pub fn told(error: RunError, what: What, directory: &Path) -> EngineError {
    let ended = match error {
        RunError::Engine(error) => return error,
        RunError::Program(ended) => ended,
    };
    tracing::error!("the end of its stderr ({}):\n{}", ended.status, ended.lines.join("\n"));
    if ended.is_out_of_space() {
        return EngineError::unwritable(directory, io::ErrorKind::StorageFull.into());
    }
    let (reason, line) = match (what, sign(&ended)) {
        (What::Backup, Some(found)) => found,
        (What::Prepare, _) => (Reason::PrepareFailed, ended.line()),
        _ => (Reason::XtrabackupFailed, ended.line()),
    };
    EngineError::Xtrabackup { reason, command: what.command(), line: line.to_owned(), status: ended.status.clone() }
}

fn sign(ended: &Ended) -> Option<(Reason, &str)> {
    SIGNS.iter().find_map(|(reason, signs)| {
        let line = ended.lines.iter().find(|line| {
            let line = line.to_lowercase();
            signs.iter().any(|sign| line.contains(sign))
        })?;
        Some((*reason, line.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(what: What, lines: &[&str]) -> (Reason, String) {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        let ended = Ended { status: "exit status: 1".into(), lines };
        let error = told(RunError::Program(ended), what, Path::new("/vt/tmp"));
        (error.failure().reason, error.to_string())
    }

    #[test]
    fn each_program_that_fails_has_its_reason() {
        assert_eq!(
            failure(What::Prepare, &["[ERROR] InnoDB: corrupt log"]),
            (Reason::PrepareFailed, "xtrabackup --prepare failed: [ERROR] InnoDB: corrupt log (exit status: 1)".into())
        );
        assert_eq!(
            failure(What::Xbstream, &["xbstream: unknown chunk type"]),
            (Reason::XtrabackupFailed, "xbstream -x failed: xbstream: unknown chunk type (exit status: 1)".into())
        );
        let (reason, text) = failure(What::MoveBack, &["Error writing file (Errcode: 28 \"No space left on device\")"]);
        assert_eq!(reason, Reason::NoSpace, "{text}");
        assert!(text.contains("/vt/tmp"), "{text}");
    }

    /// Recorded lines; what mariabackup says is also seen for real in `tests/xtrabackup.rs`.
    #[test]
    fn what_xtrabackup_says_is_told_apart_and_its_line_kept() {
        for (lines, reason, kept) in [
            (
                &["xtrabackup: Error: Streaming in tar format is no longer supported in 8.0; use xbstream instead"][..],
                Reason::TarNotSupported,
                0,
            ),
            (&["Invalid --stream argument: tar", "completed with errors"], Reason::TarNotSupported, 0),
            (
                &[
                    "2024-05-02T10:01:22 0 [ERROR] [MY-011825] [Xtrabackup] Unsupported server version 8.0.37.",
                    "2024-05-02T10:01:22 0 [ERROR] [MY-011825] [Xtrabackup] Please upgrade PXB, if a new version is available. To continue with risk, use the option --no-server-version-check.",
                ],
                Reason::UnsupportedServerVersion,
                0,
            ),
            (
                &[
                    "2024-05-02T10:01:22 0 [ERROR] [MY-011825] [Xtrabackup] Failed to connect to MySQL server: Access denied for user 'xtra'@'localhost'.",
                ],
                Reason::XtrabackupDenied,
                0,
            ),
            (
                &[
                    "2024-05-02T10:01:22 0 [ERROR] [MY-011825] [Xtrabackup] missing required privilege BACKUP_ADMIN on *.*",
                    "2024-05-02T10:01:22 0 [ERROR] [MY-011825] [Xtrabackup] Current privileges, as reported by 'SHOW GRANTS': ",
                ],
                Reason::XtrabackupDenied,
                0,
            ),
            (
                &[
                    "xtrabackup: copying",
                    "Error: failed to execute query FLUSH: Lost connection to MySQL server during query",
                ],
                Reason::ServerGone,
                1,
            ),
            (&["xtrabackup: copying", "log block numbers mismatch: error"], Reason::XtrabackupFailed, 1),
        ] {
            let (found, text) = failure(What::Backup, lines);
            assert_eq!((found, text.contains(lines[kept])), (reason, true), "{text}");
        }
        assert_eq!(failure(What::Xbstream, &["access denied"]).0, Reason::XtrabackupFailed);
    }
}
