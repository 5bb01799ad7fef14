//! Progress for a person at a terminal: one bar below the log lines, drawn anew at most once a second.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::backup::report::ProgressLine;
use crate::cli::report;

/// The process's only one: log lines must go around it.
static BAR: OnceLock<ProgressBar> = OnceLock::new();

/// Shows it on stderr where that is a terminal; gives whether it is.
pub fn begin() -> bool {
    if !io::stderr().is_terminal() {
        return false;
    }
    BAR.get_or_init(|| {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        ProgressStyle::with_template("{bar:30} {msg}")
            .map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style))
    });
    true
}

pub fn show(line: &ProgressLine) {
    if let Some(bar) = BAR.get() {
        bar.set_length(line.progress.bytes_total);
        bar.set_position(line.progress.bytes_done);
        bar.set_message(words(line));
    }
}

pub fn end() {
    if let Some(bar) = BAR.get() {
        bar.finish_and_clear();
    }
}

/// `CopyingFiles 42 %, 12.6 MiB of 30.0 MiB, 3 of 180 files, 4.2 MiB/s, 5 s to go`
pub fn words(line: &ProgressLine) -> String {
    let ProgressLine { progress, bytes_per_second, eta_seconds, step, time: _ } = line;
    let percent = match progress.bytes_total {
        0 => String::new(),
        total => format!(" {} %", u128::from(progress.bytes_done) * 100 / u128::from(total)),
    };
    let eta = eta_seconds.map_or_else(String::new, |seconds| format!(", {seconds} s to go"));
    format!(
        "{step:?}{percent}, {} of {}, {} of {} files, {}/s{eta}",
        report::bytes(progress.bytes_done),
        report::bytes(progress.bytes_total),
        progress.files_done,
        progress.files_total,
        report::bytes(*bytes_per_second)
    )
}

/// Where log lines go: stderr, around the bar when there is one.
pub struct Log;

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match BAR.get() {
            Some(bar) => bar.suspend(|| io::stderr().write(text)),
            None => io::stderr().write(text),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::{Progress, Step};

    #[test]
    fn progress_is_told_with_step_percent_bytes_rate_and_estimate() {
        let progress =
            Progress { bytes_done: 12 << 20, bytes_total: 30 << 20, stored_bytes: 0, files_done: 3, files_total: 180 };
        let line = ProgressLine {
            time: jiff::Timestamp::UNIX_EPOCH,
            step: Step::CopyingFiles,
            progress,
            bytes_per_second: 4 << 20,
            eta_seconds: Some(5),
        };
        assert_eq!(words(&line), "CopyingFiles 40 %, 12.0 MiB of 30.0 MiB, 3 of 180 files, 4.0 MiB/s, 5 s to go");
        let unknown = ProgressLine { progress: Progress::default(), eta_seconds: None, bytes_per_second: 0, ..line };
        assert_eq!(words(&unknown), "CopyingFiles, 0 B of 0 B, 0 of 0 files, 0 B/s");
    }
}
