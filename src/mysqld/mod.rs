//! mysqld as Vitess runs it: its directories and my.cnf, starting and stopping it, its SQL, its versions.
//!
//! * [`Layout`]: where a tablet's files are, from its my.cnf.
//! * [`MysqldControl`]: start and stop, through mysqlctld ([`Mysqlctld`]), by ourselves ([`OwnProcess`]), or not at all
//!   because the files are at rest ([`Stopped`]). [`Evidence`] is how all three know whether a mysqld lives.
//! * [`Mysql`]: SQL over the unix socket, in the spelling of the server's version, MariaDB's too.
//! * [`ServerVersion`], and [`check_compatible`]: which backup may be restored under which server.

mod client;
mod control;
mod error;
mod error_log;
mod evidence;
mod layout;
mod master_info;
mod my_cnf;
mod mysql_root;
mod mysqlctld;
mod own_process;
mod replica;
mod rpc;
mod spelling;
mod stopped;
mod version;

pub use client::{Mysql, Row};
pub use control::MysqldControl;
pub use error::MysqldError;
pub use evidence::Evidence;
pub use layout::{Layout, LayoutError, Owner};
pub use mysql_root::MysqlRoot;
pub use mysqlctld::Mysqlctld;
pub use own_process::OwnProcess;
pub use replica::{IoState, ReplicaStatus, ReplicationSource, SemiSync, SourceTls};
pub use stopped::Stopped;
pub use version::{
    Flavor, ParseVersionError, ServerVersion, VersionIncompatible, check_compatible, needs_mysql_upgrade,
};
