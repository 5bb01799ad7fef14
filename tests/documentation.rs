//! What users are told is complete and current: the pages that are written from the code are those of the code, with every
//! reason in them; what `docs/xtrabackup.md` tells of are reasons too; links lead somewhere; `docs/storage.md` has the tables
//! of what is tested; and `docs/benchmarks.md` gets its figures as they were measured.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "storage/tables.rs"]
mod storage;
#[path = "bench/tables.rs"]
mod tables;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tables::{Place, Row, into_page, of_engine, of_operator, table};
use vitess_backup::backup::diagnosis::{Diagnosis, GROUPS};

const XTRABACKUP: &str = include_str!("../docs/xtrabackup.md");
const TOPOLOGY: &str = include_str!("../docs/topology.md");
const README: &str = include_str!("../README.md");
const STORAGE: &str = include_str!("../docs/storage.md");
const CONFORMANCE: &str = include_str!("storage/conformance.rs");
const SOURCE: &str = include_str!("../src/backup/failure.rs");

/// The variants of `pub enum Reason`, in their order.
fn variants(source: &str) -> Vec<&str> {
    let body = source.split_once("pub enum Reason {").and_then(|(_, rest)| rest.split_once('}'));
    let lines = body.map(|(body, _)| body.lines()).into_iter().flatten();
    lines.filter_map(|line| line.trim().strip_suffix(',')).filter(|word| !word.contains(' ')).collect()
}

#[test]
fn the_generated_pages_are_those_of_the_code() {
    for (name, text) in vitess_backup::cli::docs::pages() {
        let stored = std::fs::read_to_string(root().join("docs").join(name)).unwrap_or_default();
        assert!(stored == text, "docs/{name} is not what the code says: run `make docs`");
    }
}

#[test]
fn every_reason_has_a_diagnosis_of_whole_sentences_in_one_group() {
    let mut told = BTreeSet::new();
    for reason in GROUPS.iter().flat_map(|(_, reasons)| *reasons) {
        let name = format!("{reason:?}");
        let Diagnosis { means, remedy } = reason.diagnosis();
        assert!(means.ends_with('.') && remedy.ends_with('.'), "{name}: {means} / {remedy}");
        assert!(told.insert(name.clone()), "{name} is in two groups");
    }
    let variants: BTreeSet<String> = variants(SOURCE).into_iter().map(str::to_owned).collect();
    assert!(variants.len() > 30, "the reasons were not read: {variants:?}");
    assert_eq!(told, variants, "GROUPS of src/backup/diagnosis.rs");
}

#[test]
fn variants_are_read_as_they_are_written() {
    let source =
        "x\npub enum Reason {\n    // What was asked for\n    One,\n    /// Because, of this,\n    Two,\n}\nThree,";
    assert_eq!(variants(source), ["One", "Two"]);
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The targets of `[text](target)`, but for those on other hosts.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://"))
}

/// What a heading is linked to by, as forges make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn every_link_of_every_page_leads_to_a_file_and_a_heading_that_are_there() {
    let mut pages: Vec<PathBuf> =
        std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    assert!(pages.len() > 8, "{pages:?}");
    pages.push(root().join("README.md"));
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{} links to {link}", page.display());
            if !heading.is_empty() {
                let there = std::fs::read_to_string(&target).unwrap();
                let mut headings = there.lines().filter(|line| line.starts_with('#'));
                let known = headings.any(|line| anchor(line.trim_start_matches('#')) == heading);
                assert!(known, "{} links to {link}: no such heading", page.display());
            }
        }
    }
}

#[test]
fn the_errors_of_xtrabackup_are_reasons_with_what_is_seen_and_a_remedy() {
    let table = XTRABACKUP.split_once("\n## Errors\n").unwrap().1;
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
    let cells: Vec<Vec<_>> = rows.map(|row| row.split(" | ").collect()).collect();
    assert!(cells.len() >= 10, "the table was not read: {cells:?}");
    let variants = variants(SOURCE);
    for row in cells {
        let [reason, seen, remedy] = row[..] else { panic!("not three columns: {row:?}") };
        assert!(variants.iter().any(|name| reason.strip_suffix('`') == Some(name)), "{reason} is no reason");
        assert!(seen.ends_with('.') && remedy.ends_with('.'), "{reason}: {seen} / {remedy}");
    }
}

#[test]
fn the_failures_of_topology_servers_are_reasons() {
    let rows =
        TOPOLOGY.split_once("\n## When it fails\n").unwrap().1.lines().filter_map(|line| line.strip_prefix("| `"));
    let named: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    let all = variants(SOURCE).into_iter().filter(|name| name.starts_with("Topology"));
    assert_eq!(named, all.collect::<Vec<_>>(), "all of them, in their order");
}

