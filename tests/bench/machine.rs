//! What a benchmark has from the machine that it runs on: its settings, what ran where, and the page for its tables.

use std::path::Path;
use std::time::Duration;

use crate::tables::{Place, into_page};

/// A line of a table's head.
pub type Line = (&'static str, String);

pub fn setting(name: &str, default: &str) -> String {
    std::env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
}

pub fn say(what: &str) {
    let now = jiff::Timestamp::now().strftime("%H:%M:%S").to_string();
    eprintln!("{now} {what}");
}

/// What a program says with these arguments, on one line.
///
/// # Panics
/// When it does not run.
pub fn answer(program: &Path, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    String::from_utf8_lossy(&output.stdout).trim().replace('\n', " ")
}

pub fn date() -> Line {
    ("Date", jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string())
}

/// Our program's version, and the commit of the tree.
pub fn version(whose: &'static str, binary: &Path) -> Line {
    let commit = answer(Path::new("git"), &["describe", "--always", "--dirty"]);
    (whose, format!("{}, commit {commit}", answer(binary, &["--version"])))
}

pub fn machine() -> Line {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = field("/proc/meminfo", "MemTotal:").replace("kB", "").trim().parse().unwrap_or(0) >> 20;
    ("Machine", format!("{} × {}, {memory} GiB", cores, field("/proc/cpuinfo", "model name\t:")))
}

pub fn load(took: Duration) -> Line {
    ("Load", format!("{} after {} min", answer(Path::new("cat"), &["/proc/loadavg"]), took.as_secs() / 60))
}

/// The first value under that name in a file of the kernel's.
fn field(file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
}

/// Prints the tables, and puts them where the page that is asked for has those of `whose`.
///
/// # Panics
/// When the page cannot be written, or has no such place.
pub fn publish(whose: &str, place: &Place, report: &str) {
    println!("{report}");
    let page = setting("BENCH_REPORT", "");
    if !page.is_empty() {
        let text = std::fs::read_to_string(&page).expect("the page can be read");
        let text = into_page(&text, place, report).unwrap_or_else(|| panic!("{page} has no place for {whose}"));
        std::fs::write(&page, text).expect("the page can be written");
        say(&format!("the figures of {whose} are in {page}"));
    }
}
