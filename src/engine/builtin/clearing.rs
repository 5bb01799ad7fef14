//! Taking away a tablet's old data: first as a list, then in fact.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::engine::{EngineError, xtrabackup};
use crate::mysqld::Layout;

/// What a restore removes, as Vitess does (`removeExistingFiles`), except that the directories themselves stay: they may
/// be mount points or links to another volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clearing {
    /// Everything in these goes.
    pub directories: Vec<PathBuf>,
    pub files: Vec<PathBuf>,
}

impl Clearing {
    /// Lists what there is to remove. Blocking.
    ///
    /// # Errors
    /// `InvalidArguments` for a layout in which the tablet's own directory would go too.
    pub fn of(layout: &Layout) -> Result<Self, EngineError> {
        let mut directories =
            vec![layout.datadir.clone(), layout.innodb_data_home_dir.clone(), layout.innodb_log_group_home_dir.clone()];
        directories.sort_unstable();
        directories.dedup();
        for directory in &directories {
            let (tablet, inner) = (resolved(&layout.tablet_dir), resolved(directory));
            if tablet.starts_with(&inner) {
                return Err(EngineError::InvalidArguments(format!(
                    "{} cannot be cleared for a restore: the tablet's directory {} is in it",
                    directory.display(),
                    layout.tablet_dir.display()
                )));
            }
        }
        let mut files = numbered(&layout.log_bin)?;
        files.extend(numbered(&layout.relay_log)?);
        files.extend(
            [layout.relay_log_index.clone(), layout.relay_log_info.clone()].into_iter().filter(|path| path.is_file()),
        );
        files.sort_unstable();
        files.dedup();
        // What a killed run left there; it is in the way of any backup's files, and its space will be free again.
        let taken_apart = xtrabackup::directory(layout);
        if fs::symlink_metadata(&taken_apart).is_ok_and(|found| found.is_dir()) {
            directories.push(taken_apart);
        }
        Ok(Self { directories, files })
    }

    /// Bytes that will be free again, by what the files say. Unreadable parts count as nothing.
    pub fn bytes(&self) -> u64 {
        self.directories.iter().map(|directory| size_below(directory)).sum::<u64>()
            + self.files.iter().filter_map(|file| fs::symlink_metadata(file).ok()).map(|file| file.len()).sum::<u64>()
    }

    /// One sentence for the log.
    pub fn describe(&self) -> String {
        let directories: Vec<String> = self.directories.iter().map(|path| path.display().to_string()).collect();
        format!("removing all that is in {}, and {} log files", directories.join(", "), self.files.len())
    }

    /// Removes it all. What is gone already is fine. Blocking.
    pub fn carry_out(&self) -> Result<(), EngineError> {
        for file in &self.files {
            gone(fs::remove_file(file)).map_err(|error| EngineError::unwritable(file, error))?;
        }
        for directory in &self.directories {
            empty(directory)?;
        }
        Ok(())
    }
}

