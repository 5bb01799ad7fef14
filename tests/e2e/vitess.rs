//! Vitess proves it: it restores ours, and we restore its, with each codec.

use crate::backup::{backup_yaml, storage_yaml};
use crate::ground::Ground;
use crate::matrix;
use crate::restore::onto_tablet;

const BACKUPS: &str = "vitessbackups.backup.vitess.io";

/// A codec as our API spells it, and as vttablet's flags do.
struct Codec {
    name: &'static str,
    spec: &'static str,
    flags: &'static str,
}

const DEFAULT: Codec = Codec { name: "pargzip", spec: "{engine: pargzip}", flags: "" };
const OTHERS: [Codec; 4] = [
    Codec { name: "pgzip", spec: "{engine: pgzip}", flags: "--compression-engine-name=pgzip" },
    Codec { name: "zstd", spec: "{engine: zstd}", flags: "--compression-engine-name=zstd" },
    Codec { name: "lz4", spec: "{engine: lz4}", flags: "--compression-engine-name=lz4" },
    Codec { name: "none", spec: "{enabled: false}", flags: "--backup-storage-compress=false" },
];

/// One round per codec takes 1 to 2 minutes: `make test` draws one, `make test-all` (`VBO_MATRIX=whole`) takes all.
fn drawn() -> Vec<Codec> {
    if matrix::is_whole() {
        return OTHERS.into_iter().collect();
    }
    let seed = matrix::seed();
    OTHERS.into_iter().nth(usize::try_from(seed % OTHERS.len() as u64).expect("a small number")).into_iter().collect()
}

/// A tablet of Vitess restores our backup when it starts and catches up; then Vitess backs that tablet up and we restore
/// what it made onto another one.
fn round(ground: &Ground, codec: &Codec) {
    let object = format!("for-vitess-{}", codec.name);
    ground.delete(BACKUPS, &object);
    ground.apply(&format!("{}  compression: {}\n", backup_yaml(&object, "main", 101, "Retain"), codec.spec));
    let ours = ground.wait_succeeded(BACKUPS, &object);
    let name = ours["status"]["backupName"].as_str().expect("a name");
    assert_eq!(ours["status"]["manifest"]["SkipCompress"], codec.name == "none", "{:#}", ours["status"]);

    ground.lib("remove_tablet 103");
    ground.lib(&format!("add_tablet 103 --restore-from-backup {}", codec.flags));
    ground.lib("wait_serving 103");
    let log = ground.kubectl(&["logs", "zone1-0000000103-0", "-c", "vttablet"]);
    println!("{}", log.lines().filter(|line| line.contains("estore")).collect::<Vec<_>>().join("\n"));
    assert!(log.contains(name), "Vitess restored our backup {name}");
    ground.assert_same_rows_as_primary(103);

    ground.lib("vtctldclient Backup zone1-0000000103");
    let listed = ground.lib("vtctldclient GetBackups commerce/0");
    let newest = listed.lines().filter(|line| line.contains(".zone1-")).max().expect("a backup").trim().to_owned();
    assert!(newest.contains(".zone1-0000000103"), "the newest is Vitess's own: {newest}");
    let restore = onto_tablet(ground, &format!("of-vitess-{}", codec.name), "main", 102, "{latest: {}}");
    let manifest = &restore["status"]["manifest"];
    assert!(newest.contains(restore["status"]["backupName"].as_str().expect("a name")), "{:#}", restore["status"]);
    assert!(manifest.get("DataBytes").is_none(), "made by Vitess, not by us: {manifest:#}");
    assert_eq!(manifest["SkipCompress"], codec.name == "none", "{manifest:#}");
    if codec.name != "none" {
        assert_eq!(manifest["CompressionEngine"], codec.name, "{manifest:#}");
    }
    ground.assert_same_rows_as_primary(102);
    ground.lib("remove_tablet 103");
}

#[test]
fn vitess_restores_what_we_made_and_we_what_vitess_made_with_its_default_codec() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("main", "/"));
    round(&ground, &DEFAULT);
}

#[test]
fn vitess_restores_what_we_made_and_we_what_vitess_made_with_the_other_codecs() {
    let ground = Ground::take();
    ground.apply(&storage_yaml("main", "/"));
    for codec in drawn() {
        round(&ground, &codec);
    }
}
