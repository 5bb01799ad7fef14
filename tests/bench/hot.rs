//! The xtrabackup engines, Vitess's and ours, over the same tablet of MariaDB and the same mariabackup: what differs is what
//! becomes of its stream.

use std::fs;
use std::path::Path;

use vitess_backup::codec::Codec;

use crate::HOT_UID;
use crate::data::{size, text};
use crate::sides::{Depot, KEYSPACE, Operation, Ran, Sample, Side, alias, compression};
use crate::support::ground::mariadb;
use crate::support::mariadb::{Client, Server, lay_out};
use crate::support::mysql::{own, run};
use crate::support::vitess::Seat;

/// A tablet, and both engines.
pub struct HotStage {
    root: tempfile::TempDir,
    depot: Depot,
}

impl HotStage {
    /// `kept` is the directory of a tablet with the data.
    pub async fn new(depot: Depot, kept: &Path) -> Self {
        let root = tempfile::Builder::new().prefix("vbo-hot-").tempdir().expect("a temporary directory");
        fs::set_permissions(root.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions");
        let layout = lay_out(root.path(), HOT_UID).await;
        for part in ["data", "innodb"] {
            run("rm", &["-r", &text(&layout.tablet_dir.join(part))]);
            run("cp", &["-a", &text(&kept.join(part)), &text(&layout.tablet_dir)]);
        }
        own(root.path());
        Self { root, depot }
    }

    fn tablet_dir(&self) -> std::path::PathBuf {
        self.root.path().join(format!("vt_{HOT_UID:010}"))
    }

    pub fn clear(&self) {
        self.depot.clear();
    }

    /// Runs it over a mysqld that was started for it, and sees that mysqld serves afterwards, with the data there.
    pub fn measure(&self, operation: Operation, side: Side, codec: Codec) -> Sample {
        let mut server = Server::start(&self.tablet_dir());
        // A server that has written nothing has no position, and then Vitess makes no backup.
        server.sql("SET GLOBAL read_only = OFF");
        server.sql("REPLACE INTO vt_bench.small_01 VALUES (2, 'written')");
        self.depot.settle(operation, &self.tablet_dir());
        let ran = match side {
            Side::Vitess => self.vitess(operation, codec),
            Side::Ours | Side::OursOnOneCore => self.ours(operation, codec),
        };
        let (whole, durable) = (ran.whole.as_secs_f64(), ran.whole.as_secs_f64() + self.depot.sync());
        server.kill();
        Sample {
            operation,
            side,
            codec,
            copy: whole,
            durable,
            cpu: ran.cpu.as_secs_f64(),
            down: 0.0,
            whole,
            data: size(&self.tablet_dir().join("data")) + size(&self.tablet_dir().join("innodb")),
            stored: size(&self.depot.backups()),
            peak: ran.peak,
        }
    }

    fn ours(&self, operation: Operation, codec: Codec) -> Ran {
        let command = match operation {
            Operation::Backup => format!(
                "backup {} --backup-engine-implementation xtrabackup --xtrabackup-user xtra {}",
                alias(HOT_UID),
                compression(codec)
            ),
            Operation::Restore => "restore --existing-data replace".to_owned(),
        };
        let arguments = format!(
            "{command} --allow-primary --mysqld own --keyspace {KEYSPACE} --shard 0 --tablet-dir {} {} {}",
            self.tablet_dir().display(),
            tools(),
            self.depot.storage_flags()
        );
        let (ran, ()) = self.depot.ours(&arguments, false, mariadb(), |_| ());
        self.end(operation);
        ran
    }

    fn vitess(&self, operation: Operation, codec: Codec) -> Ran {
        let seat = Seat {
            uid: HOT_UID,
            keyspace: KEYSPACE,
            vtdataroot: self.root.path(),
            mysql_root: mariadb(),
            mysqlctl_socket: None,
        };
        let flags = format!(
            "--backup-engine-implementation=xtrabackup --xtrabackup-user=xtra --xtrabackup-stream-mode=xbstream {} {}",
            tools(),
            compression(codec)
        );
        let vttablet = self.depot.vttablet(&seat, &flags);
        let command = match operation {
            Operation::Backup => "Backup",
            Operation::Restore => "RestoreFromBackup",
        };
        let (ran, (), answer) = self.depot.vitess(&vttablet, &format!("{command} {}", alias(HOT_UID)), |_| ());
        assert!(answer.is_ok(), "{operation:?}: {}\n{}", answer.unwrap_err(), vttablet.log());
        self.end(operation);
        ran
    }

    /// mysqld serves the data; then it goes, whoever started it.
    fn end(&self, operation: Operation) {
        let client = Client::of(&self.tablet_dir());
        assert_eq!(client.sql("SELECT note FROM vt_bench.small_00"), "small", "{operation:?}");
        client.shut_down();
    }
}

fn tools() -> String {
    format!("--xtrabackup-root-path {}/xtrabackup", mariadb().display())
}
