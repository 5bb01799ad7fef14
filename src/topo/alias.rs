//! Tablet aliases: `<cell>-<uid>`, the uid zero-padded to ten digits when written.

use std::fmt;
use std::str::FromStr;

/// A tablet's name in the topology, for example `zone1-0000000101`.
///
/// Source of the grammar: Vitess `topoproto.ParseTabletAlias` (cell `[-_.a-zA-Z0-9]+`, `-`, digits that fit a `u32`;
/// padding is not required when reading). A cell with a dot is refused here: the backup name built from it would not
/// parse back, so that Vitess could neither date nor prune such a backup.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TabletAlias {
    cell: String,
    uid: u32,
}

/// Why a text is not a tablet alias.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseAliasError {
    /// No `-` between cell and uid, or one of the two is empty.
    #[error("tablet alias {0:?} is not of the form <cell>-<uid>, for example zone1-0000000101")]
    Shape(String),
    /// The cell has a character that Vitess does not allow, or a dot.
    #[error(
        "cell {0:?} of a tablet alias may have letters, digits, '-' and '_' only (a dot would break the backup's name)"
    )]
    Cell(String),
    /// The uid is not a number that fits 32 bits.
    #[error("uid {0:?} of a tablet alias is not a number from 0 to 4294967295")]
    Uid(String),
}

impl TabletAlias {
    /// # Errors
    /// When the cell is empty or has a character outside `[-_a-zA-Z0-9]`.
    pub fn new(cell: &str, uid: u32) -> Result<Self, ParseAliasError> {
        if cell.is_empty() {
            return Err(ParseAliasError::Shape(format!("{cell}-{uid}")));
        }
        if !cell.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
            return Err(ParseAliasError::Cell(cell.to_owned()));
        }
        Ok(Self { cell: cell.to_owned(), uid })
    }

    pub fn cell(&self) -> &str {
        &self.cell
    }

    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The name of the tablet's directory below `$VTDATAROOT`: `vt_0000000101`.
    pub fn directory_name(&self) -> String {
        format!("vt_{:010}", self.uid)
    }
}

impl fmt::Display for TabletAlias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:010}", self.cell, self.uid)
    }
}

impl FromStr for TabletAlias {
    type Err = ParseAliasError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (cell, uid) = text.rsplit_once('-').ok_or_else(|| ParseAliasError::Shape(text.to_owned()))?;
        if cell.is_empty() || uid.is_empty() {
            return Err(ParseAliasError::Shape(text.to_owned()));
        }
        if !uid.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ParseAliasError::Uid(uid.to_owned()));
        }
        let number = uid.parse().map_err(|_| ParseAliasError::Uid(uid.to_owned()))?;
        Self::new(cell, number)
    }
}

serde_as_text!(TabletAlias);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_alias_reads_back_as_it_was_written(cell in "[-_a-zA-Z0-9]{1,12}", uid in any::<u32>()) {
            let alias = TabletAlias::new(&cell, uid).unwrap();
            prop_assert_eq!(alias.to_string().parse::<TabletAlias>().unwrap(), alias);
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = text.parse::<TabletAlias>();
        }
    }

    #[test]
    fn padding_is_written_and_not_required() {
        let alias: TabletAlias = "zone1-101".parse().unwrap();
        assert_eq!(alias.to_string(), "zone1-0000000101");
        assert_eq!(alias.directory_name(), "vt_0000000101");
    }

    #[test]
    fn a_wrong_alias_says_what_is_wrong() {
        let message = |text: &str| text.parse::<TabletAlias>().unwrap_err().to_string();
        assert!(message("zone1").contains("<cell>-<uid>"));
        assert!(message("-101").contains("<cell>-<uid>"));
        assert!(message("zone1-4294967296").contains("4294967295"));
        assert!(message("zone1-+5").contains("not a number"));
        assert!(message("zone.1-5").contains("a dot would break"));
    }
}
