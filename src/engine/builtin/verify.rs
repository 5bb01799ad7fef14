//! Checking a stored backup against its MANIFEST, without a tablet: the MANIFEST's own sense, that all objects are there and
//! no others, and of each its size, its hash and that it decompresses to what the MANIFEST says.

use std::collections::HashSet;
use std::path::PathBuf;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use crate::backup::choose::{PassedOver, Why};
use crate::backup::manifest::{self, Builtin, Manifest, Method, Xtrabackup};
use crate::backup::report::{Outcome, Verification};
use crate::codec::{self, Codec, Decompression, Tally};
use crate::engine::builtin::DATA_BYTES;
use crate::engine::builtin::bandwidth::Bandwidth;
use crate::engine::builtin::fetch::{CHUNKS, body_failed};
use crate::engine::builtin::limits::{Limits, Share};
use crate::engine::builtin::target::{self, TargetFile};
use crate::engine::catalogue::{self, Look};
use crate::engine::xtrabackup::{self, StoredStream, StreamMode};
use crate::engine::{EngineError, sense};
use crate::progress::{Monitor, Step};
use crate::storage::{BackupHandle, BackupStorage, StoredObject};
use crate::topo::KeyspaceShard;

const NO_HASHES: &str = "backups of Vitess's xtrabackup engine have no hashes: that every object decompresses, the stripes fit \
    together and the stream can be taken apart is all that could be checked";
const NOT_DECOMPRESSED: &str = "an external command compressed the objects, and none was given that decompresses them: their \
    hashes and sizes are all that could be checked";

#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// Objects that are read at a time, and the memory for it.
    pub limits: Limits,
    pub external_decompressor: Option<String>,
    /// Run the command that the MANIFEST names.
    pub external_decompressor_use_manifest: bool,
    /// For a MANIFEST without StreamMode.
    pub stream_mode: StreamMode,
}

/// A backup that was found whole.
#[derive(Clone, Debug)]
pub struct VerifyDone {
    pub manifest: Manifest,
    pub files: u64,
    /// Bytes as stored, MANIFEST included.
    pub stored_bytes: u64,
    pub warnings: Vec<String>,
    pub found: Verification,
}

impl VerifyDone {
    /// Writes it into the outcome.
    pub fn fill(self, outcome: &mut Outcome) {
        let Self { manifest, files, stored_bytes, warnings, found } = self;
        outcome.engine = Some(manifest.engine().to_owned());
        outcome.position = Some(manifest.position.clone());
        outcome.purged_position = Some(manifest.purged_position.clone());
        outcome.tablet_alias = Some(manifest.tablet_alias.clone()).filter(|alias| !alias.is_empty());
        outcome.files = Some(files);
        outcome.size_bytes = Some(stored_bytes);
        outcome.manifest = Some(manifest.summary());
        outcome.warnings.extend(warnings);
        outcome.verification = Some(found);
    }
}

/// Reads every object that the MANIFEST names and compares its size, its hash and what it decompresses to.
///
/// # Errors
/// `BackupNotFound`; what is wrong with the MANIFEST: `BackupUnusable`, `ManifestUnusable`; what is wrong with the objects:
/// `ObjectsMissing`, `ObjectsUnexpected`, `ObjectSize`, `HashMismatch`, `HashAbsent`, `Decompression`, `StripesUneven`,
/// `StreamDamaged`, and `SeveralDamaged` for more than one of these.
pub async fn verify(
    storage: &BackupStorage,
    shard: &KeyspaceShard,
    name: &str,
    options: &VerifyOptions,
    monitor: &dyn Monitor,
) -> Result<VerifyDone, EngineError> {
    let backup = Stored::examine(storage, shard, name, options.stream_mode, monitor).await?;
    let mut warnings = backup.strays();
    let read = match &backup.manifest.method {
        Method::Xtrabackup(part) => backup.read_stream(part, options, &mut warnings, monitor).await?,
        _ => backup.read_files(options, &mut warnings, monitor).await?,
    };
    Ok(VerifyDone {
        files: read,
        stored_bytes: backup.bytes(),
        warnings,
        manifest: backup.manifest,
        found: Verification::default(),
    })
}

