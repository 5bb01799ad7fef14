//! Protobuf's wire format to JSON and back, by the tables of `schema`.
//!
//! Fields that a table does not have, or that are of another type than it says, stand under `@unknown` in base64 exactly as
//! they came, and are written back so: an export of a newer Vitess loses nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::encoding::{decode_varint, encode_varint};
use serde_json::{Map, Number, Value};

use super::schema::{Field, Kind, Message, Shape};

/// The key of what a table does not know.
pub const UNKNOWN: &str = "@unknown";
/// Messages in messages; Vitess's own have five.
const DEEPEST: u8 = 32;

const VARINT: u32 = 0;
const FIXED_64: u32 = 1;
const DELIMITED: u32 = 2;
const FIXED_32: u32 = 5;

/// A field's content as it stands on the wire.
#[derive(Clone, Copy)]
enum Raw<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    Delimited(&'a [u8]),
}

/// # Errors
/// For bytes that are no protobuf at all.
pub fn decode(message: &Message, bytes: &[u8]) -> Result<Map<String, Value>, String> {
    fields(message, bytes, 0)
}

fn fields(message: &Message, mut bytes: &[u8], depth: u8) -> Result<Map<String, Value>, String> {
    if depth > DEEPEST {
        return Err("messages nest too deeply".to_owned());
    }
    let (mut found, mut unknown) = (Map::new(), Vec::new());
    while !bytes.is_empty() {
        let begin = bytes;
        let (number, raw) = next(&mut bytes)?;
        let field = message.fields.iter().find(|field| field.number == number);
        let known = match field {
            Some(field) => put(&mut found, field, raw, depth)?,
            None => false,
        };
        if !known {
            unknown.extend_from_slice(&begin[..begin.len() - bytes.len()]);
        }
    }
    // In the order of the table, whatever the order on the wire was.
    let mut ordered = Map::new();
    for field in message.fields {
        if let Some(value) = found.remove(field.name) {
            ordered.insert(field.name.to_owned(), value);
        }
    }
    if !unknown.is_empty() {
        ordered.insert(UNKNOWN.to_owned(), STANDARD.encode(unknown).into());
    }
    Ok(ordered)
}

fn next<'a>(bytes: &mut &'a [u8]) -> Result<(u32, Raw<'a>), String> {
    let cut = || "it is cut short".to_owned();
    let key = decode_varint(bytes).map_err(|error| error.to_string())?;
    let number = u32::try_from(key >> 3).map_err(|_| "a field's number is too large".to_owned())?;
    let raw = match u32::try_from(key & 7).unwrap_or_default() {
        VARINT => Raw::Varint(decode_varint(bytes).map_err(|error| error.to_string())?),
        FIXED_64 => Raw::Fixed64(*take::<8>(bytes).ok_or_else(cut)?),
        FIXED_32 => Raw::Fixed32(*take::<4>(bytes).ok_or_else(cut)?),
        DELIMITED => {
            let length = decode_varint(bytes).map_err(|error| error.to_string())?;
            let length = usize::try_from(length).map_err(|_| cut())?;
            let (content, rest) = bytes.split_at_checked(length).ok_or_else(cut)?;
            *bytes = rest;
            Raw::Delimited(content)
        }
        other => return Err(format!("no protobuf has a wire type {other}")),
    };
    if number == 0 {
        return Err("no field has the number 0".to_owned());
    }
    Ok((number, raw))
}

fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(taken)
}

/// Puts one occurrence of a field into its message; false when it is not what the table says.
fn put(found: &mut Map<String, Value>, field: &Field, raw: Raw<'_>, depth: u8) -> Result<bool, String> {
    if field.shape == Shape::Map {
        return put_entry(found, field, raw, depth);
    }
    let Some(value) = value(field.kind, raw, depth) else { return Ok(false) };
    match field.shape {
        Shape::Repeated => match found.entry(field.name).or_insert_with(|| Value::Array(Vec::new())) {
            Value::Array(list) => list.push(value),
            _ => return Ok(false),
        },
        // proto3 does not write a default; one that is there all the same says nothing.
        Shape::One if is_default(field.kind, &value) => {
            found.remove(field.name);
        }
        _ => {
            found.insert(field.name.to_owned(), value);
        }
    }
    Ok(true)
}

