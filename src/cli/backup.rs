//! `vitess-backup backup`.

use async_trait::async_trait;
use clap::{ArgAction, Args, ValueEnum};

use crate::backup::name::BackupName;
use crate::backup::report::{Operation, Outcome};
use crate::cli::arguments::{LimitArguments, OutputArguments, OutputFormat, RunArguments, TabletArguments};
use crate::cli::report::About;
use crate::cli::run::EngineCommand;
use crate::cli::storage::StorageArguments;
use crate::cli::xtrabackup::BackingUpArguments;
use crate::codec::{Codec, CodecError, Compression};
use crate::duration::GoDuration;
use crate::engine::builtin::{self, BackupOptions, CopyChoice, Verify};
use crate::engine::xtrabackup;
use crate::engine::{EngineError, Interrupt, Vtctld};
use crate::progress::Monitor;
use crate::topo::TabletAlias;

const LONG_ABOUT: &str = "\
Back up a tablet, as Vitess's own `Backup` does and in its format.

The builtin engine stops replication and mysqld, copies the files, and puts everything back as it was, whatever happens in
between. A journal in the tablet's directory survives the end of this process: `vitess-backup recover` then puts the tablet
back, and so does the next backup. The xtrabackup engine copies from the running mysqld, which goes on serving. Either way the
backup counts only when its MANIFEST is there, which is written last.";

const EXAMPLE: &str = "\
Examples:
  vitess-backup backup zone1-0000000101 --keyspace commerce --shard 0 --tablet-dir /vt/vt_0000000101 --backup-storage-implementation file --file-backup-storage-root /backups
  vitess-backup backup zone1-0000000101 --keyspace commerce --shard 0 --tablet-dir /vt/vt_0000000101 --backup-engine-implementation xtrabackup --xtrabackup-user xtrabackup --xtrabackup-stripes 4 --backup-storage-implementation file --file-backup-storage-root /backups";

