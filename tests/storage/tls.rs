//! A server with a certificate of an authority of its own, over S3 and as Ceph.

use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use bytes::Bytes;

use vitess_backup::backup::failure::Reason;
use vitess_backup::storage::{BackupStorage, Location, Network};

use crate::servers::{BUCKET, Server};
use crate::{NAME, shard};

fn as_s3(server: &Server, network: Network) -> BackupStorage {
    BackupStorage::open(&server.location_at(&format!("https://{}", server.address()), "", network)).unwrap()
}

fn as_ceph(server: &Server, network: Network) -> BackupStorage {
    BackupStorage::open(&Location::Ceph(server.ceph_location("test", true, network))).unwrap()
}

fn trusting(ca_file: PathBuf) -> Network {
    Network { ca_file: Some(ca_file), ..Network::default() }
}

#[tokio::test]
async fn a_certificate_of_an_authority_of_ones_own_is_trusted_when_its_file_is_given() {
    let server = Server::start_with_certificate();
    let not_verifying = Network { skip_verify: true, ..Network::default() };
    let trusted = trusting(server.authority());
    for storage in [as_s3(&server, trusted.clone()), as_ceph(&server, trusted), as_s3(&server, not_verifying)] {
        let backup = storage.begin_backup(&shard(), NAME).await.unwrap();
        backup.put("MANIFEST", Bytes::from_static(b"{}")).await.unwrap();
        assert_eq!(backup.get("MANIFEST", 2).await.unwrap(), "{}", "{storage}");
        backup.remove().await.unwrap();
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_refused_at_once_and_named() {
    let (server, other) = (Server::start_with_certificate(), Server::start_with_certificate());
    let of_another = || trusting(other.authority());
    let refused = [as_s3(&server, Network::default()), as_s3(&server, of_another()), as_ceph(&server, of_another())];
    for storage in refused {
        let begun = Instant::now();
        let error = storage.list_backups(&shard()).await.unwrap_err();
        let failure = error.failure();
        assert_eq!(failure.reason, Reason::StorageUnreachable, "{storage}");
        assert!(failure.message.contains("invalid peer certificate"), "{}", failure.message);
        assert!(failure.remedy.contains("certificate"), "{}", failure.remedy);
        assert!(begun.elapsed() < Duration::from_secs(10), "another try would end no better");
    }
}

#[tokio::test]
async fn a_file_of_certificates_that_is_none_is_misconfigured() {
    let server = Server::start_with_certificate();
    let key = server.authority().with_file_name("ca.key");
    for file in [key, PathBuf::from("/no/such/ca.crt")] {
        let location = server.location_at(&format!("https://{}", server.address()), "", trusting(file.clone()));
        let error = BackupStorage::open(&location).unwrap_err();
        assert_eq!(error.failure().reason, Reason::StorageMisconfigured);
        assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    }
}

#[test]
fn the_flags_say_what_is_trusted() {
    let server = Server::start_with_certificate();
    let list = |flags: &[&str]| -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vitess-backup"));
        command.args(["list", "--backup-storage-implementation=s3", "--s3-backup-force-path-style"]);
        command.arg(format!("--s3-backup-storage-bucket={BUCKET}"));
        command.arg(format!("--s3-backup-aws-endpoint=https://{}", server.address())).args(flags).arg("commerce/0");
        command.env("AWS_SHARED_CREDENTIALS_FILE", server.credentials_file()).output().unwrap()
    };
    let told = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let refused = list(&[]);
    assert_eq!(refused.status.code(), Some(4), "{}", told(&refused));
    assert!(told(&refused).contains("invalid peer certificate"), "{}", told(&refused));
    let authority = format!("--backup-storage-ca-file={}", server.authority().display());
    for flag in [authority.as_str(), "--s3-backup-tls-skip-verify-cert"] {
        let taken = list(&[flag]);
        assert!(taken.status.success(), "{flag}: {}", told(&taken));
    }
}
