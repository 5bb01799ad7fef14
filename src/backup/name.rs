//! Backup names, `2024-01-02.030405.zone1-0000000101`, and the times that people ask for.
//!
//! Source: Vitess `mysqlctl` (`BackupTimestampFormat`, the Go layout `2006-01-02.150405`, always UTC, and
//! `ParseBackupName`) and `topoproto.TabletAliasString`. In storage anything may lie beside real backups, so stored names
//! stay plain text until one of them is asked what it says.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::topo::{ParseAliasError, TabletAlias};

const LAYOUT: &str = "%Y-%m-%d.%H%M%S";

/// `<date>.<time>.<tablet alias>`: when a backup began, in whole seconds of UTC, and which tablet it is of.
///
/// Byte order of the written names is age order, because all parts of the time have a fixed width.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackupName {
    time: Timestamp,
    alias: TabletAlias,
}

/// Why a text is not a backup name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseNameError {
    #[error(
        "backup name {0:?} is not of the form <date>.<time>.<tablet_alias>, for example 2024-01-02.030405.zone1-0000000101"
    )]
    Shape(String),
    #[error("backup name {name:?} does not begin with a time such as 2024-01-02.030405")]
    Time { name: String },
    #[error("backup name {name:?}: {source}")]
    Alias { name: String, source: ParseAliasError },
}

/// Why a text is not a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a time: write 2021-04-29.133050 (UTC, as backup names have it) or RFC 3339, for example 2021-04-29T13:30:50Z"
)]
pub struct ParseTimeError(String);

impl BackupName {
    /// The name of a backup that begins at `time`; parts of a second are cut off, because names do not carry them.
    pub fn new(time: Timestamp, alias: TabletAlias) -> Self {
        let whole = Timestamp::from_second(time.as_second()).unwrap_or(time);
        Self { time: whole, alias }
    }

    /// When the backup began, in whole seconds.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    pub fn alias(&self) -> &TabletAlias {
        &self.alias
    }
}

impl fmt::Display for BackupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", time_text(self.time), self.alias)
    }
}

impl FromStr for BackupName {
    type Err = ParseNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = name.split('.').collect();
        let [_, _, alias] = parts[..] else { return Err(ParseNameError::Shape(name.to_owned())) };
        let time = time_of(name).ok_or_else(|| ParseNameError::Time { name: name.to_owned() })?;
        let alias = alias.parse().map_err(|source| ParseNameError::Alias { name: name.to_owned(), source })?;
        Ok(Self { time, alias })
    }
}

/// The time that a stored name begins with, if it begins with one, whatever follows.
///
/// Old backups of a cell with a dot in its name have a fourth part and are no [`BackupName`], but still have an age.
pub fn time_of(stored_name: &str) -> Option<Timestamp> {
    let (date, rest) = stored_name.split_once('.')?;
    let (time, _alias) = rest.split_once('.')?;
    parse_layout(&format!("{date}.{time}"))
}

/// A time as Vitess users write it (`--restore-from-backup-ts 2021-04-29.133050`, UTC) or as RFC 3339.
pub fn parse_time(text: &str) -> Result<Timestamp, ParseTimeError> {
    parse_layout(text).or_else(|| text.parse().ok()).ok_or_else(|| ParseTimeError(text.to_owned()))
}

/// The time as names have it: `2024-01-02.030405`, in UTC.
pub fn time_text(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime(LAYOUT).to_string()
}

/// Only the fixed width counts: Go's layout refuses `2024-1-2.30405`, and so must we, or names would not sort by age.
fn parse_layout(text: &str) -> Option<Timestamp> {
    const SHAPE: &[u8] = b"0000-00-00.000000";
    let fits = text.len() == SHAPE.len()
        && text
            .bytes()
            .zip(SHAPE)
            .all(|(byte, shape)| if *shape == b'0' { byte.is_ascii_digit() } else { byte == *shape });
    if !fits {
        return None;
    }
    DateTime::strptime(LAYOUT, text).ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // Up to jiff's last second, which is a day short of the year 10000.
    proptest! {
        #[test]
        fn a_name_reads_back_as_it_was_written(second in 0_i64..253_402_207_200, cell in "[-_a-zA-Z0-9]{1,12}", uid in any::<u32>()) {
            let name = BackupName::new(Timestamp::from_second(second).unwrap(), TabletAlias::new(&cell, uid).unwrap());
            prop_assert_eq!(name.to_string().parse::<BackupName>().unwrap(), name);
        }

        #[test]
        fn names_sort_as_their_times_do(one in 0_i64..253_402_207_200, other in 0_i64..253_402_207_200) {
            let name = |second| BackupName::new(Timestamp::from_second(second).unwrap(), TabletAlias::new("a", 1).unwrap()).to_string();
            prop_assert_eq!(name(one).cmp(&name(other)), one.cmp(&other));
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = text.parse::<BackupName>();
            let _ = (time_of(&text), parse_time(&text));
        }
    }

    #[test]
    fn the_names_of_vitess_read_back() {
        for text in ["2024-01-02.030405.zone1-0000000101", "2026-11-22.153504.vtbackup-1690055660"] {
            let name: BackupName = text.parse().unwrap();
            assert_eq!(name.to_string(), text);
        }
        let name: BackupName = "2024-01-02.030405.zone1-0000000101".parse().unwrap();
        assert_eq!(name.time().to_string(), "2024-01-02T03:04:05Z");
        assert_eq!(name.alias().to_string(), "zone1-0000000101");
    }

    #[test]
    fn parts_of_a_second_are_cut_off() {
        let name = BackupName::new("2024-01-02T03:04:05.999Z".parse().unwrap(), "zone1-101".parse().unwrap());
        assert_eq!(name.to_string(), "2024-01-02.030405.zone1-0000000101");
        assert_eq!(name, name.to_string().parse().unwrap());
    }

    #[test]
    fn a_wrong_name_says_what_is_wrong() {
        let message = |text: &str| text.parse::<BackupName>().unwrap_err().to_string();
        assert!(message("9999-junk").contains("<date>.<time>.<tablet_alias>"));
        assert!(message("2024-01-02.030405.zone.1-5").contains("<date>.<time>.<tablet_alias>"));
        assert!(message("2024-13-02.030405.zone1-5").contains("time such as"));
        assert!(message("2024-1-2.030405.zone1-5").contains("time such as"));
        assert!(message("2024-01-02.030405.zone1").contains("<cell>-<uid>"));
    }

    #[test]
    fn the_time_of_a_dotted_cell_is_known() {
        assert_eq!(time_of("2024-01-02.030405.zone.1-0000000005").unwrap().to_string(), "2024-01-02T03:04:05Z");
        assert_eq!(time_of("9999-junk"), None);
        assert_eq!(time_of("2024-01-02.030405"), None);
    }

    #[test]
    fn times_come_in_two_spellings() {
        let expected: Timestamp = "2021-04-29T13:30:50Z".parse().unwrap();
        for text in ["2021-04-29.133050", "2021-04-29T13:30:50Z", "2021-04-29T15:30:50+02:00"] {
            assert_eq!(parse_time(text), Ok(expected), "{text}");
        }
        for text in ["", "yesterday", "2021-04-29", "2021-04-29.1330", "2021-02-30.133050", "2021-04-29T13:30:50"] {
            assert!(parse_time(text).unwrap_err().to_string().contains("RFC 3339"), "{text}");
        }
    }
}
