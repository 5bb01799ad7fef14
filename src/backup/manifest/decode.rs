//! Reading a MANIFEST as leniently as Go's `json.Decoder`, and no more.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Base, Builtin, FileEntry, IncrementalDetails, Manifest, Method, Xtrabackup};

/// Why bytes are not a MANIFEST. Vitess treats such a backup as incomplete.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("the MANIFEST is not JSON (cut short?): {source}")]
    Json { source: serde_json::Error },
    #[error("the MANIFEST is not a JSON object but {found}")]
    NotAnObject { found: &'static str },
    #[error("field {field} of the MANIFEST must be {expected}, but is {found}")]
    Field { field: String, expected: &'static str, found: &'static str },
}

pub(super) fn manifest(stored: &[u8]) -> Result<Manifest, ManifestError> {
    // As Go does it: what is not UTF-8 becomes U+FFFD, which JSON allows in strings only.
    let text = String::from_utf8_lossy(stored);
    // Reading one value and not asking for the end ignores what follows it.
    let value = Value::deserialize(&mut serde_json::Deserializer::from_str(&text))
        .map_err(|source| ManifestError::Json { source })?;
    let Value::Object(object) = value else { return Err(ManifestError::NotAnObject { found: kind(&value) }) };
    let mut fields = Fields { path: String::new(), object };
    let mut manifest = Manifest {
        backup_name: fields.text("BackupName")?,
        backup_method: fields.text("BackupMethod")?,
        position: fields.text("Position")?,
        purged_position: fields.text("PurgedPosition")?,
        from_position: fields.text("FromPosition")?,
        from_backup: fields.text("FromBackup")?,
        incremental: fields.flag("Incremental")?,
        backup_time: fields.text("BackupTime")?,
        finished_time: fields.text("FinishedTime")?,
        server_uuid: fields.text("ServerUUID")?,
        tablet_alias: fields.text("TabletAlias")?,
        hostname: fields.text("Hostname")?,
        keyspace: fields.text("Keyspace")?,
        shard: fields.text("Shard")?,
        mysql_version: fields.text("MySQLVersion")?,
        upgrade_safe: fields.flag("UpgradeSafe")?,
        incremental_details: fields.take_object("IncrementalDetails")?.map(details).transpose()?,
        method: Method::Other,
        unknown: Map::new(),
    };
    manifest.method = match manifest.engine() {
        "builtin" => Method::Builtin(builtin(&mut fields)?),
        "xtrabackup" => Method::Xtrabackup(xtrabackup(&mut fields)?),
        _ => Method::Other,
    };
    manifest.unknown = fields.object;
    Ok(manifest)
}

fn builtin(fields: &mut Fields) -> Result<Builtin, ManifestError> {
    let entries = fields.take_array("FileEntries")?;
    Ok(Builtin {
        compression_engine: fields.text("CompressionEngine")?,
        file_entries: entries
            .into_iter()
            .enumerate()
            .map(|(index, value)| entry(index, value))
            .collect::<Result<_, _>>()?,
        skip_compress: fields.flag("SkipCompress")?,
        external_decompressor: fields.text("ExternalDecompressor")?,
    })
}

fn xtrabackup(fields: &mut Fields) -> Result<Xtrabackup, ManifestError> {
    Ok(Xtrabackup {
        compression_engine: fields.text("CompressionEngine")?,
        file_name: fields.text("FileName")?,
        extra_command_line_params: fields.text("ExtraCommandLineParams")?,
        stream_mode: fields.text("StreamMode")?,
        num_stripes: fields.number("NumStripes")?,
        stripe_block_size: fields.number("StripeBlockSize")?,
        skip_compress: fields.flag("SkipCompress")?,
        external_decompressor: fields.text("ExternalDecompressor")?,
    })
}

fn entry(index: usize, value: Value) -> Result<FileEntry, ManifestError> {
    let path = format!("FileEntries[{index}]");
    let object = match value {
        Value::Object(object) => object,
        Value::Null => Map::new(),
        other => return Err(ManifestError::Field { field: path, expected: "an object", found: kind(&other) }),
    };
    let mut fields = Fields { path: format!("{path}."), object };
    let Ok(base) = fields.text("Base")?.parse::<Base>();
    Ok(FileEntry {
        base,
        name: fields.text("Name")?,
        hash: fields.text("Hash")?,
        parent_path: fields.text("ParentPath")?,
        unknown: fields.object,
    })
}

fn details(object: Map<String, Value>) -> Result<IncrementalDetails, ManifestError> {
    let mut fields = Fields { path: "IncrementalDetails.".to_owned(), object };
    Ok(IncrementalDetails {
        first_timestamp: fields.text("FirstTimestamp")?,
        first_timestamp_binlog: fields.text("FirstTimestampBinlog")?,
        last_timestamp: fields.text("LastTimestamp")?,
        last_timestamp_binlog: fields.text("LastTimestampBinlog")?,
    })
}

/// The fields of one JSON object that nothing has asked for yet.
struct Fields {
    /// Where the object is, for messages: "" or `FileEntries[3].`.
    path: String,
    object: Map<String, Value>,
}

impl Fields {
    /// Takes the field out, in whatever case its key is. Of several spellings the last one that is not `null` counts, as
    /// in Go; `None` when there is none.
    fn take(&mut self, key: &str) -> Option<Value> {
        let spelled = |spelling: &&String| spelling.eq_ignore_ascii_case(key);
        let spellings: Vec<String> = self.object.keys().filter(spelled).cloned().collect();
        let found: Vec<Value> = spellings.iter().filter_map(|spelling| self.object.shift_remove(spelling)).collect();
        found.into_iter().rfind(|value| !value.is_null())
    }

    fn wrong(&self, key: &str, expected: &'static str, found: &Value) -> ManifestError {
        ManifestError::Field { field: format!("{}{key}", self.path), expected, found: kind(found) }
    }

    fn text(&mut self, key: &str) -> Result<String, ManifestError> {
        match self.take(key) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(self.wrong(key, "text", &other)),
        }
    }

    fn flag(&mut self, key: &str) -> Result<bool, ManifestError> {
        match self.take(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(self.wrong(key, "true or false", &other)),
        }
    }

    fn number(&mut self, key: &str) -> Result<i32, ManifestError> {
        let Some(value) = self.take(key) else { return Ok(0) };
        let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
        number.ok_or_else(|| self.wrong(key, "a whole number of 32 bits", &value))
    }

    fn take_object(&mut self, key: &str) -> Result<Option<Map<String, Value>>, ManifestError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(object)),
            Some(other) => Err(self.wrong(key, "an object", &other)),
        }
    }

    fn take_array(&mut self, key: &str) -> Result<Vec<Value>, ManifestError> {
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(array)) => Ok(array),
            Some(other) => Err(self.wrong(key, "a list", &other)),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
