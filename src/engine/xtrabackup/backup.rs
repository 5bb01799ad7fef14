//! A full backup of one tablet that goes on serving.
//!
//! Source of the sequence: Vitess `xtrabackupengine.go` (`executeFullBackup`, `backupFiles`), and what it lacks: the
//! MANIFEST is written when every object is durable; what was stored is looked at again; and a run that fails or is killed
//! leaves nothing behind.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;

use futures::FutureExt;

use crate::backup::manifest::{Manifest, Method, Xtrabackup};
use crate::backup::name::BackupName;
use crate::backup::report::Operation;
use crate::engine::builtin::{DATA_BYTES, Verify, hostname, make_directory};
use crate::engine::journal::{Entry, Journal, JournalStep, NamedBackup};
use crate::engine::tablet::Server;
use crate::engine::xtrabackup::check::{self, Checked};
use crate::engine::xtrabackup::deal::{Deal, Dealt};
use crate::engine::xtrabackup::diagnosis::{self, What};
use crate::engine::xtrabackup::fill::{below, remove};
use crate::engine::xtrabackup::options::BackupOptions;
use crate::engine::xtrabackup::position::{self, Heard};
use crate::engine::xtrabackup::stored::{STORED_OBJECTS, names, told};
use crate::engine::{Done, EngineError, Interrupt, Tablet, recover, store};
use crate::progress::{Monitor, Step};
use crate::replication::Position;
use crate::storage::{BackupHandle, BackupStorage};

/// BackupMethod.
const METHOD: &str = "xtrabackup";

/// Backs the tablet up.
///
/// # Errors
/// Any; then nothing is left in storage. The tablet is not touched either way.
pub async fn backup(
    tablet: &Tablet,
    storage: &BackupStorage,
    options: &BackupOptions,
    interrupt: &Interrupt,
    monitor: &dyn Monitor,
) -> Result<Done, EngineError> {
    let shard = tablet.shard()?;
    let name = BackupName::new(options.backup_time, tablet.alias()?.clone()).to_string();
    if tablet.is_at_rest() {
        return Err(EngineError::invalid(
            "xtrabackup copies from a running mysqld: files at rest are backed up by the builtin engine",
        ));
    }
    let journal = Journal::hold(&tablet.directory)?;
    recover::finish_earlier_backup(&journal, tablet, Some(storage), monitor).await?;
    monitor.step(Step::Checking);
    let server = tablet.server().await?;
    let checked = interrupt.race(check::check(tablet, &server, options, monitor)).await?;
    interrupt.race(store::make_way(storage, shard, &name, monitor)).await?;
    // The tablet needs nothing put back, from the beginning.
    let entry = Entry {
        backup: Some(NamedBackup { shard: shard.clone(), name: name.clone() }),
        ..Entry::new(Operation::Backup, jiff::Timestamp::now(), JournalStep::PutBack)
    };
    let handle = store::begin(storage, &journal, &entry).await?;
    let directory = below(&server.layout, "xtrabackup-backup");
    let run = Run { tablet, server, checked, options, handle, directory, monitor };
    let ended = AssertUnwindSafe(interrupt.race(run.carry_out())).catch_unwind().await;
    let ended = ended.unwrap_or(Err(EngineError::Panicked));
    let tidied = remove(&run.directory);
    match ended {
        Ok(mut done) => {
            done.warnings.extend(tidied.err().map(|error| format!("{error}; the next backup takes it away")));
            journal.remove()?;
            Ok(done)
        }
        Err(error) => {
            if store::discard(&run.handle, monitor).await
                && let Err(journal) = journal.remove()
            {
                monitor.note(&journal.to_string());
            }
            Err(error)
        }
    }
}

struct Run<'a> {
    tablet: &'a Tablet,
    server: Server,
    checked: Checked,
    options: &'a BackupOptions,
    handle: BackupHandle,
    /// What xtrabackup notes beside its stream.
    directory: PathBuf,
    monitor: &'a dyn Monitor,
}