fn yaml_blocks(document: &str) -> Vec<&str> {
    document.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn the_objects_in_the_readme_and_the_guides_stand_in_the_examples() {
    let blocks = yaml_blocks(README);
    assert_eq!(blocks.len(), 3, "one object of each kind");
    let of_xtrabackup = yaml_blocks(XTRABACKUP);
    let of_topology = yaml_blocks(TOPOLOGY);
    assert_eq!((of_xtrabackup.len(), of_topology.len()), (1, 1));
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    let examples: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    for block in blocks.into_iter().chain(of_xtrabackup).chain(of_topology) {
        assert!(examples.iter().any(|example| example.contains(block)), "no file of examples/ has:\n{block}");
    }
}

/// Every test that the checklist of `docs/format.md` names.
fn tests_named(document: &str) -> Vec<&str> {
    let rows = document.lines().skip_while(|line| *line != "## Checklist").filter(|line| line.starts_with("| "));
    let words = rows.flat_map(|row| row.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    words.filter(|word| word.matches('_').count() >= 3).collect()
}

fn rust_files(folder: &std::path::Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_test_that_the_checklist_of_the_format_names_is_there() {
    let named = tests_named(include_str!("../docs/format.md"));
    assert!(named.len() > 25, "the checklist was not read: {named:?}");
    let mut sources = Vec::new();
    for folder in ["src", "tests"] {
        rust_files(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut sources);
    }
    let missing: Vec<_> =
        named.iter().filter(|name| !sources.iter().any(|text| text.contains(&format!("fn {name}(")))).collect();
    assert!(missing.is_empty(), "docs/format.md names tests that do not exist: {missing:?}");
}

/// The names of a file's asynchronous tests.
fn async_tests(source: &str) -> Vec<&str> {
    let after = source.split("#[tokio::test]\nasync fn ").skip(1);
    after.filter_map(|rest| rest.split('(').next()).collect()
}

fn row(cells: impl IntoIterator<Item = String>) -> String {
    format!("| {} |\n", cells.into_iter().collect::<Vec<_>>().join(" | "))
}

fn markdown(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let cells = |words: &[&str]| row(words.iter().map(|word| (*word).to_owned()));
    let line = format!("|{}\n", "---|".repeat(head.len()));
    cells(head) + &line + &rows.into_iter().map(row).collect::<String>()
}

#[test]
fn the_table_of_storage_servers_has_every_case_of_the_suite() {
    let cases = async_tests(CONFORMANCE);
    assert!(cases.len() >= 15, "the suite was not read: {cases:?}");
    assert_eq!(CONFORMANCE.matches("for service in services()").count(), cases.len(), "each case with each service");
    let head: Vec<_> = ["Case"].into_iter().chain(storage::SERVERS).chain(storage::MORE_SERVERS).collect();
    let always = storage::SERVERS.map(|_| "✓").into_iter().chain(storage::MORE_SERVERS.map(|_| "whole"));
    let always: Vec<_> = always.map(str::to_owned).collect();
    let table = markdown(&head, cases.iter().map(|case| [vec![case.replace('_', " ")], always.clone()].concat()));
    assert!(STORAGE.contains(&table), "docs/storage.md should have this table:\n{table}");
}

#[test]
fn the_table_of_faults_has_every_fault_that_is_tried_and_how_it_ends() {
    let variants = variants(SOURCE);
    let end = |end: &str| if end == storage::SURVIVED { end.to_owned() } else { format!("`{end}`") };
    for (what, end) in storage::FAULTS {
        assert!(end == storage::SURVIVED || variants.contains(&end), "{what}: {end} is no reason");
    }
    let head: Vec<_> = ["What happens"].into_iter().chain(storage::SERVICES).collect();
    let rows = storage::FAULTS.map(|(what, ends)| {
        std::iter::once(what.to_owned()).chain(storage::SERVICES.map(|_| end(ends))).collect::<Vec<_>>()
    });
    let table = markdown(&head, rows);
    assert!(STORAGE.contains(&table), "docs/storage.md should have this table:\n{table}");
}

fn measured(first: &[f64], second: &[f64], aim: Option<f64>) -> Row {
    Row::new("zstd".to_owned(), "copy, s", first.to_vec(), second.to_vec(), aim)
}

#[test]
fn a_row_has_both_medians_their_ratio_and_whether_the_aim_is_met() {
    let rows = [
        measured(&[9.0, 6.0, 7.5], &[2.5, 2.0, 3.0], Some(3.0)),
        measured(&[400.0, 200.0], &[101.0, 100.0], Some(3.0)),
        measured(&[1.0], &[2.0], None),
    ];
    let expected = "\
        | Codec | What | Vitess | Ours | Ratio | Aim |\n\
        |---|---|---|---|---|---|\n\
        | zstd | copy, s | 7.50 (6.00–9.00) | 2.50 (2.00–3.00) | 3.00× | ≥ 3×: met |\n\
        | zstd | copy, s | 300 (200–400) | 100 (100–101) | 2.99× | ≥ 3×: **short** |\n\
        | zstd | copy, s | 1.00 | 2.00 | 0.50× |  |\n";
    assert_eq!(table(["Vitess", "Ours"], &rows), expected);
}

#[test]
fn what_was_not_measured_meets_no_aim() {
    let row = measured(&[], &[1.0], Some(2.0));
    assert!(row.is_empty());
    assert!(table(["a", "b"], &[row]).ends_with("| zstd | copy, s | – | 1.00 | – | ≥ 2×: **short** |\n"));
}

#[test]
fn figures_replace_the_earlier_ones_of_their_place_and_nothing_else() {
    let (hot, cold) = (of_engine("hot"), of_engine("cold"));
    let Place { begin, end } = &hot;
    let page = format!("# Title\n{}other\n{end}prose\n{begin}old\nfigures\n{end}prose\n", cold.begin);
    let once = into_page(&page, &hot, "new\n").unwrap();
    assert_eq!(once, format!("# Title\n{}other\n{end}prose\n{begin}\nnew\n\n{end}prose\n", cold.begin));
    assert_eq!(into_page(&once, &hot, "new\n").unwrap(), once);
    assert_eq!(into_page("# Title\n", &hot, "new\n"), None);
    for place in [of_engine("builtin"), of_engine("xtrabackup"), of_operator()] {
        let filled = into_page(include_str!("../docs/benchmarks.md"), &place, "new\n");
        assert!(filled.is_some(), "{} is where the benchmarks write", place.begin);
    }
}
