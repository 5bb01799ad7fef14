//! Two columns of measured values, what one is of the other, and where the table goes in a page.

#![allow(dead_code, reason = "each benchmark uses a part of this")]

use std::fmt::Write as _;

/// One thing measured on two sides.
#[derive(Debug)]
pub struct Row {
    subject: String,
    what: &'static str,
    first: Vec<f64>,
    second: Vec<f64>,
    /// How many times less the second shall be.
    aim: Option<f64>,
}

impl Row {
    pub fn new(subject: String, what: &'static str, first: Vec<f64>, second: Vec<f64>, aim: Option<f64>) -> Self {
        Self { subject, what, first, second, aim }
    }

    pub fn is_empty(&self) -> bool {
        self.first.is_empty() || self.second.is_empty()
    }

    fn ratio(&self) -> Option<f64> {
        Some(median(&self.first)? / median(&self.second)?).filter(|ratio| ratio.is_finite())
    }

    fn aim(&self) -> String {
        match (self.aim, self.ratio()) {
            (Some(aim), Some(ratio)) if ratio >= aim => format!("≥ {aim}×: met"),
            (Some(aim), _) => format!("≥ {aim}×: **short**"),
            (None, _) => String::new(),
        }
    }
}

/// A table in Markdown.
pub fn table(heads: [&str; 2], rows: &[Row]) -> String {
    let mut text = format!("| Codec | What | {} | {} | Ratio | Aim |\n|---|---|---|---|---|---|\n", heads[0], heads[1]);
    for row in rows {
        let ratio = row.ratio().map_or("–".to_owned(), |ratio| format!("{ratio:.2}×"));
        let (first, second) = (spread(&row.first), spread(&row.second));
        let _ = writeln!(text, "| {} | {} | {first} | {second} | {ratio} | {} |", row.subject, row.what, row.aim());
    }
    text
}

/// The median, and what lies around it.
fn spread(values: &[f64]) -> String {
    let Some(middle) = median(values) else { return "–".to_owned() };
    if values.len() == 1 {
        return number(middle);
    }
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{} ({}–{})", number(middle), number(least), number(most))
}

fn number(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// A part of a page that a command writes, between two lines.
#[derive(Clone, Debug)]
pub struct Place {
    pub begin: String,
    pub end: &'static str,
}

/// That of an engine's figures.
pub fn of_engine(engine: &str) -> Place {
    let begin = format!("<!-- what follows is written by `make bench BENCH_ENGINES={engine}` -->\n");
    Place { begin, end: "<!-- what precedes is written by `make bench` -->\n" }
}

/// That of the operator's.
pub fn of_operator() -> Place {
    let begin = "<!-- what follows is written by `make bench-operator` -->\n".to_owned();
    Place { begin, end: "<!-- what precedes is written by `make bench-operator` -->\n" }
}

/// The page with these figures in place of those that were there; none when it has no such place.
pub fn into_page(page: &str, Place { begin, end }: &Place, figures: &str) -> Option<String> {
    let (before, rest) = page.split_once(begin.as_str())?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}\n{}\n\n{end}{after}", figures.trim_end()))
}
