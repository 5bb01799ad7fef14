//! Streams through the codecs: length, order, errors, names.

use std::io;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use proptest::prelude::*;

use vitess_backup::backup::failure::Reason;
use vitess_backup::codec::{Codec, CodecError, Compression, Decompression, GzipFlavour, compress, decompress};

use crate::{COMPRESSED, GZIP, read, read_in, sample, stored};

#[tokio::test]
async fn files_of_any_length_read_back() {
    for codec in COMPRESSED.into_iter().chain([Codec::None]) {
        let block = Compression::new(codec, 1).unwrap().block_size();
        for length in [0, 1, block - 1, block, block + 1, 3 * block + 7] {
            let file = sample(length);
            let stored = stored(codec, &file, block).await;
            assert!(read(codec, &stored).await.unwrap() == file, "{codec} of {length} bytes");
        }
    }
}

#[tokio::test]
async fn how_the_stored_bytes_are_cut_does_not_matter() {
    let file = sample(20_000);
    for codec in COMPRESSED {
        let stored = stored(codec, &file, 7_000).await;
        for chunk in [1, 2, 3, 7, 1000, stored.len()] {
            assert!(read_in(codec, &stored, chunk).await.unwrap() == file, "{codec} in chunks of {chunk}");
        }
    }
}

#[tokio::test]
async fn blocks_keep_their_order_however_many_are_in_flight() {
    // Blocks of very different sizes: if the order were that of completion, small ones would overtake.
    let lengths = [900_000, 1, 500_000, 10, 0, 700_000, 3, 2, 1];
    let blocks: Vec<Bytes> = lengths.iter().map(|&length| Bytes::from(sample(length))).collect();
    for codec in COMPRESSED {
        let compression = Compression::new(codec, 1).unwrap();
        let mut outputs = Vec::new();
        for parallel in [0, 1, 2, 16] {
            let input = stream::iter(blocks.clone().into_iter().map(Ok));
            outputs.push(compress(&compression, input, parallel).try_collect::<Vec<_>>().await.unwrap().concat());
        }
        assert!(outputs.windows(2).all(|pair| pair[0] == pair[1]), "{codec}");
        assert!(read(codec, &outputs[0]).await.unwrap() == blocks.concat(), "{codec}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_ends_the_stream_with_that_error() {
    for codec in COMPRESSED.into_iter().chain([Codec::None]) {
        let compression = Compression::new(codec, 1).unwrap();
        let blocks =
            [Ok(Bytes::from_static(b"one")), Err(io::Error::other("a bad sector")), Ok(Bytes::from_static(b"two"))];
        let error = compress(&compression, stream::iter(blocks), 4).try_collect::<Vec<_>>().await.unwrap_err();
        assert_eq!(error.to_string(), "cannot read what is to be compressed: a bad sector");
        assert_eq!(error.failure().reason, Reason::FileUnreadable);
    }
}

#[tokio::test]
async fn storage_that_fails_ends_the_stream_with_that_error() {
    #[derive(Debug, PartialEq, thiserror::Error)]
    #[error("the connection broke")]
    struct Broke;
    for codec in COMPRESSED.into_iter().chain([Codec::None]) {
        let whole = stored(codec, &sample(100_000), 10_000).await;
        let decompression = Decompression::new(codec.engine_name(), codec == Codec::None, None).unwrap();
        let half = Bytes::copy_from_slice(&whole[..whole.len() / 2]);
        let chunks = stream::iter([Ok(half), Err(Broke)]);
        let mut outcome: Vec<_> = decompress(&decompression, chunks, 2).collect().await;
        let Some(Err(CodecError::Stored { source })) = outcome.pop() else { panic!("{codec}") };
        assert_eq!(source.downcast_ref(), Some(&Broke));
        assert!(outcome.iter().all(Result::is_ok), "{codec}: nothing comes after the error");
    }
}

#[tokio::test]
async fn a_stream_that_is_dropped_stops_reading() {
    for codec in COMPRESSED {
        let whole = Bytes::from(stored(codec, &sample(8 << 20), 1 << 20).await);
        let decompression = Decompression::new(codec.engine_name(), false, None).unwrap();
        let endless = stream::iter((0..).map(move |_| Ok::<_, io::Error>(whole.clone())));
        let mut decompressed = decompress(&decompression, endless, 2);
        assert!(decompressed.next().await.unwrap().is_ok());
        // The runtime's end waits for its blocking threads: a decoder that went on would hang the test.
        drop(decompressed);
    }
}

#[test]
fn codecs_have_the_names_of_vitess() {
    let names = [
        (Codec::Gzip(GzipFlavour::Pargzip), "pargzip"),
        (Codec::Gzip(GzipFlavour::Pgzip), "pgzip"),
        (Codec::Zstd, "zstd"),
        (Codec::Lz4, "lz4"),
        (Codec::External, "external"),
        (Codec::None, "none"),
    ];
    for (codec, name) in names {
        assert_eq!(codec.to_string(), name);
        assert_eq!(name.parse::<Codec>().unwrap(), codec);
        assert_eq!(codec.engine_name(), if codec == Codec::None { "" } else { name });
    }
    for name in ["", "gzip", "ZSTD", "snappy"] {
        let error = name.parse::<Codec>().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("compression engine {name:?} is none of pargzip, pgzip, zstd, lz4, external")
        );
    }
}

#[test]
fn a_manifest_says_how_to_decompress() {
    let codec = |engine: &str, skip| Decompression::new(engine, skip, None).map(|decompression| decompression.codec());
    assert_eq!(codec("", false).unwrap(), Codec::Gzip(GzipFlavour::Pgzip));
    assert_eq!(codec("pargzip", false).unwrap(), GZIP);
    for engine in ["", "zstd", "external", "whatever"] {
        assert_eq!(codec(engine, true).unwrap(), Codec::None);
    }
    let unknown = codec("snappy", false).unwrap_err();
    assert_eq!(unknown.failure().reason, Reason::EngineNotSupported);
    assert!(codec("none", false).is_err());
    let without = codec("external", false).unwrap_err().to_string();
    assert!(without.contains("--external-decompressor"), "{without}");
    assert!(
        Decompression::new("zstd", false, Some("rm -rf /")).unwrap()
            == Decompression::new("zstd", false, None).unwrap()
    );
}

#[test]
fn a_level_that_a_codec_lacks_is_refused() {
    for (codec, allowed) in [(GZIP, 0..=9), (Codec::Lz4, 0..=9), (Codec::Zstd, 1..=22)] {
        for level in [-1, 0, 1, 9, 10, 22, 23] {
            assert_eq!(Compression::new(codec, level).is_ok(), allowed.contains(&level), "{codec} {level}");
        }
    }
    let error = Compression::new(Codec::Zstd, 23).unwrap_err();
    assert_eq!(error.to_string(), "compression level 23 is not from 1 to 22, which zstd has");
    assert_eq!(error.failure().reason, Reason::InvalidArguments);
    assert!(Compression::new(Codec::None, 99).unwrap().skip_compress());
}

#[tokio::test]
async fn every_level_reads_back() {
    let file = sample(300_000);
    for (codec, levels) in [(GZIP, 0..=9), (Codec::Lz4, 0..=9), (Codec::Zstd, 1..=22)] {
        for level in levels {
            let compression = Compression::new(codec, level).unwrap();
            let blocks = stream::iter([Ok(Bytes::from(file.clone()))]);
            let stored = compress(&compression, blocks, 1).try_collect::<Vec<_>>().await.unwrap().concat();
            assert!(read(codec, &stored).await.unwrap() == file, "{codec} {level}");
            assert_eq!(
                level == 0 && codec == GZIP,
                stored.len() > file.len(),
                "{codec} {level}: {} bytes",
                stored.len()
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn any_bytes_read_back(file in prop::collection::vec(any::<u8>(), 0..5000), block in 1_usize..2000, chunk in 1_usize..600) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for codec in COMPRESSED {
                let stored = stored(codec, &file, block).await;
                prop_assert_eq!(&read_in(codec, &stored, chunk).await.unwrap(), &file);
            }
            Ok(())
        })?;
    }
}
