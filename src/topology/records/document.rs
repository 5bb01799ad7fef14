//! The file of an export.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::paths::{Area, class};
use super::{Class, Record};
use crate::backup::topology::TopologyServer;
use crate::topology::tree::Nodes;

/// The first field of every export, with the version of its layout.
pub const FORMAT: &str = "vitess-topology/1";

/// Vitess's records of one topology: those of the global root, and those of each cell's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    pub format: String,
    pub exported: jiff::Timestamp,
    /// What it was exported from.
    pub server: TopologyServer,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_version: Option<String>,
    /// Vitess's `--topo-global-root` there.
    pub root: String,
    /// By path below the root.
    pub global: BTreeMap<String, Record>,
    pub cells: BTreeMap<String, CellPart>,
}

/// The part of a cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CellPart {
    /// The cell's root there, as its CellInfo tells.
    pub root: String,
    pub records: BTreeMap<String, Record>,
}

impl Document {
    /// As it is written to a file.
    pub fn encode(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// # Errors
    /// The words of what is wrong.
    pub fn decode(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Begin {
            format: String,
        }
        let Begin { format } = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if format != FORMAT {
            return Err(format!("its format is {format:?}, and this version reads {FORMAT:?}"));
        }
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// How many records it has in all.
    pub fn records(&self) -> usize {
        self.global.len() + self.cells.values().map(|cell| cell.records.len()).sum::<usize>()
    }

    /// Cell by cell the server's address and root, as the CellInfo records tell.
    pub fn cell_infos(&self) -> BTreeMap<String, (String, String)> {
        let infos = self.global.iter().filter_map(|(path, record)| {
            let name = cell_of(path)?;
            let text = |field: &str| record.text(field).unwrap_or_default().to_owned();
            Some((name.to_owned(), (text("server_address"), text("root"))))
        });
        infos.collect()
    }
}

/// The cell that a path of the global topology describes.
pub fn cell_of(path: &str) -> Option<&str> {
    path.strip_prefix("cells/")?.strip_suffix("/CellInfo").filter(|name| !name.contains('/'))
}

/// What of a tree belongs into an export.
pub fn records(area: Area, nodes: &Nodes) -> BTreeMap<String, Record> {
    let kept = nodes.iter().filter(|(_, node)| !node.ephemeral).filter_map(|(path, node)| {
        let class: Class = class(area, path);
        Some((path.clone(), Record::decode(class, &node.value)?))
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::topology::tree::Node;

    fn node(value: &[u8]) -> Node {
        Node { value: value.to_vec(), version: 1, ephemeral: false }
    }

    #[test]
    fn an_export_has_records_and_neither_locks_nor_serving_data() {
        let lock = Node { ephemeral: true, ..node(b"who") };
        let nodes: Nodes = [
            ("cells/zone1/CellInfo", node(b"\x0a\x01a\x12\x02/z")),
            ("keyspaces/commerce/Keyspace", node(b"")),
            ("keyspaces/commerce/locks/1", node(b"lock")),
            ("keyspaces/commerce/VSchema", node(b"\xff")),
            ("metadata/key", node(b"text")),
            ("something/new", node(b"\x01")),
            ("something/held", lock),
            ("empty", node(b"")),
        ]
        .map(|(path, node)| (path.to_owned(), node))
        .into();
        let found = records(Area::Global, &nodes);
        let told: Vec<_> = found.iter().map(|(path, record)| (path.as_str(), record.r#type.as_str())).collect();
        assert_eq!(
            told,
            [
                ("cells/zone1/CellInfo", "topodata.CellInfo"),
                ("keyspaces/commerce/Keyspace", "topodata.Keyspace"),
                ("keyspaces/commerce/VSchema", "bytes"),
                ("metadata/key", "text"),
                ("something/new", "bytes"),
            ]
        );
        // What was read is written back as it was.
        for (path, record) in &found {
            assert_eq!(record.encode().unwrap(), nodes[path].value, "{path}");
        }
    }

    #[test]
    fn a_document_reads_as_it_is_written_and_another_ones_is_refused() {
        let info = Record {
            r#type: "topodata.CellInfo".into(),
            value: json!({"server_address": "etcd:2379", "root": "/vitess/zone1"}),
        };
        let document = Document {
            format: FORMAT.into(),
            exported: "2026-11-27T06:00:00Z".parse().unwrap(),
            server: TopologyServer::Etcd,
            server_version: None,
            root: "/vitess/global".into(),
            global: [("cells/zone1/CellInfo".to_owned(), info)].into(),
            cells: [("zone1".to_owned(), CellPart { root: "/vitess/zone1".into(), records: BTreeMap::new() })].into(),
        };
        assert_eq!(Document::decode(&document.encode()), Ok(document.clone()));
        assert_eq!(document.cell_infos()["zone1"], ("etcd:2379".into(), "/vitess/zone1".into()));
        let other = document.encode().replace(FORMAT, "vitess-topology/9");
        assert!(Document::decode(&other).unwrap_err().contains("vitess-topology/9"));
        assert!(Document::decode("{}").is_err());
    }
}
