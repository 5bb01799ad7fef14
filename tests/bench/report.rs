//! Medians, ratios and aims as a page's tables.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use vitess_backup::codec::Codec;

use crate::answer;
use crate::sides::{Operation, Sample, Side};
use crate::support::ground::ground;
use crate::tables::{Row, table};

/// What ran where.
pub struct Header {
    lines: Vec<(&'static str, String)>,
}

impl Header {
    pub fn of_this_machine(
        binary: &Path,
        mysqld: &str,
        (data, large): (u64, u64),
        pairs: usize,
        took: Duration,
    ) -> Self {
        let temporary = std::env::temp_dir();
        let kind = answer(Path::new("stat"), &["-f", "-c", "%T", &temporary.to_string_lossy()]);
        let commit = answer(Path::new("git"), &["describe", "--always", "--dirty"]);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let memory = field("/proc/meminfo", "MemTotal:").replace("kB", "").trim().parse().unwrap_or(0) >> 20;
        Self {
            lines: vec![
                ("Date", jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string()),
                ("Ours", format!("{}, commit {commit}", answer(binary, &["--version"]))),
                ("Vitess", vitess_version()),
                // `/path/mysqld  Ver 9.7.4 for Linux …`
                ("MySQL", mysqld.split_once("Ver ").map_or(mysqld, |(_, told)| told).trim().to_owned()),
                ("Machine", format!("{} × {}, {memory} GiB", cores, field("/proc/cpuinfo", "model name\t:"))),
                ("Kernel", answer(Path::new("uname"), &["-sr"])),
                ("Files and storage", format!("{} ({kind})", temporary.display())),
                ("Data", format!("{} MiB, one table of {} MiB", data >> 20, large >> 20)),
                ("Load", format!("{} after {} min", answer(Path::new("cat"), &["/proc/loadavg"]), took.as_secs() / 60)),
                ("Pairs", pairs.to_string()),
            ],
        }
    }
}

/// `vttablet version Version: 24.0.0 (Git revision …) built on …`
fn vitess_version() -> String {
    let told = answer(&ground().vitess_bin.join("vttablet"), &["--version"]);
    told.split_once("Version: ").map_or(told.clone(), |(_, rest)| rest.split(' ').next().unwrap_or_default().to_owned())
}

/// The first value under that name in a file of the kernel's.
fn field(file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
}

pub struct Report {
    pub header: Header,
    pub codecs: Vec<Codec>,
    /// Each side's backups, and each side's restores of its own backups.
    pub samples: Vec<Sample>,
    /// The same with little more than one big file.
    pub big: Vec<Sample>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | |\n|---|---|")?;
        for (name, value) in &self.header.lines {
            writeln!(f, "| {name} | {value} |")?;
        }
        for operation in [Operation::Backup, Operation::Restore] {
            let rows = self.codecs.iter().flat_map(|&codec| self.rows(operation, codec)).collect::<Vec<_>>();
            write!(f, "\n### {operation:?}\n\n{}", table(["Vitess", "Ours"], &rows))?;
        }
        let on_one = |side| move |sample: &Sample| sample.operation == Operation::Restore && sample.side == side;
        for (title, first, aim) in [
            ("Restore of one big file: one core and two", Side::OursOnOneCore, Some(1.7)),
            ("Restore of one big file: Vitess and ours", Side::Vitess, None),
        ] {
            let rows: Vec<Row> = self
                .codecs
                .iter()
                .map(|&codec| {
                    let copies = |side| values(&self.big, codec, on_one(side), |sample| sample.copy);
                    Row::new(codec.to_string(), "copy, s", copies(first), copies(Side::Ours), aim)
                })
                .filter(|row| !row.is_empty())
                .collect();
            let heads = if first == Side::Vitess { ["Vitess", "Ours"] } else { ["Ours, one core", "Ours, all cores"] };
            write!(f, "\n### {title}\n\n{}", table(heads, &rows))?;
        }
        Ok(())
    }
}

impl Report {
    fn rows(&self, operation: Operation, codec: Codec) -> Vec<Row> {
        let (time, cpu, size) = aims(operation, codec);
        let row = |what, aim, value: fn(&Sample) -> f64| {
            let of = |side| {
                let wanted = move |sample: &Sample| sample.operation == operation && sample.side == side;
                values(&self.samples, codec, wanted, value)
            };
            Row::new(codec.to_string(), what, of(Side::Vitess), of(Side::Ours), aim)
        };
        let mut rows = vec![
            row("copy, s", time, |sample| sample.copy),
            row("CPU, s per GB", cpu, |sample| sample.cpu / gigabytes(sample.data)),
            row("mysqld down, s", None, |sample| sample.down),
            row("the whole command, s", None, |sample| sample.whole),
            row("peak memory, MiB", Some(4.0), |sample| gigabytes(sample.peak) * 1e9 / f64::from(1 << 20)),
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
