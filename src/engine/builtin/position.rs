//! The position of a backup: where exactly the copied data stands.

use crate::engine::EngineError;
use crate::engine::builtin::check::Checked;
use crate::engine::journal::TabletState;
use crate::mysqld::Mysql;
use crate::replication::{GtidSet, ServerUuid};

/// How often replication is stopped again when someone starts it meanwhile.
const TRIES: usize = 5;

/// Stops everything that changes the data (replication, and writes on a server that takes them) and notes the position.
///
/// # Errors
/// `PositionMoved` when replication is started again and again by someone else.
pub async fn hold_still(mysql: &Mysql, before: &TabletState) -> Result<GtidSet, EngineError> {
    if !before.super_read_only {
        mysql.set_super_read_only(true).await?;
    }
    let mut noted = GtidSet::new();
    for _ in 0..TRIES {
        if before.replication.is_some() {
            mysql.stop_replica().await?;
        }
        noted = mysql.gtid_executed().await?;
        // VTOrc may take a stopped replica for one to be repaired: look again after the position was read.
        if !replicates(mysql).await? && mysql.gtid_executed().await? == noted {
            return Ok(noted);
        }
    }
    let found = mysql.gtid_executed().await?.to_string();
    Err(EngineError::PositionMoved { noted: noted.to_string(), found })
}

/// Where the data stood while mysqld was down, asked right after its start and before replication goes on.
///
/// Vitess's my.cnf keeps mysqld from replicating by itself, so what it has executed now is what the copied files hold. If
/// someone started replication between the noted position and the shutdown, this finds it; if someone did so since the
/// start, nobody can say any more. A server's own transactions do not count: emptying MEMORY tables makes one at start.
///
/// # Errors
/// `PositionMoved`.
pub async fn of_the_data(mysql: &Mysql, noted: &GtidSet, checked: &Checked) -> Result<GtidSet, EngineError> {
    if !checked.starts_without_replication {
        return Ok(noted.clone());
    }
    let found = mysql.gtid_executed().await?;
    settle(noted, &found, checked.server_uuid, replicates(mysql).await?)
        .ok_or_else(|| EngineError::PositionMoved { noted: noted.to_string(), found: found.to_string() })
}

fn settle(noted: &GtidSet, found: &GtidSet, own: ServerUuid, replicates: bool) -> Option<GtidSet> {
    let mut more = GtidSet::new();
    for (server, intervals) in found.subtract(noted).iter().filter(|(server, _)| **server != own) {
        for interval in intervals {
            more.add(*server, interval.start, interval.end);
        }
    }
    if more.is_empty() {
        return Some(noted.clone());
    }
    (!replicates).then(|| noted.union(&more))
}

async fn replicates(mysql: &Mysql) -> Result<bool, EngineError> {
    let status = mysql.replica_status().await?;
    Ok(status.is_some_and(|status| status.io_state != crate::mysqld::IoState::Stopped || status.sql_running))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const OWN: &str = "7c0f5c3e-0000-11ef-8000-0242ac110002";

    fn set(text: &str) -> GtidSet {
        text.parse().unwrap()
    }

    fn settled(noted: &str, found: &str, replicates: bool) -> Option<String> {
        settle(&set(noted), &set(found), OWN.parse().unwrap(), replicates).map(|set| set.to_string())
    }

    #[test]
    fn data_that_stands_where_it_was_noted_is_at_that_position_even_if_replication_runs_by_now() {
        let noted = format!("{SOURCE}:1-10");
        assert_eq!(settled(&noted, &noted, false), Some(noted.clone()));
        assert_eq!(settled(&noted, &noted, true), Some(noted));
    }

    #[test]
    fn transactions_applied_between_the_note_and_the_shutdown_belong_to_the_data() {
        let found = format!("{SOURCE}:1-12");
        assert_eq!(settled(&format!("{SOURCE}:1-10"), &found, false), Some(found));
    }

    #[test]
    fn once_replication_runs_again_nobody_can_say_where_the_data_stood() {
        assert_eq!(settled(&format!("{SOURCE}:1-10"), &format!("{SOURCE}:1-12"), true), None);
    }

    #[test]
    fn what_the_server_does_by_itself_at_its_start_is_not_in_the_data() {
        let noted = format!("{SOURCE}:1-10");
        assert_eq!(settled(&noted, &format!("{noted},{OWN}:1"), false), Some(noted));
    }
}
