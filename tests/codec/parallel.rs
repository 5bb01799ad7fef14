//! Reading several parts at a time gives what reading in order gives, whatever the stored bytes claim about themselves.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use bytes::Bytes;
use flate2::GzBuilder;
use flate2::bufread::MultiGzDecoder;
use futures::{StreamExt, stream};
use proptest::prelude::*;

use vitess_backup::codec::{Codec, CodecError, Compression, Decompression, decompress};

use crate::{COMPRESSED, GZIP, read, read_with, sample, stored};

/// Where our gzip members tell their length.
const TOLD: std::ops::Range<usize> = 16..20;

/// As a reader sees them that knows nothing of parts.
fn reference(codec: Codec, stored: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    match codec {
        Codec::Gzip(_) => drop(MultiGzDecoder::new(stored).read_to_end(&mut content).unwrap()),
        Codec::Zstd => drop(zstd::stream::read::Decoder::new(stored).unwrap().read_to_end(&mut content).unwrap()),
        _ => {
            let mut rest = stored;
            while !rest.is_empty() {
                let mut frame = lz4_flex::frame::FrameDecoder::new(rest);
                frame.read_to_end(&mut content).unwrap();
                rest = frame.into_inner();
            }
        }
    }
    content
}

fn gzip(builder: GzBuilder, level: u32, content: &[u8]) -> Vec<u8> {
    let mut encoder = builder.write(Vec::new(), flate2::Compression::new(level));
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn what_is_written_is_read_alike_by_others_and_by_us_however_parallel(
        length in 0_usize..200_000, block in 1_usize..60_000, chunk in 1_usize..100_000, parallel in 0_usize..6
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let file = sample(length);
        runtime.block_on(async {
            for codec in COMPRESSED {
                let stored = stored(codec, &file, block.max(length / 200)).await;
                prop_assert!(reference(codec, &stored) == file, "{codec}");
                prop_assert!(read_with(codec, &stored, chunk.max(stored.len() / 500), parallel).await.unwrap() == file, "{codec}");
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_damaged_stream_reads_the_same_however_parallel(at in 0_usize..10_000, bit in 0..8_u32, zeros in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let file = if zeros { vec![0; 3000] } else { sample(3000) };
        runtime.block_on(async {
            for codec in COMPRESSED {
                let mut damaged = stored(codec, &file, 500).await;
                let at = at % damaged.len();
                damaged[at] ^= 1_u8 << bit;
                let [one, many] = [read_with(codec, &damaged, 7, 1).await, read_with(codec, &damaged, 1 << 20, 5).await];
                match (one, many) {
                    (Ok(one), Ok(many)) => prop_assert!(one == file && many == file, "{codec}: bit {bit} of {at}"),
                    (Err(one), Err(many)) => prop_assert_eq!(one.to_string(), many.to_string()),
                    (one, many) => prop_assert!(false, "{codec}: bit {bit} of {at}: {:?} {:?}", one.is_ok(), many.is_ok()),
                }
            }
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_member_that_lies_about_its_length_is_read_as_others_read_it() {
    // Members that are the same, so that the trailer of one is right for the other.
    let file = [7; 4000];
    let whole = stored(GZIP, &file, 1000).await;
    let member = whole.len() / 4;
    let lies = [0, 1, 19, 20, 28, member - 1, member + 1, 2 * member, 3 * member, 4 * member, whole.len() + 1, 1 << 30];
    for place in 0..4 {
        for lie in lies {
            let mut lying = whole.clone();
            lying[place * member..][TOLD].copy_from_slice(&u32::try_from(lie).unwrap().to_le_bytes());
            assert!(reference(GZIP, &lying) == file);
            for chunk in [5, member, whole.len()] {
                assert!(read_with(GZIP, &lying, chunk, 3).await.unwrap() == file, "{lie} in member {place}");
            }
        }
    }
}

#[tokio::test]
async fn gzip_that_holds_gzip_is_not_cut_within() {
    let inner: Vec<u8> = (1..50).flat_map(|n| gzip(GzBuilder::new(), 6, &sample(n * 40))).collect();
    let outer = |content: &[u8]| gzip(GzBuilder::new(), 0, content);
    let other = gzip(GzBuilder::new().mtime(9), 0, &inner);
    let stored = [outer(&inner), outer(b""), other.clone(), outer(&inner), other].concat();
    for chunk in [3, 1000, stored.len()] {
        assert!(read_with(GZIP, &stored, chunk, 4).await.unwrap() == inner.repeat(4), "in chunks of {chunk}");
    }
}

#[tokio::test]
async fn members_of_other_writers_are_read_whatever_their_headers() {
    let file = sample(1_000_000);
    let builders: [fn() -> GzBuilder; 3] =
        [GzBuilder::new, || GzBuilder::new().filename("ibdata1"), || GzBuilder::new().extra(vec![b'V', b'B', 0, 0])];
    for first in builders {
        for second in builders {
            let members =
                file.chunks(250_000).enumerate().map(|(n, block)| (if n % 2 == 0 { first } else { second }, block));
            let stored: Vec<u8> = members.flat_map(|(builder, block)| gzip(builder(), 1, block)).collect();
            assert!(read(GZIP, &stored).await.unwrap() == file);
        }
    }
}

#[tokio::test]
async fn members_and_frames_too_large_to_be_read_whole_are_read_in_order() {
    let file = sample(10 << 20);
    for codec in COMPRESSED {
        let small = stored(codec, &file[..1000], 100).await;
        let large = [&small[..], &stored(codec, &file, 10 << 20).await, &small].concat();
        let expected = [&file[..1000], &file, &file[..1000]].concat();
        for chunk in [100_000, large.len()] {
            assert!(read_with(codec, &large, chunk, 2).await.unwrap() == expected, "{codec} in chunks of {chunk}");
        }
    }
}

#[tokio::test]
async fn damage_in_the_middle_ends_the_stream_after_what_was_whole() {
    let file = sample(20_000);
    for codec in COMPRESSED {
        let mut damaged = stored(codec, &file[..10_000], 1000).await;
        let middle = damaged.len();
        damaged.extend(stored(codec, &file[10_000..], 1000).await);
        damaged[middle + 300] ^= 0x55;
        let decompression = Decompression::new(codec.engine_name(), false, None).unwrap();
        let chunks = stream::iter([Ok::<_, std::io::Error>(Bytes::from(damaged))]);
        let mut read = Vec::new();
        let mut decompressed = decompress(&decompression, chunks, 4);
        let error = loop {
            match decompressed.next().await.expect("an error, not the end") {
                Ok(bytes) => read.extend_from_slice(&bytes),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, CodecError::Damaged { .. } | CodecError::Truncated { .. }), "{codec}: {error:?}");
        assert!(decompressed.next().await.is_none(), "{codec}: nothing follows an error");
        assert!(read.len() >= 10_000 && file.starts_with(&read[..10_000]), "{codec}: {} bytes", read.len());
    }
}

#[tokio::test]
async fn the_gzip_of_every_machine_reads_what_we_write() {
    let file = sample(3 << 20);
    let whole = stored(GZIP, &file, 1 << 20).await;
    let mut gzip =
        Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip starts");
    let mut stdin = gzip.stdin.take().unwrap();
    let feeding = std::thread::spawn(move || stdin.write_all(&whole).unwrap());
    let output = gzip.wait_with_output().unwrap();
    feeding.join().unwrap();
    assert!(output.status.success() && output.stdout == file);
}

#[test]
fn the_memory_of_a_stream_grows_with_what_is_parallel_and_is_not_much() {
    for codec in COMPRESSED {
        let compression = Compression::new(codec, 1).unwrap();
        let decompression = Decompression::new(codec.engine_name(), false, None).unwrap();
        assert_eq!(compression.stream_memory(0), compression.stream_memory(1));
        assert!(compression.stream_memory(4) > compression.stream_memory(2));
        assert!(decompression.stream_memory(4) > decompression.stream_memory(2));
        assert!(compression.stream_memory(2) <= 17 << 20 && decompression.stream_memory(2) <= 64 << 20, "{codec}");
    }
}
