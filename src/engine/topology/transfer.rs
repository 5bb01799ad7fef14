//! Vitess's records out of one topology server and into another, which may be of another kind.

use std::collections::{BTreeMap, BTreeSet};

use crate::backup::topology::TopologyServer;
use crate::engine::{EngineError, Interrupt};
use crate::progress::{Monitor, Step};
use crate::topology::access::{Endpoint, endpoints};
use crate::topology::records::{Area, CellPart, Differences, Document, FORMAT, Record, cell_of, differences, records};
use crate::topology::tree::{self, Tree, root_for, root_of};
use crate::topology::{Access, TopologyError};

/// A topology: its server, and where Vitess's global root is in it.
#[derive(Clone, Debug)]
pub struct Side {
    pub server: TopologyServer,
    pub access: Access,
    /// Vitess's `--topo-global-root`.
    pub root: String,
    /// The servers of cells, where they are not those that CellInfo names: `host:port[,…]` by cell.
    pub cell_addresses: BTreeMap<String, String>,
}

/// What to export.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    pub from: Side,
    /// Only these cells; empty: all.
    pub cells: BTreeSet<String>,
}

/// Reads Vitess's records: those of the global root, and those of each cell from the server that its CellInfo names.
///
/// # Errors
/// `Topology`, and `InvalidArguments` for a root without records, or a cell that is not there.
pub async fn export(options: &ExportOptions, monitor: &dyn Monitor) -> Result<Document, EngineError> {
    let ExportOptions { from, cells: wanted } = options;
    monitor.step(Step::ReadingTopology);
    let root = root_of(from.server, &from.root);
    let global = tree::open(from.server, &from.access).await?;
    let mut document = Document {
        format: FORMAT.to_owned(),
        exported: jiff::Timestamp::now(),
        server: from.server,
        server_version: global.server_version(),
        root: root.clone(),
        global: records(Area::Global, &global.read(&root).await?),
        cells: BTreeMap::new(),
    };
    if document.global.is_empty() {
        let title = from.server.title();
        let text = format!("{title} has no records of Vitess below {root}: --topo-root is Vitess's --topo-global-root");
        return Err(EngineError::InvalidArguments(text));
    }
    let infos = document.cell_infos();
    check_cells(wanted, &infos)?;
    for (cell, (address, cell_root)) in infos {
        if !wanted.is_empty() && !wanted.contains(&cell) {
            continue;
        }
        monitor.note(&format!("reading cell {cell}"));
        let address = from.cell_addresses.get(&cell).unwrap_or(&address);
        let server = open_at(from, address, &cell).await?;
        let cell_root = root_of(from.server, &cell_root);
        let records = records(Area::Cell, &server.read(&cell_root).await?);
        document.cells.insert(cell, CellPart { root: cell_root, records });
    }
    Ok(document)
}

/// That all cells that are wanted are there.
fn check_cells<T>(wanted: &BTreeSet<String>, infos: &BTreeMap<String, T>) -> Result<(), EngineError> {
    let Some(missing) = wanted.iter().find(|cell| !infos.contains_key(*cell)) else { return Ok(()) };
    let known: Vec<&str> = infos.keys().map(String::as_str).collect();
    Err(EngineError::InvalidArguments(format!("there is no cell {missing}; there are {}", known.join(", "))))
}

async fn open_at(side: &Side, address: &str, cell: &str) -> Result<Box<dyn Tree>, EngineError> {
    let parsed: Result<Vec<Endpoint>, TopologyError> = endpoints(address);
    let parsed = parsed.map_err(|error| {
        EngineError::InvalidArguments(format!(
            "the server of cell {cell}: {error}; say where it is by --cell-server-address {cell}=host:port"
        ))
    })?;
    Ok(tree::open(side.server, &side.access.with_endpoints(parsed)).await?)
}

/// Where to import to.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    pub to: Side,
    /// What CellInfo shall say of a cell without an address of its own: the address of `to`, as Vitess's programs have it.
    pub address: String,
    /// Only these cells; empty: all of the export.
    pub cells: BTreeSet<String>,
}

/// What an import is about to do; nothing is written yet.
pub struct Import {
    areas: Vec<(Box<dyn Tree>, Differences)>,
    title: &'static str,
}

/// Compares an export with what the server has.
///
/// Where a cell's records go, its CellInfo says so too: to `--cell-server-address`, else to the server of the global topology.
///
/// # Errors
/// `Topology`; `InvalidArguments` for a document that does not fit.
pub async fn plan_import(
    document: &Document,
    options: &ImportOptions,
    monitor: &dyn Monitor,
) -> Result<Import, EngineError> {
    let ImportOptions { to, address, cells: wanted } = options;
    monitor.step(Step::ReadingTopology);
    let unreadable = |cause: String| {
        EngineError::from(TopologyError::Unreadable { what: "a record of the export".to_owned(), cause })
    };
    check_cells(wanted, &document.cell_infos())?;
    let chosen = |cell: &str| wanted.is_empty() || wanted.contains(cell);
    let global = rewritten(document, to, address, &chosen);
    let root = root_of(to.server, &to.root);
    let server = tree::open(to.server, &to.access).await?;
    let found = differences(Area::Global, &root, &global, &server.read(&root).await?).map_err(unreadable)?;
    let mut areas = vec![(server, found)];
    for (cell, CellPart { root, records }) in &document.cells {
        if !chosen(cell) {
            continue;
        }
        let root = root_over_there(document, to, root);
        let server = match to.cell_addresses.get(cell) {
            Some(address) => open_at(to, address, cell).await?,
            None => tree::open(to.server, &to.access).await?,
        };
        let found = differences(Area::Cell, &root, records, &server.read(&root).await?).map_err(unreadable)?;
        areas.push((server, found));
    }
    Ok(Import { areas, title: to.server.title() })
}

