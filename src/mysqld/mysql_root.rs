//! Where MySQL's programs are, found as Vitess finds them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::MysqldError;

/// The folder that has `sbin/mysqld` or `bin/mysqld`. Source: Vitess `env.VtMysqlRoot`, `env.VtMysqlBaseDir`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MysqlRoot {
    root: PathBuf,
    basedir: PathBuf,
}

impl MysqlRoot {
    /// `VT_MYSQL_ROOT`; else from the first mysqld in `PATH`; else from `/usr/sbin/mysqld`. `VT_MYSQL_BASEDIR` may name
    /// the folder with `share` apart.
    ///
    /// # Errors
    /// When there is no mysqld in any of these.
    pub fn find() -> Result<Self, MysqldError> {
        Self::find_in(|name| std::env::var_os(name).filter(|value| !value.is_empty()), Path::new("/usr/sbin/mysqld"))
    }

    fn find_in(variable: impl Fn(&str) -> Option<OsString>, usual: &Path) -> Result<Self, MysqldError> {
        let in_path = || {
            let path = variable("PATH")?;
            let mut candidates = std::env::split_paths(&path).map(|dir| dir.join("mysqld")).collect::<Vec<_>>();
            candidates.push(usual.to_path_buf());
            let mysqld = candidates.into_iter().find(|candidate| candidate.is_file())?;
            mysqld.parent().and_then(Path::parent).map(Path::to_path_buf)
        };
        let root = variable("VT_MYSQL_ROOT").map(PathBuf::from).or_else(in_path).ok_or(MysqldError::MysqldNotFound)?;
        let basedir = variable("VT_MYSQL_BASEDIR").map_or_else(|| root.clone(), PathBuf::from);
        Ok(Self { root, basedir })
    }

    /// Everything below one folder.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self { basedir: root.clone(), root }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn basedir(&self) -> &Path {
        &self.basedir
    }

    /// # Errors
    /// When the program is in none of `sbin`, `bin`, `libexec`, `scripts`.
    pub fn program(&self, name: &'static str) -> Result<PathBuf, MysqldError> {
        let places = ["sbin", "bin", "libexec", "scripts"].map(|place| self.root.join(place).join(name));
        let found = places.into_iter().find(|path| path.exists());
        found.ok_or_else(|| MysqldError::ProgramNotFound { program: name, root: self.root.clone() })
    }

    /// What Vitess puts into the environment of MySQL's programs.
    pub(super) fn library_path(&self) -> PathBuf {
        self.root.join("lib/mysql")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vt_mysql_root_comes_first_then_path_then_the_usual_place() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            path
        };
        let (in_path, usual) = (at("a/bin/mysqld"), at("usr/sbin/mysqld"));
        let find = |set: &[(&str, &Path)]| {
            let set: Vec<(String, OsString)> =
                set.iter().map(|(n, v)| ((*n).to_owned(), v.as_os_str().to_owned())).collect();
            MysqlRoot::find_in(move |name| set.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()), &usual)
        };
        let path = ("PATH", in_path.parent().unwrap());
        assert_eq!(find(&[path, ("VT_MYSQL_ROOT", Path::new("/opt/mysql"))]).unwrap(), MysqlRoot::at("/opt/mysql"));
        assert_eq!(find(&[path]).unwrap(), MysqlRoot::at(dir.path().join("a")));
        assert_eq!(find(&[("PATH", Path::new("/nowhere"))]).unwrap(), MysqlRoot::at(dir.path().join("usr")));
        let other = find(&[path, ("VT_MYSQL_BASEDIR", Path::new("/base"))]).unwrap();
        assert_eq!((other.root(), other.basedir()), (dir.path().join("a").as_path(), Path::new("/base")));
        assert_eq!(other.program("mysqld").unwrap(), in_path);
        std::fs::remove_file(&usual).unwrap();
        assert!(find(&[("PATH", Path::new("/nowhere"))]).unwrap_err().to_string().contains("VT_MYSQL_ROOT is not set"));
        let message = other.program("mysql_upgrade").unwrap_err().to_string();
        assert!(message.contains("could not find mysql_upgrade"), "{message}");
    }
}
