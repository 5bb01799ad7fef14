//! What lies in a whole storage, and how it is told without telling it all again each time.
//!
//! A backup that is complete does not change. What can tell two states of one apart is its [`Trace`]: the names, whether
//! there is a MANIFEST, and the bytes stored, all of which a listing gives. Traces are dealt to [`BUCKETS`] buckets, and a
//! [`Digest`] has one number for each bucket. Whoever knows backups already hands over the digest of what it knows; only
//! buckets that differ are told, each whole: a [`Line::Found`](super::report::Line::Found) for every backup, then a
//! [`Line::Bucket`](super::report::Line::Bucket) that seals them. A bucket whose seal does not fit what came before it
//! counts as not told.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash32;

use super::report::ListedBackup;

/// Into how many parts backups are dealt: of 10,000 backups, 39 are told when one has changed.
pub const BUCKETS: usize = 256;

/// Seeds that keep the bucket and the digest of a trace independent of each other.
const DEAL: u32 = 1;
const DIGEST: u32 = 2;

/// What tells two states of one backup apart. `bytes` as stored, of the objects right below the backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace<'a> {
    /// `<keyspace>/<shard>`.
    pub shard: &'a str,
    pub name: &'a str,
    pub has_manifest: bool,
    pub bytes: u64,
}

impl Trace<'_> {
    pub fn bucket(&self) -> u8 {
        bucket_of(self.shard, self.name)
    }

    fn digest(&self) -> u32 {
        let Self { shard, name, has_manifest, bytes } = self;
        // No name holds a line break.
        XxHash32::oneshot(DIGEST, format!("{shard}/{name}\n{has_manifest}\n{bytes}").as_bytes())
    }
}

/// The bucket that a backup belongs to, whatever its state.
pub fn bucket_of(shard: &str, name: &str) -> u8 {
    XxHash32::oneshot(DEAL, format!("{shard}/{name}").as_bytes()).to_le_bytes()[0]
}

/// One number for each bucket: the sum of its traces' hashes, so that their order does not matter.
#[derive(Clone, PartialEq, Eq)]
pub struct Digest(Box<[u32; BUCKETS]>);

impl Default for Digest {
    /// Of no backups at all.
    fn default() -> Self {
        Self(Box::new([0; BUCKETS]))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl Digest {
    pub fn of<'a>(traces: impl IntoIterator<Item = Trace<'a>>) -> Self {
        let mut digest = Self::default();
        for trace in traces {
            digest.add(&trace);
        }
        digest
    }

    pub fn add(&mut self, trace: &Trace<'_>) {
        let sum = &mut self.0[usize::from(trace.bucket())];
        *sum = sum.wrapping_add(trace.digest());
    }

    /// Makes the bucket differ from what is in storage, so that it is told whatever it holds.
    pub fn disturb(&mut self, bucket: u8) {
        let sum = &mut self.0[usize::from(bucket)];
        *sum = sum.wrapping_add(1);
    }

    pub fn of_bucket(&self, bucket: u8) -> u32 {
        self.0[usize::from(bucket)]
    }

    /// The buckets in which the two differ, in ascending order.
    pub fn changed(&self, other: &Self) -> Vec<u8> {
        (0..=u8::MAX).filter(|bucket| self.of_bucket(*bucket) != other.of_bucket(*bucket)).collect()
    }
}

/// Base64 of the numbers, little-endian, in order.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: Vec<u8> = self.0.iter().flat_map(|sum| sum.to_le_bytes()).collect();
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// Why a text is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the digest of an inventory: {BUCKETS} numbers of 32 bits in base64")]
pub struct ParseDigestError(String);

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseDigestError(text.chars().take(40).collect());
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
        let (numbers, rest) = bytes.as_chunks::<4>();
        if numbers.len() != BUCKETS || !rest.is_empty() {
            return Err(wrong());
        }
        let mut digest = Self::default();
        for (sum, number) in digest.0.iter_mut().zip(numbers) {
            *sum = u32::from_le_bytes(*number);
        }
        Ok(digest)
    }
}

/// One backup, as an inventory finds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// `<keyspace>/<shard>`.
    pub shard: String,
    /// Whether there is a MANIFEST; `complete` says that it can be read too.
    pub has_manifest: bool,
    /// How many of the tablet's files it holds: the builtin engine's MANIFEST says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    #[serde(flatten)]
    pub backup: ListedBackup,
}

impl Found {
    pub fn trace(&self) -> Trace<'_> {
        let Self { shard, has_manifest, files: _, backup } = self;
        Trace { shard, name: &backup.name, has_manifest: *has_manifest, bytes: backup.size_bytes }
    }
}

/// The seal of a bucket: all of its backups were told before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seal {
    pub bucket: u8,
    pub digest: u32,
}

