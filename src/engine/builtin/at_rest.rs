//! mysqld must stay down while a run works on its files. The run stopped it, and yet someone else may start it: a
//! mysqlctld whose container starts again does, and so may a person. Copies of files that a mysqld writes to are worth nothing.

use std::future::Future;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use tokio::time::sleep;

use crate::engine::EngineError;
use crate::engine::builtin::files::SourceFile;
use crate::mysqld::{Evidence, Layout};

/// mysqld takes longer than this to start and to stop again.
const PAUSE: Duration = Duration::from_millis(500);

/// # Errors
/// `MysqldStartedMeanwhile` when a mysqld lives on the files.
pub async fn look(layout: &Layout) -> Result<(), EngineError> {
    let evidence = Evidence::gather(layout).await?;
    if evidence.alive() {
        return Err(EngineError::MysqldStartedMeanwhile { evidence: evidence.to_string() });
    }
    Ok(())
}

/// Does work that needs the files at rest: looks before it, again and again meanwhile, and after it. The work is dropped
/// where it stands as soon as a mysqld is seen.
///
/// # Errors
/// `MysqldStartedMeanwhile`, also where the work itself failed, because a mysqld on the files explains that; else the work's.
pub async fn during<T>(layout: &Layout, work: impl Future<Output = Result<T, EngineError>>) -> Result<T, EngineError> {
    look(layout).await?;
    let seen = async {
        loop {
            sleep(PAUSE).await;
            if let Err(error) = look(layout).await {
                return error;
            }
        }
    };
    let done = tokio::select! {
        biased;
        done = work => done,
        error = seen => return Err(error),
    };
    look(layout).await.and(done)
}

/// When files were last written to: this also tells of a mysqld that came and went between two looks.
pub struct Written(Vec<Option<(u64, i64, i64)>>);

impl Written {
    /// Blocking, but quick: a look at each inode.
    pub fn of(files: &[SourceFile]) -> Self {
        let stamp = |file: &SourceFile| {
            let found = file.path.metadata().ok()?;
            Some((found.len(), found.mtime(), found.mtime_nsec()))
        };
        Self(files.iter().map(stamp).collect())
    }

    /// # Errors
    /// `MysqldStartedMeanwhile` with the first file that is not as it was.
    pub fn unchanged(&self, files: &[SourceFile]) -> Result<(), EngineError> {
        let now = Self::of(files);
        match self.0.iter().zip(&now.0).position(|(before, now)| before != now) {
            None => Ok(()),
            Some(index) => Err(EngineError::MysqldStartedMeanwhile {
                evidence: format!("{} was written to", files[index].path.display()),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::manifest::Base;
    use std::os::unix::net::UnixListener;

    fn tablet() -> (tempfile::TempDir, Layout) {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::vitess_default_for_uid(root.path(), 101);
        for directory in layout.directories() {
            std::fs::create_dir_all(directory).unwrap();
        }
        (root, layout)
    }

    fn is_seen<T: std::fmt::Debug>(result: &Result<T, EngineError>) -> bool {
        matches!(result, Err(EngineError::MysqldStartedMeanwhile { evidence }) if evidence.contains("accepts connections"))
    }

    #[tokio::test]
    async fn a_mysqld_is_seen_before_during_and_after_the_work() {
        let (_root, layout) = tablet();
        assert_eq!(during(&layout, async { Ok(7) }).await.unwrap(), 7);
        // In the middle of work that would never end.
        let socket = layout.socket.clone();
        let listener = std::thread::spawn(move || {
            std::thread::sleep(PAUSE / 2);
            UnixListener::bind(socket).unwrap()
        });
        let cut = during(&layout, std::future::pending::<Result<(), _>>()).await;
        assert!(is_seen(&cut), "{cut:?}");
        let listener = listener.join().unwrap();
        let refused = during(&layout, async { Ok(7) }).await;
        assert!(is_seen(&refused), "{refused:?}");
        drop(listener);
        std::fs::remove_file(&layout.socket).unwrap();
        // At the very end, when the work has failed by it too.
        let mut kept = None;
        let after = during(&layout, async {
            kept = Some(UnixListener::bind(&layout.socket).unwrap());
            Err::<(), _>(EngineError::Panicked)
        });
        let after = after.await;
        assert!(is_seen(&after), "{after:?}");
    }

    #[test]
    fn a_file_that_was_written_to_meanwhile_is_named() {
        let (_root, layout) = tablet();
        let path = layout.datadir.join("mysql.ibd");
        std::fs::write(&path, "1234").unwrap();
        let files = [SourceFile { base: Base::Data, name: "mysql.ibd".into(), path: path.clone(), size: 4 }];
        let written = Written::of(&files);
        written.unchanged(&files).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        std::fs::write(&path, "4321").unwrap();
        let changed = written.unchanged(&files).unwrap_err().to_string();
        assert!(changed.contains("data/mysql.ibd was written to"), "{changed}");
    }
}
