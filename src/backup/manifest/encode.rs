//! Writing a MANIFEST as Go's `json.MarshalIndent(manifest, "", "  ")` does.

use serde_json::{Map, Value};

use super::{Builtin, FileEntry, IncrementalDetails, Manifest, Method, Xtrabackup};

/// The fields in the order of Vitess's structs (the embedded common part first); unknown ones last.
pub(super) fn fields(manifest: &Manifest) -> Map<String, Value> {
    let Manifest {
        backup_name,
        backup_method,
        position,
        purged_position,
        from_position,
        from_backup,
        incremental,
        backup_time,
        finished_time,
        server_uuid,
        tablet_alias,
        hostname,
        keyspace,
        shard,
        mysql_version,
        upgrade_safe,
        incremental_details,
        method,
        unknown,
    } = manifest;
    let mut fields = Map::new();
    let mut put = |key: &str, value: Value| fields.insert(key.to_owned(), value);
    put("BackupName", text_of(backup_name));
    put("BackupMethod", text_of(backup_method));
    put("Position", text_of(position));
    put("PurgedPosition", text_of(purged_position));
    put("FromPosition", text_of(from_position));
    put("FromBackup", text_of(from_backup));
    put("Incremental", Value::Bool(*incremental));
    put("BackupTime", text_of(backup_time));
    put("FinishedTime", text_of(finished_time));
    put("ServerUUID", text_of(server_uuid));
    put("TabletAlias", text_of(tablet_alias));
    put("Hostname", text_of(hostname));
    put("Keyspace", text_of(keyspace));
    put("Shard", text_of(shard));
    put("MySQLVersion", text_of(mysql_version));
    put("UpgradeSafe", Value::Bool(*upgrade_safe));
    put("IncrementalDetails", incremental_details.as_ref().map_or(Value::Null, details));
    match method {
        Method::Builtin(part) => builtin(&mut fields, part),
        Method::Xtrabackup(part) => xtrabackup(&mut fields, part),
        Method::Other => {}
    }
    for (key, value) in unknown {
        fields.entry(key.as_str()).or_insert_with(|| value.clone());
    }
    fields
}

fn builtin(fields: &mut Map<String, Value>, part: &Builtin) {
    let Builtin { compression_engine, file_entries, skip_compress, external_decompressor } = part;
    let mut put = |key: &str, value: Value| fields.insert(key.to_owned(), value);
    if !compression_engine.is_empty() {
        put("CompressionEngine", text_of(compression_engine));
    }
    // A Go slice that nothing was added to is nil, which is `null`.
    let entries = file_entries.iter().map(entry).collect::<Vec<_>>();
    put("FileEntries", if entries.is_empty() { Value::Null } else { Value::Array(entries) });
    put("SkipCompress", Value::Bool(*skip_compress));
    put("ExternalDecompressor", text_of(external_decompressor));
}

fn xtrabackup(fields: &mut Map<String, Value>, part: &Xtrabackup) {
    let Xtrabackup {
        compression_engine,
        file_name,
        extra_command_line_params,
        stream_mode,
        num_stripes,
        stripe_block_size,
        skip_compress,
        external_decompressor,
    } = part;
    let mut put = |key: &str, value: Value| fields.insert(key.to_owned(), value);
    if !compression_engine.is_empty() {
        put("CompressionEngine", text_of(compression_engine));
    }
    put("FileName", text_of(file_name));
    put("ExtraCommandLineParams", text_of(extra_command_line_params));
    put("StreamMode", text_of(stream_mode));
    put("NumStripes", Value::from(*num_stripes));
    put("StripeBlockSize", Value::from(*stripe_block_size));
    put("SkipCompress", Value::Bool(*skip_compress));
    put("ExternalDecompressor", text_of(external_decompressor));
}

fn entry(entry: &FileEntry) -> Value {
    let FileEntry { base, name, hash, parent_path, unknown } = entry;
    let mut fields = Map::new();
    fields.insert("Base".to_owned(), text_of(base.as_str()));
    fields.insert("Name".to_owned(), text_of(name));
    fields.insert("Hash".to_owned(), text_of(hash));
    fields.insert("ParentPath".to_owned(), text_of(parent_path));
    for (key, value) in unknown {
        fields.entry(key.as_str()).or_insert_with(|| value.clone());
    }
    Value::Object(fields)
}

fn details(details: &IncrementalDetails) -> Value {
    let IncrementalDetails { first_timestamp, first_timestamp_binlog, last_timestamp, last_timestamp_binlog } = details;
    let mut fields = Map::new();
    fields.insert("FirstTimestamp".to_owned(), text_of(first_timestamp));
    fields.insert("FirstTimestampBinlog".to_owned(), text_of(first_timestamp_binlog));
    fields.insert("LastTimestamp".to_owned(), text_of(last_timestamp));
    fields.insert("LastTimestampBinlog".to_owned(), text_of(last_timestamp_binlog));
    Value::Object(fields)
}

fn text_of(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// Two-space JSON with Go's escapes.
///
/// serde_json writes the same as Go but for the five characters that Go escapes so that JSON may stand in HTML and
/// JavaScript. All five can occur only inside strings, so that replacing them in the text is enough.
pub(super) fn text(fields: &Map<String, Value>) -> String {
    // The alternate form of a Value is its pretty form, and cannot fail.
    let pretty = format!("{:#}", Value::Object(fields.clone()));
    let mut escaped = String::with_capacity(pretty.len());
    for character in pretty.chars() {
        match character {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            other => escaped.push(other),
        }
    }
    escaped
}
