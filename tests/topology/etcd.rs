//! etcd: the snapshot, its restore by etcdutl, and what can be wrong.

use std::fs;
use std::process::Command;

use vitess_backup::backup::failure::Reason;
use vitess_backup::backup::topology::TopologyServer::Etcd as ETCD;
use vitess_backup::engine::topology::Done;
use vitess_backup::topology::{Access, TlsFiles};

use crate::proxy::Proxy;
use crate::servers::{Etcd, built};
use crate::support::mysql::free_port;
use crate::tls::Authority;
use crate::transfer::run;
use crate::{Case, access, project, with_user};

/// Puts `count` keys of ten thousand bytes.
fn fill(etcd: &Etcd, count: usize) {
    let value = "x".repeat(10_000);
    for number in 0..count {
        etcd.ctl(&["put", &format!("/filled/{number}"), &value]);
    }
}

#[tokio::test]
async fn a_snapshot_tells_its_member_and_revision_and_etcdutl_restores_it_with_a_revision_that_is_higher() {
    let (etcd, case) = (Etcd::start(), Case::new());
    etcd.ctl(&["put", "/vitess/global/a", "one"]);
    etcd.ctl(&["put", "/vitess/global/b", "two"]);
    let Done { descriptor, .. } = case.backup(ETCD, &etcd.access()).await;
    assert_eq!(descriptor.point.revision, Some(3), "two puts after the first revision");
    assert!(descriptor.server_version.as_ref().unwrap().starts_with("3."), "{descriptor:?}");
    assert!(etcd.ctl(&["member", "list"]).contains(descriptor.member.as_deref().unwrap()), "{descriptor:?}");
    assert!(case.listed().await[0].complete);

    let fetched = case.fetch(&descriptor.name).await.join("snapshot.db");
    let hash = Command::new("sha256sum").arg(&fetched).output().unwrap();
    assert!(String::from_utf8_lossy(&hash.stdout).starts_with(&descriptor.sha256));

    // As docs/topology.md says, by the script that it names.
    let port = free_port();
    let mut restored = Etcd::launch_on(port, "http", &[], |directory| {
        let script = Command::new(project().join("scripts/restore-etcd.sh"))
            .env("PATH", format!("{}:/usr/bin:/bin", built("etcd").display()))
            .args(["--bump-revision", "1000000"])
            .arg(&fetched)
            .arg(directory.join("data"))
            .output()
            .unwrap();
        assert!(script.status.success(), "{}", String::from_utf8_lossy(&script.stderr));
    });
    restored.wait_healthy();
    assert_eq!(restored.ctl(&["get", "--print-value-only", "/vitess/global/b"]).trim(), "two");
    let again = case.backup(ETCD, &restored.access()).await.descriptor;
    assert!(again.point.revision.unwrap() > 1_000_000, "watchers see that time has gone on: {:?}", again.point);
}

#[tokio::test]
async fn the_next_endpoint_is_asked_when_one_is_dead() {
    let (etcd, case) = (Etcd::start(), Case::new());
    let dead = format!("127.0.0.1:{}", free_port());
    let Done { descriptor, .. } = case.backup(ETCD, &access(&format!("{dead},{}", etcd.endpoint))).await;
    assert_eq!(descriptor.endpoint, etcd.endpoint);
    let other = Case::new();
    let failure = other.refused(ETCD, &access(&dead), Reason::TopologyUnreachable).await;
    assert!(failure.message.contains(&dead), "{failure:?}");
}

#[tokio::test]
async fn who_may_not_is_told_so() {
    let (etcd, case) = (Etcd::start(), Case::new());
    // Credentials that nobody asks for do no harm.
    case.backup(ETCD, &with_user(&etcd.access(), "root", "x")).await;
    for command in ["user add root:secret", "user add reader:secret", "user grant-role root root", "auth enable"] {
        etcd.ctl(&command.split(' ').collect::<Vec<_>>());
    }
    let case = Case::new();
    case.refused(ETCD, &etcd.access(), Reason::TopologyDenied).await;
    case.refused(ETCD, &with_user(&etcd.access(), "root", "wrong"), Reason::TopologyDenied).await;
    case.refused(ETCD, &with_user(&etcd.access(), "reader", "secret"), Reason::TopologyDenied).await;
    case.backup(ETCD, &with_user(&etcd.access(), "root", "secret")).await;
}

