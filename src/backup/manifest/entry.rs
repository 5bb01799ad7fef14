//! One file of a builtin backup.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde_json::{Map, Value};

/// The directory that a file's name is relative to. Source: the constants of Vitess `mysqlctl` and `FileEntry.open`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Base {
    /// innodb_data_home_dir.
    InnoDBData,
    /// innodb_log_group_home_dir.
    InnoDBLog,
    /// datadir.
    Data,
    /// The directory of log-bin; incremental backups only.
    BinLog,
    /// Anything else: it decodes, as in Vitess, and cannot be restored.
    Other(String),
}

impl Base {
    pub fn as_str(&self) -> &str {
        match self {
            Self::InnoDBData => "InnoDBData",
            Self::InnoDBLog => "InnoDBLog",
            Self::Data => "Data",
            Self::BinLog => "BinLog",
            Self::Other(text) => text,
        }
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Base {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "InnoDBData" => Self::InnoDBData,
            "InnoDBLog" => Self::InnoDBLog,
            "Data" => Self::Data,
            "BinLog" => Self::BinLog,
            other => Self::Other(other.to_owned()),
        })
    }
}

impl Default for Base {
    fn default() -> Self {
        Self::Other(String::new())
    }
}

/// One file: where it belongs and what its stored bytes must hash to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileEntry {
    pub base: Base,
    /// Relative to the base, `/` as separator. Vitess skips an entry with an empty name when it restores; the index counts.
    pub name: String,
    /// CRC-32/IEEE of the stored bytes, 8 lower-case hex digits. Vitess 22 and 23 could leave it empty (issue 19338).
    pub hash: String,
    /// Always "" in a backup that may be restored into a tablet.
    pub parent_path: String,
    /// Fields that we do not know (`Chunks` of a Vitess to come), in their order.
    pub unknown: Map<String, Value>,
}

/// Why a file of a MANIFEST may not be written where it asks to be (CVE-2026-27969).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryPathError {
    #[error("file {0:?} of the MANIFEST is not a plain path below its base directory")]
    Name(String),
    #[error(
        "file {name:?} of the MANIFEST asks for the parent path {parent_path:?}, which backups of a tablet never have"
    )]
    ParentPath { name: String, parent_path: String },
}

impl FileEntry {
    /// The file's path below its base directory: relative, with no `.`, `..`, doubled `/` or NUL in it.
    pub fn path_below_base(&self) -> Result<PathBuf, EntryPathError> {
        if !self.parent_path.is_empty() {
            return Err(EntryPathError::ParentPath { name: self.name.clone(), parent_path: self.parent_path.clone() });
        }
        let path = Path::new(&self.name);
        let plain = !self.name.is_empty()
            && !self.name.contains('\0')
            && path.components().all(|part| matches!(part, Component::Normal(_)))
            // `components` folds "a//b", "a/./b" and "a/" quietly.
            && self.name.split('/').all(|part| !part.is_empty() && part != ".");
        if plain { Ok(path.to_path_buf()) } else { Err(EntryPathError::Name(self.name.clone())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> FileEntry {
        FileEntry { base: Base::Data, name: name.to_owned(), ..FileEntry::default() }
    }

    #[test]
    fn ordinary_names_are_paths_below_the_base() {
        for name in ["ibdata1", "#innodb_redo/#ib_redo10_tmp", "vt_commerce/t@002d1.ibd", "a..b"] {
            assert_eq!(entry(name).path_below_base().unwrap(), PathBuf::from(name));
        }
    }

    #[test]
    fn a_name_that_leaves_its_base_is_refused() {
        for name in ["", "/etc/passwd", "..", "../x", "a/../../x", "a/..", ".", "./a", "a/./b", "a//b", "a/", "a\0b"] {
            assert_eq!(entry(name).path_below_base(), Err(EntryPathError::Name(name.to_owned())), "{name:?}");
        }
        let moved = FileEntry { parent_path: "/tmp".to_owned(), ..entry("ibdata1") };
        assert!(moved.path_below_base().unwrap_err().to_string().contains("/tmp"));
    }

    #[test]
    fn a_base_reads_back_as_it_was_written() {
        for text in ["InnoDBData", "InnoDBLog", "Data", "BinLog", "", "Elsewhere"] {
            let Ok(base) = text.parse::<Base>();
            assert_eq!(base.to_string(), text);
            assert_eq!(matches!(base, Base::Other(_)), text.is_empty() || text == "Elsewhere");
        }
    }
}
