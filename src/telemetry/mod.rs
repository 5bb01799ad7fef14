//! What the operator tells about itself: logs, metrics, and the endpoints that ask for them.

pub mod admin;
pub mod census;
pub mod logs;
pub mod metrics;
