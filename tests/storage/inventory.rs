//! What a survey of a whole storage finds is the same in every service.

use std::collections::BTreeMap;

use bytes::Bytes;
use vitess_backup::storage::{BackupStorage, Contents, Held};
use vitess_backup::topo::KeyspaceShard;

use crate::{NAME, services};

const INCOMPLETE: &str = "2024-01-03.030405.zone1-0000000101";

async fn store(storage: &BackupStorage, shard: &KeyspaceShard, name: &str, objects: &[(&str, &str)]) {
    let backup = storage.begin_backup(shard, name).await.unwrap();
    for (object, body) in objects {
        backup.put(object, Bytes::from((*body).to_owned())).await.unwrap();
    }
}

#[tokio::test]
async fn every_shard_and_what_each_backup_holds_is_found_without_looking_into_it() {
    for service in services() {
        let shards: Vec<KeyspaceShard> =
            ["My_Commerce/-80", "My_Commerce/80-", "customer/0"].iter().map(|text| text.parse().unwrap()).collect();
        store(&service.storage, &shards[0], NAME, &[("0", "zero"), ("1", ""), ("MANIFEST", "{}")]).await;
        store(&service.storage, &shards[0], INCOMPLETE, &[("0", "half")]).await;
        store(&service.storage, &shards[1], NAME, &[("MANIFEST", "{}")]).await;
        // A name that begins another is told apart.
        store(&service.storage, &shards[2], NAME, &[("MANIFEST", "{}")]).await;
        store(&service.storage, &shards[2], &format!("{NAME}-copy"), &[("0", "1234567")]).await;
        // The topology server's backups are no shard's, and no strays.
        let (topology, backups) = vitess_backup::backup::topology::DIRECTORY;
        let topology = KeyspaceShard::new(topology, backups).unwrap();
        store(&service.storage, &topology, NAME, &[("snapshot", "tree"), ("TOPOLOGY.json", "{}")]).await;

        let survey = service.storage.survey().await.unwrap();
        assert_eq!(survey.shards, shards, "{}", service.name);
        assert_eq!(survey.strays, [""; 0], "{}", service.name);
        let held = |objects, bytes, has_manifest| Held { objects, bytes, has_manifest };
        let expected = [
            BTreeMap::from([(NAME.to_owned(), held(3, 6, true)), (INCOMPLETE.to_owned(), held(1, 4, false))]),
            BTreeMap::from([(NAME.to_owned(), held(1, 2, true))]),
            BTreeMap::from([(NAME.to_owned(), held(1, 2, true)), (format!("{NAME}-copy"), held(1, 7, false))]),
        ];
        for (shard, directories) in shards.iter().zip(expected) {
            let contents = service.storage.contents(shard).await.unwrap();
            assert_eq!(contents, Contents { directories, loose: Vec::new() }, "{}: {shard}", service.name);
        }
        let nothing = service.storage.contents(&"customer/-".parse().unwrap()).await.unwrap();
        assert_eq!(nothing, Contents::default(), "{}", service.name);
    }
}

#[tokio::test]
async fn a_storage_that_nobody_stored_anything_in_has_no_shards() {
    for service in services() {
        let survey = service.storage.survey().await.unwrap();
        assert_eq!((survey.shards, survey.strays), (Vec::new(), Vec::new()), "{}", service.name);
    }
}
