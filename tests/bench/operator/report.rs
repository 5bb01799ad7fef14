//! The figures as a page's tables.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::machine::{self, Line};
use crate::measure::Requests;

/// What was found with so many backups that have ended.
pub struct Size {
    pub ended: u32,
    /// From the operator's start to the Job of a backup that waited for it.
    pub acts_after: Duration,
    /// VmRSS when all was looked at, and VmHWM.
    pub resident: u64,
    pub peak: u64,
}

/// CPU time of each process.
pub type Cost = Vec<(&'static str, Duration)>;

/// What was found while Jobs were made and no operator ran, as many as there were backups later.
pub struct Floor {
    /// From a Job's creation to its pod.
    pub to_pod: Vec<Duration>,
    /// From the first Job to the last pod.
    pub cost: Cost,
}

/// What was found while backups were applied and ran.
pub struct Load {
    pub runs: u32,
    pub rate: u32,
    /// From just before the apply to the Job, and to the pod.
    pub to_job: Vec<Duration>,
    pub to_pod: Vec<Duration>,
    /// From the first apply to the last pod.
    pub cost: Cost,
    /// When the last was applied, after the first.
    pub applied_in: Duration,
    /// With all of them running.
    pub resident: u64,
    pub cpu: f64,
    pub requests_per_second: f64,
    /// VmHWM when all had ended.
    pub peak: u64,
    /// From the first apply to the end of the last run.
    pub requests: Requests,
    /// And of these while all of them ran and nothing else happened.
    pub held: u64,
    pub held_for: Duration,
}

pub struct Report {
    pub header: Vec<Line>,
    pub sizes: Vec<Size>,
    /// Of one core, and over how long.
    pub idle: f64,
    pub idle_for: Duration,
    pub floor: Floor,
    pub load: Load,
}

/// What ran where.
pub fn header(binary: &Path, kubernetes: String, tablets: u32, took: Duration) -> Vec<Line> {
    vec![
        machine::date(),
        machine::version("Operator", binary),
        ("Kubernetes", kubernetes),
        ("Tablets", format!("{tablets}, three of each shard, in one namespace")),
        machine::machine(),
        machine::load(took),
    ]
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { header, sizes, idle, idle_for, floor, load } = self;
        writeln!(f, "| | |\n|---|---|")?;
        for (name, value) in header {
            writeln!(f, "| {name} | {value} |")?;
        }
        writeln!(f, "\n### Aims\n\n| What | Measured | Aim |\n|---|---|---|")?;
        let ended = sizes.last().map_or(0, |size| size.ended);
        let Load { runs, rate, to_pod, resident, peak, requests, .. } = load;
        let all = format!("{ended} ended and {runs} running");
        let mebibytes = |bytes: &u64| mebibytes(*bytes);
        aim(f, &format!("resident memory with {all}, MiB"), mebibytes(resident), 120.0 * 1e6 / f64::from(1 << 20))?;
        aim(f, &format!("most that it ever was with {all}, MiB"), mebibytes(peak), 120.0 * 1e6 / f64::from(1 << 20))?;
        aim(
            f,
            &format!("CPU with {ended} ended and none running, % of a core over {} s", idle_for.as_secs()),
            *idle,
            1.0,
        )?;
        aim(f, "requests to the API server for each run", per(total(requests), *runs), 40.0)?;
        let what = format!("from apply to pod, 99th percentile of {} at {rate} a second, s", to_pod.len());
        aim(f, &what, percentile(to_pod, 99), 1.0)?;
        growth(f, sizes)?;
        load.write(f, floor)
    }
}

fn aim(f: &mut fmt::Formatter<'_>, what: &str, value: f64, below: f64) -> fmt::Result {
    let met = if value < below { "met" } else { "**short**" };
    writeln!(f, "| {what} | {} | < {}: {met} |", number(value), number(below))
}

