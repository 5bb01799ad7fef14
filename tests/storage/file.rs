//! What only file storage has: directories, modes, links, and leftovers of a kill.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use vitess_backup::backup::failure::Reason;
use vitess_backup::storage::{BackupStorage, Location, Removed, StorageError};

use crate::{NAME, file_storage, shard};

fn open(root: PathBuf) -> BackupStorage {
    BackupStorage::open(&Location::File { root }).unwrap()
}

/// All paths below `top` with their permission bits.
fn tree(top: &Path) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    let mut to_visit = vec![top.to_owned()];
    while let Some(directory) = to_visit.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
            found.insert(name, metadata.permissions().mode() & 0o7777);
            if metadata.is_dir() {
                to_visit.push(path);
            }
        }
    }
    found
}

/// What 0770 and 0660 come to under this process's umask.
fn vitess_modes() -> (u32, u32) {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap();
    let umask = u32::from_str_radix(umask.trim(), 8).unwrap();
    (0o770 & !umask, 0o660 & !umask)
}

#[tokio::test]
async fn the_tree_is_what_vitess_makes() {
    let (directory, storage) = file_storage();
    let backup = storage.begin_backup(&shard(), NAME).await.unwrap();
    backup.put("MANIFEST", Bytes::from_static(b"{}")).await.unwrap();
    let chunk: Result<Bytes, &str> = Ok(Bytes::from(vec![7; 5 << 20]));
    backup.put_stream("0", stream::iter([chunk])).await.unwrap();
    let (directories, files) = vitess_modes();
    let expected = [
        ("backups".to_owned(), directories),
        ("backups/commerce".to_owned(), directories),
        ("backups/commerce/-80".to_owned(), directories),
        (format!("backups/commerce/-80/{NAME}"), directories),
        (format!("backups/commerce/-80/{NAME}/0"), files),
        (format!("backups/commerce/-80/{NAME}/MANIFEST"), files),
    ];
    assert_eq!(tree(directory.path()), BTreeMap::from(expected));
    backup.remove().await.unwrap();
    let left: Vec<_> = tree(directory.path()).into_keys().collect();
    assert_eq!(left, ["backups", "backups/commerce", "backups/commerce/-80"], "only the backup's own directory goes");
}

