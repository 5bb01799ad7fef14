//! What Go's JSON reads and writes, case by case. The artefacts of Vitess itself are read in `tests/format/fixtures.rs`.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn decode(text: &str) -> Manifest {
    Manifest::decode(text.as_bytes()).unwrap()
}

fn message(text: &str) -> String {
    Manifest::decode(text.as_bytes()).unwrap_err().to_string()
}

fn builtin(manifest: &Manifest) -> &Builtin {
    match &manifest.method {
        Method::Builtin(builtin) => builtin,
        other => panic!("{other:?}"),
    }
}

/// Every field with a value of its own, so that two that are mixed up do not compare equal.
fn full() -> Manifest {
    Manifest {
        backup_name: "2024-01-02.030405.zone1-0000000101".to_owned(),
        backup_method: "builtin".to_owned(),
        position: "MySQL56/3e11fa47-71ca-11e1-9e33-c80aa9429562:1-1234".to_owned(),
        purged_position: "MySQL56/".to_owned(),
        from_position: "MySQL56/3e11fa47-71ca-11e1-9e33-c80aa9429562:1-1000".to_owned(),
        from_backup: "2024-01-01.030405.zone1-0000000101".to_owned(),
        incremental: true,
        backup_time: "2024-01-02T03:04:05Z".to_owned(),
        finished_time: "2024-01-02T03:20:41Z".to_owned(),
        server_uuid: "7c0f5c3e-0000-11ef-8000-0242ac110002".to_owned(),
        tablet_alias: "zone1-0000000101".to_owned(),
        hostname: "db1.example.net".to_owned(),
        keyspace: "commerce".to_owned(),
        shard: "-80".to_owned(),
        mysql_version: "Ver 8.0.36 MySQL <Community> & Friends".to_owned(),
        upgrade_safe: true,
        incremental_details: Some(IncrementalDetails {
            first_timestamp: "2024-01-02T03:00:00Z".to_owned(),
            first_timestamp_binlog: "vt-0000000101-bin.000009".to_owned(),
            last_timestamp: "2024-01-02T03:01:00Z".to_owned(),
            last_timestamp_binlog: "vt-0000000101-bin.000010".to_owned(),
        }),
        method: Method::Builtin(Builtin {
            compression_engine: "zstd".to_owned(),
            file_entries: vec![FileEntry {
                base: Base::BinLog,
                name: "vt-0000000101-bin.000009".to_owned(),
                hash: "0a1b2c3d".to_owned(),
                parent_path: "/p".to_owned(),
                unknown: Map::new(),
            }],
            skip_compress: true,
            external_decompressor: "gzip -d".to_owned(),
        }),
        unknown: Map::new(),
    }
}

#[test]
fn a_manifest_is_written_as_go_writes_it() {
    insta::assert_snapshot!(String::from_utf8(full().encode()).unwrap());
}

#[test]
fn every_field_reads_back() {
    assert_eq!(Manifest::decode(&full().encode()).unwrap(), full());
    let xtrabackup = Manifest {
        backup_method: "xtrabackup".to_owned(),
        incremental_details: None,
        method: Method::Xtrabackup(Xtrabackup {
            compression_engine: "lz4".to_owned(),
            file_name: "backup.xbstream.lz4".to_owned(),
            extra_command_line_params: "--kill-long-queries-timeout=5".to_owned(),
            stream_mode: "xbstream".to_owned(),
            num_stripes: 8,
            stripe_block_size: 102_400,
            skip_compress: true,
            external_decompressor: "lz4 -d".to_owned(),
        }),
        ..full()
    };
    assert_eq!(Manifest::decode(&xtrabackup.encode()).unwrap(), xtrabackup);
}

