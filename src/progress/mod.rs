//! The port through which the engine tells how far it is. The library never prints: `cli` turns this into report lines,
//! tests collect it.

use serde::{Deserialize, Serialize};

/// How far a run is. Rates and estimates are the reporter's to compute; the engine only counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Bytes of the tablet's files read (backup) or written (restore), before compression.
    pub bytes_done: u64,
    /// Bytes to do in all; 0 while unknown.
    pub bytes_total: u64,
    /// Bytes as stored, after compression, so far.
    pub stored_bytes: u64,
    pub files_done: u64,
    pub files_total: u64,
}

/// What a run does now, in its order; shown as `status.progress.step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Step {
    /// Looking before touching: options, MySQL, storage, space.
    Checking,
    StoppingReplication,
    StoppingMysqld,
    /// Making the clone that is copied once mysqld runs again.
    CloningFiles,
    CopyingFiles,
    /// `xtrabackup --prepare`: the redo log applied to what was restored.
    PreparingFiles,
    StartingMysqld,
    RestartingReplication,
    CatchingUp,
    WritingManifest,
    /// Reading back what was stored, object by object.
    Verifying,
    /// A drill's: `CHECK TABLE` on what was restored. From here on the counts are of tables, and of the bytes in them.
    CheckingTables,
    /// A drill's: the statements that the user has about the data.
    Asserting,
    ChoosingBackup,
    ClearingData,
    SettingPosition,
    UpgradingMysqld,
    RemovingBackup,
    Listing,
    /// Undoing what an interrupted run left behind.
    Recovering,
    /// A topology server's snapshot on its way to storage.
    TakingSnapshot,
    /// A topology server's snapshot, or Vitess's records, on the way back.
    RestoringSnapshot,
    ReadingTopology,
    WritingTopology,
}

/// What the engine reports to while it runs. Calls must be cheap and must not block: they come from hot loops.
pub trait Monitor: Send + Sync {
    /// A new step begins.
    fn step(&self, step: Step);
    /// The totals are known: bytes before compression, and files.
    fn totals(&self, bytes: u64, files: u64);
    /// `bytes` more of the tablet's files are done, `stored` more bytes went to or came from storage.
    fn advanced(&self, bytes: u64, stored: u64);
    /// One more file is done.
    fn file_done(&self);
    /// Something worth a line in the log, in one sentence; not an error.
    fn note(&self, text: &str);
}

/// A monitor that forgets everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Monitor for Quiet {
    fn step(&self, _step: Step) {}
    fn totals(&self, _bytes: u64, _files: u64) {}
    fn advanced(&self, _bytes: u64, _stored: u64) {}
    fn file_done(&self) {}
    fn note(&self, _text: &str) {}
}