/// A backup whose MANIFEST makes sense and whose objects are those that it names. Nothing of them was read yet.
pub struct Stored {
    pub handle: BackupHandle,
    pub manifest: Manifest,
    pub objects: Vec<StoredObject>,
    /// The names of the objects that the MANIFEST asks for.
    named: HashSet<String>,
}

impl Stored {
    /// # Errors
    /// Those of [`verify`] that are about the MANIFEST, and `ObjectsUnexpected`.
    pub async fn examine(
        storage: &BackupStorage,
        shard: &KeyspaceShard,
        name: &str,
        unless_told: StreamMode,
        monitor: &dyn Monitor,
    ) -> Result<Self, EngineError> {
        monitor.step(Step::Verifying);
        let handle = storage.backup(shard, name)?;
        let objects = handle.objects().await?;
        let unusable = |why| EngineError::BackupUnusable(PassedOver { name: name.to_owned(), why });
        let manifest = match catalogue::look(&handle).await? {
            Look::Complete(manifest) => *manifest,
            Look::Unreadable(cause) => return Err(unusable(Why::ManifestUnreadable(cause))),
            Look::Missing
                if objects.is_empty() && !storage.list_backups(shard).await?.iter().any(|listed| listed == name) =>
            {
                return Err(EngineError::BackupNotFound { shard: shard.clone(), name: name.to_owned() });
            }
            Look::Missing => return Err(unusable(Why::Incomplete)),
        };
        let problems = sense::problems(&manifest, shard, name);
        if !problems.is_empty() {
            return Err(EngineError::ManifestUnusable { backup: name.to_owned(), cause: problems.join("; ") });
        }
        let named = named(name, &manifest, unless_told)?;
        let stored = Self { handle, manifest, objects, named };
        let unexpected: Vec<String> =
            stored.unnamed().filter(|object| stored.is_of_backup(object)).map(str::to_owned).collect();
        if !unexpected.is_empty() {
            return Err(EngineError::ObjectsUnexpected { backup: name.to_owned(), objects: unexpected });
        }
        Ok(stored)
    }

    /// Bytes as stored, MANIFEST included.
    pub fn bytes(&self) -> u64 {
        self.objects.iter().map(|object| object.size).sum()
    }

    /// A warning for each object that no backup's is called like.
    pub fn strays(&self) -> Vec<String> {
        self.unnamed().map(|object| format!("object {object} is not one that the MANIFEST names")).collect()
    }

    fn unnamed(&self) -> impl Iterator<Item = &str> {
        let names = self.objects.iter().map(|object| object.name.as_str());
        names.filter(|name| *name != manifest::OBJECT && !self.named.contains(*name))
    }

    /// Whether an engine would call an object of a backup so: then the MANIFEST lost it, or it was put there.
    fn is_of_backup(&self, object: &str) -> bool {
        match &self.manifest.method {
            Method::Xtrabackup(part) => !part.file_name.is_empty() && object.starts_with(&part.file_name),
            _ => !object.is_empty() && object.bytes().all(|byte| byte.is_ascii_digit()),
        }
    }

