//! Writing an object so that it appears whole and durable, or not at all.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path as FsPath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::FutureExt;
use object_store::{Error, MultipartUpload, PutPayload, PutResult, Result, UploadPart};

use super::{STORE, blocking, failed, put_result, sync};
use crate::storage::local::{ToDisk, leave_behind};

const PARTIAL: &str = ".partial-";

/// Whether a file is an object that was never finished.
pub(super) fn is_partial(file_name: &str) -> bool {
    file_name.starts_with('.') && file_name.contains(PARTIAL)
}

/// An object on its way: a file beside its final place. Dropped before it is published, it is gone.
#[derive(Debug)]
pub(super) struct Staged {
    file: File,
    partial: PathBuf,
    place: PathBuf,
    published: bool,
    to_disk: Mutex<ToDisk>,
}

impl Staged {
    /// The directory must exist.
    pub(super) fn create(place: &FsPath) -> Result<Self> {
        let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut number = 0_u32;
        loop {
            let partial = place.with_file_name(format!(".{name}{PARTIAL}{number}"));
            match OpenOptions::new().write(true).create_new(true).mode(0o660).open(&partial) {
                Ok(file) => {
                    return Ok(Self {
                        file,
                        partial,
                        place: place.to_owned(),
                        published: false,
                        to_disk: Mutex::default(),
                    });
                }
                // Left by a writer that was killed, or being written just now by another one.
                Err(source) if source.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(source) => return Err(failed(place, source)),
            }
        }
    }

    pub(super) fn write_at(&self, offset: u64, payload: &PutPayload) -> Result<()> {
        let mut offset = offset;
        for bytes in payload {
            self.file.write_all_at(bytes, offset).map_err(|source| failed(&self.place, source))?;
            offset += bytes.len() as u64;
        }
        // Of parts that end out of order some is left to the sync.
        self.to_disk.lock().unwrap_or_else(PoisonError::into_inner).written_up_to(&self.file, offset);
        Ok(())
    }

    /// The contents become durable, then the name.
    pub(super) fn publish(mut self) -> Result<()> {
        self.file.sync_all().map_err(|source| failed(&self.place, source))?;
        fs::rename(&self.partial, &self.place).map_err(|source| failed(&self.place, source))?;
        self.published = true;
        // A host that serves has better use for its cache than what nobody is going to read.
        leave_behind(&self.file, 0, 0);
        self.place.parent().map_or(Ok(()), sync)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.published {
            // Whatever goes wrong here, the backup's removal takes the file along.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// A staged file written in parts, at once or one after the other.
#[derive(Debug)]
pub(super) struct Upload {
    /// Shared with parts that are still being written; gone when completed or aborted.
    staged: Option<Arc<Staged>>,
    offset: u64,
}

impl Upload {
    pub(super) fn new(staged: Staged) -> Self {
        Self { staged: Some(Arc::new(staged)), offset: 0 }
    }
}

fn over() -> Error {
    Error::Generic { store: STORE, source: "the upload is already completed or aborted".into() }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        let (staged, offset) = (self.staged.clone(), self.offset);
        self.offset += payload.content_length() as u64;
        blocking(move || staged.ok_or_else(over)?.write_at(offset, &payload)).boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let staged = self.staged.take().ok_or_else(over)?;
        let staged = Arc::into_inner(staged)
            .ok_or_else(|| Error::Generic { store: STORE, source: "a part is still being written".into() })?;
        blocking(move || staged.publish()).await?;
        Ok(put_result())
    }

    async fn abort(&mut self) -> Result<()> {
        let staged = self.staged.take().ok_or_else(over)?;
        blocking(move || {
            drop(staged);
            Ok(())
        })
        .await
    }
}
