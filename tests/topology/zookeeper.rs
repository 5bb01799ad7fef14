//! ZooKeeper 3.9's admin server, the files of 3.8, and both over their own protocol.

use std::fs;

use vitess_backup::backup::failure::Reason;
use vitess_backup::backup::topology::TopologyServer::Zookeeper as ZOOKEEPER;
use vitess_backup::engine::topology::{BackupOptions, Done, to_server};
use vitess_backup::progress::Quiet;
use vitess_backup::topology::tree::{self, Nodes, Tree};
use vitess_backup::topology::zookeeper::DataDirectories;
use vitess_backup::topology::{Access, TlsFiles, TopologyError};

use crate::machine::Machine;
use crate::proxy::Proxy;
use crate::servers::{Zookeeper, four_letters};
use crate::support::mysql::free_port;
use crate::tls::Authority;
use crate::{Case, access, started, with_user};

const ROOT: &str = "/vitess/global";

async fn open(endpoint: &str) -> Box<dyn Tree> {
    tree::open(ZOOKEEPER, &access(endpoint)).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn fill(zookeeper: &Zookeeper, from: usize, to: usize) {
    let tree = open(&zookeeper.endpoint).await;
    for number in from..to {
        let path = format!("keyspaces/k{number}/Keyspace");
        tree.write(ROOT, &path, format!("value {number}").as_bytes(), None).await.unwrap();
    }
}

async fn nodes(zookeeper: &Zookeeper) -> Nodes {
    open(&zookeeper.endpoint).await.read(ROOT).await.unwrap()
}

#[tokio::test]
async fn znodes_are_read_written_and_never_overwritten_unseen() {
    let zookeeper = Zookeeper::start("zookeeper39");
    let tree = open(&zookeeper.endpoint).await;
    assert_eq!(tree.read(ROOT).await.unwrap(), Nodes::new(), "a root that is not there has nothing");
    tree.write(ROOT, "cells/zone1/CellInfo", b"one", None).await.unwrap();
    let found = tree.read(ROOT).await.unwrap();
    let node = &found["cells/zone1/CellInfo"];
    assert_eq!((node.value.as_slice(), node.ephemeral), (&b"one"[..], false));
    tree.write(ROOT, "cells/zone1/CellInfo", b"two", Some(node.version)).await.unwrap();
    for before in [None, Some(node.version)] {
        let stale = tree.write(ROOT, "cells/zone1/CellInfo", b"three", before).await;
        assert!(matches!(stale, Err(TopologyError::Changed { .. })), "{stale:?}");
    }
    assert_eq!(tree.read(ROOT).await.unwrap()["cells/zone1/CellInfo"].value, b"two");
}

#[tokio::test]
async fn the_admin_servers_snapshot_comes_back_in_place_of_what_there_is() {
    let (zookeeper, case) = (Zookeeper::start("zookeeper39"), Case::new());
    fill(&zookeeper, 0, 20).await;
    let before = nodes(&zookeeper).await;
    let Done { descriptor, .. } = case.backup(ZOOKEEPER, &access(&zookeeper.admin)).await;
    assert_eq!(descriptor.server_version.as_deref(), Some("3.9.5"));
    let zxid = descriptor.point.zxid.clone().unwrap();
    assert!(zxid.starts_with("0x") && four_letters(&zookeeper.endpoint, "srvr").unwrap().contains(&zxid), "{zxid}");

    fill(&zookeeper, 20, 30).await;
    assert_eq!(nodes(&zookeeper).await.len(), 30);
    let restored = to_server(&case.storage, &descriptor.name, &access(&zookeeper.admin), &Quiet).await.unwrap();
    assert_eq!(restored.descriptor, descriptor);
    assert_eq!(nodes(&zookeeper).await, before);
}

#[tokio::test]
async fn the_admin_servers_snapshot_makes_a_new_server_what_the_lost_one_was() {
    let (mut lost, case) = (Zookeeper::start("zookeeper39"), Case::new());
    fill(&lost, 0, 20).await;
    let before = nodes(&lost).await;
    let name = case.backup(ZOOKEEPER, &access(&lost.admin)).await.descriptor.name;
    lost.process.kill();
    let new = Zookeeper::start("zookeeper39");
    assert_eq!(nodes(&new).await, Nodes::new());
    to_server(&case.storage, &name, &access(&new.admin), &Quiet).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(nodes(&new).await, before);
}

#[tokio::test]
async fn an_older_server_is_backed_up_by_its_files_while_it_is_written_to() {
    let (zookeeper, case) = (Zookeeper::start("zookeeper38"), Case::new());
    fill(&zookeeper, 0, 50).await;
    case.refused(ZOOKEEPER, &access(&zookeeper.admin), Reason::TopologyNotSupported).await;
    let directories = DataDirectories { data: zookeeper.data(), logs: zookeeper.data() };
    let options = BackupOptions {
        server: ZOOKEEPER,
        access: Access::to(Vec::new()),
        cell: "zone1".to_owned(),
        started: started(),
        stale: false,
        data_directories: Some(directories),
    };
    // Somebody goes on writing meanwhile.
    let writing = fill(&zookeeper, 50, 150);
    let (done, ()) = tokio::join!(case.run(&options), writing);
    let descriptor = done.unwrap_or_else(|error| panic!("{error}")).descriptor;
    assert!(descriptor.parts.iter().any(|part| part.name.starts_with("snapshot.")), "{descriptor:?}");
    assert!(descriptor.parts.iter().any(|part| part.name.starts_with("log.")), "{descriptor:?}");

    let files = case.fetch(&descriptor.name).await;
    let restored = Zookeeper::start_on("zookeeper38", |directory| {
        fs::rename(&files, directory.join("data/version-2")).unwrap();
    });
    let (found, original) = (nodes(&restored).await, nodes(&zookeeper).await);
    assert!((50..=150).contains(&found.len()), "all that was there when it began, and perhaps more: {}", found.len());
    // No gaps: whatever came later came after all that is there.
    for number in 0..found.len() {
        let path = format!("keyspaces/k{number}/Keyspace");
        assert_eq!(found.get(&path).map(|node| &node.value), original.get(&path).map(|node| &node.value), "{path}");
    }
}

#[tokio::test]
async fn a_user_without_all_rights_is_denied() {
    let (zookeeper, case) = (Zookeeper::start("zookeeper39"), Case::new());
    // digest of `root:secret`, as ZooKeeper's DigestAuthenticationProvider makes it.
    let digest = "root:J1scEM42CKaLPP5+ElgpgGsuONg=";
    let jars = crate::servers::built("zookeeper39");
    let shell = std::process::Command::new("java")
        .args(["-XX:TieredStopAtLevel=1", "-cp", &format!("{}/*", jars.display())])
        .args(["org.apache.zookeeper.ZooKeeperMain", "-server", &zookeeper.endpoint])
        .args(["setAcl", "/", &format!("digest:{digest}:cdrwa")])
        .output()
        .unwrap();
    assert!(shell.status.success(), "{}", String::from_utf8_lossy(&shell.stderr));
    let admin = access(&zookeeper.admin);
    case.refused(ZOOKEEPER, &admin, Reason::TopologyDenied).await;
    case.refused(ZOOKEEPER, &with_user(&admin, "root", "wrong"), Reason::TopologyDenied).await;
    case.backup(ZOOKEEPER, &with_user(&admin, "root", "secret")).await;
    let denied = open(&zookeeper.endpoint).await.write("/", "new", b"x", None).await.unwrap_err();
    assert_eq!(denied.failure().reason, Reason::TopologyDenied, "{denied}");
    let allowed = tree::open(ZOOKEEPER, &with_user(&access(&zookeeper.endpoint), "root", "secret")).await.unwrap();
    allowed.write("/", "new", b"x", None).await.unwrap();
    // Who has no rights on what is above may write below it.
    open(&zookeeper.endpoint).await.write("/new", "a/b", b"y", None).await.unwrap();
}

#[tokio::test]
async fn one_server_of_three_has_no_quorum() {
    let ports: Vec<u16> = (0..6).map(|_| free_port()).collect();
    let servers: Vec<String> =
        (0..3).map(|n| format!("server.{}=127.0.0.1:{}:{}", n + 1, ports[2 * n], ports[2 * n + 1])).collect();
    let mut zookeeper = Zookeeper::launch("zookeeper39", &servers.join("\n"), |directory| {
        fs::write(directory.join("data/myid"), "1").unwrap();
    });
    let endpoint = zookeeper.endpoint.clone();
    zookeeper.process.wait("alone", || {
        four_letters(&endpoint, "srvr").is_some_and(|text| text.contains("not currently serving requests"))
    });
    let admin = zookeeper.admin.clone();
    zookeeper.process.wait("listening", || std::net::TcpStream::connect(&admin).is_ok());
    Case::new().refused(ZOOKEEPER, &access(&zookeeper.admin), Reason::TopologyNoQuorum).await;
    let error = tree::open(ZOOKEEPER, &access(&zookeeper.endpoint)).await.err().expect("no session");
    assert_eq!(error.failure().reason, Reason::TopologyNoQuorum, "{error}");
}

#[tokio::test]
async fn of_a_snapshot_that_breaks_off_nothing_is_kept() {
    let (zookeeper, case) = (Zookeeper::start("zookeeper39"), Case::new());
    let tree = open(&zookeeper.endpoint).await;
    for number in 0..10 {
        tree.write(ROOT, &format!("metadata/{number}"), &vec![b'x'; 100_000], None).await.unwrap();
    }
    let pid = zookeeper.process.pid().to_string();
    let dies = Proxy::start(&zookeeper.admin, 300_000, move || {
        std::process::Command::new("kill").args(["-KILL", &pid]).status().unwrap();
    });
    case.refused(ZOOKEEPER, &access(&dies.address), Reason::TopologyBrokenOff).await;
}

#[tokio::test]
async fn of_a_snapshot_that_ends_well_but_too_early_nothing_is_kept() {
    let (zookeeper, case) = (Zookeeper::start("zookeeper39"), Case::new());
    fill(&zookeeper, 0, 20).await;
    let Done { descriptor, .. } = case.backup(ZOOKEEPER, &access(&zookeeper.admin)).await;
    let whole = fs::read(case.stored(&descriptor.name, &descriptor.parts[0].name)).unwrap();
    let good = Machine::that_sends(whole.clone()).await;
    Case::new().backup(ZOOKEEPER, &access(&good.endpoint)).await;
    for length in [whole.len() / 2, whole.len() - 1] {
        let short = Machine::that_sends(whole[..length].to_vec()).await;
        let case = Case::new();
        let failure = case.refused(ZOOKEEPER, &access(&short.endpoint), Reason::TopologySnapshotDamaged).await;
        assert!(failure.message.contains("ends without the checksum"), "{failure:?}");
        assert!(failure.remedy.contains("Take a new backup"), "{failure:?}");
    }
    let dies = Machine::that_dies_after(whole[..whole.len() / 2].to_vec()).await;
    Case::new().refused(ZOOKEEPER, &access(&dies.endpoint), Reason::TopologyBrokenOff).await;
}

/// ZooKeeper's settings for the certificates of this authority, of which it wants key and certificate in one file.
fn stores(authority: &Authority, prefix: &str) -> String {
    let [key, certificate] = ["tls.key", "tls.crt"].map(|name| fs::read_to_string(authority.file(name)).unwrap());
    fs::write(authority.file("both.pem"), key + &certificate).unwrap();
    format!(
        "{prefix}.keyStore.location={0}/both.pem\n{prefix}.keyStore.type=PEM\n\
         {prefix}.trustStore.location={0}/ca.crt\n{prefix}.trustStore.type=PEM\n",
        authority.path().display()
    )
}

#[tokio::test]
async fn an_admin_server_with_tls_is_backed_up_and_tls_that_does_not_fit_it_is_told_apart() {
    let (authority, other) = (Authority::new(), Authority::new());
    // The admin server has the certificates that the servers show each other.
    let settings = format!("admin.forceHttps=true\nadmin.needClientAuth=true\n{}", stores(&authority, "ssl.quorum"));
    let mut zookeeper = Zookeeper::launch("zookeeper39", &settings, |_| {});
    zookeeper.wait_serving();
    // By a name: its web server compares what it is asked by with its certificate.
    let named = zookeeper.admin.replace("127.0.0.1", "https://localhost");
    let with = |tls: TlsFiles| Access { tls, ..access(&named) };
    Case::new().refused(ZOOKEEPER, &access(&zookeeper.admin), Reason::TopologyTlsFailed).await;
    let stranger = TlsFiles { ca: Some(other.file("ca.crt")), ..TlsFiles::in_directory(authority.path()) };
    Case::new().refused(ZOOKEEPER, &with(stranger), Reason::TopologyTlsFailed).await;
    let anonymous = TlsFiles { ca: Some(authority.file("ca.crt")), identity: None };
    Case::new().refused(ZOOKEEPER, &with(anonymous), Reason::TopologyTlsFailed).await;
    Case::new().backup(ZOOKEEPER, &with(TlsFiles::in_directory(authority.path()))).await;
}

#[tokio::test]
async fn tls_that_does_not_fit_is_told_apart_and_tls_that_fits_works() {
    let (authority, other) = (Authority::new(), Authority::new());
    let secure = free_port();
    let settings = format!(
        "secureClientPort={secure}\nsecureClientPortAddress=127.0.0.1\n\
         serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n{}ssl.clientAuth=need\n",
        stores(&authority, "ssl")
    );
    let mut zookeeper = Zookeeper::launch("zookeeper39", &settings, |_| {});
    zookeeper.wait_serving();
    let address = format!("127.0.0.1:{secure}");
    let with = |tls: TlsFiles| Access { tls, ..access(&format!("https://{address}")) };
    let reason = |opened: Result<Box<dyn Tree>, TopologyError>| opened.err().map(|error| error.failure().reason);

    let fits = tree::open(ZOOKEEPER, &with(TlsFiles::in_directory(authority.path()))).await;
    let tree = fits.unwrap_or_else(|error| panic!("{error}\n{}", zookeeper.process.log()));
    tree.write(ROOT, "metadata/a", b"x", None).await.unwrap();
    let plain = tree::open(ZOOKEEPER, &access(&address)).await;
    assert_eq!(reason(plain), Some(Reason::TopologyTlsFailed));
    let stranger = TlsFiles { ca: Some(other.file("ca.crt")), identity: None };
    assert_eq!(reason(tree::open(ZOOKEEPER, &with(stranger)).await), Some(Reason::TopologyTlsFailed));

    let admin =
        Access { tls: TlsFiles::in_directory(authority.path()), ..access(&format!("https://{}", zookeeper.admin)) };
    Case::new().refused(ZOOKEEPER, &admin, Reason::TopologyTlsFailed).await;
}
