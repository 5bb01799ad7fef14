//! `CHECK TABLE` on everything that a backup holds, several tables at a time.

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;

use crate::engine::EngineError;
use crate::engine::tablet::Server;
use crate::mysqld::{Mysql, MysqldError, Row};
use crate::progress::{Monitor, Step};

/// The run has a deadline; a table has none.
const CHECK_LIMIT: Duration = Duration::from_secs(7 * 24 * 3600);
/// What of the error log is searched for mysqld's last words.
const LOG_TAIL: u64 = 64 << 10;

/// Tables without those that only show what is elsewhere. No column that would make MySQL open them: one may be broken.
const TABLES: &str = "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES \
    WHERE TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema') \
    AND (TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') OR TABLE_TYPE = 'VIEW' AND TABLE_SCHEMA NOT IN ('mysql', 'sys')) \
    ORDER BY TABLE_SCHEMA, TABLE_NAME";
const STATISTICS: &str = "SELECT database_name, table_name, n_rows, \
    (clustered_index_size + sum_of_other_index_sizes) * @@innodb_page_size FROM mysql.innodb_table_stats";

/// What was found whole.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Checked {
    pub tables: u64,
    /// About, where InnoDB has statistics.
    pub rows: Option<u64>,
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug)]
struct Table {
    schema: String,
    name: String,
    is_view: bool,
    /// About, from InnoDB's statistics; for the progress.
    bytes: u64,
}

impl Table {
    fn quoted(&self) -> String {
        let quote = |name: &str| format!("`{}`", name.replace('`', "``"));
        format!("{}.{}", quote(&self.schema), quote(&self.name))
    }

