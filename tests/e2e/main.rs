//! The main job, end to end, on real parts: Kubernetes, Vitess, MySQL. Each test is a scenario that a user could type.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // a test that cannot go on says so

mod ground;
#[path = "../support/matrix.rs"]
mod matrix;

mod backup;
// Its scenarios take one place one after the other: among the first by name, they are not left over at the end.
#[path = "xtrabackup.rs"]
mod backup_by_xtrabackup;
mod faults;
mod gitops;
mod healing;
mod install;
mod inventory;
mod lifecycle;
mod pod_start;
mod restore;
mod shard;
mod storage;
mod topology;
mod verify;
mod vitess;
