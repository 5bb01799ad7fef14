//! `<keyspace>/<shard>`: the name of a shard, and the directory of its backups in storage.

use std::fmt;
use std::str::FromStr;

/// A keyspace and one of its shards, `commerce/-80`; Vitess also uses the text as the storage directory ("dir").
///
/// The shard is kept verbatim (`0`, `-`, `-80`, `80-c0`): key ranges are not normalised, because the text names objects.
/// Neither part may be empty, hold a `/`, a control character, or be `.` or `..`: the two become path components.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyspaceShard {
    keyspace: String,
    shard: String,
}

/// Why a text does not name a shard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseShardError {
    #[error("{0:?} is not of the form <keyspace>/<shard>, for example commerce/0 or commerce/-80")]
    Shape(String),
    #[error("keyspace {0:?} may have letters, digits, '_', '-' and '.' only, and must not be '.' or '..'")]
    Keyspace(String),
    #[error("shard {0:?} is neither a name of letters, digits and '_' nor a key range such as -80, 80-c0 or '-'")]
    Shard(String),
}

impl KeyspaceShard {
    /// # Errors
    /// When either part could not be a Vitess name or a path component.
    pub fn new(keyspace: &str, shard: &str) -> Result<Self, ParseShardError> {
        let keyspace_ok = !keyspace.is_empty()
            && keyspace != "."
            && keyspace != ".."
            && keyspace.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        if !keyspace_ok {
            return Err(ParseShardError::Keyspace(keyspace.to_owned()));
        }
        let shard_ok = !shard.is_empty() && shard.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        if !shard_ok {
            return Err(ParseShardError::Shard(shard.to_owned()));
        }
        Ok(Self { keyspace: keyspace.to_owned(), shard: shard.to_owned() })
    }

    pub fn keyspace(&self) -> &str {
        &self.keyspace
    }

    pub fn shard(&self) -> &str {
        &self.shard
    }
}

impl fmt::Display for KeyspaceShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.keyspace, self.shard)
    }
}

impl FromStr for KeyspaceShard {
    type Err = ParseShardError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (keyspace, shard) = text.split_once('/').ok_or_else(|| ParseShardError::Shape(text.to_owned()))?;
        Self::new(keyspace, shard)
    }
}

serde_as_text!(KeyspaceShard);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_shard_reads_back_as_it_was_written(keyspace in "[a-zA-Z0-9_-]{1,12}", shard in "[0-9a-f]{0,4}-[0-9a-f]{0,4}") {
            let named = KeyspaceShard::new(&keyspace, &shard).unwrap();
            prop_assert_eq!(named.to_string().parse::<KeyspaceShard>().unwrap(), named);
        }
    }

    #[test]
    fn a_wrong_shard_says_what_is_wrong() {
        let message = |text: &str| text.parse::<KeyspaceShard>().unwrap_err().to_string();
        assert!(message("commerce").contains("<keyspace>/<shard>"));
        assert!(message("/0").contains("keyspace"));
        assert!(message("../0").contains("keyspace"));
        assert!(message("commerce/").contains("shard"));
        assert!(message("commerce/0/1").contains("shard"));
    }
}