    fn plain(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// What became of one check.
#[derive(Debug)]
enum Verdict {
    Whole(Vec<String>),
    Broken(String),
    /// mysqld went away meanwhile.
    Lost(MysqldError),
    /// It had gone away before.
    NotChecked,
}

/// Checks every table of the server.
///
/// # Errors
/// `TablesCorrupt` with those that are; what MySQL says.
pub async fn check(
    server: &Server,
    backup: &str,
    concurrency: usize,
    monitor: &dyn Monitor,
) -> Result<Checked, EngineError> {
    monitor.step(Step::CheckingTables);
    let (tables, rows) = list(&server.mysql).await?;
    monitor.totals(tables.iter().map(|table| table.bytes).sum(), tables.len() as u64);
    let gone = &AtomicBool::new(false);
    let verdicts: Vec<(&Table, Verdict)> = futures::stream::iter(&tables)
        .map(|table| async move {
            if gone.load(Ordering::Relaxed) {
                return (table, Verdict::NotChecked);
            }
            let verdict = check_one(server, table).await;
            if let Verdict::Lost(_) = verdict {
                gone.store(true, Ordering::Relaxed);
            }
            monitor.advanced(table.bytes, 0);
            monitor.file_done();
            (table, verdict)
        })
        .buffer_unordered(concurrency.max(1))
        .collect()
        .await;
    let (mut checked, mut broken, mut suspects, mut lost) =
        (Checked { rows, ..Checked::default() }, Vec::new(), Vec::new(), None);
    for (table, verdict) in verdicts {
        match verdict {
            Verdict::Whole(warnings) => {
                checked.tables += 1;
                checked.warnings.extend(warnings);
            }
            Verdict::Broken(what) => broken.push(format!("{}: {what}", table.plain())),
            Verdict::Lost(error) => {
                suspects.push(table);
                lost = Some(error);
            }
            Verdict::NotChecked => {}
        }
    }
    if let Some(error) = lost {
        broken.extend(find_killers(server, &suspects, monitor).await?);
        if broken.is_empty() {
            return Err(error.into());
        }
    }
    broken.sort_unstable();
    if broken.is_empty() {
        Ok(checked)
    } else {
        Err(EngineError::TablesCorrupt { backup: backup.to_owned(), tables: broken })
    }
}

async fn list(mysql: &Mysql) -> Result<(Vec<Table>, Option<u64>), EngineError> {
    // mysql.innodb_table_stats is one of those that are to be checked: without it nothing is known of sizes.
    let statistics = mysql.query(STATISTICS).await.unwrap_or_default();
    let (bytes, rows) = read_statistics(&statistics);
    let listed = mysql.query(TABLES).await?;
    let table = |row: &Row| {
        let (schema, name) = (row.at(0)?.to_owned(), row.at(1)?.to_owned());
        let bytes = bytes.get(&(schema.clone(), name.clone())).copied().unwrap_or_default();
        Some(Table { schema, name, is_view: row.at(2) == Some("VIEW"), bytes })
    };
    Ok((listed.iter().filter_map(table).collect(), rows))
}

/// Bytes of each table, its partitions together, and the rows of all that are not MySQL's own.
fn read_statistics(rows: &[Row]) -> (HashMap<(String, String), u64>, Option<u64>) {
    let (mut bytes, mut count) = (HashMap::new(), None);
    for row in rows {
        let (Some(schema), Some(table)) = (row.at(0), row.at(1)) else { continue };
        let number = |place: usize| row.at(place).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
        let table = table.split("#p#").next().and_then(|table| table.split("#P#").next()).unwrap_or(table);
        *bytes.entry((schema.to_owned(), table.to_owned())).or_default() += number(3);
        if !matches!(schema, "mysql" | "sys") {
            *count.get_or_insert(0) += number(2);
        }
    }
    (bytes, count)
}

/// On a connection of its own.
async fn check_one(server: &Server, table: &Table) -> Verdict {
    let mysql = Mysql::new(server.mysql.socket(), server.mysql.user());
    let answer = mysql.query_within(&format!("CHECK TABLE {}", table.quoted()), CHECK_LIMIT).await;
    let verdict = match answer {
        Ok(rows) => read_answer(table, &rows),
        Err(error) if mysql.ping().await.is_err() => Verdict::Lost(error),
        Err(error) if table.is_view => Verdict::Whole(vec![format!("view {}: {error}", table.plain())]),
        Err(error) => Verdict::Broken(error.to_string()),
    };
    mysql.close().await;
    verdict
}

/// Of an answer's rows (Table, Op, Msg_type, Msg_text) the last is the verdict, those before it its reasons.
fn read_answer(table: &Table, rows: &[Row]) -> Verdict {
    let told: Vec<(String, &str)> =
        rows.iter().filter_map(|row| Some((row.at(2)?.to_ascii_lowercase(), row.at(3)?))).collect();
    let texts = |kinds: &[&str]| {
        let fitting = told.iter().filter(|(kind, text)| kinds.contains(&kind.as_str()) && *text != "OK");
        fitting.map(|(_, text)| (*text).to_owned()).collect::<Vec<_>>()
    };
    let is_fine = match told.last() {
        Some((kind, text)) if kind == "status" => matches!(*text, "OK" | "Table is already up to date"),
        // "The storage engine for the table doesn't support check"
        Some((kind, _)) => kind == "note",
        None => false,
    };
    let errors = texts(&["error"]);
    if is_fine && errors.is_empty() {
        let warnings = texts(&["warning", "note"]);
        return Verdict::Whole(warnings.into_iter().map(|text| format!("table {}: {text}", table.plain())).collect());
    }
    let all = texts(&["error", "warning", "status", "note"]);
    let why = if all.is_empty() { "CHECK TABLE gives no verdict".to_owned() } else { all.join(", ") };
    // What a view is of may have gone on the tablet too, and harms no restore.
    if table.is_view { Verdict::Whole(vec![format!("view {}: {why}", table.plain())]) } else { Verdict::Broken(why) }
}

/// mysqld died while these were being checked: one by one, it dies of the broken ones again.
async fn find_killers(server: &Server, suspects: &[&Table], monitor: &dyn Monitor) -> Result<Vec<String>, EngineError> {
    let mut broken = Vec::new();
    for table in suspects {
        monitor.note(&format!("mysqld died of a CHECK TABLE; checking {} alone", table.plain()));
        server.mysql.close().await;
        if let Err(error) = server.control.start(&[]).await {
            let all: Vec<String> = suspects.iter().map(|table| table.plain()).collect();
            broken.push(format!(
                "{} (one of these): mysqld died of it and does not start again: {error}",
                all.join(", ")
            ));
            return Ok(broken);
        }
        match check_one(server, table).await {
            Verdict::Broken(what) => broken.push(format!("{}: {what}", table.plain())),
            Verdict::Lost(_) => {
                let words =
                    last_error(&server.layout.error_log).unwrap_or_else(|| "its log does not say why".to_owned());
                broken.push(format!("{}: mysqld dies of CHECK TABLE: {words}", table.plain()));
            }
            Verdict::Whole(_) | Verdict::NotChecked => {}
        }
    }
    Ok(broken)
}

/// The last error in mysqld's log, of those that speak of damage if there are any.
fn last_error(log: &Path) -> Option<String> {
    let mut file = std::fs::File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL))).ok()?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let is_error = |line: &&str| line.contains("[ERROR]") || line.contains("[FATAL]");
    let errors = || text.lines().rev().filter(is_error);
    let line = errors().find(|line| line.to_ascii_lowercase().contains("corrupt")).or_else(|| errors().next())?;
    Some(line.chars().take(400).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(is_view: bool) -> Table {
        Table { schema: "vt_a`b".into(), name: "t".into(), is_view, bytes: 0 }
    }

    fn answer(rows: &[(&str, &str)]) -> Vec<Row> {
        let row = |(kind, text): &(&str, &str)| {
            Row::of(&[("Table", "vt.t"), ("Op", "check"), ("Msg_type", kind), ("Msg_text", text)])
        };
        rows.iter().map(row).collect()
    }

    fn verdict(is_view: bool, rows: &[(&str, &str)]) -> String {
        match read_answer(&table(is_view), &answer(rows)) {
            Verdict::Whole(warnings) => format!("whole {}", warnings.join(", ")),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_is_read_as_mysql_means_it() {
        assert_eq!(verdict(false, &[("status", "OK")]), "whole ");
        assert_eq!(verdict(false, &[("status", "Table is already up to date")]), "whole ");
        assert_eq!(
            verdict(false, &[("note", "The storage engine for the table doesn't support check")]),
            "whole table vt_a`b.t: The storage engine for the table doesn't support check"
        );
        assert_eq!(verdict(false, &[("warning", "3 clients"), ("status", "OK")]), "whole table vt_a`b.t: 3 clients");
        assert_eq!(
            verdict(false, &[("Warning", "InnoDB: index a is corrupt."), ("error", "Corrupt")]),
            "Broken(\"InnoDB: index a is corrupt., Corrupt\")"
        );
        assert_eq!(verdict(false, &[("Error", "x"), ("status", "OK")]), "Broken(\"x\")");
        assert_eq!(verdict(false, &[("status", "Operation failed")]), "Broken(\"Operation failed\")");
        assert_eq!(verdict(false, &[]), "Broken(\"CHECK TABLE gives no verdict\")");
        assert_eq!(
            verdict(true, &[("Error", "no such table"), ("error", "Corrupt")]),
            "whole view vt_a`b.t: no such table, Corrupt"
        );
    }

    #[test]
    fn names_are_quoted_as_identifiers() {
        assert_eq!(table(false).quoted(), "`vt_a``b`.`t`");
    }

    #[test]
    fn the_statistics_of_partitions_are_those_of_their_table() {
        let row = |schema: &str, table: &str, rows: &str, bytes: &str| {
            Row::of(&[("d", schema), ("t", table), ("n", rows), ("b", bytes)])
        };
        let rows =
            [row("vt", "t#p#p0", "3", "100"), row("vt", "t#P#p1", "4", "50"), row("mysql", "gtid_executed", "9", "1")];
        let (bytes, count) = read_statistics(&rows);
        assert_eq!((bytes[&("vt".to_owned(), "t".to_owned())], count), (150, Some(7)));
        assert_eq!(read_statistics(&[]).1, None);
    }
}
