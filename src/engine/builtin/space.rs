//! Whether a backup can fit, before the old data goes.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::engine::EngineError;
use crate::engine::builtin::clearing::Clearing;
use crate::engine::builtin::target::Target;
use crate::mysqld::Layout;

/// Compares what the files take at least with what each file system has free, and will have once the old data is gone.
///
/// # Errors
/// `NoSpace`. A file system that cannot be asked is no error: writing will tell.
pub fn check(layout: &Layout, target: &Target) -> Result<(), EngineError> {
    let mut needed: HashMap<u64, (PathBuf, u64)> = HashMap::new();
    for file in &target.files {
        let Some((directory, device)) = file.path.parent().and_then(existing) else { continue };
        needed.entry(device).or_insert((directory, 0)).1 += file.stored;
    }
    compare(layout, needed, target.least_bytes())
}

/// As [`check`], for so many bytes in one directory.
///
/// # Errors
/// As [`check`].
pub fn check_bytes(layout: &Layout, directory: &Path, bytes: u64) -> Result<(), EngineError> {
    let needed = existing(directory).map(|(directory, device)| (device, (directory, bytes)));
    compare(layout, needed.into_iter().collect(), bytes)
}

fn compare(layout: &Layout, mut needed: HashMap<u64, (PathBuf, u64)>, least: u64) -> Result<(), EngineError> {
    if let [(_, bytes)] = needed.values_mut().collect::<Vec<_>>().as_mut_slice() {
        *bytes = (*bytes).max(least);
    }
    let freed = Clearing::of(layout)?;
    for (device, (directory, needed)) in needed {
        let Ok(statistics) = rustix::fs::statvfs(&directory) else { continue };
        let free = statistics.f_bavail.saturating_mul(statistics.f_frsize);
        let available = free.saturating_add(freed_on(device, &freed));
        if available < needed {
            return Err(EngineError::NoSpace { path: directory, needed, available });
        }
    }
    Ok(())
}

/// The nearest directory above that exists, and its file system.
fn existing(path: &Path) -> Option<(PathBuf, u64)> {
    path.ancestors().find_map(|path| Some((path.to_owned(), path.metadata().ok()?.dev())))
}

fn freed_on(device: u64, clearing: &Clearing) -> u64 {
    let Clearing { directories, files } = clearing;
    let on_it = |path: &&PathBuf| existing(path).is_some_and(|(_, found)| found == device);
    let part = Clearing {
        directories: directories.iter().filter(on_it).cloned().collect(),
        files: files.iter().filter(on_it).cloned().collect(),
    };
    part.bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::builtin::target::TargetFile;

    #[test]
    fn a_backup_that_cannot_fit_is_refused_and_the_old_data_counts_as_space() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::vitess_default_for_uid(root.path(), 101);
        let path = layout.datadir.join("vt_commerce/customer.ibd");
        let file = TargetFile { object: "0".into(), name: "x".into(), path, hash: "0".into(), stored: 1 };
        let target = |data_bytes| Target {
            files: vec![file.clone()],
            empty_directories: Vec::new(),
            position: None,
            data_bytes: Some(data_bytes),
        };
        check(&layout, &target(1000)).unwrap();
        let refused = check(&layout, &target(u64::MAX));
        assert!(matches!(refused, Err(EngineError::NoSpace { needed: u64::MAX, .. })), "{refused:?}");
        let Err(EngineError::NoSpace { available: before, .. }) = refused else { panic!() };
        std::fs::create_dir_all(&layout.datadir).unwrap();
        let old = std::fs::File::create(layout.datadir.join("ibdata1")).unwrap();
        old.set_len(1 << 40).unwrap(); // sparse: takes no space, and counts as if it did
        let Err(EngineError::NoSpace { available: after, .. }) = check(&layout, &target(u64::MAX)) else { panic!() };
        assert!(after > before + (1 << 39), "{before} {after}");
    }
}
