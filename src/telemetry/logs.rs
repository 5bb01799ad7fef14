//! Logs to stderr, as JSON lines for a collector or as text for a person.
//!
//! Each JSON line is one flat object: what was said, and besides it the fields of the spans around it. Whatever is logged
//! while an object is looked at has its `kind`, `namespace`, `object`, `keyspace`, `shard`, `tablet` and `backup`, so that
//! a query for a shard finds every line about it.

use std::fmt;
use std::io;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormattedFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
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
            registry.with(json(io::stderr)).try_init()?;
        }
        Format::Text => registry.with(tracing_subscriber::fmt::layer().with_writer(io::stderr)).try_init()?,
    }
    Ok(())
}

fn json<S, W>(writer: W) -> impl tracing_subscriber::Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer().fmt_fields(JsonFields::new()).event_format(Flat).with_writer(writer)
}

/// One flat JSON object a line.
struct Flat;

impl<S> FormatEvent<S, JsonFields> for Flat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Map::new();
        line.insert("timestamp".to_owned(), format!("{:.6}", Timestamp::now()).into());
        line.insert("level".to_owned(), event.metadata().level().as_str().into());
        line.insert("target".to_owned(), event.metadata().target().into());
        for span in context.event_scope().into_iter().flat_map(tracing_subscriber::registry::Scope::from_root) {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<JsonFields>>().map(|formatted| formatted.fields.as_str());
            if let Some(Ok(fields)) = fields.map(serde_json::from_str::<Map<String, Value>>) {
                line.extend(fields);
            }
        }
        event.record(&mut Fields(&mut line));
        writeln!(writer, "{}", Value::Object(line))
    }
}

/// Puts an event's fields on its line.
struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("{filter:?} is not a log filter such as info or warn,vitess_backup=debug: {source}")]
    Filter { filter: String, source: tracing_subscriber::filter::ParseError },
    #[error("logging is set up already: {0}")]
    Twice(#[from] TryInitError),
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::json;

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_json_line_has_the_fields_of_its_event_and_of_the_spans_around_it_at_the_top() {
        let page = Page::default();
        let writer = page.clone();
        let subscriber = tracing_subscriber::registry().with(json(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let absent: Option<&str> = None;
            let outer = tracing::error_span!("run", keyspace = "commerce", shard = "-80", backup = absent);
            let _outer = outer.enter();
            let _inner = tracing::error_span!("engine", job = "nightly").entered();
            tracing::warn!(tries = 3, error = %"it \"broke\"", "a run has failed");
            tracing::info!(shard = "80-", "its own field comes first");
        });
        let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let timestamp = lines[0]["timestamp"].take();
        assert!(timestamp.as_str().unwrap().parse::<Timestamp>().is_ok(), "{timestamp}");
        assert_eq!(
            lines[0],
            json!({
                "timestamp": null, "level": "WARN", "target": "vitess_backup::telemetry::logs::tests",
                "keyspace": "commerce", "shard": "-80", "job": "nightly",
                "message": "a run has failed", "tries": 3, "error": "it \"broke\"",
            })
        );
        assert_eq!((&lines[1]["shard"], &lines[1]["keyspace"]), (&json!("80-"), &json!("commerce")));
    }
}
