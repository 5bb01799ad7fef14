//! What the tables of `docs/storage.md` are made of. `tests/documentation.rs` holds the page to it.

/// Whom every case of `conformance` runs against, by their names in the table.
pub const SERVERS: [&str; 7] = [
    "files",
    "objects in memory",
    "S3: versitygw",
    "S3: s3s-fs",
    "Azure Blob: azurite",
    "GCS: s3s-fs",
    "Ceph: versitygw",
];
/// And these with `VBO_MATRIX=whole` (`make test-all`).
pub const MORE_SERVERS: [&str; 1] = ["Ceph: radosgw"];

/// The services that every fault is tried with: with one of them, drawn by `VBO_SEED`, or with `VBO_MATRIX=whole` with each.
pub const SERVICES: [&str; 3] = ["S3", "Azure Blob", "GCS"];

pub const SURVIVED: &str = "survived";

/// What happens, and how a run ends: it is survived, or the run fails for this reason. Each on each of [`SERVICES`].
pub const FAULTS: [(&str, &str); 22] = [
    ("each request meets a server error (500) once", SURVIVED),
    ("each request finds the service unavailable (503) once", SURVIVED),
    ("each request is throttled (429) once", SURVIVED),
    ("one request in five is never answered", SURVIVED),
    ("the answer to each request that stores or removes something is lost once", SURVIVED),
    ("the body of each range stops in the middle, and nothing more comes", SURVIVED),
    ("the connection ends in the middle of each range", SURVIVED),
    ("the connection is reset in the middle of each range", SURVIVED),
    ("each body is shorter than what was asked for", SURVIVED),
    ("every body comes slowly", SURVIVED),
    ("every request finds the service unavailable (503)", "StorageUnreachable"),
    ("no request is answered", "StorageUnreachable"),
    ("nobody listens", "StorageUnreachable"),
    ("every body breaks off at once", "StorageUnreachable"),
    ("every body is empty", "StorageUnreachable"),
    ("the object is replaced while it is read", "StorageUnreachable"),
    ("every request is refused (403)", "StorageDenied"),
    ("every request lacks credentials (401)", "StorageDenied"),
    ("the right to read is taken away in the middle (403)", "StorageDenied"),
    ("the right to store is taken away in the middle (403)", "StorageDenied"),
    ("the bucket or container does not exist", "StorageMisconfigured"),
    ("an object was cut short, or a bit of it flipped, while it was stored", "HashMismatch"),
];
