//! STORAGE: where backups live, in Vitess's own flags.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::engine::EngineError;
use crate::storage::{BackupStorage, Location};

#[derive(Clone, Debug, Args)]
pub struct StorageArguments {
    /// The storage service
    #[arg(long, value_enum, value_name = "SERVICE", help_heading = "Storage")]
    pub backup_storage_implementation: Option<StorageService>,
    /// The directory that holds <keyspace>/<shard>/<backup name>/
    #[arg(long, value_name = "DIR", help_heading = "Storage")]
    pub file_backup_storage_root: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StorageService {
    File,
}

impl StorageArguments {
    /// True when no storage flag was given.
    pub fn is_absent(&self) -> bool {
        let Self { backup_storage_implementation, file_backup_storage_root } = self;
        backup_storage_implementation.is_none() && file_backup_storage_root.is_none()
    }

    pub fn location(&self) -> Result<Location, EngineError> {
        let Some(service) = self.backup_storage_implementation else {
            return Err(EngineError::invalid(
                "--backup-storage-implementation is missing; say which storage service (file)",
            ));
        };
        match service {
            StorageService::File => match &self.file_backup_storage_root {
                Some(root) => Ok(Location::File { root: root.clone() }),
                None => Err(EngineError::invalid(
                    "--file-backup-storage-root is missing; say which directory holds the backups",
                )),
            },
        }
    }

    pub fn open(&self) -> Result<BackupStorage, EngineError> {
        Ok(BackupStorage::open(&self.location()?)?)
    }
}
