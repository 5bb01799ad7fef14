//! Report lines on stdout, human lines on stderr, and the termination message.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use crate::backup::report::{Line, Outcome, ProgressLine};
use crate::cli::arguments::ReportFormat;
use crate::cli::progress_bar;
use crate::engine::kill_point;
use crate::progress::{Monitor, Progress, Step};

/// How often progress is told at most.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// Over how many intervals the rate is taken.
const WINDOW: usize = 10;

/// What a run is about: in each of its lines, under the names that the operator's own logs have, so that one query finds
/// both. What is unknown is absent.
#[derive(Clone, Debug, Default, Serialize)]
pub struct About {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyspace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tablet: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
}

/// A line with what it is about. Listed backups say that themselves. The operator reads an outcome's own `shard`, which is
/// `<keyspace>/<shard>`, so that one stays.
fn with_about(line: &Line, about: &About) -> serde_json::Result<Value> {
    let mut value = serde_json::to_value(line)?;
    if let Line::Step { .. } | Line::Progress(_) | Line::Note { .. } | Line::Outcome(_) = line
        && let (Value::Object(fields), Value::Object(mut more)) = (&mut value, serde_json::to_value(about)?)
    {
        if matches!(line, Line::Outcome(_)) {
            more.remove("shard");
        }
        fields.extend(more);
    }
    Ok(value)
}

/// Writes one line to stdout and gives its length in bytes.
pub fn print(line: &Line) -> u64 {
    write(serde_json::to_value(line))
}

/// A reader that went away is no failure of the run.
fn write(line: serde_json::Result<Value>) -> u64 {
    let Ok(line) = line else { return 0 };
    let text = format!("{line}\n");
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    text.len() as u64
}

/// Leaves the outcome where the kubelet looks for it. A path that cannot be written is worth a log line and no more: the
/// outcome is on stdout too.
pub fn leave_termination_message(path: &Path, outcome: &Outcome) {
    if let Err(error) = std::fs::write(path, outcome.termination_message()) {
        tracing::warn!("cannot write the outcome to {}: {error}", path.display());
    }
}

/// Counts what the engine tells, and tells it on at most once an interval.
pub struct Reporter {
    format: ReportFormat,
    about: About,
    /// Progress goes to a bar on a terminal.
    bar: bool,
    bytes_done: AtomicU64,
    bytes_total: AtomicU64,
    stored_bytes: AtomicU64,
    files_done: AtomicU64,
    files_total: AtomicU64,
    state: Mutex<State>,
}

struct State {
    step: Step,
    told: Option<Progress>,
    /// When, and how many bytes were done then; oldest first.
    samples: Vec<(Instant, u64)>,
}

impl Reporter {
    pub fn new(format: ReportFormat, about: About) -> Self {
        Self {
            format,
            about,
            bar: format == ReportFormat::None && progress_bar::begin(),
            bytes_done: AtomicU64::new(0),
            bytes_total: AtomicU64::new(0),
            stored_bytes: AtomicU64::new(0),
            files_done: AtomicU64::new(0),
            files_total: AtomicU64::new(0),
            state: Mutex::new(State { step: Step::Checking, told: None, samples: Vec::new() }),
        }
    }

    /// The step that the run is at.
    pub fn step_now(&self) -> Step {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).step
    }

    fn progress(&self) -> Progress {
        Progress {
            bytes_done: self.bytes_done.load(Ordering::Relaxed),
            bytes_total: self.bytes_total.load(Ordering::Relaxed),
            stored_bytes: self.stored_bytes.load(Ordering::Relaxed),
            files_done: self.files_done.load(Ordering::Relaxed),
            files_total: self.files_total.load(Ordering::Relaxed),
        }
    }

    /// Tells the progress if it changed since it was last told. Called once an interval.
    pub fn tick(&self, now: Instant, time: jiff::Timestamp) {
        let progress = self.progress();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.samples.len() > WINDOW {
            state.samples.remove(0);
        }
        state.samples.push((now, progress.bytes_done));
        if state.told.as_ref() == Some(&progress) || progress == Progress::default() {
            return;
        }
        let line = ProgressLine {
            time,
            step: state.step,
            bytes_per_second: rate(&state.samples),
            eta_seconds: eta(&progress, rate(&state.samples)),
            progress: progress.clone(),
        };
        state.told = Some(progress);
        drop(state);
        self.tell(&Line::Progress(line));
    }

    fn tell(&self, line: &Line) {
        if self.format == ReportFormat::Json {
            write(with_about(line, &self.about));
            return;
        }
        match line {
            Line::Step { step, .. } => tracing::info!("{step:?}"),
            Line::Note { text, .. } => tracing::info!("{text}"),
            Line::Progress(line) if self.bar => progress_bar::show(line),
            Line::Progress(line) => tracing::info!("{}", progress_bar::words(line)),
            Line::Backup(_)
            | Line::TopologyBackup(_)
            | Line::Found(_)
            | Line::Bucket(_)
            | Line::Shard(_)
            | Line::Outcome(_) => {}
        }
    }

    /// The last word. With `--report none` the caller tells a person instead.
    pub fn outcome(&self, outcome: &Outcome) {
        self.tick(Instant::now(), outcome.finished_time);
        progress_bar::end();
        self.tell(&Line::Outcome(Box::new(outcome.clone())));
    }
}

