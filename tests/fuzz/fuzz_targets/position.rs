#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vitess_backup_fuzz::entry::position(bytes));
