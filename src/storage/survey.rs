//! Looking at a whole storage: which shards there are, and what lies in each.
//!
//! In a service a shard is listed flat, which is one request for each 1,000 objects, whatever the number of backups; in a
//! directory tree each backup's directory is read by itself, so that nothing is held of a listing but its sums.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;

use super::{BackupStorage, StorageError};
use crate::backup::{manifest, topology};
use crate::topo::KeyspaceShard;

/// Directories that are read at a time.
const AT_A_TIME: usize = 16;

/// The first two levels of a storage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// In ascending order of their text.
    pub shards: Vec<KeyspaceShard>,
    /// What cannot be a keyspace or a shard, as paths below the root.
    pub strays: Vec<String>,
}

/// What a shard's directory holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The directories below it by name, whatever they are called.
    pub directories: BTreeMap<String, Held>,
    /// Objects that lie beside them.
    pub loose: Vec<String>,
}

/// The sums of one directory: of the objects right below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub objects: u64,
    /// As stored.
    pub bytes: u64,
    pub has_manifest: bool,
}

impl Held {
    fn add(&mut self, object: &str, size: u64) {
        self.objects += 1;
        self.bytes += size;
        self.has_manifest |= object == manifest::OBJECT;
    }
}

/// One level of a listing.
struct Level {
    directories: Vec<String>,
    objects: Vec<String>,
}

impl BackupStorage {
    /// The shards that have a directory, with backups in it or without.
    ///
    /// # Errors
    /// When any listing fails; as [`Self::list_backups`] for a storage that is not there.
    pub async fn survey(&self) -> Result<Survey, StorageError> {
        let root = self.inner.prefix.clone();
        let top = self.level(&root).await?;
        let mut survey = Survey { shards: Vec::new(), strays: top.objects };
        // A name that no keyspace can have is not entered: lost+found is root's own, and a snapshot's directory is no backup.
        let (keyspaces, others): (Vec<_>, Vec<_>) = top
            .directories
            .into_iter()
            // The topology server's backups are listed by `list --topology`.
            .filter(|name| name != topology::DIRECTORY.0)
            .partition(|name| KeyspaceShard::new(name, "0").is_ok() && !name.starts_with('.'));
        survey.strays.extend(others);
        let root = &root;
        let levels = keyspaces.into_iter().map(|keyspace| async move {
            let level = self.level(&joined(root, &keyspace)?).await?;
            Ok::<_, StorageError>((keyspace, level))
        });
        let levels: Vec<_> = futures::stream::iter(levels).buffered(AT_A_TIME).try_collect().await?;
        for (keyspace, Level { directories, objects }) in levels {
            for name in directories {
                match KeyspaceShard::new(&keyspace, &name) {
                    Ok(shard) => survey.shards.push(shard),
                    Err(_) => survey.strays.push(format!("{keyspace}/{name}")),
                }
            }
            survey.strays.extend(objects.into_iter().map(|name| format!("{keyspace}/{name}")));
        }
        survey.shards.sort_by_key(ToString::to_string);
        survey.strays.sort_unstable();
        Ok(survey)
    }

    /// What a shard's directory holds; nothing when it is missing.
    ///
    /// # Errors
    /// When any listing fails.
    pub async fn contents(&self, shard: &KeyspaceShard) -> Result<Contents, StorageError> {
        if self.inner.directories.is_some() { self.read_directories(shard).await } else { self.list_flat(shard).await }
    }

    async fn read_directories(&self, shard: &KeyspaceShard) -> Result<Contents, StorageError> {
        let directory = self.directory(shard, "list", || self.of_shard(shard))?;
        let Level { directories, objects: loose } = self.level(&directory).await?;
        let held = directories.into_iter().map(|name| async move {
            let mut held = Held::default();
            // A name that no backup can have (a line break in it) is a stray with nothing in it.
            if let Ok(handle) = self.backup(shard, &name) {
                for object in handle.objects().await? {
                    held.add(&object.name, object.size);
                }
            }
            Ok::<_, StorageError>((name, held))
        });
        let directories = futures::stream::iter(held).buffer_unordered(AT_A_TIME).try_collect().await?;
        Ok(Contents { directories, loose })
    }

    async fn list_flat(&self, shard: &KeyspaceShard) -> Result<Contents, StorageError> {
        let directory = self.directory(shard, "list", || self.of_shard(shard))?;
        let mut contents = Contents::default();
        let mut objects = self.inner.store.list(Some(&directory));
        while let Some(object) = objects.next().await {
            let object = object.map_err(|source| self.listing_failed(self.of_shard(shard), source))?;
            let Some(parts) = object.location.prefix_match(&directory) else { continue };
            let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
            match parts.as_slice() {
                // What stands for a directory in services that have some, and the marks that consoles leave.
                [] => {}
                [name] if object.size == 0 => drop(contents.directories.entry(name.clone()).or_default()),
                [name] => contents.loose.push(name.clone()),
                [name, object_name] => {
                    contents.directories.entry(name.clone()).or_default().add(object_name, object.size);
                }
                [name, ..] => drop(contents.directories.entry(name.clone()).or_default()),
            }
        }
        Ok(contents)
    }

    fn of_shard(&self, shard: &KeyspaceShard) -> String {
        format!("the backups of {shard} in {self}")
    }

    async fn level(&self, path: &Path) -> Result<Level, StorageError> {
        let prefix = Some(path).filter(|path| !path.as_ref().is_empty());
        let what = || format!("{}{self}", prefix.map(|path| format!("{path} in ")).unwrap_or_default());
        let listed = self.inner.store.list_with_delimiter(prefix).await;
        let listed = listed.map_err(|source| self.listing_failed(what(), source))?;
        let name = |path: &Path| path.filename().map(str::to_owned);
        let mut directories: Vec<String> = listed.common_prefixes.iter().filter_map(name).collect();
        directories.sort_unstable();
        // An empty object may only stand for the directory itself, or for one of those in it.
        let marks = |path: &Path, size: u64| size == 0 && (Some(path) == prefix || has(&directories, path));
        let objects = listed.objects.iter().filter(|object| !marks(&object.location, object.size));
        let objects = objects.filter_map(|object| name(&object.location)).collect();
        Ok(Level { directories, objects })
    }
}

fn has(directories: &[String], path: &Path) -> bool {
    path.filename().is_some_and(|name| directories.iter().any(|known| known == name))
}

fn joined(root: &Path, keyspace: &str) -> Result<Path, StorageError> {
    let text = if root.as_ref().is_empty() { keyspace.to_owned() } else { format!("{root}/{keyspace}") };
    Path::parse(text).map_err(|source| StorageError::Failed {
        verb: "list",
        what: format!("keyspace {keyspace}"),
        source: source.into(),
    })
}
