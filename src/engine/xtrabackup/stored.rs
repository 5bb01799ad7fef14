//! What the MANIFEST of an xtrabackup backup asks for, checked before anything is touched.

use serde::{Deserialize, Serialize};

use crate::backup::manifest::{Manifest, Xtrabackup};
use crate::codec::Decompression;
use crate::engine::store::Expected;
use crate::engine::xtrabackup::tools::StreamMode;
use crate::engine::{EngineError, builtin};
use crate::replication::Position;
use crate::storage::StoredObject;

/// More than anybody deals to; a MANIFEST that says more is damaged.
const STRIPES_MAX: usize = 1000;

/// A field of ours in the MANIFEST, which Vitess ignores: of each object its Name, StoredBytes and Hash. The builtin
/// engine's FileEntries have as much, Vitess's xtrabackup engine has nothing of the kind.
pub const STORED_OBJECTS: &str = "StoredObjects";

/// One object of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamObject {
    pub name: String,
    /// Bytes as stored.
    pub size: u64,
    /// CRC-32 of the stored bytes, 8 lower-case hex digits, when the MANIFEST says.
    pub hash: Option<String>,
}

/// What the MANIFEST says of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Told {
    name: String,
    stored_bytes: u64,
    hash: String,
}

/// The value of [`STORED_OBJECTS`].
pub fn told(objects: &[Expected]) -> serde_json::Value {
    let one = |Expected { object, file: _, size, hash }: &Expected| Told {
        name: object.clone(),
        stored_bytes: *size,
        hash: hash.clone(),
    };
    serde_json::to_value(objects.iter().map(one).collect::<Vec<_>>()).unwrap_or_default()
}

/// The stream of one backup as it lies in storage.
#[derive(Clone, Debug)]
pub struct StoredStream {
    /// In the order in which they were dealt to.
    pub objects: Vec<StreamObject>,
    pub mode: StreamMode,
    /// StripeBlockSize; means nothing where there is one object.
    pub block: u64,
    pub decompression: Decompression,
    pub position: Option<Position>,
}

impl StoredStream {
    /// Whether the MANIFEST tells the hash of every object.
    pub fn has_hashes(&self) -> bool {
        self.objects.iter().all(|object| object.hash.is_some())
    }

    /// Bytes of all objects as stored.
    pub fn stored_bytes(&self) -> u64 {
        self.objects.iter().map(|object| object.size).sum()
    }

    /// `unless_told`: for a MANIFEST without StreamMode. `decompressor`: for the compression engine `external`.
    ///
    /// # Errors
    /// `ManifestUnusable`, `CompressionUnknown`, `ObjectsMissing`, `ObjectSize`.
    pub fn plan(
        backup: &str,
        manifest: &Manifest,
        part: &Xtrabackup,
        objects: &[StoredObject],
        unless_told: StreamMode,
        decompressor: Option<&str>,
    ) -> Result<Self, EngineError> {
        let unusable = |cause: String| EngineError::ManifestUnusable { backup: backup.to_owned(), cause };
        builtin::refuse_hook(backup, manifest)?;
        let Xtrabackup { compression_engine, stripe_block_size, skip_compress, .. } = part;
        let mode = mode(part, unless_told).map_err(unusable)?;
        let decompression = builtin::decompression(backup, compression_engine, *skip_compress, decompressor)?;
        let names = names(part, mode).map_err(unusable)?;
        let block = u64::try_from(*stripe_block_size).unwrap_or(0);
        if names.len() > 1 && block == 0 {
            return Err(unusable(format!("it has {} stripes and StripeBlockSize {stripe_block_size}", names.len())));
        }
        let position = builtin::manifest_position(backup, manifest)?;
        let told: Vec<Told> = match manifest.unknown.get(STORED_OBJECTS) {
            Some(told) => serde_json::from_value(told.clone())
                .map_err(|error| unusable(format!("{STORED_OBJECTS} cannot be read: {error}")))?,
            None => Vec::new(),
        };
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for name in names {
            let Some(&StoredObject { name: _, size }) = objects.iter().find(|object| object.name == name) else {
                missing.push(name);
                continue;
            };
            let told = told.iter().find(|told| told.name == name);
            if told.is_none() && manifest.unknown.contains_key(STORED_OBJECTS) {
                return Err(unusable(format!("{STORED_OBJECTS} does not tell of {name}")));
            }
            if let Some(Told { stored_bytes, .. }) = told.filter(|told| told.stored_bytes != size) {
                let (backup, expected) = (backup.to_owned(), *stored_bytes);
                return Err(EngineError::ObjectSize { backup, object: name, expected, found: size });
            }
            found.push(StreamObject { name, size, hash: told.map(|told| told.hash.clone()) });
        }
        if missing.is_empty() {
            Ok(Self { objects: found, mode, block, decompression, position })
        } else {
            Err(EngineError::ObjectsMissing { backup: backup.to_owned(), objects: missing })
        }
    }
}

