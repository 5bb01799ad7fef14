//! The words of a Vitess backup: its name, its MANIFEST, how one is chosen, and what a run reports.

pub mod bytes;
pub mod choose;
pub mod diagnosis;
pub mod failure;
pub mod inventory;
pub mod manifest;
pub mod name;
pub mod report;
pub mod topology;
