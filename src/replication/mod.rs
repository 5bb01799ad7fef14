//! Replication positions as Vitess writes them: a flavour, a slash, and what the server has executed.

mod gtid_set;
mod position;

pub use gtid_set::{GtidSet, Interval, ParseGtidSetError, ServerUuid};
pub use position::{FilePos, MariaDbGtid, MariaDbGtidSet, ParsePositionError, Position};