/// The names of the objects that the MANIFEST asks for; `unless_told` as in [`StoredStream::plan`].
///
/// # Errors
/// `ManifestUnusable`.
pub fn object_names(backup: &str, part: &Xtrabackup, unless_told: StreamMode) -> Result<Vec<String>, EngineError> {
    let unusable = |cause: String| EngineError::ManifestUnusable { backup: backup.to_owned(), cause };
    let mode = mode(part, unless_told).map_err(unusable)?;
    names(part, mode).map_err(unusable)
}

fn mode(part: &Xtrabackup, unless_told: StreamMode) -> Result<StreamMode, String> {
    match part.stream_mode.as_str() {
        "" => Ok(unless_told),
        named => named.parse().map_err(|error| format!("StreamMode {error}")),
    }
}

/// The objects' names.
pub fn names(part: &Xtrabackup, mode: StreamMode) -> Result<Vec<String>, String> {
    let file = if part.file_name.is_empty() {
        // As the flags of that time had it; then there was gzip only.
        let mode = if mode == StreamMode::Tar { "tar" } else { "xbstream" };
        format!("backup.{mode}{}", if part.skip_compress { "" } else { ".gz" })
    } else {
        part.file_name.clone()
    };
    match usize::try_from(part.num_stripes).unwrap_or(0) {
        0 | 1 => Ok(vec![file]),
        stripes @ ..=STRIPES_MAX => Ok((0..stripes).map(|stripe| format!("{file}-{stripe:03}")).collect()),
        stripes => Err(format!("NumStripes is {stripes}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::failure::Reason;

    fn part(stripes: i32) -> Xtrabackup {
        Xtrabackup {
            compression_engine: "zstd".into(),
            file_name: "backup.xbstream.zst".into(),
            stream_mode: "xbstream".into(),
            num_stripes: stripes,
            stripe_block_size: 102_400,
            ..Xtrabackup::default()
        }
    }

    fn plan(part: &Xtrabackup, objects: &[&str]) -> Result<StoredStream, EngineError> {
        let objects: Vec<_> = objects.iter().map(|name| StoredObject { name: (*name).to_owned(), size: 10 }).collect();
        let manifest = Manifest { position: "MariaDB/0-1-8".into(), ..Manifest::default() };
        StoredStream::plan("x", &manifest, part, &objects, StreamMode::default(), None)
    }

    fn names_of(planned: &StoredStream) -> Vec<&str> {
        planned.objects.iter().map(|object| object.name.as_str()).collect()
    }

    #[test]
    fn one_stripe_is_an_object_without_a_number_and_more_are_numbered_from_0() {
        for stripes in [-1, 0, 1] {
            let planned = plan(&part(stripes), &["MANIFEST", "backup.xbstream.zst"]).unwrap();
            assert_eq!(names_of(&planned), ["backup.xbstream.zst"]);
        }
        let planned = plan(&part(2), &["backup.xbstream.zst-001", "backup.xbstream.zst-000", "MANIFEST"]).unwrap();
        assert_eq!(names_of(&planned), ["backup.xbstream.zst-000", "backup.xbstream.zst-001"]);
        assert_eq!((planned.stored_bytes(), planned.block), (20, 102_400));
    }

    #[test]
    fn manifests_that_tell_nothing_are_of_gzip_under_the_name_of_the_flags() {
        let old = Xtrabackup { stream_mode: "tar".into(), ..Xtrabackup::default() };
        assert_eq!(names_of(&plan(&old, &["backup.tar.gz"]).unwrap()), ["backup.tar.gz"]);
        let older = Xtrabackup { skip_compress: true, ..Xtrabackup::default() };
        let planned = plan(&older, &["backup.xbstream"]).unwrap();
        assert_eq!((names_of(&planned), planned.mode), (vec!["backup.xbstream"], StreamMode::Xbstream));
    }

    #[test]
    fn what_the_manifest_tells_of_the_objects_is_kept_and_their_sizes_are_compared() {
        let written =
            [Expected { object: "backup.xbstream.zst".into(), file: "x".into(), size: 10, hash: "0a".into() }];
        let planned = |size: u64| {
            let mut written = written.clone();
            written[0].size = size;
            let unknown = serde_json::Map::from_iter([(STORED_OBJECTS.to_owned(), told(&written))]);
            let manifest = Manifest { unknown, ..Manifest::default() };
            let objects = [StoredObject { name: "backup.xbstream.zst".into(), size: 10 }];
            StoredStream::plan("x", &manifest, &part(0), &objects, StreamMode::default(), None)
        };
        let whole = planned(10).unwrap();
        assert_eq!((whole.objects[0].hash.as_deref(), whole.has_hashes()), (Some("0a"), true));
        let short = planned(11).unwrap_err();
        assert!(matches!(short, EngineError::ObjectSize { expected: 11, found: 10, .. }), "{short}");
        assert!(!plan(&part(0), &["backup.xbstream.zst"]).unwrap().has_hashes());
    }

    #[test]
    fn what_cannot_be_gathered_is_refused_before_anything_is_touched() {
        let refused = |part: &Xtrabackup, objects: &[&str]| {
            let error = plan(part, objects).unwrap_err();
            (error.failure().reason, error.to_string())
        };
        let (reason, text) = refused(&part(3), &["backup.xbstream.zst-000", "backup.xbstream.zst-002"]);
        assert_eq!(reason, Reason::ObjectMissing);
        assert!(text.contains("backup.xbstream.zst-001"), "{text}");
        for (broken, expected) in [
            (Xtrabackup { stripe_block_size: 0, ..part(2) }, "2 stripes and StripeBlockSize 0"),
            (Xtrabackup { stripe_block_size: -5, ..part(2) }, "2 stripes and StripeBlockSize -5"),
            (Xtrabackup { stream_mode: "cpio".into(), ..part(0) }, "\"cpio\" is no stream mode"),
            (part(i32::MAX), "NumStripes is 2147483647"),
        ] {
            let (reason, text) = refused(&broken, &[]);
            assert_eq!(reason, Reason::ManifestUnreadable, "{text}");
            assert!(text.contains(expected), "{text}");
        }
        let hook = serde_json::Map::from_iter([("TransformHook".to_owned(), "encrypt".into())]);
        let manifest = Manifest { unknown: hook, ..Manifest::default() };
        let hooked = StoredStream::plan("x", &manifest, &part(0), &[], StreamMode::default(), None).unwrap_err();
        assert!(hooked.to_string().contains("TransformHook"), "{hooked}");
        let external = Xtrabackup { compression_engine: "external".into(), ..part(0) };
        assert!(matches!(plan(&external, &[]), Err(EngineError::CompressionUnknown { .. })));
    }
}
