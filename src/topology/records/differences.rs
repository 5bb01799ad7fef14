//! What an import would change, as a value that a person can read before anything is written.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::document::records;
use super::paths::Area;
use super::{BYTES, Record};
use crate::topology::tree::Nodes;

/// One record to write.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub path: String,
    /// What stands there, and its version in the server's counting; `None`: nothing.
    pub before: Option<(Record, i64)>,
    pub after: Record,
    /// `after` as it is stored.
    pub bytes: Vec<u8>,
}

/// What there is to do below one root.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Differences {
    pub root: String,
    /// In the order in which they are written.
    pub changes: Vec<Change>,
    pub same: usize,
    /// Records of Vitess's that the export does not have. They are left as they are.
    pub only_there: Vec<String>,
}

impl Differences {
    /// Records that exist and would be replaced.
    pub fn replaced(&self) -> usize {
        self.changes.iter().filter(|change| change.before.is_some()).count()
    }
}

/// Compares what is wanted below `root` with what stands there, by meaning: the order of a map's entries makes no difference.
///
/// # Errors
/// The path and the words of a wanted record that cannot be written.
pub fn differences(
    area: Area,
    root: &str,
    wanted: &BTreeMap<String, Record>,
    there: &Nodes,
) -> Result<Differences, String> {
    let known = records(area, there);
    let mut found = Differences { root: root.to_owned(), ..Differences::default() };
    for (path, after) in wanted {
        let bytes = after.encode().map_err(|problem| format!("{path}: {problem}"))?;
        let before = there.get(path).map(|node| {
            let raw = || Record { r#type: BYTES.to_owned(), value: Value::Null };
            (known.get(path).cloned().unwrap_or_else(raw), node.version)
        });
        // A directory of ZooKeeper's that is empty and a record of defaults look alike; both are there.
        if before.as_ref().is_some_and(|(record, _)| record == after) {
            found.same += 1;
        } else {
            found.changes.push(Change { path: path.clone(), before, after: after.clone(), bytes });
        }
    }
    found.only_there = known.into_keys().filter(|path| !wanted.contains_key(path)).collect();
    Ok(found)
}

impl fmt::Display for Differences {
    /// A line for each record: `+` is made, `~` is replaced, with the fields that differ; `?` is left.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { root, changes, same, only_there } = self;
        writeln!(f, "{root}: {} to write, {same} the same, {} only there", changes.len(), only_there.len())?;
        for Change { path, before, after, bytes: _ } in changes {
            match before {
                None => writeln!(f, "  + {path}")?,
                Some((before, _)) => {
                    writeln!(f, "  ~ {path}")?;
                    fields(f, "", &before.value, &after.value)?;
                }
            }
        }
        for path in only_there {
            writeln!(f, "  ? {path} (left as it is)")?;
        }
        Ok(())
    }
}

/// A line for each leaf that differs.
fn fields(f: &mut fmt::Formatter<'_>, place: &str, before: &Value, after: &Value) -> fmt::Result {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let below = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                let value = |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or(Value::Null);
                fields(f, &below, &value(before), &value(after))?;
            }
            Ok(())
        }
        (before, after) if before == after => Ok(()),
        (before, after) => {
            let text = |value: &Value| if value.is_null() { "(default)".to_owned() } else { value.to_string() };
            let place = if place.is_empty() { "value" } else { place };
            writeln!(f, "      {place}: {} -> {}", text(before), text(after))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::topology::tree::Node;

    fn info(address: &str) -> Record {
        let value = json!({"server_address": address, "root": "/vitess/zone1"});
        Record { r#type: "topodata.CellInfo".into(), value }
    }

    fn stored(record: &Record) -> Node {
        Node { value: record.encode().unwrap(), version: 7, ephemeral: false }
    }

    #[test]
    fn what_would_be_written_is_told_record_by_record_and_field_by_field() {
        let keyspace = Record { r#type: "topodata.Keyspace".into(), value: json!({"durability_policy": "none"}) };
        let wanted = BTreeMap::from([
            ("cells/zone1/CellInfo".to_owned(), info("consul:8500")),
            ("cells/zone2/CellInfo".to_owned(), info("etcd:2379")),
            ("keyspaces/commerce/Keyspace".to_owned(), keyspace),
        ]);
        let there: Nodes = [
            ("cells/zone1/CellInfo", stored(&info("etcd:2379"))),
            ("cells/zone2/CellInfo", stored(&info("etcd:2379"))),
            ("keyspaces/other/Keyspace", stored(&info("x"))),
            ("keyspaces/other/locks/1", stored(&info("x"))),
        ]
        .map(|(path, node)| (path.to_owned(), node))
        .into();
        let found = differences(Area::Global, "vitess/global", &wanted, &there).unwrap();
        assert_eq!((found.replaced(), found.same, found.changes.len()), (1, 1, 2));
        assert_eq!(found.changes[0].before.as_ref().map(|(_, version)| *version), Some(7));
        insta::assert_snapshot!(found.to_string(), @r#"
        vitess/global: 2 to write, 1 the same, 1 only there
          ~ cells/zone1/CellInfo
              server_address: "etcd:2379" -> "consul:8500"
          + keyspaces/commerce/Keyspace
          ? keyspaces/other/Keyspace (left as it is)
        "#);
    }

    #[test]
    fn a_record_that_cannot_be_written_is_named_before_anything_is() {
        let wrong = Record { r#type: "topodata.CellInfo".into(), value: json!({"root": 7}) };
        let wanted = BTreeMap::from([("cells/zone1/CellInfo".to_owned(), wrong)]);
        let error = differences(Area::Global, "/", &wanted, &Nodes::new()).unwrap_err();
        assert!(error.contains("cells/zone1/CellInfo") && error.contains("7 is no text"), "{error}");
    }

    #[test]
    fn a_record_of_defaults_that_is_there_is_the_same() {
        let keyspace = Record { r#type: "topodata.Keyspace".into(), value: json!({}) };
        let wanted = BTreeMap::from([("keyspaces/a/Keyspace".to_owned(), keyspace.clone())]);
        let there = Nodes::from([("keyspaces/a/Keyspace".to_owned(), stored(&keyspace))]);
        assert_eq!(differences(Area::Global, "/", &wanted, &there).unwrap().changes, []);
    }
}
