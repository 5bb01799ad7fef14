//! Starting and stopping a tablet's mysqld: the port, and what every implementation promises.

use std::time::Duration;

use async_trait::async_trait;

use super::error::MysqldError;

/// Starts and stops the mysqld of one tablet.
///
/// # Contract
///
/// `tests/mysqld.rs` runs one suite over the implementations that start a mysqld.
///
/// * All methods are idempotent, may be called in any order, and may be called again after an error. Calls on one tablet
///   must not overlap: the engine runs one step at a time.
/// * What counts is what is, not what was asked for before: a mysqld that someone else started, stopped or killed is seen
///   as such ([`super::Evidence`]).
/// * A future that is dropped leaves mysqld in a state that the next call can work from; it does not undo anything.
/// * Errors name what was tried, and have a [`MysqldError::failure`].
#[async_trait]
pub trait MysqldControl: Send + Sync {
    /// Starts mysqld with `--defaults-file=<tablet>/my.cnf` and `extra_args`, and returns when it answers SQL on its socket.
    ///
    /// Does nothing when a mysqld answers already, whatever arguments that one was started with. Leftovers of one that was
    /// killed (socket, lock file, pid file) are no obstacle.
    ///
    /// # Errors
    /// When mysqld cannot be started or does not answer in time. Then it may still be coming up: `shutdown` takes it down.
    async fn start(&self, extra_args: &[&str]) -> Result<(), MysqldError>;

    /// Stops mysqld cleanly and returns when it is gone: no socket, no pid file, no lock on its data files, and no process of
    /// ours. (In another container the process itself may take some milliseconds more to end; InnoDB, binary log and pid
    /// file are closed by then.)
    ///
    /// Does nothing when none is running, except to remove the socket and pid file that a killed one left. Never kills:
    /// what cannot be stopped within `timeout` is an error, and may still be on its way down.
    ///
    /// # Errors
    /// When mysqld cannot be told to stop or is still there after `timeout`.
    async fn shutdown(&self, timeout: Duration) -> Result<(), MysqldError>;

    /// Brings the system tables up to the running server's version; nothing to do from MySQL 8.0.16 on. mysqld must be
    /// running with `--skip-grant-tables --skip-networking`.
    ///
    /// # Errors
    /// When `mysql_upgrade` fails. That there is none is no error, as in Vitess.
    async fn run_mysql_upgrade(&self) -> Result<(), MysqldError>;

    /// Gives my.cnf a new server id, before a restored mysqld first starts. Call while mysqld is stopped; read the layout
    /// again afterwards ([`super::Layout::read`]).
    ///
    /// # Errors
    /// When my.cnf cannot be read or written.
    async fn reinit_config(&self) -> Result<(), MysqldError>;

    /// The version of the mysqld that `start` starts, for [`super::ServerVersion::parse`]: the running one's own words, or
    /// what `mysqld --version` prints. No line break at the end.
    ///
    /// # Errors
    /// When neither can be had.
    async fn version_string(&self) -> Result<String, MysqldError>;

    /// As `--mysqld` has it: `mysqlctld`, `own` or `stopped`.
    fn kind(&self) -> &'static str;
}
