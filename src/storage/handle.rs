//! One backup in storage, and its objects.

use std::fmt;

use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStoreExt};

use super::upload::{self, UploadError};
use super::{BackupStorage, PutError, StorageError, download, is_plain, removal};
use crate::backup::{manifest, topology};
use crate::topo::KeyspaceShard;

/// A backup by its name, there or not. Cheap to clone.
#[derive(Clone)]
pub struct BackupHandle {
    storage: BackupStorage,
    shard: KeyspaceShard,
    name: String,
    path: Path,
}

/// An object of a backup; `size` is in bytes as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    pub name: String,
    pub size: u64,
}

/// What a removal took away; both 0 when there was nothing. `bytes` as stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub objects: u64,
    pub bytes: u64,
}

impl fmt::Debug for BackupHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BackupHandle({self})")
    }
}

impl fmt::Display for BackupHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "backup {}/{} in {}", self.shard, self.name, self.storage)
    }
}

impl BackupHandle {
    pub(super) fn new(storage: BackupStorage, shard: KeyspaceShard, name: String, path: Path) -> Self {
        Self { storage, shard, name, path }
    }

    /// The shard, whose text is the directory that the backup is in.
    pub fn directory(&self) -> &KeyspaceShard {
        &self.shard
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) async fn begin(&self) -> Result<(), StorageError> {
        let begun = match &self.storage.inner.directories {
            Some(directories) => directories.create_directory(&self.path).await,
            None => match self.storage.inner.store.list(Some(&self.path)).next().await {
                None => return Ok(()),
                Some(Ok(_)) => return Err(StorageError::Exists { what: self.to_string() }),
                Some(Err(error)) => Err(error),
            },
        };
        begun.map_err(|error| match error {
            Error::AlreadyExists { .. } => StorageError::Exists { what: self.to_string() },
            Error::NotFound { .. } => self.storage.listing_failed(self.to_string(), error),
            other => StorageError::of("begin", self.to_string(), other),
        })
    }

    /// Stores an object of a size that fits memory, in place of one of that name. Whole and durable when it returns.
    pub async fn put(&self, object: &str, body: Bytes) -> Result<(), StorageError> {
        let path = self.object("store", object)?;
        let put = self.storage.inner.store.put(&path, body.into()).await;
        put.map(|_| ()).map_err(|source| StorageError::of("store", self.what(object), source))
    }

    /// Stores an object of any size and returns its length in bytes. Whole and durable when it returns; when the body
    /// fails, storage fails or the future is dropped, nothing is visible under that name. Memory is bounded.
    pub async fn put_stream<S, E>(&self, object: &str, body: S) -> Result<u64, PutError<E>>
    where
        S: Stream<Item = Result<Bytes, E>>,
    {
        self.put_stream_expecting(object, 0, body).await
    }

    /// [`Self::put_stream`] of a body of about `expected` bytes, the size before compression, say. It may turn out to be
    /// of any other length; what is announced keeps the memory for a very long one small.
    pub async fn put_stream_expecting<S, E>(&self, object: &str, expected: u64, body: S) -> Result<u64, PutError<E>>
    where
        S: Stream<Item = Result<Bytes, E>>,
    {
        let path = self.object("store", object).map_err(PutError::Storage)?;
        let inner = &self.storage.inner;
        let plan = inner.upload.plan(expected);
        upload::store(inner.store.as_ref(), &path, body, plan).await.map_err(|error| match error {
            UploadError::Body(error) => PutError::Body(error),
            UploadError::Store(source) => PutError::Storage(StorageError::of("store", self.what(object), source)),
        })
    }

    /// The most bytes that one [`Self::put_stream`] holds, beside the chunk that it takes next.
    pub fn stream_memory(&self) -> u64 {
        self.storage.stream_memory()
    }

