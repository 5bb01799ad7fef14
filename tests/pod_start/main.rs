//! `vitess-backup restore --on-pod-start` as an init container runs it: before mysqlctld, as the tablet's user, with the
//! tablet's own flags. Real mysqld, real mysqlctld, real vttablet; backups that Vitess made, and ours.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's own functions may fail the test")]

#[path = "../engine_support/mod.rs"]
mod engine_support;
mod exit_codes;
mod planetscale;
mod pod;
#[path = "../support/mod.rs"]
mod support;
mod vitess;
