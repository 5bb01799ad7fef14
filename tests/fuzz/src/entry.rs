//! What must hold for any bytes. Shared by the fuzz targets and by `tests/format/mutations.rs`, which gives each of them some
//! thousand inputs in every run of the tests.

use crate::backup::manifest::{Manifest, Method};
use crate::backup::name::{BackupName, parse_time, time_of, time_text};
use crate::replication::{GtidSet, Position};
use crate::topo::{KeyspaceShard, TabletAlias};

/// What decodes, encodes to bytes that decode to the same; and what a restore asks of it has an answer.
pub fn manifest(bytes: &[u8]) {
    let Ok(manifest) = Manifest::decode(bytes) else { return };
    let encoded = manifest.encode();
    assert!(!encoded.iter().any(|byte| b"<>&".contains(byte)), "Go writes these as escapes");
    let again = Manifest::decode(&encoded).expect("what we write, we read");
    // serde_json reads floating-point numbers to within a last digit. No field of Vitess's is one.
    if !encoded.iter().any(|byte| b".eE".contains(byte)) || !has_fractions(&manifest) {
        assert_eq!(again, manifest);
    }
    assert!(again.unknown.keys().eq(manifest.unknown.keys()), "unknown fields keep their order");
    let summary = manifest.summary();
    assert!(!matches!(manifest.method, Method::Builtin(_)) || !summary.contains_key("FileEntries"));
    let _ = (manifest.engine(), manifest.began(), manifest.transform_hook());
    let _ = Position::decode(&manifest.position);
    if let Method::Builtin(builtin) = &manifest.method {
        for entry in &builtin.file_entries {
            if let Ok(path) = entry.path_below_base() {
                assert!(path.is_relative() && !path.as_os_str().is_empty(), "{}", path.display());
                assert!(
                    path.components().all(|part| matches!(part, std::path::Component::Normal(_))),
                    "{}",
                    path.display()
                );
                assert_eq!(path.to_str(), Some(entry.name.as_str()), "the name is the path, without detours");
            }
        }
    }
}

fn has_fractions(manifest: &Manifest) -> bool {
    fn within(value: &serde_json::Value) -> bool {
        match value {
            serde_json::Value::Number(number) => number.is_f64(),
            serde_json::Value::Array(list) => list.iter().any(within),
            serde_json::Value::Object(fields) => fields.values().any(within),
            _ => false,
        }
    }
    let entries = match &manifest.method {
        Method::Builtin(builtin) => &builtin.file_entries[..],
        _ => &[],
    };
    manifest.unknown.values().any(within) || entries.iter().any(|entry| entry.unknown.values().any(within))
}

/// What is a name is written as it is read; names, times, aliases and shards alike.
pub fn name(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(name) = text.parse::<BackupName>() {
        let written = name.to_string();
        assert_eq!(written.parse::<BackupName>().as_ref(), Ok(&name), "{written}");
        assert_eq!(time_of(&text), Some(name.time()));
        assert_eq!(parse_time(&time_text(name.time())), Ok(name.time()));
        assert_eq!(written.split('.').count(), 3);
    }
    if let Ok(alias) = text.parse::<TabletAlias>() {
        assert_eq!(alias.to_string().parse::<TabletAlias>(), Ok(alias));
    }
    if let Ok(shard) = text.parse::<KeyspaceShard>() {
        assert_eq!(shard.to_string(), text);
        assert!(!text.contains("..") || !text.split('/').any(|part| part == ".."), "{text:?} leaves its directory");
    }
    let _ = parse_time(&text);
}

/// What is a position is written as it is read; and the sets of two lines obey the laws of sets.
pub fn position(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (one, other) = text.split_once('\n').unwrap_or((&text, ""));
    for line in [one, other] {
        if let Ok(position) = line.parse::<Position>() {
            assert_eq!(position.to_string().parse::<Position>().as_ref(), Ok(&position));
            assert!(position.at_least(&position));
        }
    }
    if let (Ok(Position::Mysql56(one)), Ok(Position::Mysql56(other))) = (one.parse(), other.parse()) {
        laws(&one, &other);
    }
}

fn laws(one: &GtidSet, other: &GtidSet) {
    let (union, rest) = (one.union(other), one.subtract(other));
    assert!(union.contains(one) && union.contains(other));
    assert_eq!(union, other.union(one));
    assert!(one.contains(&rest));
    assert_eq!(one.intersection(other).union(&rest), *one);
    assert!(rest.intersection(other).is_empty());
    assert_eq!(rest.union(other), union);
    assert_eq!(one.contains(other), other.subtract(one).is_empty());
    assert_eq!(one.intersection(other), other.intersection(one));
}
