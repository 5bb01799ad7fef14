//! The main job, end to end, on real parts: Kubernetes, Vitess, MySQL. Each test is a scenario that a user could type.

mod ground;

mod backup;
mod healing;
mod restore;
mod vitess;
