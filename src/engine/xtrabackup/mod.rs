//! Vitess's xtrabackup engine: a backup is one stream of `xtrabackup --backup`, in one object or dealt to several stripes,
//! taken while mysqld goes on serving.
//!
//! * [`options`], [`check`], [`backup()`]: taking one.
//! * [`deal`]: its stream into storage, and [`stripes`]: out of it again.
//! * [`position`]: where the data stands.
//! * [`stored`]: what a MANIFEST asks for, checked before anything is touched.
//! * [`fill`]: a restore's stream taken apart, prepared and moved into the data directories.
//! * [`read`]: a stream read through for a verification; [`xbstream`]: taken apart without writing anything.
//! * [`tools`]: the programs and their arguments, Vitess's to the letter; [`process`]: one of them, run; [`diagnosis`]: what
//!   one failed of.
//!
//! All around a restore (the choice of the backup, the journal, mysqld, the position, replication) is that of the builtin
//! engine: the two differ in how the data directories are filled and in nothing else.
//!
//! Source: Vitess `mysqlctl/xtrabackupengine.go`.

mod backup;
mod check;
mod deal;
mod diagnosis;
mod fill;
mod options;
mod position;
mod process;
mod read;
mod stored;
mod stripes;
mod tools;
mod xbstream;

pub use backup::backup;
pub use fill::{directory, fill};
pub use options::BackupOptions;
pub use read::{read_stored, read_through};
pub use stored::{StoredStream, object_names};
pub use tools::{StreamMode, Streamer, Tools, XtrabackupOptions};
