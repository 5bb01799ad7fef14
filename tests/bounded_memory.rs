//! A long stream takes no more memory than a short one. Alone in its process, whose peak it measures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's own functions may fail the test")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};

use vitess_backup::codec::{Codec, Compression, Decompression, GzipFlavour, Tally, compress, decompress};
use vitess_backup::storage::{BackupStorage, Location};

const MIB: u64 = 1 << 20;

/// The most that the process may ever hold beyond what it began with: far below any of the streams.
const ALLOWED: u64 = 100 * MIB;

/// The most bytes this process has had in memory so far.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// `total` bytes in blocks, which count themselves as they are read; half noise, half zeros.
fn blocks(total: u64, size: usize, read: Arc<AtomicU64>) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let mut state = 1_u64;
    let noise = (0..size / 16).flat_map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()
    });
    let block: Bytes = noise.chain(std::iter::repeat_n(0, size / 2)).collect();
    stream::iter(0..total / size as u64).map(move |_| {
        read.fetch_add(size as u64, Ordering::Relaxed);
        Ok(block.clone())
    })
}

/// There and back; returns the most bytes that were read and had not come out yet.
async fn there_and_back(codec: Codec, total: u64) -> u64 {
    let compression = Compression::new(codec, 1).unwrap();
    let decompression = Decompression::new(codec.engine_name(), false, None).unwrap();
    let read = Arc::new(AtomicU64::new(0));
    let stored = Tally::new();
    let compressed = compress(&compression, blocks(total, compression.block_size(), read.clone()), 2);
    let mut decompressed = decompress(&decompression, stored.over(compressed), 2);
    let (mut out, mut most) = (0, 0);
    while let Some(chunk) = decompressed.try_next().await.unwrap() {
        out += chunk.len() as u64;
        most = most.max(read.load(Ordering::Relaxed) - out);
    }
    assert_eq!(out, total);
    assert!(stored.bytes() > total / 3 && stored.bytes() < total * 2 / 3, "{codec}: {} bytes stored", stored.bytes());
    most
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_streams_need_no_more_memory_than_short_ones() {
    let began = peak();
    for codec in [Codec::Zstd, Codec::Lz4, Codec::Gzip(GzipFlavour::Pargzip)] {
        let under_way = there_and_back(codec, 128 * MIB).await;
        assert!(under_way <= 64 * MIB, "{codec}: {} MiB read and not yet out", under_way / MIB);
        assert!(peak() - began < ALLOWED, "{codec}: {} MiB", (peak() - began) / MIB);
    }
    assert_small_objects_that_grow_are_taken_in_pieces(began).await;
    assert_uploads_are_bounded(began).await;
}

/// A gzip of zeros grows a thousandfold. While nobody takes what comes out, nothing more is decompressed.
async fn assert_small_objects_that_grow_are_taken_in_pieces(began: u64) {
    let compression = Compression::new(Codec::Gzip(GzipFlavour::Pgzip), 9).unwrap();
    let zeros = stream::iter([Ok(Bytes::from(vec![0; 64 << 20]))]);
    let member = compress(&compression, zeros, 1).try_collect::<Vec<_>>().await.unwrap().concat();
    assert!(member.len() < 1 << 20);
    let object = Bytes::from(member.repeat(8));
    let decompression = Decompression::new("pgzip", false, None).unwrap();
    let mut decompressed = decompress(&decompression, stream::iter([Ok::<_, io::Error>(object)]), 2);
    let first = decompressed.try_next().await.unwrap().unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(peak() - began < ALLOWED, "{} MiB", (peak() - began) / MIB);
    let mut out = first.len() as u64;
    while let Some(chunk) = decompressed.try_next().await.unwrap() {
        out += chunk.len() as u64;
    }
    assert_eq!(out, 512 * MIB);
    assert!(peak() - began < ALLOWED, "{} MiB", (peak() - began) / MIB);
}

async fn assert_uploads_are_bounded(began: u64) {
    let directory = tempfile::TempDir::new().unwrap();
    let storage = BackupStorage::open(&Location::File { root: directory.path().to_owned() }).unwrap();
    let backup = storage.begin_backup(&"commerce/0".parse().unwrap(), "2024-01-02.030405.zone1-1").await.unwrap();
    let stored = backup.put_stream("0", blocks(256 * MIB, 4 << 20, Arc::default())).await.unwrap();
    assert_eq!(stored, 256 * MIB);
    let (_, mut body) = backup.get_stream("0").await.unwrap();
    let mut out = 0;
    while let Some(chunk) = body.try_next().await.unwrap() {
        out += chunk.len() as u64;
    }
    assert_eq!(out, 256 * MIB);
    assert!(peak() - began < ALLOWED, "{} MiB", (peak() - began) / MIB);
    println!("peak {} MiB above the {} MiB at the start", (peak() - began) / MIB, began / MIB);
}
