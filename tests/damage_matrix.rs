//! The damage matrix: each kind of damage (a flipped byte, a missing end, a missing object, two objects swapped, one too many,
//! each field of the MANIFEST) × each kind of object (a file's, a stripe, the one of a stream, the MANIFEST) is found by
//! `verify`, which names what is damaged. Without mysqld and without XtraBackup.
//!
//! A sample by default; `VBO_MATRIX=whole` (`make test-all`) takes every object of every backup that Vitess made for us. What is
//! damaged is random; `VBO_SEED` repeats an earlier run, whose seed is printed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's own functions may fail the test")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use support::matrix;
use tempfile::TempDir;

use vitess_backup::backup::failure::{Failure, Reason};
use vitess_backup::backup::manifest::Manifest;
use vitess_backup::engine::builtin::{self, VerifyDone, VerifyOptions};
use vitess_backup::progress::Quiet;
use vitess_backup::storage::{BackupStorage, Location};
use vitess_backup::topo::KeyspaceShard;

/// Backups that Vitess made: archive, shard, name.
const BUILTIN: [(&str, &str, &str); 6] = [
    ("zstd.tar.zst", "commerce/0", "2026-11-22.152700.zone1-0000000101"),
    ("pargzip.tar.zst", "commerce/0", "2026-11-22.152636.zone1-0000000101"),
    ("pgzip.tar.zst", "commerce/0", "2026-11-22.152648.zone1-0000000101"),
    ("lz4.tar.zst", "commerce/0", "2026-11-22.152709.zone1-0000000101"),
    ("nocompress.tar.zst", "commerce/0", "2026-11-22.152745.zone1-0000000101"),
    ("chain-zstd.tar.zst", "commerce/0", "2026-11-22.152737.zone1-0000000101"),
];
const STREAMS: [(&str, &str, &str); 2] = [
    ("xtrabackup-maria-stripes3-zstd.tar.zst", "maria/0", "2026-11-22.153925.zone1-0000000200"),
    ("xtrabackup-maria-pargzip.tar.zst", "maria/0", "2026-11-22.153817.zone1-0000000200"),
];
/// Of the short form of a backup.
const ENTRIES: usize = 9;

fn random() -> StdRng {
    StdRng::seed_from_u64(matrix::seed())
}

/// A backup, and a copy of it to mend it with.
struct Case {
    root: TempDir,
    shard: KeyspaceShard,
    name: &'static str,
    what: &'static str,
}

impl Case {
    fn new((archive, shard, name): (&'static str, &str, &'static str)) -> Self {
        let root = TempDir::new().unwrap();
        support::unpack_fixture(archive, &root.path().join("backups"));
        let case = Self { root, shard: shard.parse().unwrap(), name, what: archive };
        case.keep();
        case
    }

    /// A backup with a few of the files only, so that it is read in no time, and with all that ours tell besides.
    fn short(of: (&'static str, &str, &'static str)) -> Self {
        let case = Self::new(of);
        let entries = case.entries();
        let mut chosen = case.indispensable().to_vec();
        chosen.push(case.smallest("InnoDBData", "ib_buffer"));
        let mut others: Vec<usize> = (0..entries.len()).filter(|index| entries[*index]["Base"] == "Data").collect();
        others.sort_by_key(|index| case.size(*index));
        // Of different contents, so that two of them can be swapped.
        let mut hashes = BTreeSet::new();
        chosen.extend(
            others.into_iter().filter(|index| hashes.insert(entries[*index]["Hash"].to_string())).take(ENTRIES - 3),
        );
        let case = case.with_only(&chosen);
        let stored = |place: usize| case.bytes(&place.to_string());
        let plain = |object: Vec<u8>| zstd::stream::decode_all(object.as_slice()).unwrap().len();
        let mut manifest = case.manifest();
        for (place, entry) in manifest["FileEntries"].as_array_mut().unwrap().iter_mut().enumerate() {
            entry["StoredBytes"] = stored(place).len().into();
        }
        manifest["DataBytes"] = (0..chosen.len()).map(|place| plain(stored(place))).sum::<usize>().into();
        manifest["EmptyDirectories"] = json!(["vt_empty"]);
        case.write_manifest(&manifest);
        case.keep();
        case
    }

