//! Vitess's records from etcd into the other kinds, by the command line, and what Vitess makes of them there.

use std::collections::BTreeMap;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;
use vitess_backup::backup::topology::TopologyServer;
use vitess_backup::topology::records::{Document, cell_of};

use crate::servers::{CONSUL_TOKEN, Consul, Etcd, Zookeeper, etcdctl};
use crate::support::vitess::{Topology, client, topology_flags};

/// What an export's Vitess has: a cell and an alias of it, a keyspace with a VSchema and two shards, a rule.
fn furnish(topology: &Topology) {
    for command in [
        "CreateKeyspace --durability-policy=semi_sync commerce",
        "CreateShard commerce/-80",
        "CreateShard commerce/80-",
        "AddCellsAlias --cells zone1 region1",
        r#"ApplyVSchema --skip-rebuild --vschema {"sharded":true,"vindexes":{"hash":{"type":"hash"}},"tables":{"t":{"column_vindexes":[{"column":"id","name":"hash"}]}}} commerce"#,
        r#"ApplyRoutingRules --skip-rebuild --rules {"rules":[{"from_table":"a.t","to_tables":["commerce.t"]}]}"#,
    ] {
        topology.client(command).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// What Vitess tells of its topology, in its own words.
fn told(flags: &[String]) -> BTreeMap<&'static str, String> {
    let commands = [
        "GetKeyspaces",
        "GetShard commerce/-80",
        "GetShard commerce/80-",
        "GetVSchema commerce",
        "GetRoutingRules",
        "GetCellsAliases",
        "GetCellInfoNames",
    ];
    commands.map(|command| (command, client(flags, command).unwrap_or_else(|error| panic!("{error}")))).into()
}

/// Runs the command line to this exit code; gives stdout and stderr.
pub fn run(code: i32, line: &str) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitess-backup"));
    let output = command.args(line.split_whitespace()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, log) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{line}\n{out}\n{log}");
    (out, log)
}

/// The export of a furnished topology, in a file.
pub fn export(topology: &Topology, directory: &TempDir) -> String {
    let server = format!("--topo-implementation etcd2 --topo-global-server-address {}", topology.address());
    export_from(&format!("{server} --topo-global-root /vitess/global"), directory, "topology.json")
}

/// The export of what these flags name, in a file of this name.
fn export_from(flags: &str, directory: &TempDir, name: &str) -> String {
    let file = directory.path().join(name).display().to_string();
    run(0, &format!("topology export {flags} --output-file {file}"));
    file
}

/// An export without what is another in every server: its kind, its address, when it was, and how a root is written there.
fn wherever_it_was(file: &str) -> Document {
    let mut document = Document::decode(&std::fs::read_to_string(file).unwrap()).unwrap();
    let bare = |root: &str| root.trim_matches('/').to_owned();
    for (path, record) in &mut document.global {
        if cell_of(path).is_some() {
            let root = bare(record.text("root").unwrap());
            *record = record.with_texts(&[("server_address", ""), ("root", &root)]);
        }
    }
    for cell in document.cells.values_mut() {
        cell.root = bare(&cell.root);
    }
    Document {
        exported: jiff::Timestamp::UNIX_EPOCH,
        server: TopologyServer::Etcd,
        server_version: None,
        root: bare(&document.root),
        ..document
    }
}

/// That a new etcd, filled from this export, has what the first one has, for Vitess and for the next export.
fn assert_comes_back_to_etcd(file: &str, topology: &Topology, directory: &TempDir) {
    let etcd = Etcd::start();
    let new = format!("--topo-implementation etcd2 --topo-server-address {} --topo-root /vitess/global", etcd.endpoint);
    run(0, &format!("topology import {new} {file}"));
    assert_eq!(told(&topology_flags("etcd2", &etcd.endpoint, "/vitess/global")), told(&topology.flags()));
    assert_eq!(wherever_it_was(&export_from(&new, directory, "back.json")), wherever_it_was(file));
}

