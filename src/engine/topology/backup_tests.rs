use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::super::{list, remove, to_directory};
use super::*;
use crate::backup::failure::Reason;
use crate::progress::Quiet;
use crate::storage::Location;
use crate::topology::access::endpoints;
use crate::topology::check::tests_of_zookeeper::{log, snapshot};

/// A storage, and the data directory of a ZooKeeper.
struct Case {
    root: TempDir,
    storage: BackupStorage,
}

impl Case {
    fn new() -> Self {
        let root = TempDir::new().unwrap();
        let storage = BackupStorage::open(&Location::File { root: root.path().join("backups") }).unwrap();
        let version_2 = root.path().join("data/version-2");
        fs::create_dir_all(&version_2).unwrap();
        fs::write(version_2.join("snapshot.4"), snapshot(b"tree")).unwrap();
        fs::write(version_2.join("log.1"), [log(&[1, 5, 9]), vec![0; 4096]].concat()).unwrap();
        Self { root, storage }
    }

    fn options(&self, time: &str) -> BackupOptions {
        let data = self.root.path().join("data");
        BackupOptions {
            server: TopologyServer::Zookeeper,
            access: Access::to(Vec::new()),
            cell: "zone1".to_owned(),
            started: time.parse().unwrap(),
            stale: false,
            data_directories: Some(DataDirectories { data: data.clone(), logs: data }),
        }
    }

    async fn backup(&self, time: &str) -> Result<Done, EngineError> {
        backup(&self.storage, &self.options(time), &Interrupt::new(), &Quiet).await
    }

    fn stored(&self, name: &str) -> std::path::PathBuf {
        self.root.path().join("backups/vitess.topology/backups").join(name)
    }
}

const TIME: &str = "2026-11-27T06:00:00Z";
const NAME: &str = "2026-11-27.060000.zone1.zookeeper";

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_backup_has_its_parts_and_the_descriptor_and_is_listed_restored_and_removed() {
    let case = Case::new();
    let Done { descriptor, warnings } = case.backup(TIME).await.unwrap();
    assert_eq!((descriptor.name.as_str(), descriptor.cell.as_str(), warnings.len()), (NAME, "zone1", 0));
    assert_eq!(descriptor.point.zxid.as_deref(), Some("0x9"));
    assert_eq!(names(&case.stored(NAME)), [OBJECT, "log.1", "snapshot.4"]);
    assert_eq!(descriptor.size_bytes, (snapshot(b"tree").len() + log(&[1, 5, 9]).len()) as u64);

    let listed = list(&case.storage, &Quiet).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert!(listed[0].complete, "{:?}", listed[0].problem);
    assert_eq!(listed[0].descriptor.as_ref(), Some(&descriptor));

    let restored = case.root.path().join("restored");
    let done = to_directory(&case.storage, NAME, &restored, &Quiet).await.unwrap();
    assert_eq!(done.descriptor, descriptor);
    assert_eq!(names(&restored), ["log.1", "snapshot.4"]);
    assert_eq!(fs::read(restored.join("log.1")).unwrap(), log(&[1, 5, 9]));
    let again = to_directory(&case.storage, NAME, &restored, &Quiet).await.unwrap_err();
    assert_eq!(again.failure().reason, Reason::DataPresent);

    let refused = remove(&case.storage, NAME, false, &Quiet).await.unwrap_err();
    assert_eq!(refused.failure().reason, Reason::LastGoodBackup);
    case.backup("2026-11-27T06:00:01Z").await.unwrap();
    remove(&case.storage, NAME, false, &Quiet).await.unwrap();
    assert!(!case.stored(NAME).exists());
    assert_eq!(list(&case.storage, &Quiet).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_backup_whose_descriptor_or_part_is_missing_is_never_shown_as_complete() {
    let case = Case::new();
    case.backup(TIME).await.unwrap();
    fs::remove_file(case.stored(NAME).join("log.1")).unwrap();
    let listed = list(&case.storage, &Quiet).await.unwrap();
    assert!(!listed[0].complete);
    assert!(listed[0].problem.as_ref().unwrap().contains("log.1"), "{:?}", listed[0].problem);
    let restored = case.root.path().join("restored");
    let lacking = to_directory(&case.storage, NAME, &restored, &Quiet).await.unwrap_err();
    assert_eq!(lacking.failure().reason, Reason::ObjectMissing);

    fs::remove_file(case.stored(NAME).join(OBJECT)).unwrap();
    let listed = list(&case.storage, &Quiet).await.unwrap();
    assert!(!listed[0].complete && listed[0].descriptor.is_none());
    let half = to_directory(&case.storage, NAME, &restored, &Quiet).await.unwrap_err();
    assert_eq!(half.failure().reason, Reason::NoCompleteBackup);
    // The same run again takes its place.
    case.backup(TIME).await.unwrap();
    assert!(list(&case.storage, &Quiet).await.unwrap()[0].complete);
    let taken = case.backup(TIME).await.unwrap_err();
    assert_eq!(taken.failure().reason, Reason::BackupExists);
}

#[tokio::test]
async fn a_changed_byte_is_found_before_anything_is_restored() {
    let case = Case::new();
    case.backup(TIME).await.unwrap();
    let part = case.stored(NAME).join("snapshot.4");
    let mut bytes = fs::read(&part).unwrap();
    bytes[20] ^= 1;
    fs::write(&part, bytes).unwrap();
    let restored = case.root.path().join("restored");
    let damaged = to_directory(&case.storage, NAME, &restored, &Quiet).await.unwrap_err();
    assert_eq!(damaged.failure().reason, Reason::TopologySnapshotDamaged, "{damaged}");
    assert!(!restored.join("snapshot.4").exists(), "nothing of it is left to be taken for a good one");
}

#[tokio::test]
async fn a_server_that_is_not_there_leaves_nothing_in_storage() {
    let case = Case::new();
    for server in [TopologyServer::Etcd, TopologyServer::Consul, TopologyServer::Zookeeper] {
        let access = Access::to(endpoints("127.0.0.1:1,127.0.0.1:2").unwrap());
        let options = BackupOptions { server, access, data_directories: None, ..case.options(TIME) };
        let error = backup(&case.storage, &options, &Interrupt::new(), &Quiet).await.unwrap_err();
        let failure = error.failure();
        assert_eq!(failure.reason, Reason::TopologyUnreachable, "{failure:?}");
        assert!(failure.message.contains("127.0.0.1:1") && failure.message.contains("127.0.0.1:2"), "{failure:?}");
        assert_eq!(list(&case.storage, &Quiet).await.unwrap(), []);
    }
}
