//! The position of a backup: what XtraBackup says of the last change that is in it.
//!
//! Source: Vitess `xtrabackupengine.go` (`findReplicationPosition`): the file `xtrabackup_info` in `--extra-lsndir`, and for
//! programs that write none the stderr, as Vitess did before 21.

use std::path::Path;

use crate::engine::EngineError;
use crate::mysqld::ServerVersion;
use crate::replication::Position;

/// The file in `--extra-lsndir`: XtraBackup's, and as MariaDB calls it since 11.
const INFO: [&str; 2] = ["xtrabackup_info", "mariadb_backup_info"];
/// What stands before it, up to the next quote; a GTID set may go over many lines.
const BEFORE: &str = "GTID of the last change '";
/// More than the GTID sets of any server.
const LONGEST: usize = 8 << 20;

/// Listens to stderr for the position.
#[derive(Debug, Default)]
pub struct Heard {
    text: Option<String>,
    is_whole: bool,
}

impl Heard {
    pub fn hear(&mut self, line: &str) {
        let rest = match (&mut self.text, line.find(BEFORE)) {
            // It is told at the end; what was told before of another change counts no more.
            (_, Some(found)) => {
                self.is_whole = false;
                self.text = Some(String::new());
                &line[found + BEFORE.len()..]
            }
            (Some(_), None) if !self.is_whole => line,
            _ => return,
        };
        let Some(text) = &mut self.text else { return };
        let end = rest.find('\'');
        text.push_str(&rest[..end.unwrap_or(rest.len())]);
        self.is_whole = end.is_some();
        if text.len() > LONGEST {
            self.text = None;
        }
    }

    fn position(&self) -> Option<&str> {
        self.text.as_deref().filter(|_| self.is_whole)
    }
}

/// The position, from the directory that was given as `--extra-lsndir`, else from what was heard.
///
/// # Errors
/// `PositionUnknown`.
pub fn find(directory: &Path, heard: &Heard, version: &ServerVersion) -> Result<Position, EngineError> {
    let told = match INFO.map(|name| directory.join(name)).into_iter().find(|path| path.exists()) {
        Some(path) => {
            let info = std::fs::read(&path).map_err(|error| EngineError::unreadable(&path, error))?;
            of_info(&String::from_utf8_lossy(&info))
                .ok_or_else(|| format!("{} does not tell it; is the binary log on?", path.display()))
        }
        None => heard
            .position()
            .map(str::to_owned)
            .ok_or_else(|| "neither a file of its own nor its stderr tells it".to_owned()),
    };
    told.and_then(|told| parse(&told, version)).map_err(|cause| EngineError::PositionUnknown { cause })
}

fn of_info(info: &str) -> Option<String> {
    let rest = &info[info.find(BEFORE)? + BEFORE.len()..];
    rest.find('\'').map(|end| rest[..end].to_owned())
}

fn parse(told: &str, version: &ServerVersion) -> Result<Position, String> {
    let text: String = told.chars().filter(|letter| !letter.is_whitespace()).collect();
    if text.is_empty() {
        return Err("the server has executed nothing with a GTID".to_owned());
    }
    let flavour = if version.is_mariadb() { "MariaDB" } else { "MySQL56" };
    format!("{flavour}/{text}").parse().map_err(|error| format!("{text:?} is no position: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::failure::Reason;

    const ONE: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5";
    const OTHER: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562:1-7";

    fn mysql() -> ServerVersion {
        ServerVersion::parse("Ver 8.0.36 MySQL Community Server - GPL").unwrap()
    }

    /// What PXB 8.0 writes, GTID sets of several servers over several lines.
    fn info(set: &str) -> String {
        format!(
            "tool_version = 8.0.35-31\nbinlog_pos = filename 'bin.000003', position '497', {BEFORE}{set}'\nlock_time = 0\n"
        )
    }

    fn found(info: Option<(&str, &str)>, stderr: &[&str], version: &ServerVersion) -> Result<String, EngineError> {
        let directory = tempfile::tempdir().unwrap();
        if let Some((name, text)) = info {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let mut heard = Heard::default();
        for line in stderr {
            heard.hear(line);
        }
        find(directory.path(), &heard, version).map(|position| position.to_string())
    }

    #[test]
    fn the_file_tells_the_position_over_several_lines() {
        let info = info(&format!("{ONE},\n\t{OTHER}"));
        let heard = format!("{BEFORE}{ONE}'");
        let position = found(Some(("xtrabackup_info", &info)), &[&heard], &mysql()).unwrap();
        assert_eq!(position, format!("MySQL56/{ONE},{OTHER}"));
    }

    #[test]
    fn mariadb_has_its_own_positions_and_name_of_the_file() {
        let maria = ServerVersion::parse("Ver 11.4.2-MariaDB-log Debian").unwrap();
        let info = info("0-1673791492-24");
        assert_eq!(found(Some(("mariadb_backup_info", &info)), &[], &maria).unwrap(), "MariaDB/0-1673791492-24");
    }

    #[test]
    fn without_the_file_stderr_is_believed_and_its_last_word_counts() {
        let lines = [
            "MySQL binlog position: filename 'bin.000001', position '1', GTID of the last change '4e11fa47-71ca-11e1-9e33-c80aa9429562:1'",
            "MySQL binlog position: filename 'bin.000003', position '497', GTID of the last change '3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5,",
            "4e11fa47-71ca-11e1-9e33-c80aa9429562:1-7'",
            "completed OK!",
        ];
        assert_eq!(found(None, &lines, &mysql()).unwrap(), format!("MySQL56/{ONE},{OTHER}"));
        let endless = "x".repeat(LONGEST + 1);
        let beyond = found(None, &[lines[1], &endless, "'"], &mysql()).unwrap_err();
        assert!(beyond.to_string().contains("nor its stderr"), "a set that was cut is none: {beyond}");
        let cut = found(None, &lines[..2], &mysql()).unwrap_err();
        assert_eq!(cut.failure().reason, Reason::XtrabackupFailed);
    }

    #[test]
    fn a_position_that_is_none_is_told() {
        let told = |text: &str| found(Some(("xtrabackup_info", text)), &[], &mysql()).unwrap_err().to_string();
        assert!(told("binlog_pos = \n").contains("does not tell it"));
        assert!(told(&info(" \n")).contains("nothing with a GTID"));
        assert!(told(&info("0-1-8")).contains("is no position"));
        assert!(found(None, &[], &mysql()).unwrap_err().to_string().contains("nor its stderr"));
    }
}