#[tokio::test]
async fn an_export_is_json_to_read_without_locks_and_serving_data() {
    let (topology, directory) = (Topology::start(), TempDir::new().unwrap());
    furnish(&topology);
    for command in ["RebuildKeyspaceGraph commerce", "RebuildVSchemaGraph"] {
        topology.client(command).unwrap_or_else(|error| panic!("{error}"));
    }
    let there = etcdctl(topology.address(), &["get", "--prefix", "--keys-only", "/vitess/zone1/"]).unwrap();
    assert!(there.contains("keyspaces/commerce/SrvKeyspace") && there.contains("SrvVSchema"), "{there}");
    let held = "/vitess/global/keyspaces/commerce/locks/7587862094";
    etcdctl(topology.address(), &["put", held, "who holds it"]).unwrap();
    let text = std::fs::read_to_string(export(&topology, &directory)).unwrap();
    let document = Document::decode(&text).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["global"]["keyspaces/commerce/Keyspace"]["value"]["durability_policy"], "semi_sync");
    assert_eq!(value["global"]["keyspaces/commerce/VSchema"]["value"]["vindexes"]["hash"]["type"], "hash");
    assert_eq!(value["global"]["cells/zone1/CellInfo"]["value"]["server_address"], topology.address());
    assert_eq!(value["global"]["RoutingRules"]["value"]["rules"][0]["to_tables"][0], "commerce.t");
    assert_eq!(value["cells"]["zone1"]["root"], "/vitess/zone1");
    for left_out in ["SrvKeyspace", "SrvVSchema", "locks"] {
        assert!(!text.contains(left_out), "{left_out}: {text}");
    }
    // What Vitess 24 writes is known to its last field.
    assert!(!text.contains("@unknown") && !text.contains("\"bytes\""), "{text}");
    assert!(document.records() >= 7, "{}", document.records());
}

#[tokio::test]
async fn an_import_shows_what_differs_and_writes_nothing_until_it_may() {
    let (topology, directory, other) = (Topology::start(), TempDir::new().unwrap(), Topology::start());
    furnish(&topology);
    let file = export(&topology, &directory);
    let to =
        format!("--topo-implementation etcd2 --topo-server-address {} --topo-root /vitess/global", other.address());
    let (shown, _) = run(0, &format!("topology import {to} --dry-run {file}"));
    assert!(shown.contains("+ keyspaces/commerce/Keyspace"), "{shown}");
    assert!(shown.ends_with("dry run: nothing was written\n"), "{shown}");
    assert_eq!(other.client("GetKeyspaces").unwrap().trim(), "[]");

    run(0, &format!("topology import {to} {file}"));
    assert_eq!(told(&other.flags()), told(&topology.flags()));
    // CellInfo names the new server, so that Vitess does not go on with the old one's.
    assert!(other.client("GetCellInfo zone1").unwrap().contains(other.address()));
    let (shown, _) = run(0, &format!("topology import {to} --dry-run {file}"));
    assert!(shown.contains(": 0 to write"), "{shown}");

    other.client("SetKeyspaceDurabilityPolicy --durability-policy=none commerce").unwrap();
    let (shown, log) = run(6, &format!("topology import {to} {file}"));
    assert!(shown.contains("durability_policy: \"none\" -> \"semi_sync\""), "{shown}");
    assert!(log.contains("DataPresent"), "{log}");
    assert!(other.client("GetKeyspace commerce").unwrap().contains("\"none\""));
    run(0, &format!("topology import {to} --existing-data replace {file}"));
    assert!(other.client("GetKeyspace commerce").unwrap().contains("semi_sync"));
}

#[tokio::test]
async fn vitess_finds_in_zookeeper_what_was_exported_from_etcd_and_in_a_new_etcd_what_comes_back() {
    let (topology, directory, zookeeper) =
        (Topology::start(), TempDir::new().unwrap(), Zookeeper::start("zookeeper39"));
    furnish(&topology);
    let file = export(&topology, &directory);
    run(0, &format!("topology import {} {file}", zookeeper.our_flags()));
    assert_eq!(told(&zookeeper.flags()), told(&topology.flags()));
    // And back again: what comes out of ZooKeeper is what went in.
    let again = export_from(&zookeeper.our_flags(), &directory, "again.json");
    assert_eq!(wherever_it_was(&again), wherever_it_was(&file));
    assert_comes_back_to_etcd(&again, &topology, &directory);
}

#[tokio::test]
async fn vitess_finds_in_consul_what_was_exported_from_etcd_and_in_a_new_etcd_what_comes_back() {
    // vtctldclient knows of no tokens; the import uses one.
    let (topology, directory, consul) =
        (Topology::start(), TempDir::new().unwrap(), Consul::start_with_policy("allow"));
    furnish(&topology);
    let file = export(&topology, &directory);
    std::fs::write(directory.path().join("token"), CONSUL_TOKEN).unwrap();
    let to = format!(
        "--topo-implementation consul --topo-server-address {} --topo-root vitess/global --topo-credentials-dir {}",
        consul.endpoint,
        directory.path().display()
    );
    run(0, &format!("topology import {to} {file}"));
    let (shown, _) = run(0, &format!("topology import {to} --dry-run {file}"));
    assert!(shown.contains(": 0 to write"), "{shown}");
    assert_eq!(told(&consul.flags()), told(&topology.flags()));
    let again = export_from(&to, &directory, "again.json");
    assert_eq!(wherever_it_was(&again), wherever_it_was(&file));
    assert_comes_back_to_etcd(&again, &topology, &directory);
}