impl Seal {
    /// Whether these are all the backups of the bucket and no others.
    pub fn fits(&self, found: &[Found]) -> bool {
        let digest = Digest::of(found.iter().map(Found::trace));
        found.iter().all(|one| one.trace().bucket() == self.bucket) && digest.of_bucket(self.bucket) == self.digest
    }
}

/// What one shard has in storage. What is unknown is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardFound {
    /// `<keyspace>/<shard>`.
    pub shard: String,
    /// Those with a MANIFEST.
    pub backups: u64,
    /// Those without one.
    pub incomplete: u64,
    /// As stored, of all of them.
    pub bytes: u64,
    /// The newest complete backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_backup_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_backup_time: Option<jiff::Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_position: Option<String>,
    /// The time of the oldest complete full backup: no earlier state can be had back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_restorable_time: Option<jiff::Timestamp>,
}

/// The end of an inventory: what there is in all, and how much of it was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Those with a MANIFEST.
    pub backups: u64,
    /// Those without one.
    pub incomplete: u64,
    /// As stored, of all of them.
    pub bytes: u64,
    pub shards: u64,
    /// What is neither backup nor shard nor keyspace.
    pub strays: u64,
    /// The first of them, as paths below the storage's root.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stray_names: Vec<String>,
    /// How many buckets were told whole.
    pub buckets_told: u64,
    /// How many shards were told; 0 when nothing has changed.
    pub shards_told: u64,
    /// Buckets were left for the next time, because enough was told.
    #[serde(default)]
    pub more: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn trace(name: &str, bytes: u64) -> Trace<'_> {
        Trace { shard: "commerce/-80", name, has_manifest: true, bytes }
    }

    fn digest(traces: &[Trace<'_>]) -> Digest {
        Digest::of(traces.iter().copied())
    }

    proptest! {
        #[test]
        fn a_digest_reads_back_as_it_was_written(sums in proptest::collection::vec(any::<u32>(), BUCKETS)) {
            let digest = Digest(Box::new(sums.try_into().unwrap()));
            prop_assert_eq!(digest.to_string().parse(), Ok(digest));
        }

        #[test]
        fn the_order_of_backups_does_not_matter(names in proptest::collection::hash_set("[a-z0-9.-]{1,20}", 0..40)) {
            let mut traces: Vec<Trace<'_>> = names.iter().map(|name| trace(name, 7)).collect();
            let there = digest(&traces);
            traces.reverse();
            prop_assert_eq!(there.changed(&digest(&traces)), Vec::<u8>::new());
        }
    }

    #[test]
    fn whatever_changes_of_a_backup_changes_its_bucket_and_no_other() {
        let name = "2024-01-02.030405.zone1-0000000101";
        let (one, other) = (trace(name, 10), trace("2024-01-03.030405.zone1-0000000101", 20));
        let before = digest(&[one, other]);
        let bucket = vec![one.bucket()];
        for changed in [
            Trace { bytes: 11, ..one },
            Trace { has_manifest: false, ..one },
            Trace { bytes: 0, has_manifest: false, ..one },
        ] {
            assert_eq!(before.changed(&digest(&[changed, other])), bucket, "{changed:?}");
        }
        assert_eq!(before.changed(&digest(&[other])), bucket);
        let swapped = digest(&[Trace { bytes: 20, ..one }, Trace { bytes: 10, ..other }]);
        assert_eq!(before.changed(&swapped).len(), 2, "a sum that swaps cancel out would tell nothing");
        let mut disturbed = before.clone();
        disturbed.disturb(bucket[0]);
        assert_eq!(before.changed(&disturbed), bucket);
    }

    #[test]
    fn a_text_that_is_no_digest_is_refused() {
        for text in ["", "AAAA", "not base64!"] {
            assert!(text.parse::<Digest>().unwrap_err().to_string().contains("256 numbers of 32 bits"), "{text}");
        }
    }

    #[test]
    fn a_seal_fits_the_backups_of_its_bucket_and_nothing_less() {
        let found = |name: &str| Found {
            shard: "commerce/-80".into(),
            has_manifest: true,
            files: None,
            backup: serde_json::from_value(serde_json::json!({
                "name": name, "complete": true, "sizeBytes": 7, "objects": 2,
            }))
            .unwrap(),
        };
        let one = found("2024-01-02.030405.zone1-0000000101");
        let bucket = one.trace().bucket();
        let all = Digest::of([one.trace()]);
        let seal = Seal { bucket, digest: all.of_bucket(bucket) };
        assert!(seal.fits(std::slice::from_ref(&one)));
        assert!(!seal.fits(&[]), "a line that was lost is noticed");
        assert!(!seal.fits(&[one.clone(), one.clone()]));
        assert!(!Seal { bucket: bucket.wrapping_add(1), ..seal }.fits(&[one]));
        assert!(Seal { bucket, digest: 0 }.fits(&[]), "a bucket may be empty");
    }
}
