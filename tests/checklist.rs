//! The writer's half of the checklist in `docs/format.md`: backups of a real tablet, one for each codec, looked at in storage.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's own functions may fail the test")]

mod engine_support;
mod support;

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use engine_support::{Notes, engine_tablet, storage_in};
use serde_json::Value;
use support::mysql::Tablet;
use vitess_backup::backup::choose::Wanted;
use vitess_backup::backup::failure::Reason;
use vitess_backup::backup::manifest::{Base, Builtin, Manifest, Method};
use vitess_backup::backup::name::BackupName;
use vitess_backup::codec::Compression;
use vitess_backup::engine::Interrupt;
use vitess_backup::engine::builtin::{self, BackupOptions, ExistingData};
use vitess_backup::mysqld::ServerVersion;
use vitess_backup::replication::Position;

/// Each with the CompressionEngine that its MANIFEST is to have.
const CODECS: [(&str, &str); 5] =
    [("pargzip", "pargzip"), ("pgzip", "pgzip"), ("zstd", "zstd"), ("lz4", "lz4"), ("none", "")];

fn compression(codec: &str) -> Compression {
    if codec == "none" { Compression::none() } else { Compression::new(codec.parse().unwrap(), 1).unwrap() }
}

/// A backup as it lies in storage.
struct Stored {
    folder: PathBuf,
    manifest: Manifest,
    raw: Value,
}

impl Stored {
    fn builtin(&self) -> &Builtin {
        let Method::Builtin(builtin) = &self.manifest.method else { panic!("{:?}", self.manifest.method) };
        builtin
    }

