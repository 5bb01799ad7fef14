//! Positions with their flavour, as the MANIFEST and Vitess's RPCs carry them: `MySQL56/…`, `MariaDB/…`, `FilePos/…`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::gtid_set::{GtidSet, ParseGtidSetError};

/// What a server has executed, with the flavour that says how to read it.
///
/// Source: Vitess `replication.EncodePosition`/`DecodePosition`. An empty GTID set is `MySQL56/`. Vitess's zero value,
/// the empty text, is no position at all: see [`Position::decode`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    Mysql56(GtidSet),
    MariaDb(MariaDbGtidSet),
    FilePos(FilePos),
}

/// For each replication domain the last GTID: what MariaDB calls a GTID position. Written `0-1-8,1-1-3`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MariaDbGtidSet(BTreeMap<u32, MariaDbGtid>);

/// `<domain>-<server>-<sequence>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MariaDbGtid {
    pub domain: u32,
    pub server: u32,
    pub sequence: u64,
}

/// A binary log file and the offset in it, in bytes: `<file>:<position>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePos {
    pub file: String,
    pub position: u64,
}

/// Why a text is not a position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParsePositionError {
    #[error("the position is empty")]
    Empty,
    #[error("position {0:?} has no flavour: it should begin with MySQL56/, MariaDB/ or FilePos/")]
    NoFlavour(String),
    #[error("position flavour {0:?} is not one of MySQL56, MariaDB, FilePos")]
    Flavour(String),
    #[error(transparent)]
    GtidSet(#[from] ParseGtidSetError),
    #[error("MariaDB GTID {0:?} is not of the form <domain>-<server>-<sequence>, for example 0-1-8")]
    MariaDb(String),
    #[error("binary log position {0:?} is not of the form <file>:<offset>")]
    FilePos(String),
}

impl Position {
    /// Reads a MANIFEST's position field, where the empty text means that there is none.
    ///
    /// # Errors
    /// As `FromStr`, except that the empty text is `Ok(None)`.
    pub fn decode(text: &str) -> Result<Option<Self>, ParsePositionError> {
        if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
    }

    /// `MySQL56`, `MariaDB` or `FilePos`.
    pub fn flavour(&self) -> &'static str {
        match self {
            Self::Mysql56(_) => "MySQL56",
            Self::MariaDb(_) => "MariaDB",
            Self::FilePos(_) => "FilePos",
        }
    }

    /// The GTID set of a MySQL position.
    pub fn gtid_set(&self) -> Option<&GtidSet> {
        match self {
            Self::Mysql56(set) => Some(set),
            Self::MariaDb(_) | Self::FilePos(_) => None,
        }
    }

    /// Whether it stands for nothing executed. Vitess's `IsZero` for a position that is there.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Mysql56(set) => set.is_empty(),
            Self::MariaDb(set) => set.0.is_empty(),
            Self::FilePos(at) => at.file.is_empty(),
        }
    }

    /// Whether all that `other` stands for is in here too: Vitess's `AtLeast`. Different flavours never are.
    pub fn at_least(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Mysql56(ours), Self::Mysql56(theirs)) => ours.contains(theirs),
            (Self::MariaDb(ours), Self::MariaDb(theirs)) => ours.contains(theirs),
            (Self::FilePos(ours), Self::FilePos(theirs)) => {
                (&theirs.file, theirs.position) <= (&ours.file, ours.position)
            }
            _ => false,
        }
    }
}

impl MariaDbGtidSet {
    /// Whether every domain of `other` is at least as far here.
    pub fn contains(&self, other: &Self) -> bool {
        other.0.values().all(|theirs| self.0.get(&theirs.domain).is_some_and(|ours| ours.sequence >= theirs.sequence))
    }

    pub fn iter(&self) -> impl Iterator<Item = &MariaDbGtid> {
        self.0.values()
    }
}

impl From<GtidSet> for Position {
    fn from(set: GtidSet) -> Self {
        Self::Mysql56(set)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.flavour())?;
        match self {
            Self::Mysql56(set) => set.fmt(f),
            Self::MariaDb(set) => set.fmt(f),
            Self::FilePos(FilePos { file, position }) => write!(f, "{file}:{position}"),
        }
    }
}

impl fmt::Display for MariaDbGtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, MariaDbGtid { domain, server, sequence }) in self.0.values().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{domain}-{server}-{sequence}")?;
        }
        Ok(())
    }
}

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(ParsePositionError::Empty);
        }
        let (flavour, rest) = text.split_once('/').ok_or_else(|| ParsePositionError::NoFlavour(text.to_owned()))?;
        match flavour {
            "MySQL56" => Ok(Self::Mysql56(rest.parse()?)),
            "MariaDB" => Ok(Self::MariaDb(rest.parse()?)),
            "FilePos" => Ok(Self::FilePos(rest.parse()?)),
            other => Err(ParsePositionError::Flavour(other.to_owned())),
        }
    }
}

