//! The files of a ZooKeeper that runs: a snapshot and the transaction logs that follow it, as its administrator's guide says.
//!
//! A snapshot is fuzzy: it is named after the last transaction before it was begun, and may have parts of what came while it
//! was written. Loaded together with the logs from that transaction on, which are applied again without harm, it is exact.
//! Only a snapshot whose checksum is there is taken, for one that is being written has none; the logs are read after it, so
//! that they reach at least as far as the snapshot; and of the newest log only whole records are taken, since the server goes
//! on writing it.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::StreamExt;

use super::TITLE;
use crate::backup::topology::{Point, TopologyServer};
use crate::topology::check::{Check, LogRecords, ZookeeperLog, ZookeeperSnapshot};
use crate::topology::error::TopologyError;
use crate::topology::{Facts, Snapshot, SnapshotPart};

const METHOD: &str = "snapshot and transaction logs of ZooKeeper's data directory";
const BLOCK: usize = 1 << 20;
/// How often it is begun again when the server removes old files meanwhile (autopurge).
const TRIES: usize = 3;

/// `dataDir` and `dataLogDir`, which are often the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDirectories {
    pub data: PathBuf,
    pub logs: PathBuf,
}

/// A file `snapshot.<zxid>` or `log.<zxid>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Numbered {
    zxid: u64,
    path: PathBuf,
}

/// What is to be stored: the snapshot whole, each log up to the end of its last whole record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Chosen {
    snapshot: Numbered,
    logs: Vec<(Numbered, u64)>,
    last: u64,
}

/// Chooses a consistent pair and opens it for reading.
///
/// # Errors
/// `NotSupported` for a directory without a whole snapshot, `File` for what cannot be read.
pub async fn data_directory(directories: &DataDirectories) -> Result<Snapshot, TopologyError> {
    let searched = directories.clone();
    let chosen = tokio::task::spawn_blocking(move || choose(&searched)).await;
    let chosen = chosen.map_err(|error| unreadable(&directories.data, &io::Error::other(error)))??;
    let Chosen { snapshot, logs, last } = chosen;
    let mut parts = vec![part(&snapshot, None)?];
    for (log, length) in &logs {
        parts.push(part(log, Some(*length))?);
    }
    let facts = Facts {
        server: TopologyServer::Zookeeper,
        endpoint: directories.data.display().to_string(),
        method: METHOD,
        server_version: None,
        member: None,
        cluster: None,
        point: Point { zxid: Some(format!("0x{last:x}")), ..Point::default() },
        stale: false,
        in_use_bytes: None,
        quota_bytes: None,
        warnings: Vec::new(),
    };
    Ok(Snapshot { facts, parts })
}

fn choose(directories: &DataDirectories) -> Result<Chosen, TopologyError> {
    let mut tries = 1;
    loop {
        match choose_once(directories) {
            Err(Trouble::Gone(_)) if tries < TRIES => tries += 1,
            Err(Trouble::Gone(path)) => return Err(unreadable(&path, &io::Error::from(io::ErrorKind::NotFound))),
            Err(Trouble::Told(error)) => return Err(error),
            Ok(chosen) => return Ok(chosen),
        }
    }
}

enum Trouble {
    /// It was listed, and is not there any more.
    Gone(PathBuf),
    Told(TopologyError),
}

fn choose_once(directories: &DataDirectories) -> Result<Chosen, Trouble> {
    let mut snapshots = numbered(&directories.data, "snapshot.").map_err(Trouble::Told)?;
    snapshots.sort_unstable();
    let mut damaged = None;
    while let Some(snapshot) = snapshots.pop() {
        match check(&snapshot.path, Box::<ZookeeperSnapshot>::default())? {
            Ok(()) => return with_logs(directories, snapshot),
            // The newest may be on its way to the disk.
            Err(problem) => damaged = Some(format!("{}: {problem}", snapshot.path.display())),
        }
    }
    let cause = damaged.unwrap_or_else(|| "it has no snapshot yet; a server writes one when it starts".to_owned());
    let endpoint = directories.data.display().to_string();
    Err(Trouble::Told(TopologyError::NotSupported { server: TITLE, endpoint, cause }))
}