fn growth(f: &mut fmt::Formatter<'_>, sizes: &[Size]) -> fmt::Result {
    writeln!(
        f,
        "\n### Growth\n\n| Ended | Resident, MiB | Most while starting, MiB | From start to acting, s | KiB for each more |"
    )?;
    writeln!(f, "|---|---|---|---|---|")?;
    let mut before: Option<&Size> = None;
    for size in sizes {
        let Size { ended, acts_after, resident, peak } = size;
        let each = before.map_or("–".to_owned(), |before| {
            let more = mebibytes(*resident) - mebibytes(before.resident);
            number(more * 1024.0 / f64::from(ended - before.ended))
        });
        let (resident, peak) = (number(mebibytes(*resident)), number(mebibytes(*peak)));
        writeln!(f, "| {ended} | {resident} | {peak} | {} | {each} |", number(acts_after.as_secs_f64()))?;
        before = Some(size);
    }
    Ok(())
}

impl Load {
    fn write(&self, f: &mut fmt::Formatter<'_>, floor: &Floor) -> fmt::Result {
        let Self { runs, applied_in, to_job, to_pod, cpu, requests_per_second, requests, held, held_for, .. } = self;
        writeln!(f, "\n### From apply to pod\n\n| To | Median, s | 99th percentile, s | Most, s |\n|---|---|---|---|")?;
        for (what, times) in [
            ("the engine's Job, by the operator", to_job),
            ("its pod, by the Job's controller", to_pod),
            (
                "for comparison: the pod of a Job as small as can be, made at the same rate without an operator",
                &floor.to_pod,
            ),
        ] {
            let figures = [50, 99, 100].map(|part| number(percentile(times, part)));
            writeln!(f, "| {what} | {} |", figures.join(" | "))?;
        }
        writeln!(f, "\n{runs} were applied in {} s.", number(applied_in.as_secs_f64()))?;
        self.write_cost(f, floor)?;
        writeln!(f, "\n### While {runs} run\n\n| What | Measured |\n|---|---|")?;
        writeln!(f, "| CPU, % of a core over {} s | {} |", held_for.as_secs(), number(*cpu))?;
        writeln!(f, "| requests a second | {} |", number(*requests_per_second))?;
        writeln!(f, "\n### Requests for each run\n\n| Request | For each |\n|---|---|")?;
        let mut sorted: Vec<_> = requests.iter().collect();
        sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let (shown, rest) = sorted.split_at(sorted.len().min(12));
        for (request, count) in shown {
            writeln!(f, "| {request} | {} |", number(per(**count, *runs)))?;
        }
        let rest = rest.iter().map(|(_, count)| **count).sum();
        writeln!(f, "| all others | {} |", number(per(rest, *runs)))?;
        writeln!(f, "| of all these, for progress while {runs} ran | {} |", number(per(*held, *runs)))
    }
}

impl Load {
    /// All that the machine works for, which decides how many a second it can take.
    fn write_cost(&self, f: &mut fmt::Formatter<'_>, floor: &Floor) -> fmt::Result {
        let Self { runs, rate, cost, .. } = self;
        let each = |time: Duration| time.as_secs_f64() * 1000.0 / f64::from(*runs);
        let all = |cost: &Cost| cost.iter().map(|(_, time)| *time).sum::<Duration>();
        writeln!(
            f,
            "\n### CPU time until the pod is there\n\n| Process | For each Job without an operator, ms | For each backup, ms |"
        )?;
        writeln!(f, "|---|---|---|")?;
        for (process, time) in cost {
            let of_floor = floor.cost.iter().find(|(one, _)| one == process);
            let of_floor = of_floor.map_or("–".to_owned(), |(_, time)| number(each(*time)));
            writeln!(f, "| {process} | {of_floor} | {} |", number(each(*time)))?;
        }
        let (least, whole) = (each(all(&floor.cost)), each(all(cost)));
        writeln!(f, "| all of them | {} | {} |", number(least), number(whole))?;
        let cores = |each: f64| number(each * f64::from(*rate) / 1000.0);
        writeln!(f, "| cores that {rate} a second take | {} | {} |", cores(least), cores(whole))
    }
}

pub fn total(requests: &Requests) -> u64 {
    requests.values().sum()
}

#[allow(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn per(count: u64, runs: u32) -> f64 {
    count as f64 / f64::from(runs)
}

/// The time that this part of a hundred did not exceed.
pub fn percentile(times: &[Duration], part: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort();
    let at = (sorted.len() * part).div_ceil(100).max(1) - 1;
    sorted.get(at).map_or(f64::NAN, Duration::as_secs_f64)
}

#[allow(clippy::cast_precision_loss, reason = "sizes far below 2^53")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn number(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