/// One entry of a map: a message of key (1) and value (2).
fn put_entry(found: &mut Map<String, Value>, field: &Field, raw: Raw<'_>, depth: u8) -> Result<bool, String> {
    let Raw::Delimited(mut bytes) = raw else { return Ok(false) };
    let (mut key, mut content) = (String::new(), None);
    while !bytes.is_empty() {
        match next(&mut bytes)? {
            (1, Raw::Delimited(text)) => match std::str::from_utf8(text) {
                Ok(text) => text.clone_into(&mut key),
                Err(_) => return Ok(false),
            },
            (2, raw) => content = Some(raw),
            _ => return Ok(false),
        }
    }
    let value = match content {
        Some(raw) => value(field.kind, raw, depth),
        None => Some(default_of(field.kind)),
    };
    let Some(value) = value else { return Ok(false) };
    match found.entry(field.name).or_insert_with(|| Value::Object(Map::new())) {
        Value::Object(map) => map.insert(key, value),
        _ => return Ok(false),
    };
    Ok(true)
}

/// `None` for content of another type.
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "protobuf's integers are cut so")]
fn value(kind: Kind, raw: Raw<'_>, depth: u8) -> Option<Value> {
    let float = |number: f64| Number::from_f64(number).map(Value::Number);
    match (kind, raw) {
        (Kind::Bool, Raw::Varint(number)) => Some((number != 0).into()),
        (Kind::Int32, Raw::Varint(number)) => Some((number as i32).into()),
        (Kind::Int64, Raw::Varint(number)) => Some((number as i64).into()),
        (Kind::Uint32, Raw::Varint(number)) => Some((number as u32).into()),
        (Kind::Enum(names), Raw::Varint(number)) => {
            let number = number as i32;
            let name = names.iter().find(|(known, _)| *known == number).map(|(_, name)| *name);
            Some(name.map_or_else(|| number.into(), Into::into))
        }
        (Kind::Double, Raw::Fixed64(bytes)) => float(f64::from_le_bytes(bytes)),
        (Kind::Float, Raw::Fixed32(bytes)) => float(f64::from(f32::from_le_bytes(bytes))),
        (Kind::Text, Raw::Delimited(bytes)) => std::str::from_utf8(bytes).ok().map(Into::into),
        (Kind::Bytes, Raw::Delimited(bytes)) => Some(STANDARD.encode(bytes).into()),
        (Kind::Message(message), Raw::Delimited(bytes)) => fields(message, bytes, depth + 1).ok().map(Value::Object),
        _ => None,
    }
}

fn default_of(kind: Kind) -> Value {
    match kind {
        Kind::Bool => false.into(),
        Kind::Int32 | Kind::Int64 | Kind::Uint32 => 0.into(),
        Kind::Float | Kind::Double => 0.0.into(),
        Kind::Text | Kind::Bytes => "".into(),
        Kind::Enum(names) => names.first().map_or_else(|| 0.into(), |(_, name)| (*name).into()),
        Kind::Message(_) => Value::Object(Map::new()),
    }
}

/// A message that is there says something even when it is empty.
fn is_default(kind: Kind, value: &Value) -> bool {
    !matches!(kind, Kind::Message(_)) && *value == default_of(kind)
}

