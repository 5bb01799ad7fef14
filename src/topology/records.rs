//! What Vitess keeps in a topology server, as JSON that a person can read and that any of the three servers can be filled
//! from again.
//!
//! * [`Class`]: what a path means, which of them are records, and which are locks and serving data that make themselves anew.
//! * [`wire`] with [`schema`]: Vitess's protobufs to JSON and back, with nothing lost: fields that this version does not know
//!   are kept as they are.
//! * [`Document`]: the file of an export; [`differences`]: what an import of it would change.

mod differences;
mod document;
mod paths;
mod schema;
mod wire;

pub use differences::{Change, Differences, differences};
pub use document::{CellPart, Document, FORMAT, cell_of, records};
pub use paths::{Area, Class, class};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One file of the topology.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// A protobuf of Vitess's (`topodata.Keyspace`), `text`, or `bytes` for what this version does not know.
    pub r#type: String,
    /// Fields as vtctldclient prints them; those that have their default are left out. `bytes` in base64.
    pub value: Value,
}

const TEXT: &str = "text";
const BYTES: &str = "bytes";

impl Record {
    /// What is stored under a path of this class; `None` for what an export leaves out.
    pub fn decode(class: Class, stored: &[u8]) -> Option<Self> {
        let bytes = || Self { r#type: BYTES.to_owned(), value: STANDARD.encode(stored).into() };
        match class {
            Class::Ephemeral | Class::Elsewhere => None,
            Class::Record(message) => Some(match wire::decode(message, stored) {
                Ok(fields) => Self { r#type: message.name.to_owned(), value: fields.into() },
                // Better kept than lost.
                Err(_) => bytes(),
            }),
            Class::Text => Some(match std::str::from_utf8(stored) {
                Ok(text) => Self { r#type: TEXT.to_owned(), value: text.into() },
                Err(_) => bytes(),
            }),
            // A directory of ZooKeeper's that has nothing in it.
            Class::Unknown if stored.is_empty() => None,
            Class::Unknown => Some(bytes()),
        }
    }

    /// As it is stored.
    ///
    /// # Errors
    /// The words of what cannot be understood, for a value that was changed by hand.
    pub fn encode(&self) -> Result<Vec<u8>, String> {
        let text = || self.value.as_str().ok_or_else(|| format!("a {} is written as a text", self.r#type));
        match self.r#type.as_str() {
            TEXT => Ok(text()?.as_bytes().to_vec()),
            BYTES => STANDARD.decode(text()?).map_err(|error| format!("not base64: {error}")),
            name => {
                let message = schema::message(name).ok_or_else(|| format!("no type {name} is known"))?;
                let fields = self.value.as_object().ok_or_else(|| format!("a {name} is written as an object"))?;
                wire::encode(message, fields)
            }
        }
    }

    /// A field of a message, when it is a text.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.value.get(field)?.as_str()
    }

    /// The same with other texts in some of its fields.
    #[must_use]
    pub fn with_texts(&self, texts: &[(&str, &str)]) -> Self {
        let mut fields: Map<String, Value> = self.value.as_object().cloned().unwrap_or_default();
        for (name, text) in texts {
            fields.insert((*name).to_owned(), (*text).into());
        }
        Self { r#type: self.r#type.clone(), value: fields.into() }
    }
}