    /// A backup of these files of this one's.
    fn with_only(&self, chosen: &[usize]) -> Self {
        let part = Self { root: TempDir::new().unwrap(), shard: self.shard.clone(), name: self.name, what: self.what };
        fs::create_dir_all(part.directory()).unwrap();
        let mut manifest = self.manifest();
        let entries = manifest["FileEntries"].clone();
        manifest["FileEntries"] = chosen.iter().map(|index| entries[*index].clone()).collect();
        part.write_manifest(&manifest);
        for (place, index) in chosen.iter().enumerate() {
            fs::copy(self.object(&index.to_string()), part.object(&place.to_string())).unwrap();
        }
        part.keep();
        part
    }

    fn entries(&self) -> Vec<Value> {
        self.manifest()["FileEntries"].as_array().unwrap().clone()
    }

    fn size(&self, index: usize) -> u64 {
        fs::metadata(self.object(&index.to_string())).unwrap().len()
    }

    fn smallest(&self, base: &str, name: &str) -> usize {
        let entries = self.entries();
        let fits = |entry: &Value| entry["Base"] == base && entry["Name"].as_str().unwrap().contains(name);
        let fitting = (0..entries.len()).filter(|index| fits(&entries[*index]));
        fitting.min_by_key(|index| self.size(*index)).unwrap()
    }

    /// The system tablespace and a redo log, without which there is no backup.
    fn indispensable(&self) -> [usize; 2] {
        [self.smallest("InnoDBData", "ibdata1"), self.smallest("InnoDBLog", "")]
    }

    /// All of its files, a few in each, so that each is read in no time, with the objects that are no other's.
    fn parts(&self) -> Vec<(Self, Vec<String>)> {
        let always = if self.manifest()["Incremental"] == true { Vec::new() } else { self.indispensable().to_vec() };
        let others: Vec<usize> = (0..self.entries().len()).filter(|index| !always.contains(index)).collect();
        let parts = others.chunks(ENTRIES - always.len()).enumerate().map(|(number, chosen)| {
            let part = self.with_only(&[always.as_slice(), chosen].concat());
            let known = if number == 0 { 0 } else { always.len() };
            let names = (known..always.len() + chosen.len()).map(|place| place.to_string()).collect();
            (part, names)
        });
        parts.collect()
    }

    fn directory(&self) -> PathBuf {
        self.root.path().join("backups").join(self.shard.to_string()).join(self.name)
    }

    fn kept(&self) -> PathBuf {
        self.root.path().join("kept")
    }

    fn keep(&self) {
        copy(&self.directory(), &self.kept());
    }

    /// As it was.
    fn mend(&self) {
        fs::remove_dir_all(self.directory()).unwrap();
        copy(&self.kept(), &self.directory());
    }