fn resolved(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// `<prefix>.*`: binary or relay logs and their index.
fn numbered(prefix: &Path) -> Result<Vec<PathBuf>, EngineError> {
    let (Some(directory), Some(name)) = (prefix.parent(), prefix.file_name().and_then(|name| name.to_str())) else {
        return Ok(Vec::new());
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(EngineError::unreadable(directory, error)),
    };
    let start = format!("{name}.");
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| EngineError::unreadable(directory, error))?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(&start)) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Everything in a directory but a file system's own `lost+found`. Links are removed and not followed.
fn empty(directory: &Path) -> Result<(), EngineError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(EngineError::unreadable(directory, error)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| EngineError::unreadable(directory, error))?;
        if entry.file_name() == "lost+found" {
            continue;
        }
        let path = entry.path();
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = if is_directory { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        gone(removed).map_err(|error| EngineError::unwritable(&path, error))?;
    }
    Ok(())
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Bytes of the files below a directory, by what they say; what cannot be read, or goes meanwhile, counts for nothing.
pub fn size_below(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size_below(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tablet() -> (tempfile::TempDir, Layout) {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::vitess_default_for_uid(&root.path().join("vt_0000000101"), 101);
        for directory in layout.directories() {
            fs::create_dir_all(directory).unwrap();
        }
        for name in [
            "my.cnf",
            "error.log",
            "data/mysql.ibd",
            "data/vt_commerce/customer.ibd",
            "innodb/data/ibdata1",
            "innodb/logs/#innodb_redo/#ib_redo1",
            "bin-logs/vt-0000000101-bin.000001",
            "bin-logs/vt-0000000101-bin.index",
            "bin-logs/unrelated.txt",
            "relay-logs/vt-0000000101-relay-bin.000002",
            "relay-logs/relay-log.info",
        ] {
            let path = layout.tablet_dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "12345").unwrap();
        }
        (root, layout)
    }

    fn all_files(directory: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir(directory).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                found.extend(all_files(&entry.path()));
            } else {
                found.push(entry.file_name().into_string().unwrap());
            }
        }
        found.sort();
        found
    }

    #[test]
    fn what_a_killed_run_took_apart_goes_too_and_counts_as_space_and_a_link_is_not_followed() {
        let (root, layout) = tablet();
        let before = Clearing::of(&layout).unwrap();
        let left = layout.tablet_dir.join("tmp/xtrabackup-restore");
        fs::create_dir_all(left.join("vt_commerce")).unwrap();
        fs::write(left.join("vt_commerce/customer.ibd"), "1234567").unwrap();
        let clearing = Clearing::of(&layout).unwrap();
        assert_eq!(clearing.bytes(), before.bytes() + 7);
        clearing.carry_out().unwrap();
        assert_eq!(all_files(&layout.tablet_dir.join("tmp")), [""; 0]);

        fs::remove_dir(&left).unwrap();
        let elsewhere = root.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("precious"), "").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &left).unwrap();
        Clearing::of(&layout).unwrap().carry_out().unwrap();
        assert_eq!(all_files(&elsewhere), ["precious"]);
    }

    #[test]
    fn the_data_and_the_logs_go_and_the_rest_stays() {
        let (_root, layout) = tablet();
        let clearing = Clearing::of(&layout).unwrap();
        assert_eq!(clearing.bytes(), 8 * 5);
        clearing.carry_out().unwrap();
        assert_eq!(all_files(&layout.tablet_dir), ["error.log", "my.cnf", "unrelated.txt"]);
        assert!(layout.datadir.is_dir(), "mount points stay");
        clearing.carry_out().unwrap();
    }

    #[test]
    fn a_datadir_that_links_to_another_volume_keeps_its_link() {
        let (root, layout) = tablet();
        fs::rename(&layout.datadir, root.path().join("volume")).unwrap();
        std::os::unix::fs::symlink(root.path().join("volume"), &layout.datadir).unwrap();
        Clearing::of(&layout).unwrap().carry_out().unwrap();
        assert!(layout.datadir.is_symlink());
        assert_eq!(fs::read_dir(root.path().join("volume")).unwrap().count(), 0);
    }

    #[test]
    fn a_link_inside_the_data_is_removed_and_what_it_leads_to_is_not() {
        let (root, layout) = tablet();
        fs::create_dir(root.path().join("far")).unwrap();
        fs::write(root.path().join("far/kept"), "x").unwrap();
        std::os::unix::fs::symlink(root.path().join("far"), layout.datadir.join("vt_far")).unwrap();
        Clearing::of(&layout).unwrap().carry_out().unwrap();
        assert!(root.path().join("far/kept").exists());
    }

    #[test]
    fn a_layout_whose_data_is_the_tablets_own_directory_is_refused() {
        let (root, mut layout) = tablet();
        layout.datadir = layout.tablet_dir.clone();
        assert!(matches!(Clearing::of(&layout), Err(EngineError::InvalidArguments(_))));
        layout.datadir = root.path().to_owned();
        assert!(matches!(Clearing::of(&layout), Err(EngineError::InvalidArguments(_))));
    }
}
