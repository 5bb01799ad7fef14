//! How the engine gets into a tablet's image, whose operator's image has no shell and no `cp`.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use assert_cmd::cargo::cargo_bin_cmd;

#[test]
fn the_binary_copies_itself_also_over_one_that_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("vitess-backup");
    for _ in 0..2 {
        let mut install = cargo_bin_cmd!("vitess-backup");
        install.env_remove("SSL_CERT_FILE").arg("install-binary").arg(&copy).assert().success();
        let version = Command::new(&copy).arg("--version").output().unwrap();
        assert!(version.status.success());
    }
    let left = std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left, 1, "nothing but the binary");
}

#[test]
fn the_certificates_of_its_own_image_go_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let roots = directory.path().join("roots.pem");
    std::fs::write(&roots, "roots").unwrap();
    let copy = directory.path().join("vitess-backup");
    let mut install = cargo_bin_cmd!("vitess-backup");
    install.env("SSL_CERT_FILE", &roots).arg("install-binary").arg(&copy).assert().success();
    assert_eq!(std::fs::read_to_string(directory.path().join("ca-certificates.crt")).unwrap(), "roots");
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let output = cargo_bin_cmd!("vitess-backup").args(["install-binary", "/no/such/place/x"]).output().unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("/no/such/place/x"), "{text}");
}
