//! The real programs that tests run against.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Folders of programs, which any user of this machine can reach.
pub struct Ground {
    /// Has `mysqlctl`, `mysqlctld`, `vttablet`, `vtbackup` …
    pub vitess_bin: PathBuf,
    /// Serves as VT_MYSQL_ROOT: has `sbin/mysqld`, `bin/mysql`, `share`, `lib`.
    pub mysql_root: PathBuf,
}

/// From `VBO_VITESS_BIN` and `VT_MYSQL_ROOT`; what is not set comes from the test ground's scripts, which build it first
/// when it is not in their cache (Vitess about 5 minutes, mysqld about 1).
///
/// # Panics
/// When the programs cannot be had.
pub fn ground() -> &'static Ground {
    static GROUND: OnceLock<Ground> = OnceLock::new();
    GROUND.get_or_init(|| {
        let uid = Command::new("id").arg("-u").output().expect("id runs");
        assert_eq!(
            uid.stdout, b"0\n",
            "these tests run tablets as another user in namespaces of their own: run them as root"
        );
        let found = Ground {
            vitess_bin: given("VBO_VITESS_BIN").unwrap_or_else(|| answer_of("build.sh", "host")),
            mysql_root: given("VT_MYSQL_ROOT").unwrap_or_else(|| answer_of("mysql.sh", "host")),
        };
        for program in [found.vitess_bin.join("mysqlctld"), found.mysql_root.join("sbin/mysqld")] {
            assert!(program.is_file(), "there is no {}", program.display());
        }
        found
    })
}

fn given(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The folder that `tests/e2e/ground/vitess/<script> <what>` prints.
pub fn answer_of(script: &str, what: &str) -> PathBuf {
    first_line_of(&format!("vitess/{script}"), &[what])
}

/// Debian's MariaDB, which serves as VT_MYSQL_ROOT and any user can reach, and `xtrabackup/` with mariabackup and mbstream
/// under the names of Percona's programs. Downloaded first when it is not in the cache (half a minute).
pub fn mariadb() -> &'static Path {
    static MARIADB: OnceLock<PathBuf> = OnceLock::new();
    MARIADB.get_or_init(|| given("VBO_MARIADB").unwrap_or_else(|| first_line_of("mariadb/build.sh", &[])))
}

/// etcd: from `VBO_ETCD`, else from the root file system that the tablets' mysqld comes from.
pub fn etcd() -> PathBuf {
    given("VBO_ETCD").unwrap_or_else(|| answer_of("mysql.sh", "rootfs").join("usr/bin/etcd"))
}

/// What a script of `tests/e2e/ground` prints first, a path. Its progress goes to our stderr.
pub fn first_line_of(script: &str, arguments: &[&str]) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/ground").join(script);
    let output = Command::new(&path).args(arguments).stderr(std::process::Stdio::inherit()).output();
    let output = output.unwrap_or_else(|error| panic!("could not run {}: {error}", path.display()));
    assert!(output.status.success(), "{} {arguments:?} failed: {}", path.display(), output.status);
    let printed = String::from_utf8(output.stdout).expect("a path in UTF-8");
    PathBuf::from(printed.lines().next().unwrap_or_default())
}
