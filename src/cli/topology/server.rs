//! Which topology server, and how it is reached.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use crate::backup::topology::TopologyServer;
use crate::duration::GoDuration;
use crate::engine::EngineError;
use crate::engine::topology::Side;
use crate::topology::access::endpoints;
use crate::topology::{Access, Credentials, TlsFiles};

/// As Vitess's `--topo-implementation` has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Implementation {
    #[value(name = "etcd2", alias = "etcd")]
    Etcd,
    #[value(name = "zk2", alias = "zookeeper")]
    Zookeeper,
    Consul,
}

impl Implementation {
    pub fn server(self) -> TopologyServer {
        match self {
            Self::Etcd => TopologyServer::Etcd,
            Self::Zookeeper => TopologyServer::Zookeeper,
            Self::Consul => TopologyServer::Consul,
        }
    }
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Topology server")]
#[allow(clippy::struct_field_names, reason = "the flags are Vitess's")]
pub struct AccessArguments {
    /// Its endpoints: host:port[,host:port …], each also with http:// or https://; one that fails is passed over for the next.
    /// Backups and restores of ZooKeeper: the admin server's (port 8080)
    #[arg(long, value_name = "ADDRESS", alias = "topo-global-server-address")]
    pub topo_server_address: Option<String>,
    /// Certificates in PEM of the authority that signed the server's [default: those that the system trusts]
    #[arg(long, value_name = "FILE", aliases = ["topo-etcd-tls-ca", "topo-zk-tls-ca"])]
    pub topo_tls_ca: Option<PathBuf>,
    /// This client's certificate, where the server asks for one
    #[arg(long, value_name = "FILE", requires = "topo_tls_key", aliases = ["topo-etcd-tls-cert", "topo-zk-tls-cert"])]
    pub topo_tls_cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "topo_tls_cert", aliases = ["topo-etcd-tls-key", "topo-zk-tls-key"])]
    pub topo_tls_key: Option<PathBuf>,
    /// A directory with ca.crt, and tls.crt with tls.key: what a Kubernetes TLS Secret is mounted as
    #[arg(long, value_name = "DIR", conflicts_with_all = ["topo_tls_ca", "topo_tls_cert", "topo_tls_key"])]
    pub topo_tls_dir: Option<PathBuf>,
    /// A directory with the files username and password (etcd, ZooKeeper's digest), or token (Consul)
    #[arg(long, value_name = "DIR")]
    pub topo_credentials_dir: Option<PathBuf>,
    /// How long an answer, or the next piece of one, may take
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    pub topo_timeout: GoDuration,
}

impl AccessArguments {
    /// # Errors
    /// `InvalidArguments` for what is missing, and `Topology` for files that cannot be read.
    pub fn access(&self) -> Result<Access, EngineError> {
        let Some(address) = &self.topo_server_address else {
            return Err(EngineError::invalid(
                "--topo-server-address is missing; say where the topology server is: host:port",
            ));
        };
        let tls = match &self.topo_tls_dir {
            Some(directory) => TlsFiles::in_directory(directory),
            None => TlsFiles {
                ca: self.topo_tls_ca.clone(),
                identity: self.topo_tls_cert.clone().zip(self.topo_tls_key.clone()),
            },
        };
        let credentials = self.topo_credentials_dir.as_deref().map(Credentials::in_directory).transpose()?;
        let access = Access::to(endpoints(address)?);
        Ok(Access { tls, credentials: credentials.unwrap_or_default(), stall: self.topo_timeout.0, ..access })
    }
}

/// A topology as Vitess has it, for export and import.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Topology server")]
#[allow(clippy::struct_field_names, reason = "the flags are Vitess's")]
pub struct SideArguments {
    /// What it is
    #[arg(long, value_enum, value_name = "KIND")]
    pub topo_implementation: Implementation,
    #[command(flatten)]
    pub access: AccessArguments,
    /// Where Vitess's global records are: its --topo-global-root
    #[arg(long, value_name = "PATH", alias = "topo-global-root")]
    pub topo_root: String,
    /// Only these cells [default: all]
    #[arg(long, value_name = "CELLS", value_delimiter = ',')]
    pub cells: Vec<String>,
    /// Where a cell's server is, <cell>=<host:port>, when its CellInfo names another address or is to name this one (again for
    /// each cell)
    #[arg(long, value_name = "CELL=ADDRESS")]
    pub cell_server_address: Vec<CellAddress>,
}

/// `zone1=host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellAddress {
    cell: String,
    address: String,
}

impl FromStr for CellAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not of the form <cell>=<host:port>");
        let (cell, address) = text.split_once('=').filter(|(cell, _)| !cell.is_empty()).ok_or_else(wrong)?;
        endpoints(address).map_err(|error| error.to_string())?;
        Ok(Self { cell: cell.to_owned(), address: address.to_owned() })
    }
}

impl SideArguments {
    /// # Errors
    /// As [`AccessArguments::access`].
    pub fn side(&self) -> Result<Side, EngineError> {
        let addresses =
            self.cell_server_address.iter().map(|CellAddress { cell, address }| (cell.clone(), address.clone()));
        Ok(Side {
            server: self.topo_implementation.server(),
            access: self.access.access()?,
            root: self.topo_root.clone(),
            cell_addresses: addresses.collect::<BTreeMap<_, _>>(),
        })
    }
}
