//! The entry functions of the fuzz targets (tests/fuzz), in every run of the tests: each seed, and thousands of inputs made
//! from the seeds by a generator whose numbers are always the same.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

#[path = "../fuzz/src/entry.rs"]
mod entry;

/// What seeds.sh makes for the fuzz targets.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/seeds.sh");
    assert!(std::process::Command::new(script).arg(folder.path()).status().unwrap().success());
    let mut files: Vec<_> =
        std::fs::read_dir(folder.path().join(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort_unstable();
    files.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Flips, cuts, doubles, joins and sprinkles words of the formats in.
fn mutated(seeds: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    const WORDS: [&[u8]; 16] = [
        b"\"",
        b"null",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"-",
        b".",
        b"/",
        b"MySQL56/",
        b"\xff",
        b"\\u003c",
        b"18446744073709551615",
        b"1e999",
    ];
    let mut bytes = seeds.choose(random).cloned().unwrap_or_default();
    for _ in 0..random.random_range(1..=6) {
        let at = random.random_range(0..=bytes.len());
        let end = (at + random.random_range(0..32)).min(bytes.len());
        match random.random_range(0..6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.truncate(at),
            3 => {
                let piece = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, piece));
            }
            4 => {
                let other = seeds.choose(random).map_or(&[][..], Vec::as_slice);
                let from = random.random_range(0..=other.len());
                drop(bytes.splice(at..end, other[from..].iter().copied()));
            }
            _ => {
                let word = WORDS.choose(random).copied().unwrap_or_default();
                drop(bytes.splice(at..at, word.iter().copied()));
            }
        }
    }
    bytes
}

fn survives(target: &str, at_least: usize, rounds: usize, check: fn(&[u8])) {
    let seeds = seeds(target);
    assert!(seeds.len() >= at_least, "{target} has {} seeds", seeds.len());
    let mut random = StdRng::seed_from_u64(4);
    let mutations = (0..rounds).map(|_| mutated(&seeds, &mut random));
    for bytes in seeds.iter().cloned().chain(mutations) {
        let outcome = std::panic::catch_unwind(|| check(&bytes));
        assert!(outcome.is_ok(), "{target} fails on {:?}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn no_bytes_are_a_manifest_that_breaks_a_rule() {
    survives("manifest", 27, 1000, entry::manifest);
}

#[test]
fn no_bytes_are_a_name_that_breaks_a_rule() {
    survives("name", 30, 4000, entry::name);
}

#[test]
fn no_bytes_are_a_position_that_breaks_a_rule() {
    survives("position", 18, 4000, entry::position);
}
