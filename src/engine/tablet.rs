//! The tablet that a run works on: its directory, and the ways to its mysqld.

use std::path::PathBuf;
use std::time::Duration;

use crate::engine::EngineError;
use crate::mysqld::{Layout, Mysql, MysqlRoot, Mysqlctld, MysqldControl, MysqldError, OwnProcess, Stopped};
use crate::topo::{KeyspaceShard, TabletAlias};

/// Who starts and stops the tablet's mysqld.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MysqldAccess {
    /// A running mysqlctld, over its gRPC socket.
    Mysqlctld { socket: PathBuf },
    /// This process.
    Own,
    /// This process, and it is nobody's tablet: a backup restored for a look, which joins no shard.
    Scratch,
    /// Nobody: the files are at rest.
    Stopped,
}

/// What was said about the tablet; nothing of it was looked at yet.
#[derive(Clone, Debug)]
pub struct Tablet {
    /// `None` where the subcommand does not need it.
    pub shard: Option<KeyspaceShard>,
    pub alias: Option<TabletAlias>,
    pub directory: PathBuf,
    pub mysqld: MysqldAccess,
    /// Instead of my.cnf's.
    pub mysql_socket: Option<PathBuf>,
    pub dba_user: String,
    pub shutdown_timeout: Duration,
    pub catch_up_timeout: Duration,
}

impl Tablet {
    pub fn shard(&self) -> Result<&KeyspaceShard, EngineError> {
        self.shard
            .as_ref()
            .ok_or_else(|| EngineError::invalid("which keyspace and shard the tablet is of must be given"))
    }

    pub fn alias(&self) -> Result<&TabletAlias, EngineError> {
        self.alias.as_ref().ok_or_else(|| EngineError::invalid("the tablet's alias must be given"))
    }

    /// For messages.
    pub fn name(&self) -> String {
        self.alias.as_ref().map_or_else(|| self.directory.display().to_string(), ToString::to_string)
    }

    /// Reads the tablet's my.cnf and makes ready to talk to its mysqld; starts and touches nothing.
    pub async fn server(&self) -> Result<Server, EngineError> {
        let mut layout = Layout::read(&self.directory).await?;
        if let Some(socket) = &self.mysql_socket {
            layout.socket.clone_from(socket);
        }
        self.server_at(layout)
    }

    /// As [`Self::server`], with a layout that is known already.
    pub fn server_at(&self, layout: Layout) -> Result<Server, EngineError> {
        let control: Box<dyn MysqldControl> = match &self.mysqld {
            MysqldAccess::Mysqlctld { socket } => Box::new(Mysqlctld::new(layout.clone(), socket, &self.dba_user)),
            MysqldAccess::Own | MysqldAccess::Scratch => {
                Box::new(OwnProcess::new(layout.clone(), MysqlRoot::find()?, &self.dba_user))
            }
            MysqldAccess::Stopped => Box::new(Stopped::new(layout.clone())),
        };
        Ok(Server {
            mysql: Mysql::new(&layout.socket, &self.dba_user),
            control,
            layout,
            shutdown_timeout: self.shutdown_timeout,
            catch_up_timeout: self.catch_up_timeout,
        })
    }

    pub fn is_at_rest(&self) -> bool {
        self.mysqld == MysqldAccess::Stopped
    }
}

/// A tablet's mysqld: its files, its SQL, its switch.
pub struct Server {
    pub layout: Layout,
    pub mysql: Mysql,
    pub control: Box<dyn MysqldControl>,
    pub shutdown_timeout: Duration,
    pub catch_up_timeout: Duration,
}

impl Server {
    /// Stops mysqld cleanly.
    ///
    /// # Errors
    /// When it does not stop in time; it may still be on its way down.
    pub async fn stop(&self) -> Result<(), MysqldError> {
        self.stop_within(self.shutdown_timeout).await
    }

    /// As [`Self::stop`], with a time limit of one's own.
    pub async fn stop_within(&self, limit: Duration) -> Result<(), MysqldError> {
        self.mysql.close().await;
        self.control.shutdown(limit).await
    }
}
