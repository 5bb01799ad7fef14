//! What can be seen only from inside an object store: the order of deletions, bodies of the wrong length, and failures.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use vitess_backup::backup::failure::Reason;
use vitess_backup::storage::parts::PART;
use vitess_backup::storage::{BackupStorage, PutError, Removed, StorageError};

use crate::{NAME, shard};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    Listing,
    Denied,
    BodyTooShort,
    BodyTooLong,
    Part,
    /// Nothing, but each part takes a while.
    SlowParts,
    /// Object "1" is not removed at first, and all others are.
    SomeRemovals,
    /// Object "1" may not be removed.
    RemovalDenied,
}

/// A store in memory that notes what is asked of it and fails where it is told to.
#[derive(Clone, Debug)]
struct Watched {
    store: Arc<InMemory>,
    seen: Arc<Mutex<Vec<String>>>,
    removals: Arc<AtomicUsize>,
    /// Parts that are being stored, and the most that ever were at the same time.
    under_way: Arc<AtomicUsize>,
    most_under_way: Arc<AtomicUsize>,
    fault: Fault,
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

impl Watched {
    fn new(fault: Fault) -> Self {
        Self {
            store: Arc::new(InMemory::new()),
            seen: Arc::default(),
            removals: Arc::default(),
            under_way: Arc::default(),
            most_under_way: Arc::default(),
            fault,
        }
    }

    fn with(&self, fault: Fault) -> BackupStorage {
        BackupStorage::over(Arc::new(Self { fault, ..self.clone() }), Path::default(), "watched".to_owned())
    }

    fn storage(&self) -> BackupStorage {
        self.with(self.fault)
    }

