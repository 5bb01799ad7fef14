//! Our own backups: a server that takes writes all through is backed up, and what is restored is exactly what had been
//! written at the position that the backup tells.

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::mariadb::{Server, XTRA};
use crate::support::matrix;
use crate::support::mysql::PATIENCE;
use crate::tablet::{Case, SINGLE, ended, failure, tools};

/// A tablet that runs on what Vitess backed up, with a table and a user for xtrabackup.
pub struct Running {
    pub case: Case,
    pub server: Server,
}

impl Running {
    pub fn start() -> Self {
        let case = Case::new(SINGLE);
        let (code, outcome) = case.restore_with_tools("");
        assert_eq!(code, 0, "{outcome:#}");
        // What is listed later are our own.
        fs::remove_dir_all(case.backups().join("maria")).unwrap();
        let server = case.start();
        server.sql(XTRA);
        server.sql("CREATE TABLE vt_maria.written (id BIGINT PRIMARY KEY AUTO_INCREMENT, v VARBINARY(2000))");
        server.sql("INSERT INTO vt_maria.written (v) SELECT RANDOM_BYTES(1000) FROM vt_maria.seq_1_to_2000");
        Self { case, server }
    }

    fn sequence(&self) -> u64 {
        sequence(&self.server.sql("SELECT @@gtid_binlog_pos"))
    }
}

fn sequence(position: &str) -> u64 {
    position.rsplit('-').next().unwrap().parse().unwrap()
}

/// A client that goes on inserting one row a transaction, until it is dropped.
struct Writer(Child);