/// The logs that a server would load after this snapshot: the newest that begins at or before it, and all later ones.
fn with_logs(directories: &DataDirectories, snapshot: Numbered) -> Result<Chosen, Trouble> {
    let mut found = numbered(&directories.logs, "log.").map_err(Trouble::Told)?;
    found.sort_unstable();
    let first = found.iter().rposition(|log| log.zxid <= snapshot.zxid).unwrap_or(0);
    let newest = found.last().cloned();
    let (mut logs, mut last) = (Vec::new(), snapshot.zxid);
    for log in found.split_off(first) {
        if !follows(last, log.zxid) {
            let object = log.path.display().to_string();
            let cause = format!("transactions are missing between 0x{last:x} and it: a log was removed");
            return Err(Trouble::Told(TopologyError::Damaged { server: TITLE, object, cause }));
        }
        let mut records = LogRecords::default();
        let read = feed(&log.path, |chunk| records.take(chunk))?;
        if let Err(problem) = read
            && newest.as_ref() != Some(&log)
        {
            let object = log.path.display().to_string();
            return Err(Trouble::Told(TopologyError::Damaged { server: TITLE, object, cause: problem }));
        }
        last = last.max(records.last.unwrap_or(0));
        // One that was just made has no header yet.
        if records.whole > 0 {
            logs.push((log, records.whole));
        }
    }
    if logs.is_empty() {
        // A server writes a log with the first session of its first client.
        let endpoint = directories.logs.display().to_string();
        let cause =
            "it has no transaction logs, without which a snapshot is not exact: name the directory that the server's \
                     dataLogDir names"
                .to_owned();
        return Err(Trouble::Told(TopologyError::NotSupported { server: TITLE, endpoint, cause }));
    }
    Ok(Chosen { snapshot, logs, last })
}

/// Whether a log that begins with `first` leaves nothing out after `last`: transactions are counted in the low half of their
/// numbers, from 1 for each leader, whose number is the high half.
fn follows(last: u64, first: u64) -> bool {
    first <= last.saturating_add(1) || (first >> 32 > last >> 32 && first & u64::from(u32::MAX) == 1)
}

