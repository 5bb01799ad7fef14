//! The one thing about its source that a MariaDB replica does not tell over SQL.

use std::io;
use std::path::Path;

use super::error::MysqldError;

/// The password with which the replica of this datadir logs in at its source. Empty when there is none, and when there is
/// no `master.info`, which my.cnf may have elsewhere.
///
/// # Errors
/// When the file is there and cannot be read.
pub(super) async fn password(datadir: &Path) -> Result<String, MysqldError> {
    let path = datadir.join("master.info");
    match tokio::fs::read(&path).await {
        Ok(bytes) => Ok(password_in(&String::from_utf8_lossy(&bytes)).unwrap_or_default().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(MysqldError::Look { verb: "read", path, source }),
    }
}

/// One value a line: how many lines there are, log file, offset, host, user, password. Source: MariaDB `rpl_mi.cc`,
/// `flush_master_info`.
fn password_in(text: &str) -> Option<&str> {
    let mut lines = text.lines();
    let count: u32 = lines.next()?.parse().ok()?;
    if count < 7 { None } else { lines.nth(4) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_password_is_read_as_mariadb_wrote_it() {
        let datadir = tempfile::tempdir().unwrap();
        let cases = [
            ("33\nbin.000001\n763\n127.0.0.1\nvt_repl\nit's \\ # a secret\n19501\n10\n0\n", "it's \\ # a secret"),
            ("33\n\n4\n127.0.0.1\nvt_repl\n\n19501\n10\n", ""),
            ("bin.000001\n763\n127.0.0.1\nvt_repl\nof MySQL 4.0\n3306\n", ""),
            ("33\nbin", ""),
            ("", ""),
        ];
        for (text, expected) in cases {
            std::fs::write(datadir.path().join("master.info"), text).unwrap();
            assert_eq!(password(datadir.path()).await.unwrap(), expected, "{text}");
        }
        assert_eq!(password(&datadir.path().join("none")).await.unwrap(), "");
        let error = password(&datadir.path().join("master.info")).await.unwrap_err().to_string();
        assert!(error.starts_with("could not read "), "{error}");
    }
}