/// # Errors
/// The words of the first field that cannot be understood.
pub fn encode(message: &Message, fields: &Map<String, Value>) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for field in message.fields {
        let Some(value) = fields.get(field.name) else { continue };
        let place = |problem: String| format!("{}.{}: {problem}", message.name, field.name);
        match (field.shape, value) {
            (Shape::Repeated, Value::Array(list)) => {
                for value in list {
                    write(&mut bytes, field.number, field.kind, value).map_err(place)?;
                }
            }
            (Shape::Repeated, _) => return Err(place("write a list".to_owned())),
            (Shape::Map, Value::Object(map)) => {
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_by_key(|(key, _)| key.as_str());
                for (key, value) in entries {
                    let mut entry = Vec::new();
                    delimited(&mut entry, 1, key.as_bytes());
                    write(&mut entry, 2, field.kind, value).map_err(place)?;
                    delimited(&mut bytes, field.number, &entry);
                }
            }
            (Shape::Map, _) => return Err(place("write an object".to_owned())),
            (Shape::One, value) if is_default(field.kind, value) => {}
            (Shape::One | Shape::Optional, value) => {
                write(&mut bytes, field.number, field.kind, value).map_err(place)?;
            }
        }
    }
    if let Some(name) = fields.keys().find(|name| !message.fields.iter().any(|f| f.name == **name) && *name != UNKNOWN)
    {
        return Err(format!("{} has no field {name}", message.name));
    }
    if let Some(unknown) = fields.get(UNKNOWN) {
        let text = unknown.as_str().unwrap_or_default();
        bytes.extend(STANDARD.decode(text).map_err(|error| format!("{}.{UNKNOWN}: {error}", message.name))?);
    }
    Ok(bytes)
}

#[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "protobuf's integers are written so")]
fn write(bytes: &mut Vec<u8>, number: u32, kind: Kind, value: &Value) -> Result<(), String> {
    let integer = || value.as_i64().ok_or_else(|| format!("{value} is no whole number"));
    let float = || value.as_f64().ok_or_else(|| format!("{value} is no number"));
    let text = || value.as_str().ok_or_else(|| format!("{value} is no text"));
    match kind {
        Kind::Bool => {
            let yes = value.as_bool().ok_or_else(|| format!("{value} is neither true nor false"))?;
            varint(bytes, number, yes.into());
        }
        Kind::Int32 | Kind::Int64 | Kind::Uint32 => varint(bytes, number, integer()? as u64),
        Kind::Enum(names) => {
            let known = value.as_str().map(|text| names.iter().find(|(_, name)| *name == text).map(|(n, _)| *n));
            let value = match known {
                Some(Some(known)) => known.into(),
                Some(None) => return Err(format!("{value} is none of its values")),
                None => integer()?,
            };
            varint(bytes, number, value as u64);
        }
        Kind::Double => {
            key(bytes, number, FIXED_64);
            bytes.extend_from_slice(&float()?.to_le_bytes());
        }
        Kind::Float => {
            key(bytes, number, FIXED_32);
            bytes.extend_from_slice(&(float()? as f32).to_le_bytes());
        }
        Kind::Text => delimited(bytes, number, text()?.as_bytes()),
        Kind::Bytes => delimited(bytes, number, &STANDARD.decode(text()?).map_err(|error| error.to_string())?),
        Kind::Message(message) => {
            let fields = value.as_object().ok_or_else(|| format!("{value} is no object"))?;
            delimited(bytes, number, &encode(message, fields)?);
        }
    }
    Ok(())
}

fn key(bytes: &mut Vec<u8>, number: u32, wire_type: u32) {
    encode_varint(u64::from(number << 3 | wire_type), bytes);
}

fn varint(bytes: &mut Vec<u8>, number: u32, value: u64) {
    key(bytes, number, VARINT);
    encode_varint(value, bytes);
}