#[test]
fn html_and_script_characters_are_escaped_and_others_are_not() {
    let manifest = Manifest {
        hostname: "<a>&\u{2028}\u{2029}\"\\\n\r\t\u{8}\u{c}\u{1}\u{7f}é/😀".to_owned(),
        ..Manifest::default()
    };
    let text = String::from_utf8(manifest.encode()).unwrap();
    let line = text.lines().find(|line| line.contains("Hostname")).unwrap();
    let expected = r#"  "Hostname": "\u003ca\u003e\u0026\u2028\u2029\"\\\n\r\t\b\f\u0001"#.to_owned() + "\u{7f}é/😀\",";
    assert_eq!(line, expected);
    assert_eq!(decode(&text), manifest);
}

#[test]
fn an_engine_of_no_name_is_left_out_and_no_files_are_null() {
    let text = String::from_utf8(Manifest::default().encode()).unwrap();
    assert!(!text.contains("CompressionEngine"));
    assert!(text.contains("  \"FileEntries\": null,\n"));
    assert!(text.ends_with("  \"ExternalDecompressor\": \"\"\n}"), "{text}");
    assert_eq!(decode(&text), Manifest::default());
}

#[test]
fn the_smallest_manifest_that_vitess_restores_is_a_builtin_one() {
    let manifest =
        decode(r#"{"Position": "MySQL56/", "FileEntries": [{"Base": "Data", "Name": "a", "Hash": "00000000"}]}"#);
    assert_eq!((manifest.engine(), manifest.backup_method.as_str()), ("builtin", ""));
    assert_eq!(builtin(&manifest).file_entries.len(), 1);
    assert_eq!(manifest.began(), None);
}

#[test]
fn keys_match_in_any_case_and_the_last_value_counts() {
    let manifest = decode(
        r#"{"position": "a", "POSITION": "b", "fileentries": [{"base": "InnoDBLog", "NAME": "x"}], "skipCompress": true}"#,
    );
    assert_eq!(manifest.position, "b");
    assert_eq!(builtin(&manifest).file_entries[0].base, Base::InnoDBLog);
    assert_eq!(builtin(&manifest).file_entries[0].name, "x");
    assert!(builtin(&manifest).skip_compress);
    assert!(manifest.unknown.is_empty());
    assert_eq!(decode(r#"{"Position": "a", "position": "b"}"#).position, "b");
    assert_eq!(decode(r#"{"position": "a", "Position": null}"#).position, "a");
}

#[test]
fn null_is_the_zero_value() {
    let manifest = decode(
        r#"{"BackupName": null, "Incremental": null, "IncrementalDetails": null, "FileEntries": null, "SkipCompress": null, "Unheard": null}"#,
    );
    assert_eq!(manifest.unknown, *json!({"Unheard": null}).as_object().unwrap());
    assert_eq!(Manifest { unknown: Map::new(), ..manifest }, Manifest::default());
    assert_eq!(builtin(&decode(r#"{"FileEntries": [null]}"#)).file_entries, [FileEntry::default()]);
    let stripes = decode(r#"{"BackupMethod": "xtrabackup", "NumStripes": null}"#).method;
    assert_eq!(stripes, Method::Xtrabackup(Xtrabackup::default()));
}

#[test]
fn bytes_after_the_value_are_ignored() {
    assert_eq!(decode("{\"Shard\": \"0\"}\n\0\0 trailing {").shard, "0");
    assert_eq!(decode(r#"{"Shard": "0"}{"Shard": "1"}"#).shard, "0");
}

#[test]
fn text_that_is_not_utf8_becomes_a_replacement_character() {
    let manifest = Manifest::decode(b"{\"Hostname\": \"a\xffb\"}").unwrap();
    assert_eq!(manifest.hostname, "a\u{fffd}b");
}

#[test]
fn unknown_fields_are_kept_in_their_order_and_written_last() {
    let manifest = decode(
        r#"{"Zebra": [1, {"b": 2, "a": 1}], "Shard": "0", "Apple": 1.5, "FileEntries": [{"Name": "a", "Chunks": [7]}]}"#,
    );
    assert_eq!(manifest.unknown.keys().collect::<Vec<_>>(), ["Zebra", "Apple"]);
    assert_eq!(builtin(&manifest).file_entries[0].unknown, *json!({"Chunks": [7]}).as_object().unwrap());
    assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), manifest);
    assert_eq!(manifest.summary().keys().skip(19).collect::<Vec<_>>(), ["Zebra", "Apple"]);
}

#[test]
fn a_method_that_we_do_not_know_keeps_all_its_fields() {
    let manifest =
        decode(r#"{"BackupMethod": "mysqlshell", "BackupLocation": "s3://x", "Params": "{}", "FileEntries": 5}"#);
    assert_eq!((manifest.engine(), &manifest.method), ("mysqlshell", &Method::Other));
    assert_eq!(manifest.unknown.keys().collect::<Vec<_>>(), ["BackupLocation", "Params", "FileEntries"]);
}

#[test]
fn a_transform_hook_is_noticed() {
    assert_eq!(decode(r#"{"TransformHook": "encrypt"}"#).transform_hook(), Some("encrypt"));
    assert_eq!(decode(r#"{"transformhook": "encrypt"}"#).transform_hook(), Some("encrypt"));
    assert_eq!(decode(r#"{"TransformHook": ""}"#).transform_hook(), None);
    assert_eq!(decode("{}").transform_hook(), None);
}

#[test]
fn a_wrong_type_names_the_field() {
    assert_eq!(message(r#"{"Position": 5}"#), "field Position of the MANIFEST must be text, but is a number");
    assert_eq!(
        message(r#"{"Incremental": "true"}"#),
        "field Incremental of the MANIFEST must be true or false, but is text"
    );
    assert_eq!(
        message(r#"{"IncrementalDetails": []}"#),
        "field IncrementalDetails of the MANIFEST must be an object, but is a list"
    );
    assert!(message(r#"{"IncrementalDetails": {"LastTimestamp": 1}}"#).contains("IncrementalDetails.LastTimestamp"));
    assert_eq!(message(r#"{"FileEntries": {}}"#), "field FileEntries of the MANIFEST must be a list, but is an object");
    assert!(message(r#"{"FileEntries": [{}, 1]}"#).contains("FileEntries[1]"));
    assert!(message(r#"{"FileEntries": [{}, {"Hash": true}]}"#).contains("FileEntries[1].Hash"));
    for number in ["1.0", "\"3\"", "2147483648", "-2147483649"] {
        let text = format!(r#"{{"BackupMethod": "xtrabackup", "NumStripes": {number}}}"#);
        assert!(message(&text).contains("NumStripes of the MANIFEST must be a whole number"), "{text}");
    }
}

#[test]
fn what_is_cut_short_or_no_object_is_no_manifest() {
    let whole = full().encode();
    for length in 0..whole.len() {
        assert!(matches!(Manifest::decode(&whole[..length]), Err(ManifestError::Json { .. })), "{length}");
    }
    assert_eq!(message("null"), "the MANIFEST is not a JSON object but null");
    assert_eq!(message("[]"), "the MANIFEST is not a JSON object but a list");
    assert!(message("not JSON").contains("is not JSON"));
}

#[test]
fn times_are_written_in_whole_seconds_of_utc() {
    let time = "2024-01-02T05:04:05.75+02:00".parse().unwrap();
    assert_eq!(Manifest::time_text(time), "2024-01-02T03:04:05Z");
    assert_eq!(full().began(), Some("2024-01-02T03:04:05Z".parse().unwrap()));
    assert_eq!(Manifest { backup_time: "yesterday".to_owned(), ..Manifest::default() }.began(), None);
}

proptest! {
    #[test]
    fn any_text_reads_back(text in any::<String>()) {
        let manifest = Manifest { hostname: text, ..Manifest::default() };
        prop_assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), manifest);
    }

    #[test]
    fn no_bytes_panic(bytes in any::<Vec<u8>>()) {
        let _ = Manifest::decode(&bytes);
    }
}