    fn object(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.join(name)).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_every_codec_keeps_the_rules_for_writers() {
    let backups = engine_support::open_directory();
    let mut tablet = Tablet::at_rest(101).await;
    tablet.start_container().await;
    tablet.make_writable().await;
    tablet.sql("CREATE DATABASE vt_commerce").await;
    tablet.sql("CREATE TABLE vt_commerce.customer (id BIGINT PRIMARY KEY, v LONGTEXT)").await;
    tablet.sql("INSERT INTO vt_commerce.customer VALUES (1, REPEAT('compressible ', 100000))").await;
    let uuid = tablet.value("SELECT @@server_uuid").await;
    for (number, (codec, engine)) in (0..).zip(CODECS) {
        let executed = tablet.mysql().gtid_executed().await.unwrap();
        let options = BackupOptions {
            allow_primary: true,
            compression: compression(codec),
            backup_time: "2026-11-22T10:00:00.75Z".parse::<jiff::Timestamp>().unwrap()
                + jiff::SignedDuration::from_secs(number),
            ..engine_support::backup_options()
        };
        let engine_tablet = engine_tablet(&"commerce/0".parse().unwrap(), &tablet);
        let storage = storage_in(backups.path());
        let done =
            builtin::backup(&engine_tablet, &storage, &options, &Interrupt::new(), &Notes::default()).await.unwrap();
        assert_eq!(done.name, format!("2026-11-22.10000{number}.zone1-0000000101"));
        let folder = backups.path().join("commerce/0").join(&done.name);
        let text = std::fs::read(folder.join("MANIFEST")).unwrap();
        let stored =
            Stored { folder, manifest: Manifest::decode(&text).unwrap(), raw: serde_json::from_slice(&text).unwrap() };
        names(&stored);
        objects_and_hashes(&stored);
        framing(&stored, codec, engine);
        fields(&stored, &uuid);
        assert_eq!(stored.manifest.position, Position::from(executed).to_string(), "writer 8: where the data stands");
        files(&stored);
        no_other_kinds(&stored);
    }
    assert_eq!(storage_in(backups.path()).list_backups(&"commerce/0".parse().unwrap()).await.unwrap().len(), 5);
}

/// Writer 1: directory and name.
fn names(stored: &Stored) {
    let name = stored.folder.file_name().unwrap().to_str().unwrap();
    let parsed: BackupName = name.parse().unwrap();
    assert_eq!(parsed.to_string(), name);
    assert_eq!(stored.manifest.backup_name, name);
    assert_eq!(stored.manifest.tablet_alias, parsed.alias().to_string());
    assert_eq!(stored.manifest.began(), Some(parsed.time()));
    let storage = stored.folder.ancestors().nth(3).unwrap();
    assert_eq!(stored.folder.strip_prefix(storage).unwrap(), Path::new("commerce/0").join(name));
}

/// Writer 2 and 3: every object is there, none besides, and each hashes to what the MANIFEST says.
fn objects_and_hashes(stored: &Stored) {
    let entries = &stored.builtin().file_entries;
    let found: BTreeSet<String> = std::fs::read_dir(&stored.folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let wanted: BTreeSet<String> =
        (0..entries.len()).map(|index| index.to_string()).chain(["MANIFEST".to_owned()]).collect();
    assert_eq!(found, wanted);
    for (index, entry) in entries.iter().enumerate() {
        assert_eq!(entry.hash, format!("{:08x}", crc32fast::hash(&stored.object(&index.to_string()))), "{entry:?}");
    }
}

/// Writer 4: what Go's readers take, to the last byte; and the name of the codec that it is.
fn framing(stored: &Stored, codec: &str, engine: &str) {
    let builtin = stored.builtin();
    assert_eq!((builtin.skip_compress, builtin.compression_engine.as_str()), (codec == "none", engine));
    let index = builtin.file_entries.iter().position(|entry| entry.name == "vt_commerce/customer.ibd").unwrap();
    let bytes = stored.object(&index.to_string());
    let mut content = Vec::new();
    let rest = match codec {
        "pargzip" | "pgzip" => {
            assert_eq!(bytes[..3], [0x1f, 0x8b, 8], "a gzip member");
            let mut rest = &bytes[..];
            // Member by member: one that does not begin where the last ended is `gzip: invalid header` to Go.
            while !rest.is_empty() {
                let mut member = flate2::bufread::GzDecoder::new(rest);
                member.read_to_end(&mut content).unwrap();
                rest = member.into_inner();
            }
            rest.len()
        }
        "zstd" => {
            assert_eq!(bytes[..4], [0x28, 0xb5, 0x2f, 0xfd], "a zstd frame");
            zstd::stream::copy_decode(&bytes[..], &mut content).unwrap();
            0
        }
        "lz4" => {
            assert_eq!(bytes[..4], [0x04, 0x22, 0x4d, 0x18], "an lz4 frame");
            assert_eq!(bytes[4] & 0x20, 0x20, "its blocks are independent, or Go refuses them");
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                lz4_flex::frame::FrameDecoder::new(&mut rest).read_to_end(&mut content).unwrap();
            }
            0
        }
        _ => {
            content = bytes;
            0
        }
    };
    assert_eq!((content.len() % 16384, rest), (0, 0), "pages of InnoDB and nothing after them");
    assert!(content.len() > 1 << 20 && content.windows(13).any(|words| words == b"compressible "));
}

/// Writer 5 and 6: positions, version and times as Vitess parses them; all of a full backup's fields.
fn fields(stored: &Stored, uuid: &str) {
    let manifest = &stored.manifest;
    assert!(manifest.position.starts_with(&format!("MySQL56/{uuid}:1")), "{}", manifest.position);
    assert!(manifest.purged_position.starts_with("MySQL56/"), "{}", manifest.purged_position);
    assert!(manifest.position.parse::<Position>().is_ok() && manifest.purged_position.parse::<Position>().is_ok());
    assert!(manifest.mysql_version.starts_with("Ver ") && ServerVersion::parse(&manifest.mysql_version).is_ok());
    for time in [&manifest.backup_time, &manifest.finished_time] {
        assert!(time.len() == "2006-01-02T15:04:05Z".len() && time.ends_with('Z'), "{time}");
        time.parse::<jiff::Timestamp>().unwrap();
    }
    assert_eq!(manifest.server_uuid, uuid);
    assert!(!manifest.incremental && manifest.from_position.is_empty() && manifest.incremental_details.is_none());
    assert_eq!(String::from_utf8(manifest.encode()).unwrap().as_bytes(), stored.object("MANIFEST"));
}

/// Writer 7: known bases, plain names, no parent paths, no directories; redo log and undo tablespaces are there.
fn files(stored: &Stored) {
    let entries = &stored.builtin().file_entries;
    for entry in entries {
        assert!(matches!(entry.base, Base::InnoDBData | Base::InnoDBLog | Base::Data), "{entry:?}");
        assert!(entry.path_below_base().is_ok() && entry.parent_path.is_empty(), "{entry:?}");
    }
    let has = |beginning: &str| entries.iter().any(|entry| entry.name.starts_with(beginning));
    assert!(has("ibdata1") && has("mysql.ibd") && has("#innodb_redo/#ib_redo") && has("undo_001") && has("undo_002"));
    let distinct: BTreeSet<_> = entries.iter().map(|entry| (entry.base.to_string(), &entry.name)).collect();
    assert_eq!(distinct.len(), entries.len(), "no file twice");
    let own = ["auto.cnf", "server-key.pem", "mysqld-auto.cnf"];
    assert!(entries.iter().all(|entry| !own.contains(&entry.name.as_str())), "what is the server's own stays with it");
}

/// Writer 10: a reader of Vitess's needs none of the keys that Vitess does not know.
fn no_other_kinds(stored: &Stored) {
    let ours = ["DataBytes", "EmptyDirectories", "NotCarried"];
    let mut without = stored.raw.clone();
    for key in ours {
        without.as_object_mut().unwrap().shift_remove(key);
    }
    let known = Manifest::decode(without.to_string().as_bytes()).unwrap();
    assert!(known.unknown.is_empty(), "{:?}", known.unknown);
    assert_eq!(known.method, stored.manifest.method);
    assert_eq!(stored.manifest.backup_method, "builtin");
}

/// All below a tablet's directory that a restore would clear, with sizes.
fn data_of(tablet: &Tablet) -> Vec<(PathBuf, u64)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, u64)>) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let metadata = entry.metadata().unwrap();
            found.push((entry.path(), metadata.len()));
            if metadata.is_dir() {
                walk(&entry.path(), found);
            }
        }
    }
    let mut found = Vec::new();
    walk(&tablet.layout().datadir, &mut found);
    found.sort_unstable();
    found
}