/// The files of this name in the directory, or in its `version-2`.
fn numbered(directory: &Path, prefix: &str) -> Result<Vec<Numbered>, TopologyError> {
    let inner = directory.join("version-2");
    let directory = if inner.is_dir() { inner } else { directory.to_path_buf() };
    let mut found = Vec::new();
    for entry in fs::read_dir(&directory).map_err(|error| unreadable(&directory, &error))? {
        let path = entry.map_err(|error| unreadable(&directory, &error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // snapshot.<zxid>.gz or .snappy where snapshots are compressed.
        let number = name.strip_prefix(prefix).map(|rest| rest.split_once('.').map_or(rest, |(number, _)| number));
        if let Some(zxid) = number.and_then(|number| u64::from_str_radix(number, 16).ok()) {
            found.push(Numbered { zxid, path });
        }
    }
    Ok(found)
}

fn check(path: &Path, mut check: Box<dyn Check>) -> Result<Result<(), String>, Trouble> {
    Ok(match feed(path, |chunk| check.take(chunk))? {
        Ok(()) => check.finish().map(|_| ()),
        Err(problem) => Err(problem),
    })
}

/// Gives the file to `take` in blocks, until it has enough.
fn feed(path: &Path, mut take: impl FnMut(&[u8]) -> Result<(), String>) -> Result<Result<(), String>, Trouble> {
    let trouble = |error: &io::Error| match error.kind() {
        io::ErrorKind::NotFound => Trouble::Gone(path.to_path_buf()),
        _ => Trouble::Told(unreadable(path, error)),
    };
    let mut file = fs::File::open(path).map_err(|error| trouble(&error))?;
    let mut block = vec![0; BLOCK];
    loop {
        let read = file.read(&mut block).map_err(|error| trouble(&error))?;
        if read == 0 {
            return Ok(Ok(()));
        }
        if let Err(problem) = take(&block[..read]) {
            return Ok(Err(problem));
        }
    }
}

/// A file that is open: it can be read to its end even when the server removes it meanwhile.
fn part(file: &Numbered, length: Option<u64>) -> Result<SnapshotPart, TopologyError> {
    let path = file.path.clone();
    let open = fs::File::open(&path).map_err(|error| unreadable(&path, &error))?;
    let size = open.metadata().map_err(|error| unreadable(&path, &error))?.len();
    let expected = length.unwrap_or(size);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let check: Box<dyn Check> = match length {
        Some(_) => Box::<ZookeeperLog>::default(),
        None => Box::<ZookeeperSnapshot>::default(),
    };
    let state = (open.take(expected), path);
    let body = futures::stream::try_unfold(state, |(mut open, path)| async move {
        let read = tokio::task::spawn_blocking(move || {
            let mut block = Vec::with_capacity(BLOCK);
            let read = (&mut open).take(BLOCK as u64).read_to_end(&mut block);
            (open, read.map(|_| block))
        });
        let (open, block) = read.await.map_err(|error| unreadable(&path, &io::Error::other(error)))?;
        let block = block.map_err(|error| unreadable(&path, &error))?;
        Ok(if block.is_empty() { None } else { Some((Bytes::from(block), (open, path))) })
    });
    Ok(SnapshotPart { name, expected, body: body.boxed(), check })
}

fn unreadable(path: &Path, error: &io::Error) -> TopologyError {
    TopologyError::File { path: path.to_path_buf(), problem: error.to_string() }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::topology::check::tests_of_zookeeper::{log, snapshot};

    fn directory(files: &[(&str, Vec<u8>)]) -> (TempDir, DataDirectories) {
        let root = TempDir::new().unwrap();
        let inner = root.path().join("version-2");
        fs::create_dir(&inner).unwrap();
        for (name, content) in files {
            fs::write(inner.join(name), content).unwrap();
        }
        let directories = DataDirectories { data: root.path().to_path_buf(), logs: root.path().to_path_buf() };
        (root, directories)
    }

    fn names(chosen: &Chosen) -> Vec<String> {
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        std::iter::once(name(&chosen.snapshot.path)).chain(chosen.logs.iter().map(|(log, _)| name(&log.path))).collect()
    }

    #[test]
    fn the_newest_whole_snapshot_is_taken_with_the_logs_that_a_server_would_load_after_it() {
        let half = snapshot(b"not there yet")[..20].to_vec();
        let newest = [log(&[9, 10]), vec![0; 64]].concat();
        let (_root, directories) = directory(&[
            ("snapshot.0", snapshot(b"first")),
            ("snapshot.6", snapshot(b"second")),
            ("snapshot.9", half),
            ("log.1", log(&[1, 2, 3])),
            ("log.4", log(&[4, 5, 6, 7])),
            ("log.8", log(&[8])),
            ("log.9", newest.clone()),
            ("acceptedEpoch", b"1".to_vec()),
        ]);
        let chosen = choose(&directories).unwrap();
        assert_eq!(names(&chosen), ["snapshot.6", "log.4", "log.8", "log.9"]);
        assert_eq!(chosen.last, 10);
        assert_eq!(chosen.logs[2].1, newest.len() as u64 - 64, "the zeros that the server reserved stay behind");
    }

    #[test]
    fn a_log_that_is_damaged_before_the_newest_one_is_an_error_and_a_half_record_in_the_newest_is_not() {
        let mut broken = log(&[4, 5]);
        broken[40] ^= 1;
        let begin = [("snapshot.3", snapshot(b"x")), ("log.1", log(&[1, 2, 3]))];
        let (_root, directories) = directory(&[&begin[..], &[("log.4", broken), ("log.6", log(&[6]))]].concat());
        assert!(matches!(choose(&directories), Err(TopologyError::Damaged { .. })));
        let whole = log(&[4]).len() as u64;
        let mut torn = log(&[4, 5]);
        *torn.last_mut().unwrap() = 0;
        let (_root, directories) = directory(&[&begin[..], &[("log.4", torn.clone())]].concat());
        let chosen = choose(&directories).unwrap();
        assert_eq!((chosen.logs[1].1, chosen.last), (whole, 4));

        // A server that died while it wrote, and was started again, goes on with a new log.
        let (_root, directories) = directory(&[&begin[..], &[("log.4", torn), ("log.5", log(&[5, 6]))]].concat());
        let chosen = choose(&directories).unwrap();
        assert_eq!((names(&chosen)[1..].join(" "), chosen.last), ("log.1 log.4 log.5".to_owned(), 6));
    }

    #[test]
    fn a_snapshot_without_all_the_transactions_that_follow_it_is_refused() {
        let (_root, directories) = directory(&[("snapshot.3", snapshot(b"x"))]);
        let none = choose(&directories).unwrap_err();
        assert!(
            matches!(none, TopologyError::NotSupported { .. }) && none.to_string().contains("dataLogDir"),
            "{none}"
        );

        let with = |logs: &[(&str, Vec<u8>)]| {
            let (_root, directories) = directory(&[&[("snapshot.100000003", snapshot(b"x"))][..], logs].concat());
            choose(&directories)
        };
        for (logs, last) in [
            (vec![("log.100000004", log(&[0x1_0000_0004]))], 0x1_0000_0004),
            // Another leader begins to count anew.
            (vec![("log.300000001", log(&[0x3_0000_0001]))], 0x3_0000_0001),
            (vec![("log.100000001", log(&[0x1_0000_0003])), ("log.200000001", log(&[0x2_0000_0001]))], 0x2_0000_0001),
        ] {
            assert_eq!(with(&logs).unwrap().last, last, "{:?}", logs[0].0);
        }
        for logs in [
            vec![("log.100000006", log(&[0x1_0000_0006]))],
            vec![("log.200000002", log(&[0x2_0000_0002]))],
            vec![("log.100000004", log(&[0x1_0000_0004])), ("log.100000006", log(&[0x1_0000_0006]))],
        ] {
            let missing = with(&logs).unwrap_err();
            assert!(missing.to_string().contains("transactions are missing"), "{:?}: {missing}", logs[0].0);
        }
    }

    #[test]
    fn of_a_snapshot_that_snappy_compressed_it_is_said_that_it_cannot_be_checked() {
        let stored = b"\x82SNAPPY\0\0\0\0\x01".to_vec();
        let (_root, directories) = directory(&[("snapshot.3.snappy", stored), ("log.1", log(&[1, 2, 3]))]);
        let unknown = choose(&directories).unwrap_err();
        assert!(unknown.to_string().contains("snapshot.3.snappy") && unknown.to_string().contains("gz"), "{unknown}");
    }

    #[test]
    fn a_directory_without_a_whole_snapshot_is_said_to_have_none() {
        let (_root, directories) = directory(&[("log.1", log(&[1]))]);
        assert!(choose(&directories).unwrap_err().to_string().contains("no snapshot yet"));
        let missing = DataDirectories { data: "/no/such".into(), logs: "/no/such".into() };
        assert!(matches!(choose(&missing), Err(TopologyError::File { .. })));
    }

    #[tokio::test]
    async fn what_is_read_is_what_was_chosen() {
        use futures::TryStreamExt;
        let records = log(&[1, 2]);
        let (_root, directories) =
            directory(&[("snapshot.0", snapshot(b"x")), ("log.1", [records.clone(), vec![0; 999]].concat())]);
        let taken = data_directory(&directories).await.unwrap();
        assert_eq!(taken.facts.point.zxid.as_deref(), Some("0x2"));
        let mut stored = Vec::new();
        for part in taken.parts {
            let chunks: Vec<Bytes> = part.body.try_collect().await.unwrap();
            let bytes = chunks.concat();
            let mut check = part.check;
            check.take(&bytes).unwrap();
            check.finish().unwrap();
            stored.push((part.name, bytes));
        }
        assert_eq!(stored, [("snapshot.0".to_owned(), snapshot(b"x")), ("log.1".to_owned(), records)]);
    }
}
