//! What integration tests share: real programs, and private tablets that go away by themselves.
//!
//! Tests run as root, because Vitess's programs refuse root and are run as `nobody`, each tablet in a process namespace of
//! its own as in a container. What is missing is built; what cannot be had is a failed test, never a skipped one.

// Every test binary uses a part of this.
#![allow(dead_code)]

pub mod chart;
pub mod container;
pub mod ground;
pub mod kubernetes;
pub mod mariadb;
pub mod matrix;
pub mod mysql;
pub mod vitess;

/// Unpacks an archive of `tests/fixtures/vitess`: a storage root that Vitess wrote.
///
/// # Panics
/// When the archive is missing.
pub fn unpack_fixture(archive: &str, into: &std::path::Path) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vitess").join(archive);
    let packed = std::fs::File::open(&path).unwrap_or_else(|error| panic!("fixture {archive} is missing: {error}"));
    let plain = zstd::stream::read::Decoder::new(packed).expect("a zstd stream");
    tar::Archive::new(plain).unpack(into).expect("the fixture can be unpacked");
}
