//! Where backups live: one interface over file storage now, and S3, GCS, Azure and Ceph later.
//!
//! The layout is Vitess's, `[root/]<keyspace>/<shard>/<backup name>/<object>` (source: Vitess `mysqlctl/backupstorage` and
//! its plugins). The contract of [`BackupStorage`] and [`BackupHandle`] is the same for every service, and
//! `tests/storage.rs` holds each of them to it:
//!
//! * an object appears whole and durable when `put` or `put_stream` returns, and not at all when it fails or is dropped;
//! * a directory that is missing is empty, and any other trouble with a listing is an error, never "nothing there";
//! * a body that is shorter or longer than the stored size is an error, not an end;
//! * a removal takes the MANIFEST first, so that a half-removed backup never looks complete, and only that backup.

mod error;
mod file;
mod handle;
mod local;
mod upload;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path;

pub use error::{PutError, StorageError};
pub use handle::{BackupHandle, Removed, StoredObject};
pub use local::{ToDisk, read_block, read_from_begin_to_end};

use crate::topo::KeyspaceShard;
use file::FileStore;

/// Which storage, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Location {
    /// `--file-backup-storage-root`.
    File { root: PathBuf },
}

/// A storage of backups. Cheap to clone. Its `Debug` and `Display` say where it is and show no secrets.
#[derive(Clone)]
pub struct BackupStorage {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn ObjectStore>,
    /// Set for a service whose directories are real ones: made, synced and removed apart from the objects in them.
    directories: Option<FileStore>,
    /// What all objects' paths begin with; empty for file storage, whose root is the store's own.
    prefix: Path,
    upload: UploadLimits,
    /// For messages: `file storage /backups`.
    described: String,
}

/// How a stream is cut when it is stored; memory per stream is at most `part * (in_flight + 1)` and one chunk.
#[derive(Clone, Copy, Debug)]
struct UploadLimits {
    /// Bytes of a part; the last one may be smaller, and a chunk is never cut.
    part: usize,
    /// Parts that are being stored at the same time.
    in_flight: usize,
}

impl fmt::Display for BackupStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.described)
    }
}

impl fmt::Debug for BackupStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BackupStorage({})", self.inner.described)
    }
}

impl BackupStorage {
    /// Opens nothing yet: whether the storage answers shows at the first call.
    ///
    /// # Errors
    /// [`StorageError::Misconfigured`] when the location cannot be one.
    pub fn open(location: &Location) -> Result<Self, StorageError> {
        match location {
            Location::File { root } => {
                let root = std::path::absolute(root).map_err(|source| StorageError::Misconfigured {
                    what: format!("file storage {:?}", root.display().to_string()),
                    problem: format!("the root is no path of a directory: {source}"),
                })?;
                let store = FileStore::new(root);
                let inner = Inner {
                    described: store.to_string(),
                    directories: Some(store.clone()),
                    store: Arc::new(store),
                    prefix: Path::default(),
                    upload: UploadLimits { part: 1 << 20, in_flight: 2 },
                };
                Ok(Self { inner: Arc::new(inner) })
            }
        }
    }

    /// Over an object store that knows no directories: the seam for the other services. `prefix` is what all paths begin
    /// with (Vitess's `--s3-backup-storage-root` and the like), `described` names the storage in messages.
    pub fn over(store: Arc<dyn ObjectStore>, prefix: Path, described: String) -> Self {
        let upload = UploadLimits { part: 8 << 20, in_flight: 2 };
        Self { inner: Arc::new(Inner { store, directories: None, prefix, upload, described }) }
    }

    /// The names under the shard's directory, complete backups or not, as they are, in ascending byte order (for names
    /// that Vitess gives: oldest first).
    ///
    /// # Errors
    /// When the listing fails; a missing directory is an empty list. File storage whose root and root's parent are both
    /// missing is [`StorageError::Misconfigured`].
    pub async fn list_backups(&self, shard: &KeyspaceShard) -> Result<Vec<String>, StorageError> {
        let what = || format!("the backups of {shard} in {self}");
        let directory = self.directory(shard, "list", what)?;
        let listed = self.inner.store.list_with_delimiter(Some(&directory)).await;
        let listed = listed.map_err(|source| self.listing_failed(what(), source))?;
        let mut names: Vec<String> =
            listed.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned)).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Claims the name for a new backup.
    ///
    /// Two writers that begin the same name at the same instant are told apart in file storage only.
    ///
    /// # Errors
    /// [`StorageError::Exists`] when anything is stored under that name already.
    pub async fn begin_backup(&self, shard: &KeyspaceShard, name: &str) -> Result<BackupHandle, StorageError> {
        let handle = self.backup(shard, name)?;
        handle.begin().await?;
        Ok(handle)
    }

    /// The backup of that name, which may or may not exist: nothing is looked at.
    ///
    /// # Errors
    /// [`StorageError::Name`] for a name that could not be a directory's.
    pub fn backup(&self, shard: &KeyspaceShard, name: &str) -> Result<BackupHandle, StorageError> {
        let what = || format!("backup {shard}/{name} in {self}");
        if !is_plain(name) {
            return Err(StorageError::Name { verb: "use", what: what(), kind: "backup", name: name.to_owned() });
        }
        let directory = self.directory(shard, "use", what)?;
        let path = Path::parse(format!("{directory}/{name}")).map_err(|source| StorageError::Failed {
            verb: "use",
            what: what(),
            source: source.into(),
        })?;
        Ok(BackupHandle::new(self.clone(), shard.clone(), name.to_owned(), path))
    }

    fn directory(
        &self,
        shard: &KeyspaceShard,
        verb: &'static str,
        what: impl Fn() -> String,
    ) -> Result<Path, StorageError> {
        let prefix = &self.inner.prefix;
        let text = if prefix.as_ref().is_empty() { shard.to_string() } else { format!("{prefix}/{shard}") };
        Path::parse(text).map_err(|source| StorageError::Failed { verb, what: what(), source: source.into() })
    }

    /// Nothing that is listed can be "not found" but the storage itself.
    fn listing_failed(&self, what: String, source: object_store::Error) -> StorageError {
        match source {
            object_store::Error::NotFound { path, .. } => StorageError::Misconfigured {
                what: self.inner.described.clone(),
                problem: format!("neither it nor {path} exists"),
            },
            source => StorageError::of("list", what, source),
        }
    }
}

/// Whether a text can be one component of a path in any service.
fn is_plain(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.chars().any(|character| character == '/' || character.is_ascii_control())
}
