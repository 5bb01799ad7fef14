//! What `backup` and `restore` take for the xtrabackup engine.

use std::path::PathBuf;

use clap::Args;

use crate::engine::EngineError;
use crate::engine::xtrabackup::{StreamMode, Streamer, XtrabackupOptions};

/// For `--backup-engine-implementation xtrabackup`.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "The xtrabackup engine")]
pub struct BackingUpArguments {
    /// The MySQL user that it logs in as, through the socket and without a password
    #[arg(long = "xtrabackup-user", value_name = "USER", default_value = "")]
    pub user: String,
    /// The directory that has xtrabackup [default: PATH]
    #[arg(long = "xtrabackup-root-path", value_name = "DIR")]
    pub root_path: Option<PathBuf>,
    /// How the stream is written: xbstream, or tar, which XtraBackup 2.4 alone can
    #[arg(long = "xtrabackup-stream-mode", value_name = "MODE", default_value = "xbstream")]
    pub stream_mode: StreamMode,
    /// More arguments for xtrabackup --backup, split as a shell would
    #[arg(long = "xtrabackup-backup-flags", value_name = "FLAGS", default_value = "", allow_hyphen_values = true)]
    pub backup_flags: String,
    /// How many objects to deal the stream to; 0 or 1: one, as it is
    #[arg(long = "xtrabackup-stripes", value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub stripes: u16,
    /// In blocks of how many bytes it is dealt
    #[arg(long = "xtrabackup-stripe-block-size", value_name = "BYTES", default_value_t = 102_400, value_parser = clap::value_parser!(u32).range(1024..=i64::from(i32::MAX)))]
    pub stripe_block_size: u32,
    /// How many files xtrabackup reads at a time (its --parallel, unless that is among the flags) [default: its own, 1]
    #[arg(long = "xtrabackup-parallel", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub parallel: Option<u16>,
}

impl BackingUpArguments {
    /// The program, found, with what it is to be told.
    ///
    /// # Errors
    /// `XtrabackupUserMissing`, `XtrabackupNotFound`, `InvalidArguments`.
    pub fn streamer(&self) -> Result<Streamer, EngineError> {
        let Self { user, root_path, stream_mode, backup_flags, parallel, stripes: _, stripe_block_size: _ } = self;
        if user.is_empty() {
            return Err(EngineError::XtrabackupUserMissing);
        }
        let flags = XtrabackupOptions::words("--xtrabackup-backup-flags", backup_flags)?;
        if let Some(flag) = flags.iter().find(|flag| flag.starts_with("--incremental")) {
            return Err(EngineError::InvalidArguments(format!(
                "--xtrabackup-backup-flags: {flag}: Vitess's xtrabackup engine makes full backups only"
            )));
        }
        Streamer::find(root_path.as_deref(), user, *stream_mode, *parallel, &flags)
    }
}

/// For backups that Vitess's xtrabackup engine made; which engine made a backup says its MANIFEST.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Backups of the xtrabackup engine")]
pub struct RestoringArguments {
    /// The directory that has xtrabackup and xbstream [default: PATH]
    #[arg(long, value_name = "DIR")]
    pub xtrabackup_root_path: Option<PathBuf>,
    /// How the stream was written, for backups whose MANIFEST does not say (Vitess before 5)
    #[arg(long, value_name = "MODE", default_value = "xbstream")]
    pub xtrabackup_stream_mode: StreamMode,
    /// More arguments for xtrabackup --prepare, split as a shell would
    #[arg(long, value_name = "FLAGS", default_value = "", allow_hyphen_values = true)]
    pub xtrabackup_prepare_flags: String,
    /// More arguments for xbstream -x, split as a shell would: --decompress where xtrabackup itself compressed
    #[arg(long, value_name = "FLAGS", default_value = "", allow_hyphen_values = true)]
    pub xbstream_restore_flags: String,
}

impl RestoringArguments {
    pub fn options(&self) -> Result<XtrabackupOptions, EngineError> {
        let Self { xtrabackup_root_path, xtrabackup_stream_mode, xtrabackup_prepare_flags, xbstream_restore_flags } =
            self;
        Ok(XtrabackupOptions {
            root_path: xtrabackup_root_path.clone(),
            stream_mode: *xtrabackup_stream_mode,
            prepare_flags: XtrabackupOptions::words("--xtrabackup-prepare-flags", xtrabackup_prepare_flags)?,
            xbstream_flags: XtrabackupOptions::words("--xbstream-restore-flags", xbstream_restore_flags)?,
        })
    }
}
