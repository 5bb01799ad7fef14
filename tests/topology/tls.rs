//! An authority, and what it signed: for 127.0.0.1 and for a client.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A directory as a TLS Secret is mounted: `ca.crt`, `tls.crt`, `tls.key`; the certificate serves server and client.
pub struct Authority {
    directory: TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let openssl = |arguments: &[&str]| {
            let output = Command::new("openssl").args(arguments).current_dir(path).output().expect("openssl runs");
            assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let authority = ["req", "-x509", "-days", "2", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.crt"];
        openssl(&[&authority[..], &key].concat());
        let asked = ["req", "-subj", "/CN=root", "-keyout", "tls.key", "-out", "tls.csr"];
        openssl(&[&asked[..], &key].concat());
        let names = "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n";
        fs::write(path.join("names"), names).unwrap();
        let signed = ["x509", "-req", "-in", "tls.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"];
        openssl(&[&signed[..], &["-days", "2", "-extfile", "names", "-out", "tls.crt"]].concat());
        Self { directory }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}