/// Back up a tablet
#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT, after_long_help = EXAMPLE)]
pub struct BackupArguments {
    /// The tablet: zone1-0000000101
    pub tablet_alias: TabletAlias,
    #[command(flatten)]
    pub tablet: TabletArguments,
    #[command(flatten)]
    pub storage: StorageArguments,
    /// The engine that reads the tablet's data
    #[arg(long, value_enum, value_name = "ENGINE", default_value_t = EngineArgument::Builtin)]
    pub backup_engine_implementation: EngineArgument,
    /// How many files to copy at a time (builtin engine)
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: u16,
    #[command(flatten)]
    pub limits: LimitArguments,
    /// How mysqld's files are copied: cloned first, so that mysqld is down for seconds (XFS with reflink, Btrfs), in place
    /// with mysqld down until all is stored, or cloned where that is possible
    #[arg(long, value_enum, value_name = "MODE", default_value_t = CopyModeArgument::Auto)]
    pub copy_mode: CopyModeArgument,
    /// What to read back: every object's size, or also every object's bytes, before the MANIFEST is written
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = VerifyArgument::Size)]
    pub verify: VerifyArgument,
    #[command(flatten)]
    pub compression: CompressionArguments,
    /// Go on although the tablet is a primary: with the builtin engine its shard cannot be written to meanwhile
    #[arg(long)]
    pub allow_primary: bool,
    /// How far behind its source the tablet may be (30s, 5m); 0: as far as it likes
    #[arg(long, value_name = "DURATION", default_value = "0")]
    pub max_replication_lag: GoDuration,
    /// Shut mysqld down with innodb_fast_shutdown=0, so that a newer MySQL may start on the backup
    #[arg(long)]
    pub upgrade_safe: bool,
    #[command(flatten)]
    pub xtrabackup: BackingUpArguments,
    /// Go on although some files cannot be carried by Vitess's format
    #[arg(long)]
    pub allow_incomplete: bool,
    /// Have this vtctld set the tablet's type to BACKUP meanwhile, so that VTOrc and vtgate leave it alone
    #[arg(long, value_name = "HOST:PORT")]
    pub vtctld_server: Option<String>,
    /// The time in the backup's name [default: now]; a run launched again with the same time replaces what the first left behind
    #[arg(long, value_name = "RFC3339")]
    pub backup_time: Option<jiff::Timestamp>,
    #[command(flatten)]
    pub output: OutputArguments,
    #[command(flatten)]
    pub run: RunArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EngineArgument {
    Builtin,
    Xtrabackup,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CopyModeArgument {
    Auto,
    Clone,
    InPlace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VerifyArgument {
    Size,
    Hash,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Compression")]
pub struct CompressionArguments {
    /// Compress what is stored
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub backup_storage_compress: bool,
    /// pargzip, pgzip, zstd, lz4 or external
    #[arg(long, value_name = "NAME", default_value = "pargzip")]
    pub compression_engine_name: String,
    /// As the codec understands it
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true)]
    pub compression_level: i32,
    /// The command that compresses stdin to stdout, for the engine external
    #[arg(long, value_name = "COMMAND")]
    pub external_compressor: Option<String>,
    /// How the objects of an xtrabackup backup end that an external compressor made (.xz) [default: as the engine named]
    #[arg(long, value_name = "SUFFIX")]
    pub external_compressor_extension: Option<String>,
    /// The command that a reader shall use, written to the MANIFEST
    #[arg(long, value_name = "COMMAND")]
    pub manifest_external_decompressor: Option<String>,
}

impl CompressionArguments {
    fn compression(&self) -> Result<Compression, EngineError> {
        if !self.backup_storage_compress {
            return Ok(Compression::none());
        }
        let named: Codec = match self.compression_engine_name.as_str() {
            // Vitess has no engine of that name: there it is --backup-storage-compress=false.
            "none" => {
                return Err(EngineError::invalid(
                    "--compression-engine-name none: use --backup-storage-compress=false",
                ));
            }
            name => name.parse().map_err(|error: CodecError| EngineError::invalid(&error.to_string()))?,
        };
        let compression = match &self.external_compressor {
            Some(command) => Compression::external(named, command),
            None => Compression::new(named, self.compression_level),
        };
        compression.map_err(|error| EngineError::invalid(&error.to_string()))
    }
}

#[async_trait(?Send)]
impl EngineCommand for BackupArguments {
    fn run_arguments(&self) -> &RunArguments {
        &self.run
    }

    fn output(&self) -> Option<OutputFormat> {
        Some(self.output.output)
    }

    fn operation(&self) -> Operation {
        Operation::Backup
    }

    fn about(&self) -> About {
        let backup = self.backup_time.map(|time| BackupName::new(time, self.tablet_alias.clone()).to_string());
        About {
            keyspace: Some(self.tablet.keyspace.clone()),
            shard: Some(self.tablet.shard.clone()),
            tablet: Some(self.tablet_alias.to_string()),
            backup,
        }
    }

    async fn execute(
        &self,
        outcome: &mut Outcome,
        interrupt: &Interrupt,
        monitor: &dyn Monitor,
    ) -> Result<(), EngineError> {
        let mut tablet = self.tablet.tablet()?;
        tablet.alias = Some(self.tablet_alias.clone());
        outcome.shard = tablet.shard.as_ref().map(ToString::to_string);
        outcome.tablet_alias = Some(self.tablet_alias.to_string());
        let backup_time = self.backup_time.unwrap_or(outcome.start_time);
        let done = match self.backup_engine_implementation {
            EngineArgument::Builtin => {
                let options = self.builtin(backup_time)?;
                builtin::backup(&tablet, &self.storage.open()?, &options, interrupt, monitor).await?
            }
            EngineArgument::Xtrabackup => {
                let options = self.xtrabackup(backup_time)?;
                xtrabackup::backup(&tablet, &self.storage.open()?, &options, interrupt, monitor).await?
            }
        };
        done.fill(outcome);
        Ok(())
    }
}

impl BackupArguments {
    fn builtin(&self, backup_time: jiff::Timestamp) -> Result<BackupOptions, EngineError> {
        Ok(BackupOptions {
            allow_primary: self.allow_primary,
            max_lag: self.max_lag(),
            upgrade_safe: self.upgrade_safe,
            allow_incomplete: self.allow_incomplete,
            copy_mode: match self.copy_mode {
                CopyModeArgument::Auto => CopyChoice::Auto,
                CopyModeArgument::Clone => CopyChoice::Clone,
                CopyModeArgument::InPlace => CopyChoice::InPlace,
            },
            limits: self.limits.limits(self.concurrency),
            verify: self.verify(),
            compression: self.compression.compression()?,
            manifest_external_decompressor: self.compression.manifest_external_decompressor.clone(),
            vtctld: self.vtctld_server.clone().map(|server| Vtctld { server, alias: self.tablet_alias.clone() }),
            backup_time,
        })
    }

    fn xtrabackup(&self, backup_time: jiff::Timestamp) -> Result<xtrabackup::BackupOptions, EngineError> {
        for (given, flag) in [
            (self.upgrade_safe, "--upgrade-safe"),
            (self.allow_incomplete, "--allow-incomplete"),
            (self.copy_mode != CopyModeArgument::Auto, "--copy-mode"),
            (self.vtctld_server.is_some(), "--vtctld-server"),
        ] {
            if given {
                return Err(EngineError::InvalidArguments(format!(
                    "{flag} means nothing to the xtrabackup engine, which leaves mysqld and the tablet as they are"
                )));
            }
        }
        let BackingUpArguments { backup_flags, stripes, stripe_block_size, .. } = &self.xtrabackup;
        Ok(xtrabackup::BackupOptions {
            streamer: self.xtrabackup.streamer()?,
            flags: backup_flags.clone(),
            stripes: *stripes,
            stripe_block_size: *stripe_block_size,
            allow_primary: self.allow_primary,
            max_lag: self.max_lag(),
            limits: self.limits.limits(self.concurrency),
            compression: self.compression.compression()?,
            external_extension: self.compression.external_compressor_extension.clone(),
            verify: self.verify(),
            manifest_external_decompressor: self.compression.manifest_external_decompressor.clone(),
            backup_time,
        })
    }

    fn max_lag(&self) -> Option<std::time::Duration> {
        Some(self.max_replication_lag.0).filter(|lag| !lag.is_zero())
    }

    fn verify(&self) -> Verify {
        match self.verify {
            VerifyArgument::Size => Verify::Size,
            VerifyArgument::Hash => Verify::Hash,
        }
    }
}
