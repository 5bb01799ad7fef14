//! Backups that Vitess made, read by us. The fixtures are listed by name: a missing one is a failure.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::TryStreamExt;
use rstest::rstest;
use serde_json::Value;
use tempfile::TempDir;

use vitess_backup::backup::manifest::{self, Base, Builtin, FileEntry, Manifest, Method};
use vitess_backup::backup::name::BackupName;
use vitess_backup::codec::{Decompression, Tally, decompress};
use vitess_backup::storage::{BackupHandle, BackupStorage, Location};
use vitess_backup::topo::KeyspaceShard;

const MANIFESTS: [&str; 12] = [
    "MANIFEST.chain-zstd.2026-11-22.152730.zone1-0000000101.json",
    "MANIFEST.chain-zstd.2026-11-22.152737.zone1-0000000101.json",
    "MANIFEST.chain-zstd.2026-11-22.152740.zone1-0000000101.json",
    "MANIFEST.external-gzip.2026-11-22.152718.zone1-0000000101.json",
    "MANIFEST.lz4.2026-11-22.152709.zone1-0000000101.json",
    "MANIFEST.nocompress.2026-11-22.152745.zone1-0000000101.json",
    "MANIFEST.pargzip.2026-11-22.152636.zone1-0000000101.json",
    "MANIFEST.pgzip.2026-11-22.152648.zone1-0000000101.json",
    "MANIFEST.vtbackup-initial.json",
    "MANIFEST.xtrabackup-pargzip.json",
    "MANIFEST.xtrabackup-stripes3-zstd.json",
    "MANIFEST.zstd.2026-11-22.152700.zone1-0000000101.json",
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vitess").join(name)
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap_or_else(|error| panic!("fixture {name} is missing: {error}"))
}

/// A storage as Vitess left it.
struct Unpacked {
    _directory: TempDir,
    storage: BackupStorage,
}

fn unpack(archive: &str) -> Unpacked {
    let directory = TempDir::new().unwrap();
    let plain = zstd::stream::read::Decoder::new(std::io::Cursor::new(read(archive))).unwrap();
    tar::Archive::new(plain).unpack(directory.path()).unwrap();
    let storage = BackupStorage::open(&Location::File { root: directory.path().to_owned() }).unwrap();
    Unpacked { _directory: directory, storage }
}

async fn manifest_of(backup: &BackupHandle) -> Manifest {
    Manifest::decode(&backup.get(manifest::OBJECT, manifest::SIZE_LIMIT).await.unwrap()).unwrap()
}

#[test]
fn every_fixture_is_here_and_is_listed() {
    let present: BTreeSet<String> = std::fs::read_dir(fixture(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("MANIFEST"))
        .collect();
    assert_eq!(present, MANIFESTS.iter().map(|&name| name.to_owned()).collect());
}

#[test]
fn every_manifest_of_vitess_is_written_again_byte_for_byte() {
    for name in MANIFESTS {
        let stored = read(name);
        let manifest = Manifest::decode(&stored).unwrap();
        assert_eq!(String::from_utf8(manifest.encode()).unwrap(), String::from_utf8(stored).unwrap(), "{name}");
        assert!(manifest.unknown.is_empty(), "{name}: {:?}", manifest.unknown);
        assert_eq!(manifest.backup_name.parse::<BackupName>().unwrap().to_string(), manifest.backup_name);
        assert_eq!(manifest.began().map(Manifest::time_text), Some(manifest.backup_time.clone()));
        assert!(manifest.began().unwrap() >= manifest.backup_name.parse::<BackupName>().unwrap().time());
    }
}

#[test]
fn the_summary_is_the_manifest_but_for_its_files() {
    for name in MANIFESTS {
        let stored: Value = serde_json::from_slice(&read(name)).unwrap();
        let mut expected = stored.as_object().unwrap().clone();
        expected.shift_remove("FileEntries");
        let summary = Manifest::decode(&read(name)).unwrap().summary();
        assert_eq!(summary.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{name}");
        assert_eq!(summary, expected, "{name}");
    }
}

#[rstest]
#[case("pargzip.tar.zst", "commerce/0", &["2026-11-22.152636.zone1-0000000101"])]
#[case("pgzip.tar.zst", "commerce/0", &["2026-11-22.152648.zone1-0000000101"])]
#[case("zstd.tar.zst", "commerce/0", &["2026-11-22.152700.zone1-0000000101"])]
#[case("lz4.tar.zst", "commerce/0", &["2026-11-22.152709.zone1-0000000101"])]
#[case("nocompress.tar.zst", "commerce/0", &["2026-11-22.152745.zone1-0000000101"])]
#[case("chain-zstd.tar.zst", "commerce/0", &[
    "2026-11-22.152730.zone1-0000000101", "2026-11-22.152737.zone1-0000000101", "2026-11-22.152740.zone1-0000000101",
])]
#[case("vtbackup-initial-pargzip.tar.zst", "fresh/0", &["2026-11-22.153504.vtbackup-1690055660"])]
#[tokio::test]
async fn every_object_of_a_builtin_backup_reads_back_whole(
    #[case] archive: &str,
    #[case] shard: KeyspaceShard,
    #[case] names: &[&str],
) {
    let unpacked = unpack(archive);
    assert_eq!(unpacked.storage.list_backups(&shard).await.unwrap(), names);
    for name in names {
        let backup = unpacked.storage.backup(&shard, name).unwrap();
        let manifest = manifest_of(&backup).await;
        let Method::Builtin(builtin) = &manifest.method else { panic!("{:?}", manifest.method) };
        assert_eq!(objects_of(&backup).await, expected_objects(builtin));
        for (index, entry) in builtin.file_entries.iter().enumerate() {
            let file = read_object(&backup, builtin, index, entry).await;
            check_content(&manifest, entry, &file);
        }
    }
}