    fn note(&self, text: impl Into<String>) {
        self.seen.lock().unwrap().push(text.into());
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    fn broken() -> Error {
        Error::Generic { store: "watched", source: "connection reset".into() }
    }

    fn denied(path: &str) -> Error {
        Error::PermissionDenied { path: path.to_owned(), source: "403".into() }
    }
}

#[derive(Debug)]
struct WatchedUpload {
    upload: Box<dyn MultipartUpload>,
    watched: Watched,
    parts: usize,
}

#[async_trait]
impl MultipartUpload for WatchedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.parts += 1;
        self.watched.note(format!("part of {}", data.content_length()));
        let put = self.upload.put_part(data);
        if self.watched.fault == Fault::Part && self.parts == 3 {
            return Box::pin(async { Err(Watched::broken()) });
        }
        // From here on, and not from its first poll: whoever asked for it holds its bytes.
        let watched = self.watched.clone();
        let now = watched.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        watched.most_under_way.fetch_max(now, Ordering::Relaxed);
        Box::pin(async move {
            if watched.fault == Fault::SlowParts {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let done = put.await;
            watched.under_way.fetch_sub(1, Ordering::Relaxed);
            done
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.watched.note("complete");
        self.upload.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.watched.note("abort");
        self.upload.abort().await
    }
}

#[async_trait]
impl ObjectStore for Watched {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if self.fault == Fault::Denied {
            return Err(Self::denied(location.as_ref()));
        }
        self.store.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.store.put_multipart_opts(location, options).await?;
        Ok(Box::new(WatchedUpload { upload, watched: self.clone(), parts: 0 }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let got = self.store.get_opts(location, options).await?;
        let (mut meta, range, attributes) = (got.meta.clone(), got.range.clone(), got.attributes.clone());
        let extensions = got.extensions.clone();
        match self.fault {
            Fault::BodyTooShort => meta.size += 1,
            Fault::BodyTooLong => meta.size -= 1,
            _ => {}
        }
        let payload = GetResultPayload::Stream(got.into_stream());
        Ok(GetResult { payload, meta, range, attributes, extensions })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let watched = self.clone();
        // The MANIFEST goes alone, and before the rest.
        let is_at_first = self.removals.fetch_add(1, Ordering::Relaxed) < 2;
        let delete = move |location: Result<Path>| {
            let watched = watched.clone();
            async move {
                let location = location?;
                let name = location.filename().unwrap();
                watched.note(name);
                match watched.fault {
                    Fault::SomeRemovals if is_at_first && name == "1" => return Err(Self::broken()),
                    Fault::RemovalDenied if name == "1" => return Err(Self::denied(location.as_ref())),
                    _ => watched.store.delete(&location).await?,
                }
                Ok(location)
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.fault == Fault::Listing {
            return stream::iter([Err(Self::broken())]).boxed();
        }
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        match self.fault {
            Fault::Listing => Err(Self::broken()),
            Fault::Denied => Err(Self::denied(prefix.unwrap().as_ref())),
            _ => self.store.list_with_delimiter(prefix).await,
        }
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn the_manifest_is_deleted_before_anything_else() {
    let watched = Watched::new(Fault::None);
    let backup = watched.storage().begin_backup(&shard(), NAME).await.unwrap();
    for object in ["0", "1", "MANIFEST", "Z"] {
        backup.put(object, Bytes::from_static(b"x")).await.unwrap();
    }
    watched.seen();
    backup.remove().await.unwrap();
    assert_eq!(watched.seen(), ["MANIFEST", "0", "1", "Z"]);
}

#[tokio::test]
async fn a_removal_goes_on_with_what_it_could_not_remove_at_first() {
    let watched = Watched::new(Fault::SomeRemovals);
    let backup = watched.storage().begin_backup(&shard(), NAME).await.unwrap();
    for object in ["0", "1", "2", "MANIFEST"] {
        backup.put(object, Bytes::from_static(b"x")).await.unwrap();
    }
    watched.seen();
    assert_eq!(backup.remove().await.unwrap(), Removed { objects: 4, bytes: 4 });
    assert_eq!(watched.seen(), ["MANIFEST", "0", "1", "2", "1"]);
    assert_eq!(backup.objects().await.unwrap(), []);
}

#[tokio::test]
async fn a_removal_that_is_denied_is_not_tried_again() {
    let watched = Watched::new(Fault::RemovalDenied);
    let backup = watched.storage().begin_backup(&shard(), NAME).await.unwrap();
    for object in ["0", "1", "2"] {
        backup.put(object, Bytes::from_static(b"x")).await.unwrap();
    }
    watched.seen();
    let error = backup.remove().await.unwrap_err();
    assert_eq!(error.failure().reason, Reason::StorageDenied, "{error}");
    assert_eq!(watched.seen(), ["0", "1"]);
}

#[tokio::test]
async fn a_body_of_another_length_than_announced_is_an_error() {
    let watched = Watched::new(Fault::None);
    let backup = watched.storage().begin_backup(&shard(), NAME).await.unwrap();
    backup.put("0", Bytes::from_static(b"12345")).await.unwrap();
    for (fault, size) in [(Fault::BodyTooShort, 6), (Fault::BodyTooLong, 4)] {
        let backup = watched.with(fault).backup(&shard(), NAME).unwrap();
        let error = backup.get("0", 100).await.unwrap_err();
        let StorageError::WrongLength { received: 5, size: announced, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*announced, size);
        assert_eq!(error.failure().reason, Reason::StorageUnreachable);
    }
}

#[tokio::test]
async fn a_listing_that_fails_is_never_empty() {
    for (fault, reason) in [(Fault::Listing, Reason::StorageUnreachable), (Fault::Denied, Reason::StorageDenied)] {
        let storage = Watched::new(fault).storage();
        assert_eq!(storage.list_backups(&shard()).await.unwrap_err().failure().reason, reason);
        let backup = storage.backup(&shard(), NAME).unwrap();
        assert_eq!(backup.objects().await.unwrap_err().failure().reason, reason);
    }
    let storage = Watched::new(Fault::Listing).storage();
    let error = storage.list_backups(&shard()).await.unwrap_err().to_string();
    assert_eq!(error, "cannot list the backups of commerce/-80 in watched: Generic watched error: connection reset");
    assert!(storage.begin_backup(&shard(), NAME).await.is_err());
    assert!(storage.backup(&shard(), NAME).unwrap().remove().await.is_err());
}

#[tokio::test]
async fn a_put_that_storage_denies_says_so() {
    let backup = Watched::new(Fault::Denied).storage().backup(&shard(), NAME).unwrap();
    let error = backup.put("0", Bytes::new()).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot store object \"0\" of backup commerce/-80/"), "{error}");
    assert_eq!(error.failure().reason, Reason::StorageDenied);
    let body = stream::iter([Ok::<_, &str>(Bytes::from_static(b"x"))]);
    let PutError::Storage(error) = backup.put_stream("0", body).await.unwrap_err() else { panic!() };
    assert_eq!(error.failure().reason, Reason::StorageDenied);
}

fn body(parts: usize) -> impl futures::Stream<Item = std::result::Result<Bytes, &'static str>> {
    stream::iter((0..parts).map(|_| Ok(Bytes::from(vec![0; 8 << 20]))))
}

#[tokio::test]
async fn parts_are_of_8_mib_but_for_the_last() {
    let watched = Watched::new(Fault::None);
    let backup = watched.storage().begin_backup(&shard(), NAME).await.unwrap();
    let tail = stream::iter([Ok(Bytes::from_static(b"end"))]);
    backup.put_stream("0", body(2).chain(tail)).await.unwrap();
    assert_eq!(watched.seen(), ["part of 8388608", "part of 8388608", "part of 3", "complete"]);
}

#[tokio::test]
async fn parts_of_one_upload_are_stored_side_by_side_and_never_more_than_its_memory_allows() {
    let watched = Watched::new(Fault::SlowParts);
    let backup = watched.storage().begin_backup(&shard(), NAME).await.unwrap();
    let at_most = usize::try_from(backup.stream_memory() / PART).unwrap();
    backup.put_stream("0", body(3 * at_most)).await.unwrap();
    let most = watched.most_under_way.load(Ordering::Relaxed);
    assert!(most > 1, "one after the other");
    assert_eq!(most, at_most - 1, "there is one besides that is being filled");
    // The last part is not followed by one that is being filled.
    let tail = stream::iter([Ok(Bytes::from_static(b"end"))]);
    backup.put_stream("1", body(3 * at_most).chain(tail)).await.unwrap();
    let most = watched.most_under_way.load(Ordering::Relaxed);
    assert!(most <= at_most, "{most}");
    assert_eq!(watched.under_way.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_upload_is_aborted_when_a_part_or_the_body_fails_or_the_put_is_dropped() {
    let watched = Watched::new(Fault::Part);
    let backup = watched.storage().begin_backup(&shard(), NAME).await.unwrap();
    let error = backup.put_stream("0", body(9)).await.unwrap_err();
    assert!(matches!(error, PutError::Storage(StorageError::Failed { .. })), "{error:?}");
    let failing = body(2).chain(stream::iter([Err("no")]));
    assert!(matches!(backup.put_stream("1", failing).await, Err(PutError::Body("no"))));
    let endless = body(2).chain(stream::pending());
    let put = backup.put_stream("2", endless);
    tokio::time::timeout(Duration::from_millis(100), put).await.expect_err("the body never ends");
    // Two of the aborts go on by themselves after the put is gone.
    let mut aborts = 0;
    for _ in 0..100 {
        let seen = watched.seen();
        assert!(!seen.contains(&"complete".to_owned()), "{seen:?}");
        aborts += seen.iter().filter(|text| *text == "abort").count();
        if aborts == 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(aborts, 3);
    assert_eq!(backup.objects().await.unwrap(), []);
}
