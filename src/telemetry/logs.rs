//! Logs to stderr, as JSON lines for a collector or as text for a person.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Text,
}

/// Sets the process's logging up. `filter` is a tracing filter such as `info` or `warn,vitess_backup=debug`.
///
/// # Errors
/// When the filter cannot be parsed, or logging was set up before.
pub fn start(filter: &str, format: Format) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(filter).map_err(|source| LogError::Filter { filter: filter.to_owned(), source })?;
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        Format::Json => {
            let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(io::stderr);
            registry.with(layer).try_init()?;
        }
        Format::Text => registry.with(tracing_subscriber::fmt::layer().with_writer(io::stderr)).try_init()?,
    }
    Ok(())
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("{filter:?} is not a log filter such as info or warn,vitess_backup=debug: {source}")]
    Filter { filter: String, source: tracing_subscriber::filter::ParseError },
    #[error("logging is set up already: {0}")]
    Twice(#[from] TryInitError),
}