fn delimited(bytes: &mut Vec<u8>, number: u32, content: &[u8]) {
    key(bytes, number, DELIMITED);
    encode_varint(content.len() as u64, bytes);
    bytes.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::schema::{CELL_INFO, KEYSPACE, SHARD, TABLET, VSCHEMA};
    use super::*;

    fn round_trip(message: &Message, fields: &Value) -> Vec<u8> {
        let bytes = encode(message, fields.as_object().unwrap()).unwrap();
        assert_eq!(Value::Object(decode(message, &bytes).unwrap()), *fields);
        bytes
    }

    #[test]
    fn a_record_is_read_as_vitess_wrote_it() {
        // field 1 "etcd:2379", field 2 "/vitess/zone1"
        let bytes = b"\x0a\x09etcd:2379\x12\x0d/vitess/zone1";
        let fields = json!({"server_address": "etcd:2379", "root": "/vitess/zone1"});
        assert_eq!(Value::Object(decode(&CELL_INFO, bytes).unwrap()), fields);
        assert_eq!(encode(&CELL_INFO, fields.as_object().unwrap()).unwrap(), bytes);
    }

    #[test]
    fn every_type_of_field_reads_as_it_is_written() {
        round_trip(
            &TABLET,
            &json!({
                "alias": {"cell": "zone1", "uid": 4_294_967_295_u32}, "hostname": "h",
                "port_map": {"grpc": 15999, "vt": 15101}, "keyspace": "commerce", "shard": "-80",
                "key_range": {"end": "gA=="}, "type": "REPLICA", "tags": {"a": "b", "empty": ""}, "mysql_port": -1,
                "primary_term_start_time": {"seconds": 1_700_000_000_i64, "nanoseconds": 5},
            }),
        );
        round_trip(
            &SHARD,
            &json!({
                "primary_alias": {"cell": "zone1", "uid": 100},
                "source_shards": [{"uid": 1, "keyspace": "a", "tables": ["t", "u"]}, {}],
                "tablet_controls": [{"tablet_type": "RDONLY", "denied_tables": ["x"], "frozen": true}],
                "is_primary_serving": true, "vtorc_state": {},
            }),
        );
        round_trip(
            &KEYSPACE,
            &json!({
                "durability_policy": "semi_sync",
                "throttler_config": {"threshold": 2.5, "metric_thresholds": {"lag": 0.25, "zero": 0.0},
                                     "app_checked_metrics": {"app": {"names": ["lag"]}}},
            }),
        );
        round_trip(
            &VSCHEMA,
            &json!({
                "sharded": true, "vindexes": {"hash": {"type": "hash", "params": {"a": "b"}}},
                "tables": {"customer": {"columns": [{"name": "id", "type": "INT64", "nullable": false}, {"type": 4242}]}},
                "foreign_key_mode": "managed",
            }),
        );
    }

    #[test]
    fn a_record_of_nothing_but_defaults_has_no_bytes() {
        assert_eq!(encode(&KEYSPACE, &Map::new()).unwrap(), b"");
        assert_eq!(decode(&KEYSPACE, b"").unwrap(), Map::new());
        // Written by somebody who writes defaults too: keyspace_type NORMAL.
        assert_eq!(decode(&KEYSPACE, b"\x28\x00").unwrap(), Map::new());
    }

    #[test]
    fn what_is_not_known_is_kept_as_it_came() {
        // field 1 (known), field 99 (text "new"), field 2 with the type of a number.
        let bytes = b"\x0a\x01a\x9a\x06\x03new\x10\x07";
        let fields = decode(&CELL_INFO, bytes).unwrap();
        assert_eq!(Value::Object(fields.clone()), json!({"server_address": "a", "@unknown": "mgYDbmV3EAc="}));
        assert_eq!(encode(&CELL_INFO, &fields).unwrap(), bytes);
    }

    #[test]
    fn what_is_no_protobuf_is_an_error_and_so_is_a_wrong_value() {
        for garbage in [&b"\x0a\xff"[..], b"\x07", b"\x0a", b"\x09\x01", b"\x00\x01"] {
            assert!(decode(&CELL_INFO, garbage).is_err(), "{garbage:?}");
        }
        for (fields, words) in [
            (json!({"server_address": 7}), "topodata.CellInfo.server_address: 7 is no text"),
            (json!({"rooot": "x"}), "has no field rooot"),
            (json!({"@unknown": "%"}), "@unknown"),
        ] {
            let error = encode(&CELL_INFO, fields.as_object().unwrap()).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        let wrong = json!({"type": "LEADER"});
        assert!(encode(&TABLET, wrong.as_object().unwrap()).unwrap_err().contains("none of its values"));
    }
}
