//! The engine half: backs up and restores one tablet. Knows MySQL and storage, and nothing of Kubernetes.
//!
//! * [`builtin`]: Vitess's builtin engine: files copied while mysqld is down; and all of a restore that engines share.
//! * [`xtrabackup`]: how a restore fills the data directories from a backup of Vitess's xtrabackup engine.
//! * [`journal`]: crash safety; [`recover`] puts a tablet back after a run that was killed.
//! * [`kill_point`]: where tests kill a run; empty in a release build.
//! * [`drill`]: a backup restored to scratch, for a look at what is in it.
//! * [`pod_start`]: whether and what to restore before a tablet's processes start.
//! * [`catalogue`]: what is in storage: list, remove, choose; [`inventory`]: what is in all of it.
//! * [`topology`]: backups of topology servers, which no tablet has a part in.
//!
//! The rule of every run: look first, and touch nothing when something is wrong; write down what will be disturbed; and
//! whatever happens then, put the tablet back before anything else.

pub mod builtin;
pub mod catalogue;
mod done;
pub mod drill;
mod error;
mod interrupt;
pub mod inventory;
pub mod journal;
pub mod kill_point;
pub mod pod_start;
pub mod recover;
mod replication;
mod sense;
mod store;
mod tablet;
pub mod topology;
mod vtctld;
pub mod xtrabackup;

pub use done::Done;
pub use error::EngineError;
pub use interrupt::{Cause, Interrupt};
pub use tablet::{MysqldAccess, Tablet};
pub use vtctld::{TabletType, Vtctld};
