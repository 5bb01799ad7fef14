//! A clone of the tablet's files, so that mysqld is down for seconds whatever their size.
//!
//! XFS (with reflink) and Btrfs can give a second file the blocks of a first (FICLONE), and copy a block only when either
//! file changes it. With that, all files of a backup are cloned while mysqld is down, mysqld starts again at once, and the
//! upload reads the clone. What it costs is space: whatever mysqld changes during the upload is kept twice.
//!
//! The clone lives in `vitess-backup.clone` in the tablet's directory, flat, a file's name being its place in the list: it
//! is below none of the directories that a backup, a restore or Vitess looks into. It never outlives its run: the run removes
//! it, and after a kill so do `recover` and whatever run comes next, who hold the tablet's lock like everyone who makes one.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::backup::report::CopyMode;
use crate::engine::builtin::files::{self, Roots, Selection, SourceFile};
use crate::engine::{EngineError, Interrupt};
use crate::mysqld::Layout;

/// In the tablet's directory.
pub const DIRECTORY: &str = "vitess-backup.clone";
/// A file system must keep at least so much free for mysqld: this part of it …
const FLOOR_PART: u64 = 20;
/// … and no more than so many bytes.
const FLOOR_MOST: u64 = 1 << 30;
/// Files that are cloned at a time: a file system writes its journal while others wait.
const THREADS: usize = 8;

/// What was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CopyChoice {
    /// Clone where the file system can, else copy in place.
    #[default]
    Auto,
    /// Clone or fail, before mysqld is touched.
    Clone,
    /// As Vitess: mysqld is down for the whole upload.
    InPlace,
}

/// How a run copies, and why so, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HowCopied {
    pub mode: CopyMode,
    pub reason: String,
}

impl fmt::Display for HowCopied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.mode {
            CopyMode::Clone => "mysqld will be down while its files are cloned, and run while they are copied",
            CopyMode::InPlace => "mysqld will be down while its files are copied",
        };
        write!(f, "{how}: {}", self.reason)
    }
}

impl HowCopied {
    fn in_place(reason: impl Into<String>) -> Self {
        Self { mode: CopyMode::InPlace, reason: reason.into() }
    }

    /// A clone that could not be made after all: mysqld is down, and stays so while its files are read.
    pub fn after_all(error: &EngineError) -> Self {
        Self::in_place(format!("the files could not be cloned after all: {error}"))
    }
}

/// Decides before mysqld is stopped, by cloning a file of each file system that the tablet's files are on.
///
/// # Errors
/// `CloneImpossible` when a clone was asked for and cannot be.
pub async fn decide(choice: CopyChoice, layout: &Layout) -> Result<HowCopied, EngineError> {
    if choice == CopyChoice::InPlace {
        return Ok(HowCopied::in_place("copying in place was asked for"));
    }
    let layout = layout.clone();
    let tried = tokio::task::spawn_blocking(move || {
        let place = Place::of(&layout.tablet_dir);
        let found = place.try_out(&files::select(Roots::of(&layout))?.files);
        place.remove()?;
        found
    });
    match tried.await.map_err(|error| EngineError::internal(&error))? {
        Ok(()) => Ok(HowCopied {
            mode: CopyMode::Clone,
            reason: "the file system of the tablet's directory clones files".to_owned(),
        }),
        Err(error) if choice == CopyChoice::Auto => Ok(HowCopied::in_place(error.to_string())),
        Err(error) => Err(error),
    }
}

/// Where a tablet's clone is, when there is one.
#[derive(Clone, Debug)]
pub struct Place(PathBuf);

impl Place {
    pub fn of(tablet_dir: &Path) -> Self {
        Self(tablet_dir.join(DIRECTORY))
    }