    fn object(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.object(name)).unwrap()
    }

    /// All but the MANIFEST.
    fn objects(&self) -> Vec<String> {
        let entries = fs::read_dir(self.kept()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = entries.filter(|name| name != "MANIFEST").collect();
        names.sort();
        names
    }

    /// Some of them; all in the whole matrix.
    fn sample(&self, random: &mut StdRng, count: usize) -> Vec<String> {
        let mut names = self.objects();
        while !matrix::is_whole() && names.len() > count {
            names.swap_remove(random.random_range(0..names.len()));
        }
        names
    }

    fn manifest(&self) -> Value {
        serde_json::from_slice(&self.bytes("MANIFEST")).unwrap()
    }

    fn write_manifest(&self, manifest: &Value) {
        fs::write(self.object("MANIFEST"), serde_json::to_vec_pretty(manifest).unwrap()).unwrap();
    }

    async fn verify(&self) -> Result<VerifyDone, Failure> {
        let storage = BackupStorage::open(&Location::File { root: self.root.path().join("backups") }).unwrap();
        let verified = builtin::verify(&storage, &self.shard, self.name, &VerifyOptions::default(), &Quiet).await;
        verified.map_err(|error| error.failure())
    }

    /// The damage is found, and what is damaged is named.
    async fn assert_found(&self, damage: &str, named: &[&str], reasons: &[Reason]) {
        match self.verify().await {
            Ok(_) => panic!("{}: {damage} is not found", self.what),
            Err(failure) => {
                assert!(reasons.contains(&failure.reason), "{}: {damage}: {failure:?}", self.what);
                assert!(
                    named.iter().any(|name| failure.message.contains(name)),
                    "{}: {damage}: {failure:?}",
                    self.what
                );
                assert!(failure.message.contains(self.name), "{}: {damage}: {failure:?}", self.what);
                assert!(!failure.remedy.is_empty());
                let code = if failure.reason == Reason::NoCompleteBackup { 3 } else { 6 };
                assert_eq!(failure.reason.exit_code(), code, "{}: {damage}: {failure:?}", self.what);
            }
        }
        self.mend();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

const CONTENT: &[Reason] = &[Reason::HashMismatch, Reason::DecompressionFailed, Reason::ObjectMissing];

/// The kinds of damage to one object.
async fn damage_each(case: &Case, names: &[String], random: &mut StdRng) {
    for name in names {
        let whole = case.bytes(name);
        // An empty file that is not compressed has nothing to flip or to cut.
        if !whole.is_empty() {
            let flipped = flip(&whole, random);
            fs::write(case.object(name), &flipped).unwrap();
            if !says_the_same(case, &whole, &flipped) {
                case.assert_found(&format!("a flipped byte of object {name}"), &[name], CONTENT).await;
            }
            let length = random.random_range(0..whole.len());
            fs::write(case.object(name), &whole[..length]).unwrap();
            case.assert_found(&format!("object {name} cut to {length} of {} bytes", whole.len()), &[name], CONTENT)
                .await;
        }
        fs::write(case.object(name), [whole.as_slice(), b"\0"].concat()).unwrap();
        case.assert_found(&format!("a byte after the end of object {name}"), &[name], CONTENT).await;
        fs::remove_file(case.object(name)).unwrap();
        case.assert_found(&format!("object {name} deleted"), &[name], &[Reason::ObjectMissing]).await;
        let all = case.objects();
        let other = &all[random.random_range(0..all.len())];
        if case.bytes(other) != whole {
            fs::rename(case.object(name), case.object("aside")).unwrap();
            fs::rename(case.object(other), case.object(name)).unwrap();
            fs::rename(case.object("aside"), case.object(other)).unwrap();
            // Of stripes nobody can tell which of them stands where another one belongs.
            let is_stream = STREAMS.iter().any(|(archive, ..)| *archive == case.what);
            let at_fault: Vec<&str> = all
                .iter()
                .map(String::as_str)
                .filter(|one| is_stream || [name, other].map(String::as_str).contains(one))
                .collect();
            case.assert_found(&format!("objects {name} and {other} swapped"), &at_fault, CONTENT).await;
        }
    }
}

fn flip(whole: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut flipped = whole.to_vec();
    let at = random.random_range(0..flipped.len());
    flipped[at] ^= 1 << random.random_range(0..8);
    flipped
}

/// A stream that Vitess's xtrabackup engine stored has no hash, and a gzip header has bytes that say nothing (the time).
fn says_the_same(case: &Case, whole: &[u8], flipped: &[u8]) -> bool {
    let plain = |bytes: &[u8]| {
        let mut plain = Vec::new();
        flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut plain).ok().map(|_| plain)
    };
    case.what == STREAMS[1].0 && plain(whole) == plain(flipped)
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_to_an_object_of_a_file_is_found_and_the_object_named() {
    let mut random = random();
    let case = Case::short(BUILTIN[0]);
    let done = case.verify().await.unwrap();
    assert_eq!((done.files, done.warnings), (ENTRIES as u64, Vec::new()));
    damage_each(&case, &case.objects(), &mut random).await;
    if matrix::is_whole() {
        for backup in BUILTIN {
            for (case, names) in Case::new(backup).parts() {
                case.verify().await.unwrap();
                damage_each(&case, &names, &mut random).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_to_a_stripe_or_to_the_one_object_of_a_stream_is_found_and_the_object_named() {
    let mut random = random();
    for backup in STREAMS {
        let case = Case::new(backup);
        case.verify().await.unwrap();
        damage_each(&case, &case.sample(&mut random, 3), &mut random).await;
    }
}

/// The whole backups of Vitess's, each codec, are found whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_vitess_made_is_found_whole() {
    for backup in BUILTIN.into_iter().chain(STREAMS) {
        let done = Case::new(backup).verify().await.unwrap_or_else(|failure| panic!("{backup:?}: {failure:?}"));
        assert!(done.files > 0, "{backup:?}");
    }
}

#[tokio::test]
async fn an_object_too_many_is_found_where_it_may_be_the_backups_and_told_where_it_is_not() {
    for (case, extra) in [
        (Case::short(BUILTIN[0]), ENTRIES.to_string()),
        (Case::new(STREAMS[0]), "backup.xbstream.zst-003".to_owned()),
        (Case::new(STREAMS[1]), "backup.xbstream.gz-000".to_owned()),
    ] {
        fs::write(case.object(&extra), "more").unwrap();
        case.assert_found("an object too many", &[&extra], &[Reason::ObjectUnexpected]).await;
        fs::write(case.object("notes.txt"), "more").unwrap();
        let warnings = case.verify().await.unwrap().warnings;
        assert!(warnings.iter().any(|warning| warning.contains("object notes.txt")), "{warnings:?}");
    }
}

/// The MANIFEST as an object.
#[tokio::test]
async fn damage_to_the_manifest_is_found() {
    const READ: &[Reason] = &[Reason::ManifestUnreadable, Reason::NoCompleteBackup];
    for case in [Case::short(BUILTIN[0]), Case::new(STREAMS[0])] {
        let whole = case.bytes("MANIFEST");
        for length in [0, 1, whole.len() / 3, whole.len() - 2] {
            fs::write(case.object("MANIFEST"), &whole[..length]).unwrap();
            case.assert_found(&format!("a MANIFEST cut to {length} bytes"), &["MANIFEST"], READ).await;
        }
        fs::remove_file(case.object("MANIFEST")).unwrap();
        case.assert_found("a MANIFEST that is gone", &["MANIFEST"], READ).await;
        let (mut at, mut flipped) = (whole.iter().position(|byte| *byte == b'{').unwrap(), whole.clone());
        flipped[at] ^= 1;
        fs::write(case.object("MANIFEST"), &flipped).unwrap();
        case.assert_found("a brace that is none", &["MANIFEST"], READ).await;
        at = whole.iter().rposition(|byte| *byte == b'}').unwrap();
        flipped.clone_from(&whole);
        flipped[at] ^= 4;
        fs::write(case.object("MANIFEST"), &flipped).unwrap();
        case.assert_found("a last brace that is none", &["MANIFEST"], READ).await;
        // As Vitess does, nobody reads on.
        fs::write(case.object("MANIFEST"), [whole.as_slice(), b"\0"].concat()).unwrap();
        case.verify().await.unwrap();
        case.mend();
    }
    // Swapped for another backup's.
    let (case, other) = (Case::short(BUILTIN[0]), Case::new(BUILTIN[1]));
    fs::copy(other.object("MANIFEST"), case.object("MANIFEST")).unwrap();
    case.assert_found("another backup's MANIFEST", &["its BackupName is"], READ).await;
    let (case, other) = (Case::new(STREAMS[0]), Case::new(STREAMS[1]));
    fs::copy(other.object("MANIFEST"), case.object("MANIFEST")).unwrap();
    case.assert_found("another stream's MANIFEST", &["its BackupName is"], READ).await;
}

/// How a field can change.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    /// Not there any more.
    Gone,
    /// Of another type.
    Type,
    /// Of its type, and another value.
    Value,
}

impl Change {
    fn made(self, value: &Value) -> Option<Value> {
        Some(match (self, value) {
            (Self::Gone, _) => return None,
            (Self::Type, Value::Number(_)) => json!("seven"),
            (Self::Type, _) => json!(7),
            (Self::Value, Value::Bool(flag)) => json!(!flag),
            (Self::Value, Value::String(text)) => json!(format!("{text}x")),
            (Self::Value, Value::Number(number)) => json!(number.as_u64().unwrap() + 1),
            (Self::Value, Value::Array(_)) => json!([]),
            (Self::Value, _) => json!({"FirstTimestamp": "", "LastTimestamp": ""}),
        })
    }
}

/// Changes that leave a MANIFEST which an older or another Vitess could have written of the same objects: nobody can find them
/// in storage. A changed `Name` puts a file in the wrong place: that is what a drill is for.
const TELL_NOTHING: [(&str, Change); 22] = [
    ("/BackupName", Change::Gone),
    ("/PurgedPosition", Change::Gone),
    ("/FromPosition", Change::Gone),
    ("/FromBackup", Change::Gone),
    ("/Incremental", Change::Gone),
    ("/ServerUUID", Change::Gone),
    ("/Hostname", Change::Gone),
    ("/Hostname", Change::Value),
    ("/MySQLVersion", Change::Value),
    ("/UpgradeSafe", Change::Gone),
    ("/UpgradeSafe", Change::Value),
    ("/IncrementalDetails", Change::Gone),
    ("/SkipCompress", Change::Gone),
    ("/ExternalDecompressor", Change::Gone),
    ("/ExternalDecompressor", Change::Value),
    ("/ExtraCommandLineParams", Change::Gone),
    ("/ExtraCommandLineParams", Change::Value),
    ("/FileEntries/#/Name", Change::Value),
    ("/FileEntries/#/ParentPath", Change::Gone),
    ("/DataBytes", Change::Gone),
    ("/EmptyDirectories", Change::Gone),
    ("/EmptyDirectories", Change::Value),
];

/// Likewise, for what else the MANIFEST says.
fn tells_nothing(manifest: &Value, field: &str, change: Change) -> bool {
    let is_gzip = manifest["CompressionEngine"].as_str().is_some_and(|engine| engine.ends_with("gzip"));
    let is_one_object = manifest["NumStripes"] == 0;
    TELL_NOTHING.contains(&(field, change))
        || match (field, change) {
            // An older Vitess did not write it, and meant gzip, xbstream, and this very name.
            ("/CompressionEngine", Change::Gone) => is_gzip,
            ("/StreamMode", Change::Gone) => true,
            ("/FileName", Change::Gone) => is_one_object && is_gzip,
            ("/NumStripes" | "/StripeBlockSize", Change::Gone | Change::Value) => is_one_object,
            _ => false,
        }
}

#[test]
fn the_page_names_each_field_whose_change_nobody_can_find() {
    let page = include_str!("../docs/verifying.md").split_once("\n## What nobody can see\n").unwrap().1;
    let section = page.split_once("\n## ").unwrap().0;
    for (field, change) in TELL_NOTHING {
        let name = field.rsplit('/').next().unwrap();
        assert!(section.contains(&format!("`{name}`")), "{field}: {change:?}");
    }
}

/// Every field of the object, those of the file entries with the place as `#` in the second text.
fn fields(manifest: &Value) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for (key, value) in manifest.as_object().unwrap() {
        fields.push((format!("/{key}"), format!("/{key}")));
        for (index, entry) in value.as_array().filter(|_| key == "FileEntries").into_iter().flatten().enumerate() {
            let of_entry = entry.as_object().unwrap().keys();
            fields.extend(of_entry.map(|field| (format!("/{key}/{index}/{field}"), format!("/{key}/#/{field}"))));
        }
    }
    fields
}

async fn change_each_field(case: &Case) {
    let whole = case.manifest();
    let mut found = 0;
    for (pointer, pattern) in fields(&whole) {
        for change in [Change::Gone, Change::Type, Change::Value] {
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            let mut manifest = whole.clone();
            let parent = manifest.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            match change.made(&parent[field]) {
                Some(value) => parent.insert(field.to_owned(), value),
                None => parent.shift_remove(field),
            };
            case.write_manifest(&manifest);
            let what = format!("{pointer} changed: {change:?}");
            if tells_nothing(&whole, &pattern, change) {
                case.verify().await.unwrap_or_else(|failure| panic!("{}: {what}: {failure:?}", case.what));
                case.mend();
                continue;
            }
            found += 1;
            let failure = case.verify().await.err().unwrap_or_else(|| panic!("{}: {what} is not found", case.what));
            assert_eq!(failure.reason.exit_code(), 6, "{what}: {failure:?}");
            assert!(
                failure.message.contains(case.name) || failure.reason == Reason::EngineNotSupported,
                "{what}: {failure:?}"
            );
            case.mend();
        }
    }
    assert!(found > 20, "fields were changed: {found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_field_of_a_manifest_that_changes_is_found_but_for_those_that_tell_nothing() {
    change_each_field(&Case::short(BUILTIN[0])).await;
    for backup in STREAMS {
        change_each_field(&Case::new(backup)).await;
    }
}

/// Of these, a value that one bit made of another may fit the rest as well: nothing in storage says which of them it was.
const AS_GOOD: [&str; 5] = ["/Position", "/PurgedPosition", "/BackupTime", "/FinishedTime", "/ServerUUID"];

/// A MANIFEST's fields as they are understood, whatever case its keys are in; what is not there is empty.
fn understood(stored: &[u8]) -> Value {
    serde_json::from_slice(&Manifest::decode(stored).unwrap().encode()).unwrap()
}

/// Whether all that differs between them is what nobody can find.
fn differ_in_nothing_that_tells(before: &Value, after: &Value) -> bool {
    fields(before).iter().filter(|(pointer, _)| pointer != "/FileEntries").all(|(pointer, pattern)| {
        let (old, new) = (before.pointer(pointer), after.pointer(pointer));
        let is_gone = new.is_none_or(|new| [json!(null), json!(""), json!(false), json!(0)].contains(new));
        let change = if is_gone { Change::Gone } else { Change::Value };
        let is_as_good = change == Change::Value && AS_GOOD.contains(&pattern.as_str());
        old == new || tells_nothing(before, pattern, change) || is_as_good
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_flipped_anywhere_in_a_manifest_is_found_or_changes_nothing_that_tells() {
    let mut random = random();
    let flips = if matrix::is_whole() { 1_000 } else { 60 };
    for case in [Case::short(BUILTIN[0]), Case::new(STREAMS[0])] {
        let whole = case.bytes("MANIFEST");
        let before = understood(&whole);
        for _ in 0..flips {
            let flipped = flip(&whole, &mut random);
            fs::write(case.object("MANIFEST"), &flipped).unwrap();
            let what = || format!("{}: {}", case.what, String::from_utf8_lossy(&flipped));
            match case.verify().await {
                Ok(_) => assert!(differ_in_nothing_that_tells(&before, &understood(&flipped)), "{}", what()),
                Err(failure) => {
                    assert_eq!(failure.reason.exit_code(), 6, "{failure:?} {}", what());
                    let names = failure.message.contains(case.name) || failure.reason == Reason::EngineNotSupported;
                    assert!(names, "{failure:?} {}", what());
                }
            }
            case.mend();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stripes_in_another_number_or_blocks_of_another_size_are_found() {
    let case = Case::new(STREAMS[0]);
    for (field, value) in [
        ("NumStripes", json!(0)),
        ("NumStripes", json!(2)),
        ("NumStripes", json!(4)),
        ("StripeBlockSize", json!(1024)),
        ("StripeBlockSize", json!(204_800)),
        ("StripeBlockSize", json!(102_401)),
        ("StreamMode", json!("tar")),
        ("CompressionEngine", json!("lz4")),
        ("SkipCompress", json!(true)),
    ] {
        let mut manifest = case.manifest();
        manifest[field] = value.clone();
        case.write_manifest(&manifest);
        let failure = case.verify().await.err().unwrap_or_else(|| panic!("{field} {value} is not found"));
        assert_eq!(failure.reason.exit_code(), 6, "{field} {value}: {failure:?}");
        case.mend();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_damaged_is_told_and_not_the_first_of_it_alone() {
    let case = Case::short(BUILTIN[0]);
    for name in ["3", "5", "7"] {
        let flipped = flip(&case.bytes(name), &mut random());
        fs::write(case.object(name), flipped).unwrap();
    }
    let failure = case.verify().await.unwrap_err();
    assert!(failure.message.starts_with("3 things are wrong with backup"), "{failure:?}");
    for name in ["(object 3)", "(object 5)", "(object 7)"] {
        assert!(failure.message.contains(name), "{failure:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_are_compressed_although_the_manifest_says_they_are_not_are_found() {
    let case = Case::new(BUILTIN[1]);
    let mut manifest = case.manifest();
    manifest["SkipCompress"] = json!(true);
    case.write_manifest(&manifest);
    let failure = case.verify().await.unwrap_err();
    assert_eq!(failure.reason, Reason::ManifestUnreadable);
    assert!(failure.message.contains("each is a gzip stream"), "{failure:?}");
}