    /// Reads the files of a builtin backup; gives how many there are.
    async fn read_files(
        &self,
        options: &VerifyOptions,
        warnings: &mut Vec<String>,
        monitor: &dyn Monitor,
    ) -> Result<u64, EngineError> {
        let name = self.handle.name();
        let builtin = target::builtin_of(name, &self.manifest)?;
        // Nothing is written: the bases only keep the paths apart.
        let files = target::files(name, builtin, &self.objects, |base| Some(PathBuf::from(base.as_str())))?;
        let Builtin { compression_engine: engine, skip_compress, external_decompressor, file_entries: _ } = builtin;
        let decompressor = decompressor(options, external_decompressor);
        let is_external = engine.as_str() == Codec::External.engine_name() && !skip_compress && decompressor.is_none();
        let decompression = target::decompression(name, engine, *skip_compress || is_external, decompressor)?;
        let bandwidth = options.limits.bandwidth();
        let read =
            Read { handle: &self.handle, decompression: &decompression, limits: &options.limits, bandwidth, monitor };
        let found = read.all(&files).await?;
        if is_external {
            warnings.push(NOT_DECOMPRESSED.to_owned());
            return Ok(files.len() as u64);
        }
        let unusable = |cause| EngineError::ManifestUnusable { backup: name.to_owned(), cause };
        if let Some(codec) = codec_of_all(*skip_compress, &found) {
            return Err(unusable(format!(
                "SkipCompress says that objects are as they were, and each is a {codec} stream"
            )));
        }
        self.check_data_bytes(found.iter().map(|one| one.bytes).sum())?;
        Ok(files.len() as u64)
    }

    /// Reads the stream of an xtrabackup backup; gives of how many objects it is.
    async fn read_stream(
        &self,
        part: &Xtrabackup,
        options: &VerifyOptions,
        warnings: &mut Vec<String>,
        monitor: &dyn Monitor,
    ) -> Result<u64, EngineError> {
        let decompressor = decompressor(options, &part.external_decompressor);
        let is_external = part.compression_engine == Codec::External.engine_name() && !part.skip_compress;
        let is_raw = is_external && decompressor.is_none();
        let raw = Xtrabackup { skip_compress: true, ..part.clone() };
        let part = if is_raw { &raw } else { part };
        let (name, mode) = (self.handle.name(), options.stream_mode);
        let stream = StoredStream::plan(name, &self.manifest, part, &self.objects, mode, decompressor)?;
        if is_raw {
            xtrabackup::read_stored(&self.handle, &stream, &options.limits, monitor).await?;
            warnings.push(NOT_DECOMPRESSED.to_owned());
        } else {
            let read = xtrabackup::read_through(&self.handle, &stream, &options.limits, warnings, monitor).await?;
            self.check_data_bytes(read)?;
        }
        if !stream.has_hashes() {
            warnings.push(NO_HASHES.to_owned());
        }
        Ok(stream.objects.len() as u64)
    }

    /// Ours tell it.
    fn check_data_bytes(&self, found: u64) -> Result<(), EngineError> {
        let told = self.manifest.unknown.get(DATA_BYTES).and_then(serde_json::Value::as_u64);
        match told.filter(|told| *told != found) {
            Some(told) => Err(EngineError::ManifestUnusable {
                backup: self.handle.name().to_owned(),
                cause: format!("its {DATA_BYTES} is {told}, and its objects decompress to {found} bytes"),
            }),
            None => Ok(()),
        }
    }
}

/// The command that decompresses, if one is to be run.
fn decompressor<'a>(options: &'a VerifyOptions, of_manifest: &'a str) -> Option<&'a str> {
    let opted_in = options.external_decompressor_use_manifest && !of_manifest.is_empty();
    options.external_decompressor.as_deref().or(opted_in.then_some(of_manifest))
}

/// The names of the objects that the MANIFEST asks for.
fn named(backup: &str, manifest: &Manifest, unless_told: StreamMode) -> Result<HashSet<String>, EngineError> {
    match &manifest.method {
        Method::Xtrabackup(part) => xtrabackup::object_names(backup, part, unless_told).map(HashSet::from_iter),
        // An entry without a name is skipped, and the index counts.
        _ => Ok((0..target::builtin_of(backup, manifest)?.file_entries.len()).map(|index| index.to_string()).collect()),
    }
}

