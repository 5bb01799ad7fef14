//! Pure builders: from a validated value to a Kubernetes object, or to the command line of an engine pod.
//!
//! Nothing here talks to the API server, reads the clock or draws a random number.

pub mod attach;
pub mod command;
pub mod drill;
pub mod flags;
pub mod job;
pub mod names;
pub mod pod;
pub mod pod_start;
pub mod rbac;
pub mod record;
pub mod settings;
pub mod storage;
pub mod tablet;
pub mod topology;