impl Writer {
    fn start(server: &Server) -> Self {
        let mut client = server.client().stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut statements = client.stdin.take().unwrap();
        std::thread::spawn(move || {
            while statements.write_all(b"INSERT INTO vt_maria.written (v) VALUES (RANDOM_BYTES(100));\n").is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self(client)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How a stream is stored: what a command is told for it, the object's name, and the engine in the MANIFEST.
pub struct Stored {
    pub flags: &'static str,
    pub object: &'static str,
    pub engine: &'static str,
    /// What a restore is told.
    pub restore_flags: &'static str,
}

const fn by(flags: &'static str, object: &'static str, engine: &'static str) -> Stored {
    Stored { flags, object, engine, restore_flags: "" }
}

/// Vitess's default first.
pub const CODECS: [Stored; 6] = [
    by("--compression-engine-name=pargzip", "backup.xbstream.gz", "pargzip"),
    by("--compression-engine-name=pgzip", "backup.xbstream.gz", "pgzip"),
    by("--compression-engine-name=zstd", "backup.xbstream.zst", "zstd"),
    by("--compression-engine-name=lz4", "backup.xbstream.lz4", "lz4"),
    by("--backup-storage-compress=false", "backup.xbstream", ""),
    Stored {
        flags: "--compression-engine-name=external --external-compressor=cat --external-compressor-extension=.cat",
        object: "backup.xbstream.cat",
        engine: "external",
        restore_flags: "--external-decompressor=cat",
    },
];

/// Every codec as one object and as stripes; each is verified, and restored the ones that the whole matrix or the seed wants.
#[test]
fn what_is_restored_is_what_was_written_at_the_backups_position() {
    let running = Running::start();
    let (before, rows_before) = (running.sequence(), running.server.sql("SELECT COUNT(*) FROM vt_maria.written"));
    let rows_before: u64 = rows_before.parse().unwrap();
    let whole = matrix::is_whole();
    let drawn = usize::try_from(jiff::Timestamp::now().as_second()).unwrap() % CODECS.len();
    for (place, &Stored { flags, object, engine, restore_flags }) in CODECS.iter().enumerate() {
        for stripes in [0, 3] {
            let what = format!("{engine:?} in {stripes} stripes");
            let writer = Writer::start(&running.server);
            let at_start = running.sequence();
            let (code, outcome) = running.case.backup(&format!(
                "--xtrabackup-user xtra --xtrabackup-stripes {stripes} --xtrabackup-parallel 2 --verify hash {flags}"
            ));
            let at_end = running.sequence();
            drop(writer);
            assert_eq!((code, &outcome["verdict"]), (0, &Value::from("Succeeded")), "{what}: {outcome:#}");
            assert!(at_end > at_start + 10, "{what}: the server took writes meanwhile: {at_start} to {at_end}");
            assert_eq!(outcome["downtimeSeconds"], Value::Null);
            let manifest = &outcome["manifest"];
            assert_eq!(manifest["BackupMethod"], "xtrabackup");
            assert_eq!((&manifest["FileName"], &manifest["NumStripes"]), (&Value::from(object), &Value::from(stripes)));
            assert_eq!(
                (&manifest["StreamMode"], &manifest["StripeBlockSize"]),
                (&Value::from("xbstream"), &Value::from(102_400))
            );
            assert_eq!(manifest["CompressionEngine"].as_str().unwrap_or_default(), engine);
            assert_eq!((&manifest["ServerUUID"], &manifest["UpgradeSafe"]), (&Value::from(""), &Value::from(true)));
            assert!(running.case.has_been_left_alone(), "{what}");
            let position = outcome["position"].as_str().unwrap();
            assert!((at_start..=at_end).contains(&sequence(position)), "{what}: {position}");

            let name = outcome["backupName"].as_str().unwrap();
            if engine != "external" {
                let (code, verified) = running.case.run(&format!("verify maria/0 {name}"));
                assert_eq!(code, 0, "{what}: {verified:#}");
                assert_eq!(verified.get("warnings"), None, "{what}: hashes of ours are there: {verified:#}");
            }
            if whole || place == drawn {
                running.case.lay_out(202);
                let restored =
                    running.case.restore_onto(202, &format!("{} --backup-name {name} {restore_flags}", tools()));
                assert_eq!(restored.0, 0, "{what}: {:#}", restored.1);
                let server = Server::start(&running.case.tablet_dir_of(202));
                let rows: u64 = server.sql("SELECT COUNT(*) FROM vt_maria.written").parse().unwrap();
                assert_eq!(
                    rows - rows_before,
                    sequence(position) - before,
                    "{what}: one row a transaction up to {position}"
                );
                let sum = |server: &Server| {
                    server.sql(&format!("SELECT SUM(CRC32(v)) FROM vt_maria.written WHERE id IN (SELECT * FROM (SELECT id FROM vt_maria.written ORDER BY id LIMIT {rows}) first)"))
                };
                assert_eq!(sum(&server), sum(&running.server), "{what}");
            }
            // The next one would have the same name within the second.
            let removed = running.case.run(&format!("remove --force maria/0 {name}"));
            assert_eq!(removed.0, 0, "{what}: {:#}", removed.1);
        }
    }
}

#[test]
fn a_primary_is_refused_unless_it_is_allowed() {
    let running = Running::start();
    running.server.sql("SET GLOBAL read_only = OFF");
    let arguments = running.case.backup_arguments("--xtrabackup-user xtra").replace("--allow-primary", "");
    let ended = running.case.run(&arguments);
    let (code, reason, _) = failure(&ended);
    assert_eq!((code, reason), (5, "TabletIsPrimary"));
    assert_eq!(running.case.names(), Vec::<String>::new());

    // Arguments of a backup allow it.
    let (code, outcome) = running.case.backup("--xtrabackup-user xtra");
    assert_eq!((code, &outcome["verdict"]), (0, &Value::from("Succeeded")), "{outcome:#}");
    assert_eq!(running.case.names(), [outcome["backupName"].as_str().unwrap()]);
    assert_eq!(running.server.sql("SELECT @@global.read_only"), "0", "it goes on as a primary");
}

/// Killed half-way, at the end of the copy and after the MANIFEST: nothing half is left, or the backup is whole.
#[test]
fn a_killed_backup_leaves_nothing_half_once_the_tablet_is_recovered() {
    let running = Running::start();
    let arguments = running.case.backup_arguments("--xtrabackup-user xtra --xtrabackup-stripes 2");
    for point in ["journal:1", "copy:1048576", "step:3", "step:4", "journal:2"] {
        let output = running.case.command(&arguments).env("VITESS_BACKUP_TEST_KILL", point).output().unwrap();
        assert_eq!(output.status.signal(), Some(9), "{point}: {}", String::from_utf8_lossy(&output.stderr));
        wait_for_no("xtrabackup-backup");
        assert_eq!(running.server.sql("SELECT 1"), "1", "{point}");
        let recovered =
            running.case.run(&format!("recover --mysqld own --tablet-dir {}", running.case.tablet_dir().display()));
        assert_eq!(recovered.0, 0, "{point}: {:#}", recovered.1);
        for name in running.case.names() {
            let (code, verified) = running.case.run(&format!("verify maria/0 {name}"));
            assert_eq!(code, 0, "{point} left something half: {verified:#}");
            assert!(["step:4", "journal:2"].contains(&point), "{point} left {name}");
            fs::remove_dir_all(running.case.backups().join("maria/0").join(name)).unwrap();
        }
    }
    let (code, outcome) = running.case.backup("--xtrabackup-user xtra");
    assert_eq!(code, 0, "{outcome:#}");
    assert!(running.case.has_been_left_alone(), "what a killed run left is gone too");
}

/// A process with this in its command line is gone: xtrabackup ends when nobody reads its stream.
fn wait_for_no(what: &str) {
    let lives = || {
        fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains(what)
        })
    };
    let begun = Instant::now();
    while lives() {
        assert!(begun.elapsed() < PATIENCE, "a process of {what} lives on");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_backup_that_is_cancelled_ends_soon_and_leaves_nothing() {
    let running = Running::start();
    let arguments = running.case.backup_arguments("--xtrabackup-user xtra --bandwidth-limit 100Ki");
    let child = running.case.command(&arguments).spawn().unwrap();
    let begun = Instant::now();
    while running.case.names().is_empty() {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    crate::support::container::signal(child.id(), "TERM");
    let ended = ended(&child.wait_with_output().unwrap(), &arguments);
    let (code, reason, _) = failure(&ended);
    assert_eq!((code, reason), (7, "Cancelled"));
    assert_eq!(running.case.names(), Vec::<String>::new());
    assert!(running.case.has_been_left_alone());
    assert_eq!(running.server.sql("SELECT 1"), "1");
}

#[test]
fn a_stored_byte_that_is_another_is_found_by_our_hash() {
    let running = Running::start();
    let (code, outcome) = running.case.backup("--xtrabackup-user xtra --backup-storage-compress=false");
    assert_eq!(code, 0, "{outcome:#}");
    let name = outcome["backupName"].as_str().unwrap();
    let object = running.case.backups().join("maria/0").join(name).join("backup.xbstream");
    let mut bytes = fs::read(&object).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&object, bytes).unwrap();
    let verified = running.case.run(&format!("verify maria/0 {name}"));
    let (code, reason, message) = failure(&verified);
    assert_eq!((code, reason), (6, "HashMismatch"), "{message}");
    running.case.lay_out(202);
    let restored = running.case.restore_onto(202, &tools());
    assert_eq!(failure(&restored).1, "HashMismatch");
}
