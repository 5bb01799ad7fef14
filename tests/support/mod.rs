//! What integration tests share: real programs, and private tablets that go away by themselves.
//!
//! Tests run as root, because Vitess's programs refuse root and are run as `nobody`, each tablet in a process namespace of
//! its own as in a container. What is missing is built; what cannot be had is a failed test, never a skipped one.

// Every test binary uses a part of this.
#![allow(dead_code)]

pub mod container;
pub mod ground;
pub mod mysql;
pub mod vitess;
