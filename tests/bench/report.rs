//! Medians, ratios and aims as a page's tables.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use vitess_backup::codec::Codec;

use crate::machine::{self, answer};
use crate::sides::{Operation, Sample, Side};
use crate::support::ground::ground;
use crate::tables::{Row, table};

/// What ran where.
#[derive(Default)]
pub struct Header {
    lines: Vec<(&'static str, String)>,
}

impl Header {
    pub fn of_this_machine(binary: &Path, report: &Report, pairs: usize, took: Duration) -> Self {
        let temporary = std::env::temp_dir();
        let kind = answer(Path::new("stat"), &["-f", "-c", "%T", &temporary.to_string_lossy()]);
        let mut lines = vec![machine::date(), machine::version("Ours", binary), ("Vitess", vitess_version())];
        for (server, told, (data, large)) in &report.data {
            // `/path/mysqld  Ver 9.7.4 for Linux …`
            let version = told.split_once("Ver ").map_or(told.as_str(), |(_, version)| version).trim();
            lines.push((server, format!("{version}: {} MiB, one table of {} MiB", data >> 20, large >> 20)));
        }
        lines.extend([
            machine::machine(),
            ("Kernel", answer(Path::new("uname"), &["-sr"])),
            ("Files and storage", format!("{} ({kind})", temporary.display())),
            machine::load(took),
            ("Pairs", pairs.to_string()),
        ]);
        Self { lines }
    }
}

/// `vttablet version Version: 24.0.0 (Git revision …) built on …`
fn vitess_version() -> String {
    let told = answer(&ground().vitess_bin.join("vttablet"), &["--version"]);
    told.split_once("Version: ").map_or(told.clone(), |(_, rest)| rest.split(' ').next().unwrap_or_default().to_owned())
}

#[derive(Default)]
pub struct Report {
    pub header: Header,
    /// Each server, what it says of its version, and how many bytes its data has: all, and the large table.
    pub data: Vec<(&'static str, String, (u64, u64))>,
    pub codecs: Vec<Codec>,
    /// Each side's backups by the builtin engine, and each side's restores of its own backups.
    pub samples: Vec<Sample>,
    /// The same with little more than one big file.
    pub big: Vec<Sample>,
    /// The same by the xtrabackup engine.
    pub hot: Vec<Sample>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | |\n|---|---|")?;
        for (name, value) in &self.header.lines {
            writeln!(f, "| {name} | {value} |")?;
        }
        for operation in [Operation::Backup, Operation::Restore] {
            let rows = self.codecs.iter().flat_map(|&codec| self.rows(operation, codec));
            part(f, &format!("{operation:?}"), ["Vitess", "Ours"], rows)?;
        }
        let on_one = |side| move |sample: &Sample| sample.operation == Operation::Restore && sample.side == side;
        for (title, first, aim) in [
            ("Restore of one big file: one core and two", Side::OursOnOneCore, Some(1.7)),
            ("Restore of one big file: Vitess and ours", Side::Vitess, None),
        ] {
            let rows = self.codecs.iter().map(|&codec| {
                let copies = |side| values(&self.big, codec, on_one(side), |sample| sample.copy);
                Row::new(codec.to_string(), "copy, s", copies(first), copies(Side::Ours), aim)
            });
            let heads = if first == Side::Vitess { ["Vitess", "Ours"] } else { ["Ours, one core", "Ours, all cores"] };
            part(f, title, heads, rows)?;
        }
        for operation in [Operation::Backup, Operation::Restore] {
            let rows = self.codecs.iter().flat_map(|&codec| self.hot_rows(operation, codec));
            part(f, &format!("{operation:?} by the xtrabackup engine"), ["Vitess", "Ours"], rows)?;
        }
        Ok(())
    }
}

/// A heading and its table, when there is anything to show.
fn part(f: &mut fmt::Formatter, title: &str, heads: [&str; 2], rows: impl Iterator<Item = Row>) -> fmt::Result {
    let rows: Vec<Row> = rows.filter(|row| !row.is_empty()).collect();
    if rows.is_empty() {
        return Ok(());
    }
    write!(f, "\n### {title}\n\n{}", table(heads, &rows))
}

/// One row of such a table, of these samples.
fn row(
    samples: &[Sample],
    (operation, codec): (Operation, Codec),
    what: &'static str,
    aim: Option<f64>,
    value: fn(&Sample) -> f64,
) -> Row {
    let of = |side| {
        let wanted = move |sample: &Sample| sample.operation == operation && sample.side == side;
        values(samples, codec, wanted, value)
    };
    Row::new(codec.to_string(), what, of(Side::Vitess), of(Side::Ours), aim)
}

impl Report {
    fn hot_rows(&self, operation: Operation, codec: Codec) -> Vec<Row> {
        let aim = (operation == Operation::Backup && codec.to_string() == "pargzip").then_some(1.5);
        let row = |what, aim, value| row(&self.hot, (operation, codec), what, aim, value);
        let mut rows = vec![
            row("the whole command, s", aim, |sample| sample.whole),
            row("CPU but xtrabackup's, s per GB", None, |sample| sample.cpu / gigabytes(sample.data)),
            row("peak memory but xtrabackup's, MiB", None, |sample| mebibytes(sample.peak)),
        ];
        if operation == Operation::Backup {
            rows.push(row("size in storage, GB", Some(1.0), |sample| gigabytes(sample.stored)));
        }
        rows
    }

    fn rows(&self, operation: Operation, codec: Codec) -> Vec<Row> {
        let (time, cpu, size) = aims(operation, codec);
        let row = |what, aim, value| row(&self.samples, (operation, codec), what, aim, value);
        let mut rows = vec![
            row("copy, s", time, |sample| sample.copy),
            row("CPU, s per GB", cpu, |sample| sample.cpu / gigabytes(sample.data)),
            row("mysqld down, s", None, |sample| sample.down),
            row("the whole command, s", None, |sample| sample.whole),
            row("peak memory, MiB", Some(4.0), |sample| mebibytes(sample.peak)),
        ];
        // In memory nothing is to be synced.
        if self.samples.iter().any(|sample| sample.durable > sample.copy + 0.1) {
            rows.insert(1, row("copy and on disk, s", None, |sample| sample.durable));
        }
        if operation == Operation::Backup {
            rows.push(row("size in storage, GB", size, |sample| gigabytes(sample.stored)));
        }
        rows
    }
}

/// How many times better we want to be than Vitess in copy time, CPU time and size.
fn aims(operation: Operation, codec: Codec) -> (Option<f64>, Option<f64>, Option<f64>) {
    match (operation, codec.to_string().as_str()) {
        (Operation::Backup, "pargzip") => (Some(3.0), Some(4.0), Some(1.0)),
        (Operation::Restore, "pargzip") => (Some(2.0), Some(2.0), None),
        (_, "zstd" | "lz4") => (Some(1.5), Some(1.5), None),
        _ => (None, None, None),
    }
}

fn values(
    samples: &[Sample],
    codec: Codec,
    wanted: impl Fn(&Sample) -> bool,
    value: impl Fn(&Sample) -> f64,
) -> Vec<f64> {
    samples.iter().filter(|sample| sample.codec == codec && wanted(sample)).map(value).collect()
}

#[allow(clippy::cast_precision_loss, reason = "sizes far below 2^53")]
fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

#[allow(clippy::cast_precision_loss, reason = "sizes far below 2^53")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