#[tokio::test]
async fn a_directory_without_objects_is_a_backup_and_can_be_removed() {
    let (_directory, storage) = file_storage();
    let backup = storage.begin_backup(&shard(), NAME).await.unwrap();
    assert_eq!(storage.list_backups(&shard()).await.unwrap(), [NAME]);
    assert!(matches!(storage.begin_backup(&shard(), NAME).await, Err(StorageError::Exists { .. })));
    assert_eq!(backup.remove().await.unwrap(), Removed::default());
    assert_eq!(storage.list_backups(&shard()).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn an_object_on_its_way_is_not_seen_and_is_gone_when_its_put_is_dropped() {
    let (directory, storage) = file_storage();
    let backup = storage.begin_backup(&shard(), NAME).await.unwrap();
    let place = directory.path().join("backups/commerce/-80").join(NAME);
    let chunks = (0..5).map(|_| Ok::<_, &str>(Bytes::from(vec![7; 1 << 20])));
    let mut put = Box::pin(backup.put_stream("0", stream::iter(chunks).chain(stream::pending())));
    let mut partial = Vec::new();
    while partial.is_empty() {
        assert!(futures::poll!(&mut put).is_pending());
        tokio::time::sleep(Duration::from_millis(5)).await;
        partial = tree(&place).into_keys().collect();
    }
    assert!(partial.len() == 1 && partial[0].starts_with(".0.partial-"), "{partial:?}");
    assert_eq!(backup.objects().await.unwrap(), []);
    assert_eq!(storage.list_backups(&shard()).await.unwrap(), [NAME]);
    drop(put);
    for _ in 0..200 {
        if tree(&place).is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(tree(&place), BTreeMap::new());
}

#[tokio::test]
async fn what_a_kill_left_behind_hinders_nothing_and_goes_with_the_backup() {
    let (directory, storage) = file_storage();
    let backup = storage.begin_backup(&shard(), NAME).await.unwrap();
    let place = directory.path().join("backups/commerce/-80").join(NAME);
    fs::write(place.join(".0.partial-0"), "cut short").unwrap();
    backup.put("0", Bytes::from_static(b"whole")).await.unwrap();
    assert_eq!(backup.objects().await.unwrap().len(), 1);
    assert_eq!(fs::read(place.join(".0.partial-0")).unwrap(), b"cut short");
    assert_eq!(backup.remove().await.unwrap(), Removed { objects: 1, bytes: 5 });
    assert!(!place.exists());
}

#[tokio::test]
async fn a_backup_that_was_removed_does_not_come_back() {
    let (directory, storage) = file_storage();
    let backup = storage.begin_backup(&shard(), NAME).await.unwrap();
    backup.remove().await.unwrap();
    let error = backup.put("MANIFEST", Bytes::from_static(b"{}")).await.unwrap_err();
    assert!(matches!(error, StorageError::NotFound { .. }), "{error:?}");
    assert!(!tree(directory.path()).keys().any(|path| path.contains("MANIFEST")));
}

#[tokio::test]
async fn files_and_links_beside_backups_are_not_listed() {
    let (directory, storage) = file_storage();
    storage.begin_backup(&shard(), NAME).await.unwrap();
    let place = directory.path().join("backups/commerce/-80");
    fs::write(place.join("README"), "x").unwrap();
    symlink(place.join(NAME), place.join("2030-01-01.000000.zone1-0000000101")).unwrap();
    assert_eq!(storage.list_backups(&shard()).await.unwrap(), [NAME]);
}

#[tokio::test]
async fn a_removal_follows_no_link_and_takes_nested_directories() {
    let (directory, storage) = file_storage();
    let outside = directory.path().join("precious");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("data"), "x").unwrap();
    let backup = storage.begin_backup(&shard(), NAME).await.unwrap();
    let place = directory.path().join("backups/commerce/-80").join(NAME);
    fs::create_dir(place.join("nested")).unwrap();
    fs::write(place.join("nested/file"), "123").unwrap();
    symlink(&outside, place.join("link")).unwrap();
    symlink(&outside, directory.path().join("backups/commerce/-80/linked")).unwrap();
    backup.remove().await.unwrap();
    storage.backup(&shard(), "linked").unwrap().remove().await.unwrap();
    assert_eq!(storage.list_backups(&shard()).await.unwrap(), [""; 0]);
    assert_eq!(fs::read(outside.join("data")).unwrap(), b"x");
}

#[tokio::test]
async fn a_root_that_is_not_there_yet_is_empty_unless_its_parent_is_missing_too() {
    let directory = tempfile::TempDir::new().unwrap();
    let fresh = open(directory.path().join("fresh"));
    assert_eq!(fresh.list_backups(&shard()).await.unwrap(), [""; 0]);
    let unmounted = open(directory.path().join("mnt/backups"));
    for error in
        [unmounted.list_backups(&shard()).await.unwrap_err(), unmounted.begin_backup(&shard(), NAME).await.unwrap_err()]
    {
        assert!(matches!(error, StorageError::Misconfigured { .. }), "{error:?}");
        assert_eq!(error.failure().reason, Reason::StorageMisconfigured);
        assert!(error.to_string().contains("mnt/backups: neither it nor"), "{error}");
    }
    assert_eq!(tree(directory.path()), BTreeMap::new());
    assert!(matches!(
        BackupStorage::open(&Location::File { root: PathBuf::new() }),
        Err(StorageError::Misconfigured { .. })
    ));
}

#[tokio::test]
async fn a_file_where_a_directory_should_be_is_an_error_and_not_empty() {
    let (directory, storage) = file_storage();
    fs::create_dir(directory.path().join("backups")).unwrap();
    fs::write(directory.path().join("backups/commerce"), "x").unwrap();
    let error = storage.list_backups(&shard()).await.unwrap_err();
    assert!(matches!(error, StorageError::Failed { .. }), "{error:?}");
    assert!(storage.begin_backup(&shard(), NAME).await.is_err());
}

#[tokio::test]
async fn a_file_that_becomes_shorter_while_it_is_read_is_an_error() {
    let (directory, storage) = file_storage();
    let backup = storage.begin_backup(&shard(), NAME).await.unwrap();
    backup.put("0", Bytes::from(vec![1; 4 << 20])).await.unwrap();
    let (size, body) = backup.get_stream("0").await.unwrap();
    let file = directory.path().join("backups/commerce/-80").join(NAME).join("0");
    fs::OpenOptions::new().write(true).open(file).unwrap().set_len(3 << 20).unwrap();
    let error = body.try_collect::<Vec<_>>().await.unwrap_err();
    let StorageError::WrongLength { received, size: announced, .. } = error else { panic!("{error:?}") };
    assert_eq!((received, announced, size), (3 << 20, 4 << 20, 4 << 20));
}

/// Root may do anything, so the test runs itself again as nobody.
#[test]
fn a_directory_that_may_not_be_read_is_denied_and_not_empty() {
    const DIRECTORY: &str = "STORAGE_TEST_DENIED_DIRECTORY";
    if let Some(root) = std::env::var_os(DIRECTORY) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        return runtime.block_on(denied(PathBuf::from(root)));
    }
    let directory = tempfile::TempDir::new().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(directory.path().join("backups/commerce/-80").join(NAME)).unwrap();
    let locked = directory.path().join("backups/commerce/-80");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    // Wherever the test was built, nobody may run this copy.
    let copy = directory.path().join("storage-test");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = std::process::Command::new(copy);
    command.args(["--exact", "file::a_directory_that_may_not_be_read_is_denied_and_not_empty", "--nocapture"]);
    command.env(DIRECTORY, directory.path().join("backups"));
    if fs::metadata(directory.path()).unwrap().uid() == 0 {
        command.uid(65534).gid(65534);
    }
    let output = command.output().unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o755)).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("denied as it should be"), "{said}");
}

async fn denied(root: PathBuf) {
    let storage = open(root);
    let backup = storage.backup(&shard(), NAME).unwrap();
    for error in [
        storage.list_backups(&shard()).await.unwrap_err(),
        storage.begin_backup(&shard(), NAME).await.unwrap_err(),
        backup.objects().await.unwrap_err(),
        backup.get("MANIFEST", 10).await.unwrap_err(),
        backup.put("0", Bytes::new()).await.unwrap_err(),
        backup.remove().await.unwrap_err(),
    ] {
        assert!(matches!(error, StorageError::Denied { .. }), "{error:?}");
        assert_eq!(error.failure().reason, Reason::StorageDenied);
    }
    println!("denied as it should be");
}
