//! Reading an object.

use std::fs::{File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path as FsPath, PathBuf};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Attributes, Error, Extensions, GetOptions, GetResult, GetResultPayload, ObjectMeta, Result};

use super::{STORE, blocking, failed};
use crate::storage::local;

/// How much is read at a time, in bytes: enough that the hop to another thread does not count.
const CHUNK: usize = 1 << 20;

pub(super) async fn get(path: PathBuf, location: Path, options: GetOptions) -> Result<GetResult> {
    let (file, meta, range) = blocking({
        let path = path.clone();
        move || {
            let mut file = File::open(&path).map_err(|source| failed(&path, source))?;
            let metadata = file.metadata().map_err(|source| failed(&path, source))?;
            if metadata.is_dir() {
                return Err(failed(&path, io::Error::new(io::ErrorKind::NotFound, "it is a directory")));
            }
            let meta = meta_of(location, &metadata);
            options.check_preconditions(&meta)?;
            let range = match &options.range {
                Some(asked) => asked.as_range(meta.size).map_err(|source| unreadable(source.into()))?,
                None => 0..meta.size,
            };
            file.seek(SeekFrom::Start(range.start)).map_err(|source| failed(&path, source))?;
            local::read_from_begin_to_end(&file);
            Ok((file, meta, range))
        }
    })
    .await?;
    let wanted = range.end - range.start;
    let body = futures::stream::try_unfold((file, path, wanted), |(file, path, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let (file, path, bytes) = blocking(move || {
            let bytes = read_some(&file, &path, left)?;
            Ok((file, path, bytes))
        })
        .await?;
        // A file that has become shorter ends early; whoever asked knows the size and says so.
        let left = left - bytes.len() as u64;
        Ok((!bytes.is_empty()).then_some((bytes, (file, path, left))))
    });
    Ok(GetResult {
        payload: GetResultPayload::Stream(body.into_stream().boxed()),
        meta,
        range,
        attributes: Attributes::default(),
        extensions: Extensions::default(),
    })
}

/// At most [`CHUNK`] and at most `left` bytes; fewer only at the end of the file.
fn read_some(file: &File, path: &FsPath, left: u64) -> Result<Bytes> {
    let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
    local::read_block(file, wanted).map_err(|source| failed(path, source))
}

pub(super) fn meta_of(location: Path, metadata: &Metadata) -> ObjectMeta {
    let modified = metadata.modified().unwrap_or(std::time::UNIX_EPOCH);
    ObjectMeta { location, last_modified: modified.into(), size: metadata.len(), e_tag: None, version: None }
}

fn unreadable(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Generic { store: STORE, source }
}