/// Vitess's version rule (`src/mysqld/version.rs` has its whole table), asked before anything is touched: mysqld goes on, with
/// its rows, although its data was to be replaced.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_the_tablets_mysql_cannot_start_on_is_refused_and_nothing_was_touched() {
    let mut tablet = Tablet::at_rest(101).await;
    tablet.start_container().await;
    tablet.make_writable().await;
    tablet.sql("CREATE DATABASE vt_commerce").await;
    tablet.sql("CREATE TABLE vt_commerce.customer (id BIGINT PRIMARY KEY)").await;
    tablet.sql("INSERT INTO vt_commerce.customer VALUES (1)").await;
    let (before, process) = (data_of(&tablet), tablet.mysqld_pid());
    let gtids = tablet.mysql().gtid_executed().await.unwrap();
    for (version, upgrade_safe, words) in [
        ("Ver 8.4.2 MySQL Community Server - GPL", false, "is not safe to upgrade"),
        ("Ver 8.4.2 MySQL Community Server - GPL", true, "is too new for backup"),
        ("Ver 5.7.44 MySQL Community Server (GPL)", true, "is too new for backup"),
        ("Ver 9.8.0 MySQL Community Server - GPL", true, "is older than backup"),
        ("Ver 10.0.0 MySQL Community Server - GPL", true, "is older than backup"),
        ("Ver 9.7.4 Percona Server (GPL)", true, "between different flavors"),
        ("9.7.4", true, "could not parse server version"),
    ] {
        let backups = engine_support::open_directory();
        let folder = backups.path().join("commerce/0/2026-11-22.152700.zone1-0000000101");
        std::fs::create_dir_all(&folder).unwrap();
        let manifest = serde_json::json!({
            "BackupMethod": "builtin", "Position": "MySQL56/", "BackupTime": "2026-11-22T15:27:00Z",
            "MySQLVersion": version, "UpgradeSafe": upgrade_safe,
            "FileEntries": [{"Base": "InnoDBData", "Name": "ibdata1", "Hash": "00000000"}], "SkipCompress": true,
        });
        std::fs::write(folder.join("MANIFEST"), manifest.to_string()).unwrap();
        std::fs::write(folder.join("0"), "").unwrap();
        let engine_tablet = engine_tablet(&"commerce/0".parse().unwrap(), &tablet);
        for (wanted, reason) in [
            (Wanted::Latest, Reason::NoCompleteBackup),
            (Wanted::Named("2026-11-22.152700.zone1-0000000101".to_owned()), Reason::VersionIncompatible),
        ] {
            let options = builtin::RestoreOptions {
                wanted,
                allow_primary: true,
                ..engine_support::restore_options(ExistingData::Replace)
            };
            let storage = storage_in(backups.path());
            let end = builtin::restore(&engine_tablet, &storage, &options, &Interrupt::new(), &Notes::default()).await;
            let Err(error) = end else { panic!("{version} was restored") };
            assert_eq!(error.failure().reason, reason, "{error}");
            assert!(error.to_string().contains(words), "{version}: {error}");
        }
    }
    assert_eq!(tablet.mysqld_pid(), process, "mysqld was not restarted");
    assert_eq!(data_of(&tablet), before);
    for left in ["restore_in_progress", "vitess-backup.journal"] {
        assert!(!tablet.tablet_dir().join(left).exists(), "{left}");
    }
    assert_eq!(tablet.mysql().gtid_executed().await.unwrap(), gtids);
    assert_eq!(tablet.value("SELECT COUNT(*) FROM vt_commerce.customer").await, "1");
}