async fn objects_of(backup: &BackupHandle) -> BTreeSet<String> {
    backup.objects().await.unwrap().into_iter().map(|object| object.name).collect()
}

fn expected_objects(builtin: &Builtin) -> BTreeSet<String> {
    let numbered = (0..builtin.file_entries.len()).map(|index| index.to_string());
    numbered.chain([manifest::OBJECT.to_owned()]).collect()
}

async fn read_object(backup: &BackupHandle, builtin: &Builtin, index: usize, entry: &FileEntry) -> Vec<u8> {
    let (size, body) = backup.get_stream(&index.to_string()).await.unwrap();
    let stored = Tally::new();
    let decompression = Decompression::new(&builtin.compression_engine, builtin.skip_compress, None).unwrap();
    let chunks: Vec<Bytes> = decompress(&decompression, stored.over(body), 2).try_collect().await.unwrap();
    assert_eq!((stored.hex(), stored.bytes()), (entry.hash.clone(), size), "{entry:?}");
    chunks.concat()
}

/// What a file of that name must look like, so that a codec that yields nothing does not pass.
fn check_content(manifest: &Manifest, entry: &FileEntry, file: &[u8]) {
    let path = entry.path_below_base().unwrap();
    if manifest.incremental {
        assert_eq!(entry.base, Base::BinLog);
        assert_eq!(&file[..4], b"\xfebin", "{} is no binary log", entry.name);
    } else if path.extension().is_some_and(|extension| extension == "ibd") {
        assert!(!file.is_empty() && file.len().is_multiple_of(16384), "{} has {} bytes", entry.name, file.len());
    } else if path == Path::new("ibdata1") {
        assert!(file.len() >= 10 << 20, "{} has {} bytes", entry.name, file.len());
    } else if path.extension().is_some_and(|extension| extension == "sdi") {
        serde_json::from_slice::<Value>(file).unwrap();
    }
}

#[rstest]
#[case("xtrabackup-maria-pargzip.tar.zst", "2026-11-22.153817.zone1-0000000200", &["backup.xbstream.gz"])]
#[case("xtrabackup-maria-stripes3-zstd.tar.zst", "2026-11-22.153925.zone1-0000000200", &[
    "backup.xbstream.zst-000", "backup.xbstream.zst-001", "backup.xbstream.zst-002",
])]
#[tokio::test]
async fn every_object_of_an_xtrabackup_backup_decompresses(
    #[case] archive: &str,
    #[case] name: &str,
    #[case] objects: &[&str],
) {
    let unpacked = unpack(archive);
    let shard = "maria/0".parse().unwrap();
    assert_eq!(unpacked.storage.list_backups(&shard).await.unwrap(), [name]);
    let backup = unpacked.storage.backup(&shard, name).unwrap();
    let Method::Xtrabackup(part) = manifest_of(&backup).await.method else { panic!() };
    let decompression = Decompression::new(&part.compression_engine, part.skip_compress, None).unwrap();
    let mut stripes: Vec<Vec<u8>> = Vec::new();
    for object in objects {
        let (_, body) = backup.get_stream(object).await.unwrap();
        stripes.push(decompress(&decompression, body, 2).try_collect::<Vec<_>>().await.unwrap().concat());
    }
    // The stripes are dealt out in blocks of that size, the last of which may be short.
    let blocks =
        |stripe: &Vec<u8>| stripe.chunks(part.stripe_block_size.unsigned_abs() as usize).map(<[u8]>::to_vec).collect();
    let dealt: Vec<Vec<Vec<u8>>> = stripes.iter().map(blocks).collect();
    let rounds = dealt.iter().map(Vec::len).max().unwrap();
    let stream = (0..rounds).flat_map(|round| dealt.iter().filter_map(move |stripe| stripe.get(round))).flatten();
    let stream: Vec<u8> = stream.copied().collect();
    assert_eq!(stream.len(), stripes.iter().map(Vec::len).sum::<usize>());
    assert_eq!(&stream[..8], b"XBSTCK01");
    // The chunk types at the end: an xbstream that lost its order or its tail has no such last chunk.
    let last = stream.windows(8).rposition(|window| window == b"XBSTCK01").unwrap();
    assert_eq!(stream[last + 9], b'E', "the last chunk of the xbstream ends a file");
}

#[tokio::test]
async fn the_manifests_in_the_archives_are_those_beside_them() {
    let pairs = [
        ("pargzip.tar.zst", "commerce/0", "MANIFEST.pargzip.2026-11-22.152636.zone1-0000000101.json"),
        ("vtbackup-initial-pargzip.tar.zst", "fresh/0", "MANIFEST.vtbackup-initial.json"),
        ("xtrabackup-maria-pargzip.tar.zst", "maria/0", "MANIFEST.xtrabackup-pargzip.json"),
        ("xtrabackup-maria-stripes3-zstd.tar.zst", "maria/0", "MANIFEST.xtrabackup-stripes3-zstd.json"),
    ];
    for (archive, shard, name) in pairs {
        let unpacked = unpack(archive);
        let manifest = Manifest::decode(&read(name)).unwrap();
        let backup = unpacked.storage.backup(&shard.parse().unwrap(), &manifest.backup_name).unwrap();
        assert_eq!(backup.get(manifest::OBJECT, manifest::SIZE_LIMIT).await.unwrap(), read(name), "{name}");
    }
}
