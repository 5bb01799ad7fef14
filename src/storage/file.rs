//! File storage as Vitess lays it out, behind the `ObjectStore` interface that the other services have too.
//!
//! Source of the layout: Vitess `mysqlctl/filebackupstorage`: `root/<keyspace>/<shard>/<name>/<object>`, directories made
//! with mode 0770 and files with 0660 (before umask), a backup's directory made with `Mkdir`, so that it fails when there
//! is one. Only directories count as backups in a listing, and symbolic links to them do not.
//!
//! What `object_store::local` lacks for us: those modes; an error instead of an endless stream when a file is shorter than
//! it was; `PermissionDenied` told apart; never a directory made by writing an object (a backup that was removed under a
//! writer must not come back as a MANIFEST alone). What we add to Vitess: an object appears whole, under its name and
//! durably, or not at all. Until then it is `.<object>.partial-<n>` inside the backup's own directory, where neither Vitess
//! nor we take it for an object; a kill leaves it there and the removal of the backup takes it along.

mod directories;
mod read;
mod write;

use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path as FsPath, PathBuf};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

const STORE: &str = "file storage";

/// A directory tree as an object store. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct FileStore {
    root: PathBuf,
}

impl fmt::Display for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{STORE} {}", self.root.display())
    }
}

impl FileStore {
    /// `root` is made absolute by the caller; nothing is looked at yet.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn file_path(&self, location: &Path) -> PathBuf {
        self.root.join(location.as_ref())
    }

    fn not_implemented(&self, operation: &str) -> Error {
        Error::NotImplemented { operation: operation.to_owned(), implementer: self.to_string() }
    }
}

#[async_trait]
impl ObjectStore for FileStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if !matches!(options.mode, PutMode::Overwrite) {
            return Err(self.not_implemented("put of a mode other than overwrite"));
        }
        let path = self.file_path(location);
        blocking(move || {
            let staged = write::Staged::create(&path)?;
            staged.write_at(0, &payload)?;
            staged.publish()
        })
        .await?;
        Ok(put_result())
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let path = self.file_path(location);
        let staged = blocking(move || write::Staged::create(&path)).await?;
        Ok(Box::new(write::Upload::new(staged)))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        read::get(self.file_path(location), location.clone(), options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let root = self.clone();
        let delete = move |location: Result<Path>| {
            let path = location.map(|location| (root.file_path(&location), location));
            blocking(move || {
                let (path, location) = path?;
                fs::remove_file(&path).map_err(|source| failed(&path, source))?;
                Ok(location)
            })
        };
        locations.map(delete).buffered(4).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (root, prefix) = (self.clone(), prefix.cloned().unwrap_or_default());
        let listed = blocking(move || directories::walk(&root.file_path(&prefix), &prefix));
        futures::stream::once(listed)
            .flat_map(|listed| match listed {
                Ok(objects) => futures::stream::iter(objects.into_iter().map(Ok)).boxed(),
                Err(error) => futures::stream::iter([Err(error)]).boxed(),
            })
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let (root, prefix) = (self.clone(), prefix.cloned().unwrap_or_default());
        blocking(move || {
            directories::root_is_within_reach(&root.root)?;
            directories::list(&root.file_path(&prefix), &prefix)
        })
        .await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(self.not_implemented("copy"))
    }
}

/// What only a service with real directories has to do.
impl FileStore {
    /// Makes the directories of a backup durably, the last one being new.
    ///
    /// # Errors
    /// `AlreadyExists` when there is anything at `location`; `NotFound` when not even the root's parent exists.
    pub(super) async fn create_directory(&self, location: &Path) -> Result<()> {
        let (root, path) = (self.root.clone(), self.file_path(location));
        blocking(move || {
            directories::root_is_within_reach(&root)?;
            if let Some(parent) = path.parent() {
                create_all(parent)?;
            }
            create_one(&path)
        })
        .await
    }

    /// Makes what was created in or deleted from the directory durable.
    pub(super) async fn sync_directory(&self, location: &Path) -> Result<()> {
        let path = self.file_path(location);
        blocking(move || sync(&path)).await
    }

    /// Removes the directory and whatever is left in it, following no symbolic link; a missing one is fine.
    pub(super) async fn remove_directory(&self, location: &Path) -> Result<()> {
        let path = self.file_path(location);
        blocking(move || {
            match fs::remove_dir_all(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(failed(&path, source)),
                _ => {}
            }
            match path.parent() {
                Some(parent) if parent.exists() => sync(parent),
                _ => Ok(()),
            }
        })
        .await
    }
}

fn create_all(path: &FsPath) -> Result<()> {
    match path.parent() {
        Some(parent) if !path.exists() => {
            create_all(parent)?;
            match create_one(path) {
                // Another backup of the shard was quicker.
                Err(Error::AlreadyExists { .. }) => Ok(()),
                other => other,
            }
        }
        _ => Ok(()),
    }
}

fn create_one(path: &FsPath) -> Result<()> {
    DirBuilder::new().mode(0o770).create(path).map_err(|source| failed(path, source))?;
    path.parent().map_or(Ok(()), sync)
}

fn sync(directory: &FsPath) -> Result<()> {
    match File::open(directory).and_then(|opened| opened.sync_all()) {
        // Some network and FUSE file systems know no sync of a directory; they have nothing better to offer.
        Err(source) if matches!(source.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        synced => synced.map_err(|source| failed(directory, source)),
    }
}

fn failed(path: &FsPath, source: io::Error) -> Error {
    let path = path.display().to_string();
    match source.kind() {
        io::ErrorKind::NotFound => Error::NotFound { path, source: source.into() },
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { path, source: source.into() },
        io::ErrorKind::PermissionDenied => Error::PermissionDenied { path, source: source.into() },
        _ => Error::Generic { store: STORE, source: Box::new(source) },
    }
}

fn put_result() -> PutResult {
    PutResult { e_tag: None, version: None, extensions: object_store::Extensions::default() }
}

/// File calls block; they run on tokio's pool for that.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|source| Error::JoinError { source })?
}