/// The global records with each CellInfo as it is true over there.
fn rewritten(document: &Document, to: &Side, address: &str, chosen: &dyn Fn(&str) -> bool) -> BTreeMap<String, Record> {
    let mut global = document.global.clone();
    global.retain(|path, _| cell_of(path).is_none_or(chosen));
    for (path, record) in &mut global {
        let Some(cell) = cell_of(path) else { continue };
        let root = root_over_there(document, to, record.text("root").unwrap_or_default());
        let address = bare(to.cell_addresses.get(cell).map_or(address, String::as_str));
        *record = record.with_texts(&[("server_address", &address), ("root", &root)]);
    }
    global
}

/// A cell's root, which is to be the same in a server of the same kind.
fn root_over_there(document: &Document, to: &Side, root: &str) -> String {
    if document.server == to.server { root.to_owned() } else { root_for(to.server, root) }
}

/// Addresses as Vitess's programs take them: without a scheme.
fn bare(address: &str) -> String {
    match endpoints(address) {
        Ok(parsed) => parsed.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        Err(_) => address.to_owned(),
    }
}

impl Import {
    /// What differs, root by root, for a person to read.
    pub fn text(&self) -> String {
        self.areas.iter().map(|(_, differences)| differences.to_string()).collect()
    }

    /// How many records are to be written.
    pub fn changes(&self) -> usize {
        self.areas.iter().map(|(_, differences)| differences.changes.len()).sum()
    }

    /// How many of these exist and would be replaced.
    pub fn replaced(&self) -> usize {
        self.areas.iter().map(|(_, differences)| differences.replaced()).sum()
    }

    /// Refuses to replace records that differ.
    ///
    /// # Errors
    /// `DataPresent`.
    pub fn check_empty(&self) -> Result<(), EngineError> {
        match self.replaced() {
            0 => Ok(()),
            replaced => Err(EngineError::DataPresent {
                what: format!("{} has {replaced} of these records with other contents", self.title),
            }),
        }
    }

    /// Writes it, each record only when it is still what it was. Cut short anywhere, it is simply run again.
    ///
    /// # Errors
    /// `Topology`: `Changed` for a record that somebody else wrote meanwhile.
    pub async fn apply(&self, interrupt: &Interrupt, monitor: &dyn Monitor) -> Result<(), EngineError> {
        monitor.step(Step::WritingTopology);
        for (server, Differences { root, changes, .. }) in &self.areas {
            for change in changes {
                interrupt.check()?;
                let before = change.before.as_ref().map(|(_, version)| *version);
                server.write(root, &change.path, &change.bytes, before).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cell_infos_tell_where_the_cells_are_after_the_import() {
        let info = |address: &str, root: &str| Record {
            r#type: "topodata.CellInfo".into(),
            value: json!({"server_address": address, "root": root}),
        };
        let document = Document {
            format: FORMAT.into(),
            exported: jiff::Timestamp::UNIX_EPOCH,
            server: TopologyServer::Etcd,
            server_version: None,
            root: "/vitess/global".into(),
            global: [
                ("cells/zone1/CellInfo", info("etcd:2379", "/vitess/zone1")),
                ("cells/zone2/CellInfo", info("etcd2:2379", "/vitess/zone2")),
                ("cells/zone3/CellInfo", info("etcd3:2379", "/vitess/zone3")),
                ("metadata/key", Record { r#type: "text".into(), value: "x".into() }),
            ]
            .map(|(path, record)| (path.to_owned(), record))
            .into(),
            cells: BTreeMap::new(),
        };
        let to = Side {
            server: TopologyServer::Consul,
            access: Access::to(Vec::new()),
            root: "vitess/global".into(),
            cell_addresses: [("zone2".to_owned(), "consul2:8500".to_owned())].into(),
        };
        let global = rewritten(&document, &to, "http://consul:8500", &|cell| cell != "zone3");
        assert_eq!(global.len(), 3, "a cell that is not wanted is not spoken of");
        assert_eq!(global["cells/zone1/CellInfo"], info("consul:8500", "vitess/zone1"));
        assert_eq!(global["cells/zone2/CellInfo"], info("consul2:8500", "vitess/zone2"));
        assert_eq!(global["metadata/key"], document.global["metadata/key"]);
    }
}