/// Bytes a second over the samples.
fn rate(samples: &[(Instant, u64)]) -> u64 {
    let (Some((from, first)), Some((to, last))) = (samples.first(), samples.last()) else { return 0 };
    let milliseconds = to.duration_since(*from).as_millis();
    let bytes = u128::from(last.saturating_sub(*first));
    (bytes * 1000).checked_div(milliseconds).map_or(0, |rate| u64::try_from(rate).unwrap_or(u64::MAX))
}

fn eta(progress: &Progress, rate: u64) -> Option<u64> {
    if progress.bytes_total == 0 || rate == 0 {
        return None;
    }
    Some(progress.bytes_total.saturating_sub(progress.bytes_done).div_ceil(rate))
}

/// `1.5 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = 0;
    let mut scale: u64 = 1;
    while unit + 1 < UNITS.len() && count / scale >= 1024 {
        scale *= 1024;
        unit += 1;
    }
    if unit == 0 {
        return format!("{count} B");
    }
    let tenths = u128::from(count) * 10 / u128::from(scale);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

impl Monitor for Reporter {
    fn step(&self, step: Step) {
        kill_point::step_begins();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.step = step;
        if step == Step::CheckingTables {
            // What was restored is done; now tables are counted.
            for count in [&self.bytes_done, &self.bytes_total, &self.files_done, &self.files_total] {
                count.store(0, Ordering::Relaxed);
            }
        }
        // A rate is of one step: the wait before it says nothing.
        state.samples = vec![(Instant::now(), self.bytes_done.load(Ordering::Relaxed))];
        drop(state);
        self.tell(&Line::Step { time: jiff::Timestamp::now(), step });
    }

    fn totals(&self, bytes: u64, files: u64) {
        self.bytes_total.store(bytes, Ordering::Relaxed);
        self.files_total.store(files, Ordering::Relaxed);
    }

    fn advanced(&self, bytes: u64, stored: u64) {
        kill_point::copied(bytes);
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        self.stored_bytes.fetch_add(stored, Ordering::Relaxed);
    }

    fn file_done(&self) {
        self.files_done.fetch_add(1, Ordering::Relaxed);
    }

    fn note(&self, text: &str) {
        self.tell(&Line::Note { time: jiff::Timestamp::now(), text: text.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_for_people() {
        let written: Vec<String> = [0, 1023, 1024, 1536, 10 * 1024 * 1024, u64::MAX].map(bytes).into();
        assert_eq!(written, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "10.0 MiB", "16383.9 PiB"]);
    }

    #[test]
    fn each_line_says_what_it_is_about_and_is_read_as_before() {
        let about = About { keyspace: Some("commerce".into()), shard: Some("-80".into()), ..About::default() };
        let time = jiff::Timestamp::UNIX_EPOCH;
        let progress = ProgressLine {
            time,
            step: Step::CopyingFiles,
            progress: Progress::default(),
            bytes_per_second: 1,
            eta_seconds: None,
        };
        let note = Line::Note { time, text: "so it is".into() };
        for line in [Line::Step { time, step: Step::Checking }, Line::Progress(progress), note] {
            let written = with_about(&line, &about).unwrap();
            assert_eq!((&written["keyspace"], &written["shard"]), (&"commerce".into(), &"-80".into()), "{written}");
            assert_eq!(written.get("tablet"), None);
            assert_eq!(serde_json::from_value::<Line>(written).unwrap(), line);
        }
        let begun = Outcome::begun(crate::backup::report::Operation::Backup, time);
        for shard in [None, Some("commerce/-80".to_owned())] {
            let outcome = Line::Outcome(Box::new(Outcome { shard: shard.clone(), ..begun.clone() }));
            let written = with_about(&outcome, &about).unwrap();
            assert_eq!(written["keyspace"], "commerce", "{written}");
            assert_eq!(written.get("shard").and_then(Value::as_str), shard.as_deref(), "{written}");
            assert_eq!(serde_json::from_value::<Line>(written).unwrap(), outcome);
        }
    }

    #[test]
    fn the_rate_is_taken_over_the_window_and_the_estimate_from_it() {
        let start = Instant::now();
        let samples = [(start, 100), (start + Duration::from_secs(1), 150), (start + Duration::from_secs(4), 500)];
        assert_eq!(rate(&samples), 100);
        let progress = Progress { bytes_done: 500, bytes_total: 1050, ..Progress::default() };
        assert_eq!(eta(&progress, 100), Some(6));
        assert_eq!(eta(&progress, 0), None);
        assert_eq!(eta(&Progress::default(), 100), None);
        assert_eq!(rate(&samples[..1]), 0);
    }
}