#[tokio::test]
async fn tls_that_does_not_fit_is_told_apart_from_a_server_that_is_not_there() {
    let (ours, other) = (Authority::new(), Authority::new());
    let file = |name: &str| ours.file(name).display().to_string();
    let flags = [
        format!("--cert-file={}", file("tls.crt")),
        format!("--key-file={}", file("tls.key")),
        format!("--trusted-ca-file={}", file("ca.crt")),
        "--client-cert-auth".to_owned(),
    ];
    let port = free_port();
    let mut etcd = Etcd::launch(port, "https", &flags);
    let address = etcd.endpoint.clone();
    etcd.process.wait("listening", || std::net::TcpStream::connect(&address).is_ok());
    let case = Case::new();
    let with = |tls: TlsFiles| Access { tls, ..access(&format!("https://{}", etcd.endpoint)) };
    let certificate = |authority: &Authority| Some((authority.file("tls.crt"), authority.file("tls.key")));

    let failure = case.refused(ETCD, &etcd.access(), Reason::TopologyTlsFailed).await;
    assert!(failure.message.contains("wants TLS"), "{failure:?}");
    let stranger = TlsFiles { ca: Some(other.file("ca.crt")), identity: certificate(&ours) };
    case.refused(ETCD, &with(stranger), Reason::TopologyTlsFailed).await;
    let anonymous = TlsFiles { ca: Some(ours.file("ca.crt")), identity: None };
    case.refused(ETCD, &with(anonymous), Reason::TopologyTlsFailed).await;
    let signed_by_another = TlsFiles { ca: Some(ours.file("ca.crt")), identity: certificate(&other) };
    case.refused(ETCD, &with(signed_by_another), Reason::TopologyTlsFailed).await;
    case.backup(ETCD, &with(TlsFiles::in_directory(ours.path()))).await;

    let plain = Etcd::start();
    let secure = Access { tls: TlsFiles::in_directory(ours.path()), ..access(&format!("https://{}", plain.endpoint)) };
    Case::new().refused(ETCD, &secure, Reason::TopologyTlsFailed).await;
}

#[tokio::test]
async fn a_member_that_has_lost_the_others_is_backed_up_only_when_a_stale_one_is_asked_for() {
    let (first, second) = (free_port(), free_port());
    let peer = |port: u16| format!("http://127.0.0.1:{port}");
    let flags = |name: &str, port: u16| {
        vec![
            format!("--name={name}"),
            format!("--initial-cluster=a={},b={}", peer(first), peer(second)),
            format!("--initial-advertise-peer-urls={}", peer(port)),
            format!("--listen-peer-urls={}", peer(port)),
            "--heartbeat-interval=50".to_owned(),
            "--election-timeout=500".to_owned(),
        ]
    };
    let mut one = Etcd::launch(free_port(), "http", &flags("a", first));
    let mut other = Etcd::launch(free_port(), "http", &flags("b", second));
    one.wait_healthy();
    other.wait_healthy();
    one.ctl(&["put", "/vitess/global/a", "one"]);
    other.process.kill();
    let endpoint = one.endpoint.clone();
    one.process.wait("without leader", || {
        let line = format!("{}/etcdctl --endpoints {endpoint} endpoint status -w json", built("etcd").display());
        let told = Command::new("sh").args(["-c", &line]).output().unwrap();
        let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap_or_default();
        told[0]["Status"].get("leader").is_none_or(|leader| leader.as_u64() == Some(0))
    });
    let case = Case::new();
    case.refused(ETCD, &one.access(), Reason::TopologyNoQuorum).await;
    let stale = case.try_backup(ETCD, &one.access(), true).await.unwrap();
    assert!(stale.descriptor.stale, "and it says so: {:?}", stale.descriptor);
}

