//! MANIFESTs as each release wrote them: fields that did not exist yet, or that are gone.

use rstest::rstest;
use serde_json::Value;

use vitess_backup::backup::failure::Reason;
use vitess_backup::backup::manifest::{Manifest, Method, Xtrabackup};

use crate::{Volume, fixtures_folder, gzip};

fn raw(era: &str) -> Vec<u8> {
    let path = fixtures_folder().join("eras").join(format!("{era}.json"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json(era: &str) -> Value {
    serde_json::from_slice(&raw(era)).unwrap()
}

fn decoded(era: &str) -> Manifest {
    Manifest::decode(&raw(era)).unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn plain(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

/// Reader 1 and 2: what is not there has the value that it had when there was no such field.
#[rstest]
#[case("original", gzip)]
#[case("vitess-08-builtin", gzip)]
#[case("vitess-08-builtin-uncompressed", plain)]
#[case("vitess-15-builtin-zstd", zstd)]
#[case("vitess-16-builtin-lz4", lz4)]
#[case("vitess-17-builtin-pgzip", gzip)]
#[case("vitess-18-builtin", gzip)]
#[case("vitess-19-builtin", gzip)]
#[tokio::test]
async fn a_builtin_backup_of_every_era_is_restored(#[case] era: &str, #[case] pack: fn(&[u8]) -> Vec<u8>) {
    let volume = Volume::new();
    volume.fill(json(era), pack);
    let done = volume.restored().await;
    assert_eq!((done.files, done.manifest.engine()), (3, "builtin"));
    for (file, content) in [
        ("innodb/data/ibdata1", "ibdata1"),
        ("innodb/logs/ib_logfile0", "ib_logfile0"),
        ("data/vt_commerce/customer.ibd", "vt_commerce/customer.ibd"),
    ] {
        assert_eq!(volume.file(file), content);
    }
}

#[rstest]
#[case("original", "", "", "", false)]
#[case("vitess-08-builtin", "builtin", "2020-11-02T03:04:05Z", "", false)]
#[case("vitess-15-builtin-zstd", "builtin", "2022-11-02T03:04:05Z", "zstd", false)]
#[case("vitess-16-builtin-lz4", "builtin", "2023-02-02T03:04:05Z", "lz4", false)]
#[case("vitess-18-incremental", "builtin", "2023-02-02T03:04:05Z", "pargzip", true)]
fn the_fields_of_each_era_are_read(
    #[case] era: &str,
    #[case] method: &str,
    #[case] time: &str,
    #[case] engine: &str,
    #[case] incremental: bool,
) {
    let manifest = decoded(era);
    let Method::Builtin(builtin) = &manifest.method else { panic!("{:?}", manifest.method) };
    assert_eq!((manifest.backup_method.as_str(), manifest.backup_time.as_str()), (method, time));
    assert_eq!((builtin.compression_engine.as_str(), manifest.incremental), (engine, incremental));
    assert_eq!(manifest.incremental_details.is_some(), incremental);
    assert!(manifest.unknown.keys().all(|key| key == "TransformHook"), "{:?}", manifest.unknown);
    assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), manifest);
}

/// MANIFESTs from Vitess 18 on have every field of the common part but BackupName (19) and Hostname (24).
#[test]
fn from_vitess_18_on_only_two_fields_came() {
    let (then, now) = (json("vitess-18-builtin"), json("vitess-24-xtrabackup-stripes"));
    let common = now.as_object().unwrap().keys().take_while(|key| *key != "CompressionEngine");
    let new: Vec<&String> = common.filter(|key| then.get(key.as_str()).is_none()).collect();
    assert_eq!(new, ["BackupName", "Hostname"]);
}

#[test]
fn xtrabackup_manifests_old_and_new_are_read() {
    let part = |era| match decoded(era).method {
        Method::Xtrabackup(part) => part,
        other => panic!("{other:?}"),
    };
    let oldest = Xtrabackup { file_name: "backup.tar.gz".to_owned(), ..Xtrabackup::default() };
    assert_eq!(part("vitess-04-xtrabackup"), oldest, "no stream mode yet: the operator's setting counts");
    let old = Xtrabackup {
        file_name: "backup.xbstream.gz".to_owned(),
        extra_command_line_params: "--kill-long-queries-timeout=60".to_owned(),
        stream_mode: "xbstream".to_owned(),
        stripe_block_size: 102_400,
        ..Xtrabackup::default()
    };
    assert_eq!(part("vitess-12-xtrabackup"), old);
    let new = Xtrabackup {
        compression_engine: "zstd".to_owned(),
        file_name: "backup.xbstream.zst".to_owned(),
        stream_mode: "xbstream".to_owned(),
        num_stripes: 8,
        stripe_block_size: 102_400,
        ..Xtrabackup::default()
    };
    assert_eq!(part("vitess-24-xtrabackup-stripes"), new);
    for era in ["vitess-04-xtrabackup", "vitess-12-xtrabackup", "vitess-24-xtrabackup-stripes"] {
        assert_eq!((decoded(era).engine(), decoded(era).unknown.len()), ("xtrabackup", 0), "{era}");
    }
}

#[tokio::test]
async fn a_backup_of_mysqlshell_is_refused_by_its_name_with_where_its_data_is_and_what_to_do() {
    let volume = Volume::new();
    volume.put_manifest(json("vitess-21-mysqlshell"));
    let failure = volume.refused().await.failure();
    assert_eq!(failure.reason, Reason::EngineNotSupported);
    assert_eq!(
        failure.message,
        format!(
            "backup {} was made by Vitess's mysqlshell engine: storage holds its MANIFEST only, the dump is at \
             /backups/dumps/commerce/0/2024-01-02.030405.zone1-0000000101",
            crate::NAME
        )
    );
    assert!(failure.remedy.contains("util.loadDump") && failure.remedy.contains("allowed-engines"), "{failure:?}");
    assert!(volume.is_untouched());
}

/// Reader 3: each of what no reader can restore has its own words.
#[rstest]
#[case("vitess-08-builtin-hook", Reason::ManifestUnreadable, "went through the script \"encrypt\"")]
#[case("vitess-22-builtin-lost-hash", Reason::HashMismatch, "vt_commerce/customer.ibd of backup")]
#[case("vitess-25-builtin-chunks", Reason::ManifestUnreadable, "is stored in chunks")]
#[case("vitess-18-incremental", Reason::NoCompleteBackup, "is incremental")]
#[tokio::test]
async fn what_cannot_be_restored_is_refused_before_anything_is_touched(
    #[case] era: &str,
    #[case] reason: Reason,
    #[case] words: &str,
) {
    let volume = Volume::new();
    volume.fill(json(era), gzip);
    let failure = volume.refused().await.failure();
    assert_eq!(failure.reason, reason, "{failure:?}");
    assert!(failure.message.contains(words), "{failure:?}");
    assert!(volume.is_untouched());
}

#[test]
fn every_era_is_in_a_test() {
    let here = include_str!("eras.rs");
    for entry in std::fs::read_dir(fixtures_folder().join("eras")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(era) = name.strip_suffix(".json") else { continue };
        assert!(here.contains(&format!("\"{era}\"")), "no test reads {name}");
        decoded(era);
    }
}