/// The codec whose stream every object is although they are said to be as they were; one alone may begin so by chance.
fn codec_of_all(skip_compress: bool, found: &[FileRead]) -> Option<&'static str> {
    const MAGIC: [(&str, &[u8]); 3] =
        [("gzip", &[0x1f, 0x8b, 8]), ("zstd", &[0x28, 0xb5, 0x2f, 0xfd]), ("lz4", &[0x04, 0x22, 0x4d, 0x18])];
    let mut heads = found.iter().map(|one| &one.head).filter(|head| !head.is_empty());
    let first = heads.next().filter(|_| skip_compress)?;
    let (codec, magic) = MAGIC.into_iter().find(|(_, magic)| first.starts_with(magic))?;
    heads.all(|head| head.starts_with(magic)).then_some(codec)
}

/// How files are read.
struct Read<'a> {
    handle: &'a BackupHandle,
    decompression: &'a Decompression,
    limits: &'a Limits,
    bandwidth: Bandwidth,
    monitor: &'a dyn Monitor,
}

/// What one file turned out to be.
struct FileRead {
    /// Bytes before compression.
    bytes: u64,
    /// The first of its stored bytes.
    head: Bytes,
}

impl Read<'_> {
    /// All of them, whatever is wrong with some.
    async fn all(&self, files: &[TargetFile]) -> Result<Vec<FileRead>, EngineError> {
        let stored: u64 = files.iter().map(|file| file.stored).sum();
        self.monitor.totals(stored, files.len() as u64);
        let budget = &self.limits.budget();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let cost = |blocks| self.decompression.stream_memory(blocks) + CHUNKS;
        let results: Vec<Result<FileRead, EngineError>> = futures::stream::iter(files)
            .map(|file| async move {
                let share = budget.share(file.stored, stored, cores, cost);
                let _held = budget.hold(share).await?;
                self.one(file, share).await
            })
            .buffer_unordered(self.limits.concurrency.max(1))
            // Damage is gathered; trouble with the storage ends it.
            .map(|result| match result {
                Err(error) if !error.is_damage() => Err(error),
                other => Ok(other),
            })
            .try_collect()
            .await?;
        let (mut found, mut damage) = (Vec::new(), Vec::new());
        for result in results {
            match result {
                Ok(read) => found.push(read),
                Err(error) => damage.push(error),
            }
        }
        EngineError::several(self.handle.name(), damage).map_or(Ok(found), Err)
    }

    async fn one(&self, file: &TargetFile, share: Share) -> Result<FileRead, EngineError> {
        let tally = Tally::new();
        match self.decompressed(file, share, &tally).await {
            Ok(read) => {
                file.check_hash(self.handle.name(), &tally.hex())?;
                self.monitor.file_done();
                Ok(read)
            }
            // The decompressor stumbles first; whether the bytes are those that were stored, their hash tells.
            Err(error @ EngineError::Decompression { .. }) => {
                let tally = Tally::new();
                self.hash(file, &tally).await?;
                file.check_hash(self.handle.name(), &tally.hex())?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn decompressed(&self, file: &TargetFile, share: Share, tally: &Tally) -> Result<FileRead, EngineError> {
        let (_, body) = self.handle.get_stream(&file.object).await?;
        let mut head = Bytes::new();
        let mut bytes = 0;
        {
            let stored = tally.over(self.bandwidth.over(body)).inspect_ok(|part| {
                if head.is_empty() {
                    head = part.slice(..part.len().min(4));
                }
                // Only stored bytes are known beforehand; they stand for the progress too.
                self.monitor.advanced(part.len() as u64, part.len() as u64);
            });
            let mut plain = codec::decompress(self.decompression, stored, share.blocks);
            loop {
                match plain.try_next().await {
                    Ok(Some(part)) => bytes += part.len() as u64,
                    Ok(None) => break,
                    Err(error) => return Err(body_failed(self.handle, &file.object, &file.name, error)),
                }
            }
        }
        Ok(FileRead { bytes, head })
    }

    async fn hash(&self, file: &TargetFile, tally: &Tally) -> Result<(), EngineError> {
        let (_, body) = self.handle.get_stream(&file.object).await?;
        Ok(tally.over(body).try_for_each(async |_| Ok(())).await?)
    }
}
