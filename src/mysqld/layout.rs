//! Where a tablet's files are: read from its my.cnf, or laid out as Vitess would.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::my_cnf::{self, Settings};
use super::version::ServerVersion;

/// The paths and numbers of a tablet's mysqld, all paths absolute when the tablet directory is.
///
/// Source of the names: Vitess `mysqlctl.Mycnf` and `config/mycnf/default.cnf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// `$VTDATAROOT/vt_<uid>`; holds my.cnf and, by default, everything below.
    pub tablet_dir: PathBuf,
    pub my_cnf: PathBuf,
    pub datadir: PathBuf,
    pub innodb_data_home_dir: PathBuf,
    pub innodb_log_group_home_dir: PathBuf,
    /// Path and beginning of the binary logs' names, without the `.000001`: `bin-logs/vt-0000000101-bin`.
    pub log_bin: PathBuf,
    /// Likewise for the relay logs.
    pub relay_log: PathBuf,
    pub relay_log_index: PathBuf,
    pub relay_log_info: PathBuf,
    pub tmpdir: PathBuf,
    pub socket: PathBuf,
    pub pid_file: PathBuf,
    pub error_log: PathBuf,
    pub server_id: u32,
    pub port: u16,
}

/// Why a tablet directory could not be understood.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    #[error("could not read {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("could not write {path}: {source}", path = path.display())]
    Write { path: PathBuf, source: io::Error },
    /// Guessing where mysqld keeps these would be worse than to stop.
    #[error("{path} does not set {name}", path = path.display())]
    Missing { path: PathBuf, name: &'static str },
    #[error("{path} sets {name} to {value:?}, which is not a number that fits", path = path.display())]
    Number { path: PathBuf, name: &'static str, value: String },
    #[error("tablet directory {path} is not named vt_<uid>, so the tablet's uid must be given", path = path.display())]
    NoUid { path: PathBuf },
}

/// Who owns the tablet's files: what a mysqld that we start runs as, and what files that root writes are given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

impl Layout {
    /// Reads `<tablet_dir>/my.cnf`.
    ///
    /// Groups `[mysqld]` and `[server]` count, later settings win, `-` and `_` are the same, `!include` is not followed
    /// (Vitess does not either). Relative paths are understood as mysqld does, from the datadir; a relative datadir from
    /// the tablet directory. datadir, socket, pid-file, port and server-id must be there; what else is missing is where
    /// mysqld puts it by itself, in the datadir.
    ///
    /// # Errors
    /// When my.cnf cannot be read, or lacks one of those five, or has a number that does not fit.
    pub async fn read(tablet_dir: &Path) -> Result<Self, LayoutError> {
        let path = tablet_dir.join("my.cnf");
        let text = tokio::fs::read(&path).await.map_err(|source| LayoutError::Read { path, source })?;
        Self::from_my_cnf(tablet_dir, &String::from_utf8_lossy(&text))
    }

    fn from_my_cnf(tablet_dir: &Path, text: &str) -> Result<Self, LayoutError> {
        let my_cnf = tablet_dir.join("my.cnf");
        let settings = Settings::parse(text);
        let required = |name: &'static str| {
            let value = settings.get(name).filter(|value| !value.is_empty());
            value.ok_or_else(|| LayoutError::Missing { path: my_cnf.clone(), name })
        };
        let wrong = |name, value: &str| LayoutError::Number { path: my_cnf.clone(), name, value: value.to_owned() };
        let server_id = required("server-id")?;
        let port = required("port")?;
        let datadir = tablet_dir.join(required("datadir")?);
        let at = |name: &str, default: &str| {
            let set = settings.get(name).filter(|value| !value.is_empty());
            datadir.join(set.unwrap_or(default))
        };
        let relay_log = at("relay-log", "relay-bin");
        Ok(Self {
            innodb_data_home_dir: at("innodb-data-home-dir", ""),
            innodb_log_group_home_dir: at("innodb-log-group-home-dir", ""),
            log_bin: at("log-bin", "binlog"),
            relay_log_index: match settings.get("relay-log-index") {
                Some(set) if !set.is_empty() => datadir.join(set),
                _ => with_suffix(&relay_log, ".index"),
            },
            relay_log,
            relay_log_info: match settings.get("relay-log-info-file") {
                Some(set) if !set.is_empty() => datadir.join(set),
                _ => tablet_dir.join("relay-logs/relay-log.info"),
            },
            tmpdir: match settings.get("tmpdir") {
                // A list is legal; the first is where xtrabackup and Vitess work.
                Some(set) if !set.is_empty() => datadir.join(set.split(':').next().unwrap_or(set)),
                _ => PathBuf::from("/tmp"),
            },
            socket: datadir.join(required("socket")?),
            pid_file: datadir.join(required("pid-file")?),
            error_log: at("log-error", "error.log"),
            server_id: server_id.parse().map_err(|_| wrong("server-id", server_id))?,
            port: port.parse().map_err(|_| wrong("port", port))?,
            datadir,
            tablet_dir: tablet_dir.to_path_buf(),
            my_cnf,
        })
    }

    /// The layout that mysqlctl would choose for an empty tablet directory named `vt_<uid>`, port 3306.
    ///
    /// # Errors
    /// When the directory is named otherwise: then use [`Self::vitess_default_for_uid`].
    pub fn vitess_default(tablet_dir: &Path) -> Result<Self, LayoutError> {
        let name = tablet_dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let uid = name.strip_prefix("vt_").and_then(|digits| digits.parse().ok());
        let uid = uid.ok_or_else(|| LayoutError::NoUid { path: tablet_dir.to_path_buf() })?;
        Ok(Self::vitess_default_for_uid(tablet_dir, uid))
    }

    /// The layout that `mysqlctl --tablet-uid <uid> --tablet-dir …` would choose, port 3306.
    pub fn vitess_default_for_uid(tablet_dir: &Path, uid: u32) -> Self {
        let at = |path: &str| tablet_dir.join(path);
        let relay_log = at(&format!("relay-logs/vt-{uid:010}-relay-bin"));
        Self {
            tablet_dir: tablet_dir.to_path_buf(),
            my_cnf: at("my.cnf"),
            datadir: at("data"),
            innodb_data_home_dir: at("innodb/data"),
            innodb_log_group_home_dir: at("innodb/logs"),
            log_bin: at(&format!("bin-logs/vt-{uid:010}-bin")),
            relay_log_index: with_suffix(&relay_log, ".index"),
            relay_log,
            relay_log_info: at("relay-logs/relay-log.info"),
            tmpdir: at("tmp"),
            socket: at("mysql.sock"),
            pid_file: at("mysql.pid"),
            error_log: at("error.log"),
            server_id: uid,
            port: 3306,
        }
    }

    /// This layout as a my.cnf that [`Self::write_my_cnf`] makes with these `extra` files would have it, where they set paths
    /// or numbers of their own (planetscale's operator sets socket and error log so). Nothing is written.
    ///
    /// # Errors
    /// When one of them sets a number that does not fit.
    pub async fn with_extra(self, extra: &[PathBuf]) -> Result<Self, LayoutError> {
        let mut text = my_cnf::template(&self, None);
        append_extra(&mut text, extra).await;
        let read = Self::from_my_cnf(&self.tablet_dir, &text)?;
        Ok(Self { relay_log_info: self.relay_log_info, ..read })
    }

    /// The directories that must be there before mysqld can start, the tablet directory first.
    pub fn directories(&self) -> Vec<PathBuf> {
        let parent = |path: &Path| path.parent().map(Path::to_path_buf);
        let mut all = vec![
            self.tablet_dir.clone(),
            self.datadir.clone(),
            self.innodb_data_home_dir.clone(),
            self.innodb_log_group_home_dir.clone(),
            self.tmpdir.clone(),
        ];
        all.extend(parent(&self.relay_log));
        all.extend(parent(&self.log_bin));
        all
    }

    /// Those paths that are not below the tablet directory, for example because the volume is mounted elsewhere than
    /// where my.cnf was made. Links are not followed: Vitess links `data` and the others out on purpose.
    pub fn outside_tablet_dir(&self) -> Vec<&Path> {
        let all = [
            &self.datadir,
            &self.innodb_data_home_dir,
            &self.innodb_log_group_home_dir,
            &self.log_bin,
            &self.relay_log,
            &self.relay_log_index,
            &self.relay_log_info,
        ];
        all.into_iter().map(PathBuf::as_path).filter(|path| !path.starts_with(&self.tablet_dir)).collect()
    }

    /// Writes a my.cnf for this layout (mode 0644, as mysqld refuses one that all may write) that a mysqld of `version`
    /// starts with as Vitess would have it: GTIDs on, super_read_only, replication not started.
    ///
    /// mysqlctld accepts it: what its RefreshConfig keeps (paths, port, server-id) is there, and the rest it writes anew
    /// from its own template. `extra` are the files of `EXTRA_MY_CNF`, appended in order; one that is missing is passed
    /// over, as Vitess does.
    ///
    /// # Errors
    /// When the file cannot be written whole.
    pub async fn write_my_cnf(&self, version: Option<&ServerVersion>, extra: &[PathBuf]) -> Result<(), LayoutError> {
        let mut text = my_cnf::template(self, version);
        append_extra(&mut text, extra).await;
        self.replace_my_cnf(&text).await
    }

    /// Gives the tablet a new random server id, in my.cnf and here: what Vitess's ReinitConfig is for. A restored server
    /// must not have the id of the one that was backed up, or of its own former life: MySQL skips transactions that seem
    /// to be its own.
    ///
    /// # Errors
    /// When my.cnf cannot be read or written.
    pub async fn randomize_server_id(&mut self) -> Result<(), LayoutError> {
        let path = &self.my_cnf;
        let text = tokio::fs::read_to_string(path).await;
        let text = text.map_err(|source| LayoutError::Read { path: path.clone(), source })?;
        // Vitess's range: 0 is mysqlbinlog's, below 100 are its own fake clients, from 2^31 on semi-sync goes wrong.
        let id = rand::random_range(100..1 << 31);
        self.replace_my_cnf(&my_cnf::with_server_id(&text, id)).await?;
        self.server_id = id;
        Ok(())
    }

    /// Whole or not at all: a torn my.cnf would keep mysqld down.
    async fn replace_my_cnf(&self, text: &str) -> Result<(), LayoutError> {
        let target = self.my_cnf.clone();
        let part = with_suffix(&target, ".part");
        let owner = self.owner().await.ok();
        let (body, failed) = (text.to_owned(), target.clone());
        let written = tokio::task::spawn_blocking(move || {
            let mut file = std::fs::File::create(&part)?;
            io::Write::write_all(&mut file, body.as_bytes())?;
            if let Some(owner) = owner.filter(|_| rustix::process::geteuid().is_root()) {
                std::os::unix::fs::fchown(&file, Some(owner.uid), Some(owner.gid))?;
            }
            file.sync_all()?;
            std::fs::rename(&part, &target)
        });
        let written = written.await.unwrap_or_else(|join| Err(io::Error::other(join)));
        written.map_err(|source| LayoutError::Write { path: failed, source })
    }

    /// The owner of the tablet directory: the one directory that a restore does not make anew.
    ///
    /// # Errors
    /// When the directory cannot be looked at.
    pub async fn owner(&self) -> Result<Owner, LayoutError> {
        let found = tokio::fs::metadata(&self.tablet_dir).await;
        let found = found.map_err(|source| LayoutError::Read { path: self.tablet_dir.clone(), source })?;
        Ok(Owner { uid: found.uid(), gid: found.gid() })
    }
}

async fn append_extra(text: &mut String, extra: &[PathBuf]) {
    for path in extra {
        if let Ok(more) = tokio::fs::read_to_string(path).await {
            text.extend(["## ", &path.to_string_lossy(), "\n", &more, "\n"]);
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
