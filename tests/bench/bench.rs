//! `make bench`: Vitess's engines and ours, in turn, on one machine and on the same data; `docs/benchmarks.md` tells the
//! method. Settings come from the environment:
//!
//! | variable | what |
//! |---|---|
//! | `BENCH_BINARY` | the release binary; `make bench` gives it |
//! | `BENCH_ENGINES` | `builtin xtrabackup`, the default |
//! | `BENCH_CODECS` | of `pargzip pgzip zstd lz4 none`, the default |
//! | `BENCH_PAIRS` | how often each is measured on each side, by default 3 |
//! | `BENCH_SIDES` | `vitess ours`, the default; one of them is for work on that one |
//! | `BENCH_REPORT` | the page that gets the tables; without it they are only printed |
//! | `TMPDIR` | where the tablet and the storage are; `make bench` sets it to `BENCH_DIR`, by default `/dev/shm` |

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed measurement ends the run")]

mod data;
mod hot;
mod machine;
mod proc;
mod report;
mod sides;
#[path = "../support/mod.rs"]
mod support;
mod tables;
mod watch;

use std::path::PathBuf;

use vitess_backup::codec::{Codec, GzipFlavour};

use hot::HotStage;
use machine::{answer, publish, say, setting};
use report::{Header, Report};
use sides::{Depot, Operation, Sample, Side, Stage};
use support::ground::mariadb;
use support::mysql::{Tablet, version};

/// Of the tablets that are backed up and restored: MySQL's for the builtin engines, MariaDB's for the xtrabackup engines.
pub const UID: u32 = 300;
pub const HOT_UID: u32 = 301;

const BUILTIN: &str = "builtin";
/// Those that can be measured; each has a place of its own in the page.
const ENGINES: [&str; 2] = [BUILTIN, "xtrabackup"];

/// The codecs whose restore of one big file is measured.
const BIG_FILE_CODECS: [Codec; 2] = [Codec::Gzip(GzipFlavour::Pargzip), Codec::Zstd];

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(bench());
}

/// What is to be measured.
struct Choice {
    binary: PathBuf,
    codecs: Vec<Codec>,
    pairs: usize,
    sides: String,
}

impl Choice {
    fn takes(&self, side: Side) -> bool {
        self.sides.split_whitespace().any(|name| name == if side == Side::Vitess { "vitess" } else { "ours" })
    }

    /// Both in turn; who begins alternates.
    fn turns(&self, pair: usize) -> impl Iterator<Item = Side> {
        let mut sides = [Side::Vitess, Side::Ours];
        sides.rotate_left(pair % 2);
        sides.into_iter().filter(|&side| self.takes(side))
    }
}

async fn bench() {
    let codecs = setting("BENCH_CODECS", "pargzip pgzip zstd lz4 none");
    let choice = Choice {
        binary: PathBuf::from(setting("BENCH_BINARY", "")),
        codecs: codecs.split_whitespace().map(|name| name.parse().expect("a codec's name")).collect(),
        pairs: setting("BENCH_PAIRS", "3").parse().expect("BENCH_PAIRS is a number"),
        sides: setting("BENCH_SIDES", "vitess ours"),
    };
    assert!(choice.binary.is_file(), "BENCH_BINARY is to name the release binary: use `make bench`");
    let engines = setting("BENCH_ENGINES", &ENGINES.join(" "));
    let engines: Vec<&str> = engines.split_whitespace().collect();
    let known = engines.iter().all(|engine| ENGINES.contains(engine));
    assert!(known && !engines.is_empty(), "BENCH_ENGINES is builtin, xtrabackup or both");
    for engine in engines {
        let begun = std::time::Instant::now();
        let mut report = Report { codecs: choice.codecs.clone(), ..Report::default() };
        match engine {
            BUILTIN => builtin(&choice, &mut report).await,
            _ => xtrabackup(&choice, &mut report).await,
        }
        report.header = Header::of_this_machine(&choice.binary, &report, choice.pairs, begun.elapsed());
        publish(engine, &tables::of_engine(engine), &report.to_string());
    }
}

async fn builtin(choice: &Choice, report: &mut Report) {
    let kept = data::kept().await;
    let mut tablet = Tablet::with_files_of(UID, &kept, &std::env::temp_dir()).await;
    tablet.start_container().await;
    report.data.push(("MySQL", version().to_string(), data::sizes(tablet.tablet_dir())));
    let stage = Stage { tablet, depot: Depot::new(&choice.binary) };
    for pair in 0..choice.pairs {
        for &codec in &choice.codecs {
            for side in choice.turns(pair) {
                report.samples.extend(backup_and_restores(&stage, side, codec, &[side]).await);
            }
        }
    }
    drop_small_tables(&stage.tablet).await;
    for _ in 0..choice.pairs {
        for codec in BIG_FILE_CODECS.into_iter().filter(|codec| choice.codecs.contains(codec)) {
            for (side, restores) in
                [(Side::Vitess, &[Side::Vitess][..]), (Side::Ours, &[Side::OursOnOneCore, Side::Ours])]
            {
                if choice.takes(side) {
                    report.big.extend(backup_and_restores(&stage, side, codec, restores).await);
                }
            }
        }
    }
}

async fn xtrabackup(choice: &Choice, report: &mut Report) {
    let kept = data::kept_of_mariadb().await;
    let told = answer(&mariadb().join("sbin/mysqld"), &["--version"]);
    report.data.push(("MariaDB", told, data::sizes(&kept)));
    let stage = HotStage::new(Depot::new(&choice.binary), &kept).await;
    for pair in 0..choice.pairs {
        for &codec in &choice.codecs {
            for side in choice.turns(pair) {
                for operation in [Operation::Backup, Operation::Restore] {
                    let sample = stage.measure(operation, side, codec);
                    tell("xtrabackup", &sample);
                    report.hot.push(sample);
                }
                stage.clear();
            }
        }
    }
}

/// A backup by `side`, and then restores of it; what was stored goes.
async fn backup_and_restores(stage: &Stage, side: Side, codec: Codec, restores: &[Side]) -> Vec<Sample> {
    let mut samples = vec![measure(stage, Operation::Backup, side, codec).await];
    for &side in restores {
        samples.push(measure(stage, Operation::Restore, side, codec).await);
    }
    stage.depot.clear();
    samples
}

async fn measure(stage: &Stage, operation: Operation, side: Side, codec: Codec) -> Sample {
    let sample = stage.measure(operation, side, codec).await;
    tell("builtin", &sample);
    sample
}

fn tell(engine: &str, sample: &Sample) {
    let Sample { operation, side, codec, copy, durable, cpu, down, whole, stored, peak, .. } = sample;
    say(&format!(
        "{engine} {operation:?} {codec} {side:?}: copy {copy:.2} s (on disk after {durable:.2} s), CPU {cpu:.2} s, down {down:.2} s, \
         in all {whole:.2} s, stored {} MB, peak {} MiB",
        stored / 1_000_000,
        peak >> 20
    ));
}

/// Leaves the large table and one row to look at.
async fn drop_small_tables(tablet: &Tablet) {
    let mysql = tablet.mysql();
    tablet.make_writable().await;
    let names = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'vt_bench'";
    let names = mysql.query(names).await.expect("the tables can be listed");
    for table in names.iter().filter_map(|row| row.at(0)) {
        if table != data::ORDERS && table != "small_00" {
            mysql.execute(&format!("DROP TABLE vt_bench.{table}")).await.expect("a table can be dropped");
        }
    }
}
