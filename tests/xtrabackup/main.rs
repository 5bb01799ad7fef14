//! The xtrabackup engine over a real MariaDB with real mariabackup and mbstream: backups that Vitess made, restored by us,
//! and our own; and each of its errors, from a real part wherever one makes it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's own functions may fail the test")]

mod backing_up;
#[path = "../engine_support/mod.rs"]
mod engine_support;
mod errors;
mod memory;
mod restoring;
#[path = "../support/mod.rs"]
mod support;
mod tablet;
mod vitess;
