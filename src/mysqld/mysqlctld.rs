//! A mysqld that belongs to a running mysqlctld.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

use super::client::Mysql;
use super::control::MysqldControl;
use super::error::MysqldError;
use super::error_log;
use super::evidence::{self, Evidence};
use super::layout::Layout;
use super::rpc::{Empty, MysqlctlClient, ShutdownRequest, StartRequest, VersionStringResponse};

/// Asks mysqlctld over its socket (`mysqlctld --socket-file`).
///
/// mysqlctld itself is careless where [`MysqldControl`] is strict, hence the looks before and after each call: its Start
/// on a running mysqld launches a second one, whose death makes mysqlctld exit (v24); its Shutdown takes a missing socket
/// and pid file for a stopped mysqld. A mysqld that dies by itself takes mysqlctld with it; whoever runs mysqlctld (the
/// kubelet) starts both again, so calls wait for it for a while.
#[derive(Debug)]
pub struct Mysqlctld {
    layout: Layout,
    rpc: MysqlctlClient,
    mysql: Mysql,
    start_timeout: Duration,
}

impl Mysqlctld {
    /// `socket` is mysqlctld's, `user` the MySQL user that may log in on MySQL's socket without a password (`vt_dba`).
    pub fn new(layout: Layout, socket: impl Into<PathBuf>, user: &str) -> Self {
        let mysql = Mysql::new(&layout.socket, user);
        Self { layout, rpc: MysqlctlClient::new(socket), mysql, start_timeout: evidence::START_TIMEOUT }
    }

    /// How long `start` waits until mysqld answers; 5 minutes by default, as mysqlctld's own `--wait-time`. InnoDB may have
    /// to recover first.
    #[must_use]
    pub fn with_start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// mysqlctld leaves together with a mysqld that ends while starting, and only the latter's log says why.
    fn with_error_log(&self, error: MysqldError) -> MysqldError {
        match error {
            MysqldError::MysqlctldLost { .. } => {
                let log = self.layout.error_log.clone();
                let tail = error_log::tail(&log);
                MysqldError::StartFailed { status: error.to_string(), log, tail }
            }
            other => other,
        }
    }

    /// How long a call waits for a mysqlctld that cannot be reached; 30 seconds by default.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.rpc.patience = patience;
        self
    }
}

/// For calls that only write a file or run a program for a moment.
const SHORT: Duration = Duration::from_secs(60);

/// mysql_upgrade of a server with very many tables.
const LONG: Duration = Duration::from_secs(6 * 3600);

#[async_trait]
impl MysqldControl for Mysqlctld {
    async fn start(&self, extra_args: &[&str]) -> Result<(), MysqldError> {
        if evidence::wait_answering_or_gone(&self.layout, &self.mysql, self.start_timeout).await? {
            return Ok(());
        }
        evidence::clear_leftovers(&self.layout).await?;
        let mysqld_args = extra_args.iter().map(|&argument| argument.to_owned()).collect();
        let started = self.rpc.call("Start", StartRequest { mysqld_args }, self.start_timeout).await;
        let Empty {} = started.map_err(|error| self.with_error_log(error))?;
        if evidence::wait_answering_or_gone(&self.layout, &self.mysql, self.start_timeout).await? {
            return Ok(());
        }
        let status = "it answered mysqlctld and was gone".to_owned();
        let log = self.layout.error_log.clone();
        Err(MysqldError::StartFailed { status, tail: error_log::tail(&log), log })
    }

    async fn shutdown(&self, timeout: Duration) -> Result<(), MysqldError> {
        self.mysql.close().await;
        if !Evidence::gather(&self.layout).await?.alive() {
            // mysqlctld would try to connect to a socket file that a killed mysqld left.
            evidence::clear_leftovers(&self.layout).await?;
        }
        // Also when there is no sign of life: mysqlctld answers calls only once its own start of mysqld is over, so that
        // after its answer none is on its way up.
        let request = ShutdownRequest { wait_for_mysqld: true, mysql_shutdown_timeout: Some(timeout.into()) };
        let begun = tokio::time::Instant::now();
        let Empty {} = self.rpc.call("Shutdown", request, timeout.saturating_add(Duration::from_secs(15))).await?;
        evidence::wait_gone(&self.layout, timeout.saturating_sub(begun.elapsed())).await
    }

    async fn run_mysql_upgrade(&self) -> Result<(), MysqldError> {
        let Empty {} = self.rpc.call("RunMysqlUpgrade", Empty {}, LONG).await?;
        Ok(())
    }

    async fn reinit_config(&self) -> Result<(), MysqldError> {
        let Empty {} = self.rpc.call("ReinitConfig", Empty {}, SHORT).await?;
        Ok(())
    }

    async fn version_string(&self) -> Result<String, MysqldError> {
        let answer: VersionStringResponse = self.rpc.call("VersionString", Empty {}, SHORT).await?;
        Ok(answer.version.trim_end().to_owned())
    }

    fn kind(&self) -> &'static str {
        "mysqlctld"
    }
}