    /// Removes what there is of a clone; none is fine. Blocking. The caller holds the tablet.
    ///
    /// # Errors
    /// `FileUnwritable`.
    pub fn remove(&self) -> Result<(), EngineError> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(EngineError::unwritable(&self.0, error)),
            _ => Ok(()),
        }
    }

    /// Clones all files; gives the same list with the clones' paths. An interruption ends it between two files. Nothing is
    /// made durable: after a crash of the machine the clone is of no use. Blocking; mysqld must be down.
    ///
    /// # Errors
    /// `CloneImpossible`, `FileChanged`, `Interrupted`; what was made stays for [`Self::remove`].
    pub fn fill(&self, selection: Selection, interrupt: &Interrupt) -> Result<Selection, EngineError> {
        self.make()?;
        let next = AtomicUsize::new(0);
        let work = || {
            loop {
                interrupt.check()?;
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(file) = selection.files.get(index) else { return Ok(()) };
                let length = clone(&file.path, &self.of_file(index)).map_err(|error| impossible(file, &error))?;
                if length != file.size {
                    return Err(EngineError::FileChanged {
                        path: file.path.clone(),
                        expected: file.size,
                        found: length,
                    });
                }
            }
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Err(EngineError::Panicked)))
        })?;
        let mut cloned = selection;
        for (index, file) in cloned.files.iter_mut().enumerate() {
            file.path = self.of_file(index);
        }
        Ok(cloned)
    }

    /// Waits until the file system has so little left that mysqld might run out of it because of the clone.
    pub async fn space_is_short(&self) -> EngineError {
        const EVERY: Duration = Duration::from_secs(1);
        loop {
            tokio::time::sleep(EVERY).await;
            // A file system that cannot be asked: writing will tell.
            if let Ok((available, floor)) = space(&self.0)
                && available < floor
            {
                return EngineError::NoSpace { path: self.0.clone(), needed: floor, available };
            }
        }
    }

    fn of_file(&self, index: usize) -> PathBuf {
        self.0.join(index.to_string())
    }

    fn make(&self) -> Result<(), EngineError> {
        self.remove()?;
        let made = DirBuilder::new().mode(0o700).create(&self.0).and_then(|()| {
            // A clone that root left behind must not be in the way of the tablet's own user.
            match self.0.parent() {
                Some(parent) if rustix::process::geteuid().is_root() => {
                    let owner = fs::metadata(parent)?;
                    chown(&self.0, Some(owner.uid()), Some(owner.gid()))
                }
                _ => Ok(()),
            }
        });
        made.map_err(|error| EngineError::unwritable(&self.0, error))
    }

    /// Clones the smallest file of each base on each file system, and looks at the space.
    fn try_out(&self, files: &[SourceFile]) -> Result<(), EngineError> {
        self.make()?;
        if let Ok((available, floor)) = space(&self.0)
            && available < 2 * floor
        {
            let cause = format!(
                "{} has only {available} bytes free, and what mysqld changes during the upload would be kept twice",
                self.0.display()
            );
            return Err(EngineError::CloneImpossible { cause });
        }
        let mut smallest: BTreeMap<(u64, &str), Vec<&SourceFile>> = BTreeMap::new();
        for file in files {
            // A table that was dropped since: mysqld is at work.
            let Ok(found) = fs::metadata(&file.path) else { continue };
            smallest.entry((found.dev(), file.base.as_str())).or_default().push(file);
        }
        for candidates in smallest.values_mut() {
            // An empty file proves nothing where there are others.
            candidates.sort_by_key(|file| (file.size == 0, file.size));
            for file in candidates {
                match clone(&file.path, &self.0.join("probe")) {
                    Ok(_) => break,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(impossible(file, &error)),
                }
            }
        }
        Ok(())
    }
}

/// Makes `to` a clone of `from`; gives its length.
fn clone(from: &Path, to: &Path) -> io::Result<u64> {
    let from = File::open(from)?;
    let to = File::options().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    rustix::fs::ioctl_ficlone(&to, &from)?;
    Ok(to.metadata()?.len())
}

fn impossible(file: &SourceFile, error: &io::Error) -> EngineError {
    let why = match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOTTY | rustix::io::Errno::INVAL) => {
            "its file system does not clone files (XFS with reflink and Btrfs do)".to_owned()
        }
        Some(rustix::io::Errno::XDEV) => "it is on another file system than the tablet's directory".to_owned(),
        _ => error.to_string(),
    };
    EngineError::CloneImpossible { cause: format!("{}: {why}", file.path.display()) }
}

/// Bytes that are free, and how many of them must stay so.
fn space(path: &Path) -> io::Result<(u64, u64)> {
    let found = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok((bytes(found.f_bavail), (bytes(found.f_blocks) / FLOOR_PART).min(FLOOR_MOST)))
}
