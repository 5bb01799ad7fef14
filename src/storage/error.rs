//! What can go wrong with storage: the verb, the thing, the cause.

use std::error::Error as StdError;
use std::io;

use crate::backup::failure::{Failure, Reason};

type Cause = Box<dyn StdError + Send + Sync + 'static>;

/// `what` names the thing in full: `object "3" of backup commerce/0/2024-… in file storage /backups`.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("cannot {verb} {what}: it does not exist")]
    NotFound { verb: &'static str, what: String },
    #[error("cannot begin {what}: something is already stored under that name")]
    Exists { what: String },
    #[error("cannot read {what}: it has {size} bytes, and at most {limit} are expected there")]
    TooLarge { what: String, size: u64, limit: u64 },
    /// The body ended early or went on for longer than its size.
    #[error("cannot read {what} to its end: {received} bytes came, {size} are stored")]
    WrongLength { what: String, received: u64, size: u64 },
    #[error("cannot {verb} {what}: {kind} name {name:?} is empty, '.' or '..', or has a '/' or a control character")]
    Name { verb: &'static str, what: String, kind: &'static str, name: String },
    #[error("cannot use {what}: {problem}")]
    Misconfigured { what: String, problem: String },
    #[error("cannot {verb} {what}: storage denies it: {source}")]
    Denied { verb: &'static str, what: String, source: Cause },
    #[error("cannot {verb} {what}: storage is full: {source}")]
    Full { verb: &'static str, what: String, source: Cause },
    #[error("cannot {verb} {what}: {source}")]
    Failed { verb: &'static str, what: String, source: Cause },
}

/// Why a stream could not be stored; nothing is visible under the object's name.
#[derive(Debug, thiserror::Error)]
pub enum PutError<E> {
    /// The stream itself failed.
    #[error("{0}")]
    Body(E),
    #[error(transparent)]
    Storage(StorageError),
}

impl StorageError {
    /// Sorts an error of `object_store` by what a user can do about it.
    pub(super) fn of(verb: &'static str, what: String, source: object_store::Error) -> Self {
        use object_store::Error as Store;
        match source {
            source if is_no_bucket(&source) => {
                let problem = "its bucket or container does not exist".to_owned();
                Self::Misconfigured { what, problem }
            }
            Store::NotFound { .. } => Self::NotFound { verb, what },
            source if is_denied(&source) => Self::Denied { verb, what, source: source.into() },
            source => match io_kind(&source) {
                Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                    Self::Full { verb, what, source: source.into() }
                }
                _ => Self::Failed { verb, what, source: source.into() },
            },
        }
    }

    /// What the user is told.
    pub fn failure(&self) -> Failure {
        let (reason, remedy) = match self {
            Self::NotFound { .. } => (
                Reason::ObjectMissing,
                "Check with `vitess-backup list` and `vitess-backup verify` which backups are whole, and use one of those.",
            ),
            Self::Exists { .. } => (
                Reason::BackupExists,
                "Run the backup again: its name comes from the time in seconds. Or remove the backup of that name first.",
            ),
            Self::TooLarge { .. } => (
                Reason::ManifestUnreadable,
                "Check what is stored under that name; it was not written by Vitess or by this program.",
            ),
            Self::WrongLength { .. } => (
                Reason::StorageUnreachable,
                "Run it again; if it comes back, check with `vitess-backup verify` whether the stored object is damaged.",
            ),
            Self::Name { .. } => (Reason::InvalidArguments, "Use a name as `vitess-backup list` shows it."),
            Self::Misconfigured { .. } => (
                Reason::StorageMisconfigured,
                "Check what names the storage: for files that the volume is mounted and --file-backup-storage-root is the \
                 directory meant; else bucket or container, endpoint, root and the files of credentials.",
            ),
            Self::Denied { .. } => (
                Reason::StorageDenied,
                "Give the engine access to it: for files the user it runs as (the tablet's user and fsGroup), else the \
                 credentials or the service account it has; docs/storage.md says which rights a service asks for.",
            ),
            Self::Full { .. } => (
                Reason::NoSpace,
                "Make the volume larger, or remove old backups with `vitess-backup remove`; then run it again.",
            ),
            Self::Failed { .. } => (
                Reason::StorageUnreachable,
                "Check that the storage answers (volume mounted, server running, endpoint and certificate right), then run \
                 it again.",
            ),
        };
        Failure { reason, message: self.to_string(), remedy: remedy.to_owned() }
    }
}

/// What services say of a bucket or a container that is not there.
const NO_BUCKET: [&str; 3] = ["NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist"];
/// What `object_store` says of a listing that is refused and of one object of several that may not be removed, what S3 says of
/// credentials without a 403, and where the last of all credentials are looked for: in the metadata of a cloud's machine,
/// which this one is not.
const DENIED: [&str; 10] = [
    "status code: 401",
    "status code: 403",
    "(code: AccessDenied)",
    "(code: 401)",
    "(code: 403)",
    "<Code>ExpiredToken",
    "<Code>InvalidToken",
    "<Code>AuthorizationHeaderMalformed",
    "http://169.254.169.254",
    "http://metadata.google.internal",
];

/// Whether it is the bucket that is missing and not the object. A listing's is no `NotFound` of `object_store`'s.
pub(super) fn is_no_bucket(error: &object_store::Error) -> bool {
    use object_store::Error as Store;
    matches!(error, Store::NotFound { .. } | Store::Generic { .. }) && says(error, &NO_BUCKET)
}

/// Whether storage is there and refuses.
pub(super) fn is_denied(error: &object_store::Error) -> bool {
    use object_store::Error as Store;
    matches!(error, Store::PermissionDenied { .. } | Store::Unauthenticated { .. })
        || matches!(io_kind(error), Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem))
        || says(error, &DENIED)
}

/// Whether an object that was to be removed is not there: some servers say so of one of several.
pub(super) fn is_gone(error: &object_store::Error) -> bool {
    let is_object = || !is_no_bucket(error);
    (matches!(error, object_store::Error::NotFound { .. }) && is_object()) || says(error, &["(code: NoSuchKey)"])
}

/// Whether the service did not answer at all, or said that it is in trouble, often enough.
pub(super) fn is_unreachable(error: &object_store::Error) -> bool {
    says(error, &["HTTP error: ", "status code: 5", "status code: 429", "status code: 408"])
}

fn says(error: &(dyn StdError + 'static), words: &[&str]) -> bool {
    let text = error.to_string();
    words.iter().any(|word| text.contains(word))
}

/// The kind of the first `io::Error` among the causes.
fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        next = cause.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_object_of_several_that_may_not_be_removed_is_denied() {
        let failed = |code: &str| {
            let source = format!("DeleteObjects request failed for key a: no (code: {code})").into();
            object_store::Error::Generic { store: "S3", source }
        };
        let reason = |code: &str| StorageError::of("remove", "a backup".to_owned(), failed(code)).failure().reason;
        assert_eq!([reason("AccessDenied"), reason("403")], [Reason::StorageDenied; 2]);
        assert_eq!(reason("InternalError"), Reason::StorageUnreachable);
        assert!(is_gone(&failed("NoSuchKey")) && !is_gone(&failed("SlowDown")));
    }

    #[test]
    fn the_cause_decides_what_the_user_is_told() {
        let failure = |kind: io::ErrorKind| {
            let source =
                object_store::Error::Generic { store: "file storage", source: Box::new(io::Error::from(kind)) };
            StorageError::of("store", "object \"0\" of a backup".to_owned(), source).failure()
        };
        assert_eq!(failure(io::ErrorKind::StorageFull).reason, Reason::NoSpace);
        assert_eq!(failure(io::ErrorKind::QuotaExceeded).reason, Reason::NoSpace);
        assert_eq!(failure(io::ErrorKind::ReadOnlyFilesystem).reason, Reason::StorageDenied);
        assert_eq!(failure(io::ErrorKind::TimedOut).reason, Reason::StorageUnreachable);
        let full = failure(io::ErrorKind::StorageFull);
        assert!(
            full.message.starts_with("cannot store object \"0\" of a backup: storage is full: "),
            "{}",
            full.message
        );
        assert!(full.remedy.contains("vitess-backup remove"));
    }
}