#[tokio::test]
async fn of_a_server_that_dies_in_the_middle_nothing_is_kept_and_the_next_one_is_asked() {
    let (etcd, other) = (Etcd::start(), Etcd::start());
    fill(&etcd, 100);
    let pid = etcd.process.pid().to_string();
    let dies = Proxy::start(&etcd.endpoint, 300_000, move || {
        Command::new("kill").args(["-KILL", &pid]).status().unwrap();
    });
    let case = Case::new();
    let failure = case.refused(ETCD, &access(&dies.address), Reason::TopologyBrokenOff).await;
    assert!(failure.message.contains("broke off after"), "{failure:?}");

    let cut = Proxy::start(&other.endpoint, 300_000, || {});
    fill(&other, 100);
    let Done { descriptor, .. } = case.backup(ETCD, &access(&format!("{},{}", cut.address, other.endpoint))).await;
    assert_eq!(descriptor.endpoint, other.endpoint);
    let listed = case.listed().await;
    assert!(listed.len() == 1 && listed[0].complete, "{listed:?}");
}

#[tokio::test]
async fn a_snapshot_that_is_cut_or_changed_in_storage_is_never_given_out() {
    use vitess_backup::engine::topology::to_directory;
    use vitess_backup::progress::Quiet;
    let (etcd, case) = (Etcd::start(), Case::new());
    let name = case.backup(ETCD, &etcd.access()).await.descriptor.name;
    let stored = case.stored(&name, "snapshot.db");
    let whole = fs::read(&stored).unwrap();
    fs::write(&stored, &whole[..whole.len() - 1]).unwrap();
    assert!(!case.listed().await[0].complete);
    let onto = case.root.path().join("onto");
    let cut = to_directory(&case.storage, &name, &onto, &Quiet).await.unwrap_err();
    assert_eq!(cut.failure().reason, Reason::ObjectMissing, "{cut}");
    let mut changed = whole;
    changed[4321] ^= 1;
    fs::write(&stored, &changed).unwrap();
    let damaged = to_directory(&case.storage, &name, &onto, &Quiet).await.unwrap_err();
    assert_eq!(damaged.failure().reason, Reason::TopologySnapshotDamaged, "{damaged}");
    assert!(!onto.join("snapshot.db").exists());
}

#[test]
fn the_command_line_backs_up_lists_restores_and_removes() {
    let etcd = Etcd::start();
    let root = tempfile::TempDir::new().unwrap();
    let storage = format!("--backup-storage-implementation file --file-backup-storage-root {}", root.path().display());
    let server = format!("--topo-implementation etcd2 --topo-server-address {}", etcd.endpoint);
    let (out, _) = run(0, &format!("topology backup {server} --backup-time 2026-11-27T06:00:00Z {storage}"));
    assert!(out.starts_with("Backed up the topology server") && out.contains("state       revision 1"), "{out}");
    let name = "2026-11-27.060000.global.etcd";
    run(4, &format!("topology backup {server} --backup-time 2026-11-27T06:00:00Z {storage}"));
    let (out, _) =
        run(5, &format!("topology backup --topo-implementation etcd2 --topo-server-address 127.0.0.1:1 {storage}"));
    assert_eq!(out, "");

    let (out, _) = run(0, &format!("list --topology {storage}"));
    let line = out.lines().nth(1).unwrap();
    assert!(line.starts_with(name) && line.contains("complete") && line.ends_with("revision 1"), "{out}");
    let (out, _) = run(0, &format!("list --topology --output json {storage}"));
    let listed: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(listed[0]["descriptor"]["server"], "etcd");

    let onto = root.path().join("onto");
    run(2, &format!("topology restore {storage} {name}"));
    run(0, &format!("topology restore {storage} --output-dir {} {name}", onto.display()));
    assert!(onto.join("snapshot.db").is_file());
    let online = format!("topology restore {storage} --topo-server-address {}", etcd.endpoint);
    let (_, log) = run(6, &format!("{online} {name}"));
    assert!(log.contains("replaces everything"), "{log}");
    let (_, log) = run(2, &format!("{online} --existing-data replace {name}"));
    assert!(log.contains("etcdutl"), "{log}");

    let (_, log) = run(6, &format!("remove {storage} --topology {name}"));
    assert!(log.contains("--force"), "{log}");
    run(0, &format!("remove {storage} --force --topology {name}"));
    assert_eq!(run(0, &format!("list --topology {storage}")).0.lines().count(), 1);
}