impl FromStr for MariaDbGtidSet {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut set = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let gtid = part.parse::<MariaDbGtid>()?;
            set.0.insert(gtid.domain, gtid);
        }
        Ok(set)
    }
}

impl FromStr for MariaDbGtid {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParsePositionError::MariaDb(text.to_owned());
        let mut parts = text.split('-');
        let (Some(domain), Some(server), Some(sequence), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        Ok(Self {
            domain: number(domain).ok_or_else(wrong)?,
            server: number(server).ok_or_else(wrong)?,
            sequence: number(sequence).ok_or_else(wrong)?,
        })
    }
}

impl FromStr for FilePos {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParsePositionError::FilePos(text.to_owned());
        let (file, position) = text.split_once(':').ok_or_else(wrong)?;
        Ok(Self { file: file.to_owned(), position: number(position).ok_or_else(wrong)? })
    }
}

/// Digits only: Go's numbers, unlike Rust's, take no `+`.
fn number<N: FromStr>(text: &str) -> Option<N> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

serde_as_text!(Position);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn position(text: &str) -> Position {
        text.parse().unwrap()
    }

    proptest! {
        #[test]
        fn a_mysql_position_reads_back(start in 1u64..1000, length in 0u64..1000) {
            let text = format!("MySQL56/{UUID}:{}", if length == 0 { start.to_string() } else { format!("{start}-{}", start + length) });
            prop_assert_eq!(position(&text).to_string(), text);
        }

        #[test]
        fn a_mariadb_position_reads_back(gtids in prop::collection::btree_map(any::<u32>(), (any::<u32>(), any::<u64>()), 0..4)) {
            let set = gtids.into_iter().map(|(domain, (server, sequence))| (domain, MariaDbGtid { domain, server, sequence }));
            let written = Position::MariaDb(MariaDbGtidSet(set.collect()));
            prop_assert_eq!(position(&written.to_string()), written);
        }

        #[test]
        fn a_file_position_reads_back(file in "[a-z0-9.-]{1,20}", offset in any::<u64>()) {
            let written = Position::FilePos(FilePos { file, position: offset });
            prop_assert_eq!(position(&written.to_string()), written);
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = text.parse::<Position>();
        }
    }

    #[test]
    fn an_empty_set_is_a_position_and_the_empty_text_is_none() {
        assert_eq!(position("MySQL56/").to_string(), "MySQL56/");
        assert!(position("MySQL56/").is_empty());
        assert_eq!(Position::decode(""), Ok(None));
        assert_eq!(Position::decode("MySQL56/"), Ok(Some(Position::Mysql56(GtidSet::new()))));
    }

    #[test]
    fn at_least_compares_like_with_like() {
        let cases = [
            (format!("MySQL56/{UUID}:1-5"), format!("MySQL56/{UUID}:2-4"), true),
            (format!("MySQL56/{UUID}:1-5"), format!("MySQL56/{UUID}:1-6"), false),
            (format!("MySQL56/{UUID}:1-5"), "MySQL56/".into(), true),
            ("MariaDB/0-1-8".into(), "MariaDB/0-2-8".into(), true),
            ("MariaDB/0-1-8".into(), "MariaDB/0-1-9".into(), false),
            ("MariaDB/0-1-8".into(), "MariaDB/1-1-1".into(), false),
            ("FilePos/bin.000002:4".into(), "FilePos/bin.000001:900".into(), true),
            ("FilePos/bin.000002:4".into(), "FilePos/bin.000002:5".into(), false),
            ("MariaDB/0-1-8".into(), "MySQL56/".into(), false),
        ];
        for (ours, theirs, expected) in cases {
            assert_eq!(position(&ours).at_least(&position(&theirs)), expected, "{ours} at least {theirs}");
        }
    }

    #[test]
    fn a_wrong_position_says_what_is_wrong() {
        let message = |text: &str| text.parse::<Position>().unwrap_err().to_string();
        assert!(message("").contains("empty"));
        assert!(message(&format!("{UUID}:1-5")).contains("no flavour"));
        assert!(message("Oracle/1").contains("MySQL56, MariaDB, FilePos"));
        assert!(message("MySQL56/x").contains("<server uuid>:<interval>"));
        assert!(message("MariaDB/0-1").contains("<domain>-<server>-<sequence>"));
        assert!(message("MariaDB/0-1-+8").contains("<domain>-<server>-<sequence>"));
        assert!(message("FilePos/bin.000001:+4").contains("<file>:<offset>"));
        assert!(message("FilePos/bin.000001").contains("<file>:<offset>"));
    }
}