impl Run<'_> {
    async fn carry_out(&self) -> Result<Done, EngineError> {
        let Self { tablet: _, server, checked, options, handle, directory, monitor } = self;
        // What a killed run left; its xtrabackup_info would tell a wrong position.
        remove(directory)?;
        let owner = if rustix::process::geteuid().is_root() { Some(server.layout.owner().await?) } else { None };
        make_directory(directory, owner)?;
        let part = self.part();
        let objects = names(&part, options.streamer.mode()).map_err(EngineError::InvalidArguments)?;
        monitor.step(Step::CopyingFiles);
        monitor.totals(checked.data_bytes, objects.len() as u64);
        let deal = Deal {
            handle,
            objects: &objects,
            block: usize::try_from(options.stripe_block_size).unwrap_or(usize::MAX),
            compression: &options.compression,
            limits: &options.limits,
            expected: checked.data_bytes,
            monitor: *monitor,
        };
        let mut heard = Heard::default();
        let invocation = options.streamer.backup(&server.layout, directory);
        let dealt = deal.carry_out(&invocation, |line| heard.hear(line)).await;
        let dealt = dealt.map_err(|error| diagnosis::told(error, What::Backup, directory))?;
        let position = position::find(directory, &heard, &checked.version)?;
        if options.verify == Verify::Hash {
            monitor.step(Step::Verifying);
            store::check_hashes(handle, &dealt.objects, &options.limits).await?;
        }
        let manifest = self.manifest(part, &position, &dealt)?;
        let stored_bytes = store::seal(handle, &manifest, &dealt.objects, *monitor).await?;
        Ok(Done {
            name: handle.name().to_owned(),
            manifest,
            stored_bytes,
            data_bytes: dealt.bytes,
            files: dealt.objects.len() as u64,
            downtime: None,
            how: None,
            replication: None,
            warnings: checked.warnings.clone(),
            not_carried: Vec::new(),
        })
    }

    /// What this engine adds to the MANIFEST.
    fn part(&self) -> Xtrabackup {
        let options = self.options;
        Xtrabackup {
            compression_engine: options.compression.codec().engine_name().to_owned(),
            file_name: options.file_name(),
            extra_command_line_params: options.flags.clone(),
            stream_mode: options.streamer.mode().to_string(),
            num_stripes: options.num_stripes(),
            stripe_block_size: i32::try_from(options.stripe_block_size).unwrap_or(i32::MAX),
            skip_compress: options.compression.skip_compress(),
            external_decompressor: options.manifest_external_decompressor.clone().unwrap_or_default(),
        }
    }

    fn manifest(&self, part: Xtrabackup, position: &Position, dealt: &Dealt) -> Result<Manifest, EngineError> {
        let Self { tablet, server: _, checked, options, handle, directory: _, monitor: _ } = self;
        let mut unknown = serde_json::Map::new();
        unknown.insert(DATA_BYTES.to_owned(), dealt.bytes.into());
        unknown.insert(STORED_OBJECTS.to_owned(), told(&dealt.objects));
        Ok(Manifest {
            backup_name: handle.name().to_owned(),
            backup_method: METHOD.to_owned(),
            position: position.to_string(),
            // As Vitess has it.
            purged_position: position.to_string(),
            from_position: String::new(),
            from_backup: String::new(),
            incremental: false,
            backup_time: Manifest::time_text(options.backup_time),
            finished_time: Manifest::time_text(jiff::Timestamp::now()),
            server_uuid: checked.server_uuid.clone(),
            tablet_alias: tablet.alias()?.to_string(),
            hostname: hostname(),
            keyspace: handle.directory().keyspace().to_owned(),
            shard: handle.directory().shard().to_owned(),
            mysql_version: checked.version.text().to_owned(),
            // Prepared data is as after a full shutdown.
            upgrade_safe: true,
            incremental_details: None,
            method: Method::Xtrabackup(part),
            unknown,
        })
    }
}
