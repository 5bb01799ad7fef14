//! Listing directories. A directory that is not there is empty; anything else that goes wrong is an error.

use std::fs::{self, DirEntry};
use std::io;
use std::path::Path as FsPath;

use object_store::path::Path;
use object_store::{Extensions, ListResult, ObjectMeta, Result};

use super::failed;
use super::read::meta_of;
use super::write::is_partial;

/// A root that is not there yet is an empty storage, as in Vitess. But when its parent is missing as well, a volume is not
/// mounted or the path is mistyped: "no backups" would then be a lie, and a backup would go to a disk that nobody keeps.
pub(super) fn root_is_within_reach(root: &FsPath) -> Result<()> {
    let Err(source) = fs::metadata(root) else { return Ok(()) };
    match root.parent() {
        Some(parent) if source.kind() == io::ErrorKind::NotFound => {
            fs::metadata(parent).map(|_| ()).map_err(|source| failed(parent, source))
        }
        _ => Err(failed(root, source)),
    }
}

/// The directories and the files right below `directory`.
pub(super) fn list(directory: &FsPath, prefix: &Path) -> Result<ListResult> {
    let mut common_prefixes = Vec::new();
    let mut objects = Vec::new();
    for entry in entries(directory)? {
        let location = below(prefix, &entry);
        // The entry's own type: a symbolic link to a directory is no backup, as in Vitess.
        if entry.file_type().map_err(|source| failed(&entry.path(), source))?.is_dir() {
            common_prefixes.push(location);
        } else {
            objects.extend(object(&entry, location)?);
        }
    }
    Ok(ListResult { common_prefixes, objects, extensions: Extensions::default() })
}

/// All files below `top`, at any depth; directories behind symbolic links are not entered.
pub(super) fn walk(top: &FsPath, prefix: &Path) -> Result<Vec<ObjectMeta>> {
    let mut objects = Vec::new();
    if fs::symlink_metadata(top).is_ok_and(|metadata| metadata.is_symlink()) {
        return Ok(objects);
    }
    let mut to_visit = vec![(top.to_owned(), prefix.clone())];
    while let Some((directory, prefix)) = to_visit.pop() {
        for entry in entries(&directory)? {
            let location = below(&prefix, &entry);
            if entry.file_type().map_err(|source| failed(&entry.path(), source))?.is_dir() {
                to_visit.push((entry.path(), location));
            } else {
                objects.extend(object(&entry, location)?);
            }
        }
    }
    Ok(objects)
}

fn entries(directory: &FsPath) -> Result<Vec<DirEntry>> {
    match fs::read_dir(directory).and_then(Iterator::collect) {
        Ok(entries) => Ok(entries),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(failed(directory, source)),
    }
}

/// The name stays as it is where a [`Path`] can hold it; a stray name that it cannot hold is shown encoded, so that it is
/// still seen (something is there) although nothing can be read under it.
fn below(prefix: &Path, entry: &DirEntry) -> Path {
    let name = entry.file_name().to_string_lossy().into_owned();
    let joined = if prefix.as_ref().is_empty() { name.clone() } else { format!("{prefix}/{name}") };
    Path::parse(joined).unwrap_or_else(|_| prefix.clone().join(name))
}

fn object(entry: &DirEntry, location: Path) -> Result<Option<ObjectMeta>> {
    if is_partial(&entry.file_name().to_string_lossy()) {
        return Ok(None);
    }
    match fs::metadata(entry.path()) {
        Ok(metadata) => Ok(metadata.is_file().then(|| meta_of(location, &metadata))),
        // Removed since the directory was read, or a link that leads nowhere.
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed(&entry.path(), source)),
    }
}