    /// A whole object of at most `limit` bytes.
    ///
    /// # Errors
    /// [`StorageError::NotFound`], [`StorageError::TooLarge`] before anything is read, and what storage says.
    pub async fn get(&self, object: &str, limit: u64) -> Result<Bytes, StorageError> {
        let (size, mut body) = self.get_stream(object).await?;
        if size > limit {
            return Err(StorageError::TooLarge { what: self.what(object), size, limit });
        }
        let mut whole = BytesMut::new();
        while let Some(chunk) = body.try_next().await? {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    /// An object's size in bytes, and its body in chunks. A body that ends early, or does not end, is an error in the
    /// stream.
    ///
    /// # Errors
    /// [`StorageError::NotFound`], and what storage says.
    pub async fn get_stream(
        &self,
        object: &str,
    ) -> Result<(u64, BoxStream<'static, Result<Bytes, StorageError>>), StorageError> {
        let path = self.object("read", object)?;
        let what = self.what(object);
        let inner = &self.storage.inner;
        let opened = match inner.download {
            Some(limits) => download::open(&inner.store, &path, limits).await,
            None => inner.store.get(&path).await.map(|got| (got.meta.size, got.into_stream())),
        };
        let (size, body) = opened.map_err(|source| StorageError::of("read", what.clone(), source))?;
        let body = body.map_err({
            let what = what.clone();
            move |source| StorageError::of("read", what.clone(), source)
        });
        Ok((size, exactly(size, body, what).boxed()))
    }

    /// The objects right below the backup, in ascending byte order of their names; none when there is no such backup.
    pub async fn objects(&self) -> Result<Vec<StoredObject>, StorageError> {
        let listed = self.storage.inner.store.list_with_delimiter(Some(&self.path)).await;
        let listed = listed.map_err(|source| self.storage.listing_failed(self.to_string(), source))?;
        let inside = listed.objects.iter().filter(|meta| self.is_inside(meta));
        let mut objects: Vec<StoredObject> = inside
            .filter_map(|meta| Some(StoredObject { name: meta.location.filename()?.to_owned(), size: meta.size }))
            .collect();
        objects.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(objects)
    }

    /// Not the mark that consoles and file browsers leave of a folder, which is listed as an object with the folder's name.
    fn is_inside(&self, meta: &ObjectMeta) -> bool {
        meta.location != self.path
    }

    /// Removes the backup with everything in it, the MANIFEST (or a topology backup's descriptor) first.
    /// Removing what is not there, or half there, is fine.
    pub async fn remove(&self) -> Result<Removed, StorageError> {
        let failed = |source| StorageError::of("remove", self.to_string(), source);
        let inner = &self.storage.inner;
        let inside = |meta: &ObjectMeta| std::future::ready(self.is_inside(meta));
        let listed: Vec<_> =
            inner.store.list(Some(&self.path)).try_filter(inside).try_collect().await.map_err(failed)?;
        let mut removed = Removed::default();
        let sealing = [manifest::OBJECT, topology::OBJECT].map(|object| self.path.clone().join(object));
        let (first, rest): (Vec<_>, Vec<_>) = listed.into_iter().partition(|meta| sealing.contains(&meta.location));
        for objects in [first, rest] {
            if objects.is_empty() {
                continue;
            }
            let paths = objects.iter().map(|meta| meta.location.clone()).collect();
            removal::delete(inner.store.as_ref(), paths).await.map_err(failed)?;
            if let Some(directories) = &inner.directories {
                directories.sync_directory(&self.path).await.or_else(gone).map_err(failed)?;
            }
            removed.objects += objects.len() as u64;
            removed.bytes += objects.iter().map(|meta| meta.size).sum::<u64>();
        }
        if let Some(directories) = &inner.directories {
            directories.remove_directory(&self.path).await.map_err(failed)?;
        }
        if inner.directory_markers {
            removal::delete(inner.store.as_ref(), vec![self.path.clone()]).await.map_err(failed)?;
        }
        Ok(removed)
    }

    fn object(&self, verb: &'static str, object: &str) -> Result<Path, StorageError> {
        let refused = || StorageError::Name { verb, what: self.what(object), kind: "object", name: object.to_owned() };
        if !is_plain(object) {
            return Err(refused());
        }
        Path::parse(format!("{}/{object}", self.path)).map_err(|_| refused())
    }

    fn what(&self, object: &str) -> String {
        format!("object {object:?} of {self}")
    }
}

fn gone(error: Error) -> Result<(), Error> {
    if matches!(error, Error::NotFound { .. }) { Ok(()) } else { Err(error) }
}

/// The same body, with an error where it leaves the size that was announced.
fn exactly<S>(size: u64, body: S, what: String) -> impl Stream<Item = Result<Bytes, StorageError>> + Send + 'static
where
    S: Stream<Item = Result<Bytes, StorageError>> + Send + 'static,
{
    futures::stream::try_unfold((Box::pin(body), 0_u64), move |(mut body, before)| {
        let what = what.clone();
        async move {
            let Some(chunk) = body.try_next().await? else {
                return if before == size {
                    Ok(None)
                } else {
                    Err(StorageError::WrongLength { what, received: before, size })
                };
            };
            let received = before + chunk.len() as u64;
            if received > size {
                return Err(StorageError::WrongLength { what, received, size });
            }
            Ok(Some((chunk, (body, received))))
        }
    })
}
