//! What the user holds to be true of the data: statements of which each gives one row whose first value is true.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::engine::EngineError;
use crate::engine::drill::DrillOptions;
use crate::engine::tablet::Server;
use crate::mysqld::{Mysql, MysqldError, Row};
use crate::progress::{Monitor, Step};
use crate::topo::KeyspaceShard;

/// The MySQL user that asks: made for the drill, it may read everything and write nothing.
const USER: &str = "vitess_backup_drill";

/// A statement with a name to tell it by. As a text, `<name>=<statement>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    pub name: String,
    pub sql: String,
}

/// The text is not `<name>=<statement>`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an assertion: write <name>=<statement>, for example customers=SELECT COUNT(*) > 0 FROM vt_commerce.customer"
)]
pub struct ParseAssertionError(String);

impl FromStr for Assertion {
    type Err = ParseAssertionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, sql) = text.split_once('=').ok_or_else(|| ParseAssertionError(text.to_owned()))?;
        let (name, sql) = (name.trim(), sql.trim());
        if name.is_empty() || sql.is_empty() {
            return Err(ParseAssertionError(text.to_owned()));
        }
        Ok(Self { name: name.to_owned(), sql: sql.to_owned() })
    }
}

impl fmt::Display for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.sql)
    }
}

/// Asks all of them, one after the other; gives how many there are.
///
/// # Errors
/// `AssertionsFailed` with those that do not hold; what MySQL says when the user cannot be made.
pub async fn ask(
    server: &Server,
    backup: &str,
    shard: &KeyspaceShard,
    options: &DrillOptions,
    monitor: &dyn Monitor,
) -> Result<u64, EngineError> {
    let DrillOptions { assertions, assertion_timeout, .. } = options;
    if assertions.is_empty() {
        return Ok(0);
    }
    monitor.step(Step::Asserting);
    make_user(&server.mysql).await?;
    let mut failed = Vec::new();
    for Assertion { name, sql } in assertions {
        let mysql = Mysql::new(server.mysql.socket(), USER);
        let held = match one(&mysql, shard, sql, *assertion_timeout).await {
            Ok(rows) => holds(&rows),
            Err(error) => Err(words(&error)),
        };
        mysql.close().await;
        match held {
            Ok(()) => monitor.note(&format!("assertion {name} holds")),
            Err(why) => {
                monitor.note(&format!("assertion {name} failed: {why}"));
                failed.push(format!("{name}: {why}"));
            }
        }
    }
    if failed.is_empty() {
        return Ok(assertions.len() as u64);
    }
    Err(EngineError::AssertionsFailed { backup: backup.to_owned(), failed })
}

/// Without a password, as the socket is in the scratch. The server is read-only again afterwards.
async fn make_user(mysql: &Mysql) -> Result<(), EngineError> {
    mysql.set_read_only(false).await?;
    for statement in [
        format!("DROP USER IF EXISTS '{USER}'@'localhost'"),
        format!("CREATE USER '{USER}'@'localhost'"),
        format!("GRANT SELECT, SHOW VIEW ON *.* TO '{USER}'@'localhost'"),
    ] {
        mysql.execute(&statement).await?;
    }
    if mysql.version().await?.is_mariadb() {
        mysql.set_read_only(true).await?;
    } else {
        mysql.set_super_read_only(true).await?;
    }
    Ok(())
}

/// In a transaction that reads only, prepared, so that it is one statement and no more.
async fn one(mysql: &Mysql, shard: &KeyspaceShard, sql: &str, limit: Duration) -> Result<Vec<Row>, MysqldError> {
    let milliseconds = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    let limit_statement = if mysql.version().await?.is_mariadb() {
        format!("SET SESSION max_statement_time = {}.{:03}", milliseconds / 1000, milliseconds % 1000)
    } else {
        format!("SET SESSION max_execution_time = {milliseconds}")
    };
    for statement in [
        "SET SESSION sql_mode = DEFAULT",
        "SET SESSION sql_select_limit = 2",
        &limit_statement,
        "SET SESSION TRANSACTION READ ONLY",
    ] {
        mysql.execute(statement).await?;
    }
    // Where Vitess keeps the keyspace; elsewhere names have to say their schema.
    let _ = mysql.execute(&format!("USE `vt_{}`", shard.keyspace().replace('`', "``"))).await;
    mysql.execute("START TRANSACTION READ ONLY").await?;
    // A moment more than MySQL gives itself, whose error says more.
    mysql.query_prepared(sql, limit + Duration::from_secs(5)).await
}

/// Without the statement, which whoever wrote it knows, and the socket, which is about to go.
fn words(error: &MysqldError) -> String {
    match error {
        MysqldError::Statement { source, .. } => source.to_string(),
        MysqldError::StatementTimeout { waited, .. } => format!("no answer within {waited:?}"),
        other => other.to_string(),
    }
}

/// Whether there is one row and its first value is true.
fn holds(rows: &[Row]) -> Result<(), String> {
    let row = match rows {
        [row] => row,
        [] => return Err("it gives no row, and exactly one is asked for".to_owned()),
        _ => return Err("it gives more than one row, and exactly one is asked for".to_owned()),
    };
    match row.at(0) {
        None => Err("it gives NULL".to_owned()),
        Some(text) if text.eq_ignore_ascii_case("true") => Ok(()),
        Some(text) => match text.parse::<f64>() {
            Ok(number) if number != 0.0 => Ok(()),
            _ => Err(format!("it gives {text:?}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assertion_is_a_name_and_a_statement() {
        let read = |text: &str| text.parse::<Assertion>();
        let found = read("customers = SELECT COUNT(*) = 3 FROM customer").unwrap();
        assert_eq!((found.name.as_str(), found.sql.as_str()), ("customers", "SELECT COUNT(*) = 3 FROM customer"));
        assert_eq!(read(&found.to_string()), Ok(found));
        for wrong in ["", "SELECT 1", "=SELECT 1", "a="] {
            assert!(read(wrong).unwrap_err().to_string().contains("write <name>=<statement>"), "{wrong}");
        }
    }

    #[test]
    fn only_one_row_whose_first_value_is_true_holds() {
        let rows = |values: &[&str]| values.iter().map(|value| Row::of(&[("v", value)])).collect::<Vec<_>>();
        for value in ["1", "-3", "0.5", "1e3", "true", "TRUE"] {
            assert_eq!(holds(&rows(&[value])), Ok(()), "{value}");
        }
        for value in ["0", "0.0", "", "yes", "false"] {
            assert_eq!(holds(&rows(&[value])), Err(format!("it gives {value:?}")));
        }
        assert!(holds(&[]).unwrap_err().contains("no row"));
        assert!(holds(&rows(&["1", "1"])).unwrap_err().contains("more than one row"));
    }
}
