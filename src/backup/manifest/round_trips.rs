//! Any MANIFEST that can be, written and read again.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;

use super::*;

/// What encoding/json escapes so that JSON may stand in HTML and scripts.
const ESCAPED: [char; 5] = ['<', '>', '&', '\u{2028}', '\u{2029}'];

/// Any text, often with what Go escapes.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[<>&\"\\\\/\u{2028}\u{2029}\u{0}-\u{1f}a-z]{0,12}"]
}

/// Any JSON but fractions, which serde_json reads to within a last digit, and which no field of Vitess's is.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..4).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

/// Keys that no Vitess writes, in any order. A letter before each keeps them apart from the known ones in any case.
fn unknown() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::vec((text(), json_value()), 0..5)
        .prop_map(|fields| fields.into_iter().map(|(key, value)| (format!("_{key}"), value)).collect())
}

fn base() -> impl Strategy<Value = Base> {
    prop_oneof![
        prop::sample::select(vec![Base::InnoDBData, Base::InnoDBLog, Base::Data, Base::BinLog]),
        "[a-z<>]{0,8}".prop_map(Base::Other),
    ]
}

prop_compose! {
    fn entry()(base in base(), name in text(), hash in "[0-9a-f]{8}|", parent_path in text(), unknown in unknown()) -> FileEntry {
        FileEntry { base, name, hash, parent_path, unknown }
    }
}

prop_compose! {
    fn builtin()(
        compression_engine in text(),
        file_entries in prop::collection::vec(entry(), 0..6),
        skip_compress in any::<bool>(),
        external_decompressor in text(),
    ) -> Method {
        Method::Builtin(Builtin { compression_engine, file_entries, skip_compress, external_decompressor })
    }
}

prop_compose! {
    fn xtrabackup()(
        texts in prop::array::uniform5(text()),
        num_stripes in any::<i32>(),
        stripe_block_size in any::<i32>(),
        skip_compress in any::<bool>(),
    ) -> Method {
        let [compression_engine, file_name, extra_command_line_params, stream_mode, external_decompressor] = texts;
        Method::Xtrabackup(Xtrabackup {
            compression_engine,
            file_name,
            extra_command_line_params,
            stream_mode,
            num_stripes,
            stripe_block_size,
            skip_compress,
            external_decompressor,
        })
    }
}

prop_compose! {
    fn details()(texts in prop::array::uniform4(text())) -> IncrementalDetails {
        let [first_timestamp, first_timestamp_binlog, last_timestamp, last_timestamp_binlog] = texts;
        IncrementalDetails { first_timestamp, first_timestamp_binlog, last_timestamp, last_timestamp_binlog }
    }
}

prop_compose! {
    fn manifest()(
        method in prop_oneof![builtin(), xtrabackup(), Just(Method::Other)],
        nameless in any::<bool>(),
        texts in prop::collection::vec(text(), 14),
        flags in any::<[bool; 2]>(),
        incremental_details in prop::option::of(details()),
        unknown in unknown(),
    ) -> Manifest {
        let backup_method = match &method {
            Method::Builtin(_) if nameless => "",
            Method::Builtin(_) => "builtin",
            Method::Xtrabackup(_) => "xtrabackup",
            Method::Other => "mysqlshell",
        };
        let text = |at: usize| texts[at].clone();
        Manifest {
            backup_name: text(0),
            backup_method: backup_method.to_owned(),
            position: text(1),
            purged_position: text(2),
            from_position: text(3),
            from_backup: text(4),
            incremental: flags[0],
            backup_time: text(5),
            finished_time: text(6),
            server_uuid: text(7),
            tablet_alias: text(8),
            hostname: text(9),
            keyspace: text(10),
            shard: text(11),
            mysql_version: text(12),
            upgrade_safe: flags[1],
            incremental_details,
            method,
            unknown,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_manifest_reads_back_whole_with_unknown_fields_in_their_order(manifest in manifest()) {
        let encoded = manifest.encode();
        let again = Manifest::decode(&encoded).unwrap();
        prop_assert_eq!(&again, &manifest);
        // Maps compare equal in any order.
        prop_assert!(again.unknown.keys().eq(manifest.unknown.keys()));
        prop_assert_eq!(again.encode(), encoded);
    }

    /// encoding/json with its HTML escaping: these five characters never stand in the text, and all else is as JSON has it.
    #[test]
    fn what_go_escapes_is_escaped(manifest in manifest()) {
        let encoded = String::from_utf8(manifest.encode()).unwrap();
        prop_assert!(!encoded.contains(ESCAPED));
        let plain = serde_json::to_value(serde_json::from_str::<Value>(&encoded).unwrap()).unwrap();
        prop_assert_eq!(&plain["Hostname"], &json!(manifest.hostname));
        prop_assert_eq!(&plain["Shard"], &json!(manifest.shard));
    }

    /// Go matches keys in any case and stops after the value.
    #[test]
    fn a_reader_minds_neither_the_case_of_keys_nor_what_follows(manifest in manifest(), tail in any::<String>(), at in any::<Index>()) {
        let mut fields: Map<String, Value> = serde_json::from_slice(&manifest.encode()).unwrap();
        let known: Vec<String> = fields.keys().filter(|key| !key.starts_with('_')).cloned().collect();
        let key = at.get(&known);
        let value = fields.shift_remove(key.as_str()).unwrap();
        fields.insert(key.to_uppercase(), value);
        let text = format!("{}\n{tail}", Value::Object(fields));
        let again = Manifest::decode(text.as_bytes()).unwrap();
        prop_assert_eq!(again, manifest);
    }
}
