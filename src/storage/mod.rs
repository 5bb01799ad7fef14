//! Where backups live: one interface over files, S3, Google Cloud Storage, Azure Blob Storage and Ceph.
//!
//! The layout is Vitess's, `[root/]<keyspace>/<shard>/<backup name>/<object>` (source: Vitess `mysqlctl/backupstorage` and
//! its plugins). The contract of [`BackupStorage`] and [`BackupHandle`] is the same for every service, and
//! `tests/storage` holds each of them to it:
//!
//! * an object appears whole and durable when `put` or `put_stream` returns, and not at all when it fails or is dropped;
//! * a directory that is missing is empty, and any other trouble with a listing is an error, never "nothing there";
//! * a body that is shorter or longer than the stored size is an error, not an end;
//! * what others put there, under whatever names, breaks no listing;
//! * a removal takes the MANIFEST first, so that a half-removed backup never looks complete, and only that backup.

mod aws_credentials;
mod azblob;
mod ceph;
mod client;
mod download;
mod error;
mod file;
mod gcs;
mod handle;
mod listing;
mod local;
mod location;
pub mod parts;
mod removal;
mod s3;
mod survey;
mod upload;

use std::fmt;
use std::path::Path as FsPath;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path;

pub use client::{Network, ROOTS_BESIDE};
pub use error::{PutError, StorageError};
pub use handle::{BackupHandle, Removed, StoredObject};
pub use local::{ToDisk, leave_behind, read_ahead, read_block, read_from_begin_to_end};
pub use location::{
    AzblobLocation, CephLocation, GcsLocation, Location, ParseEncryptionError, S3Location, ServerSideEncryption,
};
pub use survey::{Contents, Held, Survey};

use crate::topo::KeyspaceShard;
use file::FileStore;
use parts::{DownloadLimits, UploadLimits};

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
    /// `None`: one request for a whole object is best.
    download: Option<DownloadLimits>,
    /// Set for a service that may have real directories which a listing shows even when they are empty.
    directory_markers: bool,
    /// For messages: `file storage /backups`.
    described: String,
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
            Location::File { root } => Self::files(root),
            Location::S3(s3) => {
                let (store, described) = s3::open(s3)?;
                let upload = UploadLimits { part: parts::PART.max(s3.min_part_size), ..UploadLimits::REMOTE };
                Self::remote(Arc::new(store), &s3.root, upload, described)
            }
            Location::Gcs(gcs) => {
                let (store, described) = gcs::open(gcs)?;
                Self::remote(Arc::new(store), &gcs.root, UploadLimits::REMOTE, described)
            }
            Location::Azblob(azblob) => {
                let (store, described) = azblob::open(azblob)?;
                let part = azblob.buffer_size.unwrap_or(parts::PART).max(1 << 20);
                let in_flight = azblob.parallelism.unwrap_or(UploadLimits::REMOTE.in_flight).max(1);
                let upload = UploadLimits { part, in_flight };
                let mut inner = Self::remote(Arc::new(store), &azblob.root, upload, described)?;
                if let Some(inner) = Arc::get_mut(&mut inner.inner) {
                    inner.directory_markers = true;
                }
                Ok(inner)
            }
            Location::Ceph(ceph) => {
                let (store, described) = ceph::open(ceph)?;
                Self::remote(Arc::new(store), "", UploadLimits::REMOTE, described)
            }
        }
    }

    fn files(root: &FsPath) -> Result<Self, StorageError> {
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
            download: None,
            directory_markers: false,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    fn remote(
        store: Arc<dyn ObjectStore>,
        root: &str,
        upload: UploadLimits,
        described: String,
    ) -> Result<Self, StorageError> {
        let prefix = Path::parse(root.trim_matches('/')).map_err(|source| StorageError::Misconfigured {
            what: described.clone(),
            problem: format!("the root is no prefix of keys: {source}"),
        })?;
        let download = Some(DownloadLimits::REMOTE);
        let inner = Inner { store, directories: None, prefix, upload, download, directory_markers: false, described };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Over an object store that knows no directories: the seam for other services. `prefix` is what all paths begin
    /// with (Vitess's `--s3-backup-storage-root` and the like), `described` names the storage in messages.
    pub fn over(store: Arc<dyn ObjectStore>, prefix: Path, described: String) -> Self {
        let (upload, download) = (UploadLimits::REMOTE, Some(DownloadLimits::REMOTE));
        let inner = Inner { store, directories: None, prefix, upload, download, directory_markers: false, described };
        Self { inner: Arc::new(inner) }
    }

    /// Bytes that one stream of an object, up or down, may hold in memory, beside a chunk of its source. Only an upload
    /// beyond 8 GiB whose length nobody announced ([`BackupHandle::put_stream_expecting`]), or one beyond 62 GiB, holds
    /// more: two of its parts, see [`parts`].
    pub fn stream_memory(&self) -> u64 {
        const READ_CHUNK: u64 = 1 << 20;
        self.inner.upload.memory().max(self.inner.download.map_or(READ_CHUNK, DownloadLimits::memory))
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
                problem: match self.inner.directories {
                    Some(_) => format!("neither it nor {path} exists"),
                    None => "its bucket or container does not exist".to_owned(),
                },
            },
            source => StorageError::of("list", what, source),
        }
    }
}

/// How a root is told in messages.
fn below(root: &str) -> String {
    match root.trim_matches('/') {
        "" => String::new(),
        root => format!(" below {root}"),
    }
}

/// Whether a text can be one component of a path in any service.
fn is_plain(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.chars().any(|character| character == '/' || character.is_ascii_control())
}
