//! Vitess's own xtrabackup engine and ours over the same tablet, in every codec, as one object and as stripes: each restores what
//! the other stored. The shard has no primary: to replicate from one of MariaDB's, Vitess 24 cannot.

use std::fs;

use crate::backing_up::{CODECS, Running};
use crate::support::ground;
use crate::support::mariadb::{Client, Server};
use crate::support::matrix;
use crate::support::mysql::own;
use crate::support::vitess::{Seat, Topology, Vttablet};
use crate::tablet::tools;

const ALIAS: &str = "zone1-0000000201";
const ROWS: &str = "SELECT COUNT(*), SUM(CRC32(v)) FROM vt_maria.written";
const MORE: &str = "INSERT INTO vt_maria.written (v) SELECT RANDOM_BYTES(100) FROM vt_maria.seq_1_to_100";

/// A vttablet over the tablet, which runs.
fn vttablet(running: &Running, topology: &Topology, flags: &str) -> Vttablet {
    let root = running.case.root.path();
    own(&running.case.backups());
    let seat =
        Seat { uid: 201, keyspace: "maria", vtdataroot: root, mysql_root: ground::mariadb(), mysqlctl_socket: None };
    let flags = format!(
        "--backup-engine-implementation=xtrabackup --xtrabackup-user=xtra --xtrabackup-stream-mode=xbstream {} {flags}",
        tools()
    );
    let mut vttablet = Vttablet::start(&seat, topology, &running.case.backups(), &flags);
    vttablet.wait_listening();
    vttablet
}

/// The one backup that is stored.
fn stored(running: &Running) -> String {
    let names = running.case.names();
    assert_eq!(names.len(), 1, "{names:?}");
    names[0].clone()
}

fn forget_backups(running: &Running) {
    fs::remove_dir_all(running.case.backups().join("maria")).unwrap();
}

fn we_restore_what_vitess_stored(running: &Running, topology: &Topology, flags: &str, decompress: &str) {
    let vttablet = vttablet(running, topology, flags);
    let told = topology.client(&format!("Backup {ALIAS}"));
    assert!(told.is_ok(), "{flags}: {}\n{}", told.unwrap_err(), vttablet.log());
    drop(vttablet);
    running.case.lay_out(202);
    let (code, outcome) = running.case.restore_onto(202, &format!("{} {decompress}", tools()));
    assert_eq!(code, 0, "{flags}: {outcome:#}");
    assert_eq!(outcome["backupName"], stored(running));
    assert!(outcome["manifest"].get("StoredObjects").is_none(), "{flags}: made by Vitess, not by us: {outcome:#}");
    let restored = Server::start(&running.case.tablet_dir_of(202));
    assert_eq!(restored.sql(ROWS), running.server.sql(ROWS), "{flags}");
    forget_backups(running);
}

fn vitess_restores_what_we_stored(mut running: Running, topology: &Topology, flags: &str, decompress: &str) -> Running {
    let (code, outcome) = running.case.backup(&format!("--xtrabackup-user xtra {flags}"));
    assert_eq!(code, 0, "{flags}: {outcome:#}");
    let rows = running.server.sql(ROWS);
    running.server.sql(MORE);
    assert_ne!(running.server.sql(ROWS), rows);

    let vttablet = vttablet(&running, topology, &format!("{flags} {decompress}"));
    let told = topology.client(&format!("RestoreFromBackup {ALIAS}"));
    assert!(told.is_ok(), "{flags}: {}\n{}", told.unwrap_err(), vttablet.log());
    assert!(vttablet.log().contains(&stored(&running)), "{flags}: Vitess restored our backup:\n{}", vttablet.log());
    let client = Client::of(&running.case.tablet_dir());
    assert_eq!(client.sql(ROWS), rows, "{flags}");
    client.shut_down();
    drop(vttablet);
    running.server = running.case.start();
    assert_eq!(running.server.sql(ROWS), rows, "{flags}");
    forget_backups(&running);
    running
}

/// All cells with `VBO_MATRIX=whole`; else the codec that is Vitess's default, and one that the clock draws, once striped.
#[test]
fn each_restores_what_the_other_stored() {
    let whole = matrix::is_whole();
    let drawn = usize::try_from(jiff::Timestamp::now().as_second()).unwrap() % CODECS.len();
    let mut running = Running::start();
    let topology = Topology::start();
    topology.client("CreateKeyspace --durability-policy=none maria").unwrap();
    for (place, codec) in CODECS.iter().enumerate() {
        for stripes in [0, 3] {
            if !(whole || place == 0 && stripes == 0 || place == drawn && stripes == 3) {
                continue;
            }
            let flags = format!("--xtrabackup-stripes={stripes} {}", codec.flags);
            we_restore_what_vitess_stored(&running, &topology, &flags, codec.restore_flags);
            println!("we restored what Vitess stored with {flags}");
            running = vitess_restores_what_we_stored(running, &topology, &flags, codec.restore_flags);
            println!("Vitess restored what we stored with {flags}");
        }
    }
}
