//! mysqld's error log: what it says while starting, and its last words.

use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use rustix::process::geteuid;

use super::error::MysqldError;
use super::layout::Owner;

/// Where mysqld's first words go, before it opens the log itself. In containers the log may be a link to a terminal or
/// pipe that cannot be opened: then they are lost.
pub(super) fn open(path: &Path, owner: Owner) -> Result<Option<std::fs::File>, MysqldError> {
    let is_new = !path.exists();
    match OpenOptions::new().create(true).append(true).open(path) {
        Ok(file) => {
            if is_new && geteuid().is_root() {
                let given = std::os::unix::fs::fchown(&file, Some(owner.uid), Some(owner.gid));
                given.map_err(|source| MysqldError::File { verb: "give away", path: path.to_path_buf(), source })?;
            }
            Ok(Some(file))
        }
        Err(_) if !is_new => Ok(None),
        Err(source) => Err(MysqldError::File { verb: "create", path: path.to_path_buf(), source }),
    }
}

/// The last 4 KiB of a log, as Vitess shows it.
pub(super) fn tail(path: &Path) -> String {
    let read = || -> io::Result<String> {
        if !std::fs::metadata(path)?.is_file() {
            return Ok("(not a file)".to_owned());
        }
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(4096)))?;
        let mut bytes = Vec::new();
        file.take(4096).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    read().unwrap_or_else(|error| format!("(could not be read: {error})"))
}
