//! Vitess's xtrabackup engine, the restoring half: a backup that is one stream of `xtrabackup --backup`, in one object or
//! dealt to several stripes.
//!
//! * [`stored`]: what a MANIFEST asks for, checked before anything is touched.
//! * [`stripes`]: the stripes made one stream again.
//! * [`tools`]: the programs and their arguments, Vitess's to the letter.
//! * [`process`]: one program, fed with a stream, its stderr kept.
//! * [`fill`]: taken apart, prepared and moved into the data directories.
//!
//! All around it (the choice of the backup, the journal, mysqld, the position, replication) is the restore of the builtin
//! engine: the two differ in how the data directories are filled and in nothing else. Taking such backups is still to come.
//!
//! Source: Vitess `mysqlctl/xtrabackupengine.go` (`restoreFromBackup`, `extractFiles`, `stripeReader`).

mod fill;
mod process;
mod stored;
mod stripes;
mod tools;

pub use fill::{directory, fill, read_through};
pub use stored::StoredStream;
pub use tools::{StreamMode, Tools, XtrabackupOptions};
