//! What other writers store and Vitess reads, we read: and what Vitess refuses for its size, we refuse.

use std::io::Write;

use flate2::GzBuilder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use zstd::stream::write::Encoder;
use zstd::zstd_safe::CParameter;

use vitess_backup::codec::{Codec, CodecError};

use crate::{GZIP, read, sample};

fn gzip(builder: GzBuilder, content: &[u8]) -> Vec<u8> {
    let mut encoder = builder.write(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zstd(content: &[u8], parameters: &[CParameter]) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), 3).unwrap();
    for parameter in parameters {
        encoder.set_parameter(*parameter).unwrap();
    }
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn lz4(content: &[u8], info: FrameInfo) -> Vec<u8> {
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A skippable frame, of zstd and of lz4 alike.
fn skippable(magic: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_le_bytes();
    [&[magic, 0x2a, 0x4d, 0x18], &length[..], content].concat()
}

#[tokio::test]
async fn gzip_with_every_header_field_and_many_members_is_read() {
    let file = sample(200_000);
    let named = || GzBuilder::new().filename("ibdata1").comment("made by hand").extra(vec![1, 2, 3]).mtime(7);
    let stored = [gzip(named(), &file[..1000]), gzip(GzBuilder::new(), b""), gzip(named(), &file[1000..])].concat();
    assert!(read(GZIP, &stored).await.unwrap() == file);
    assert_eq!(read(GZIP, &gzip(GzBuilder::new(), b"")).await.unwrap(), b"");
}

#[tokio::test]
async fn zstd_of_many_kinds_of_frames_is_read() {
    let file = sample(900_000);
    let stored = [
        skippable(0x50, b"pzstd writes such"),
        zstd(&file[..10], &[CParameter::ChecksumFlag(false), CParameter::ContentSizeFlag(false)]),
        skippable(0x5f, b""),
        zstd(&file[10..300_000], &[CParameter::ChecksumFlag(true)]),
        zstd(b"", &[]),
        zstd(&file[300_000..], &[CParameter::WindowLog(27), CParameter::EnableLongDistanceMatching(true)]),
        skippable(0x50, b"at the end"),
    ]
    .concat();
    assert!(read(Codec::Zstd, &stored).await.unwrap() == file);
}

#[tokio::test]
async fn zstd_windows_are_read_up_to_512_mib() {
    // A frame by hand: no content size, the window in its descriptor, one raw block that is the last.
    let frame = |window_log: u8| {
        [&[0x28, 0xb5, 0x2f, 0xfd, 0, (window_log - 10) << 3], &[0x01 | 5 << 3, 0, 0][..], b"hello"].concat()
    };
    assert_eq!(read(Codec::Zstd, &frame(29)).await.unwrap(), b"hello");
    let error = read(Codec::Zstd, &frame(30)).await.unwrap_err();
    assert!(matches!(error, CodecError::Damaged { codec: Codec::Zstd, .. }), "{error:?}");
    assert!(error.to_string().contains("too much memory"), "{error}");
}

#[tokio::test]
async fn lz4_of_many_kinds_of_frames_is_read() {
    let file = sample(9 << 20);
    let independent = || FrameInfo::new().block_mode(BlockMode::Independent);
    for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
        let stored = [
            skippable(0x50, b"anything"),
            lz4(&file[..1000], independent().block_size(size)),
            lz4(b"", independent().block_size(size).content_checksum(true)),
            lz4(&file[1000..5 << 20], independent().block_size(size).block_checksums(true).content_checksum(true)),
            skippable(0x5a, b""),
            lz4(
                &file[5 << 20..],
                FrameInfo::new().block_mode(BlockMode::Linked).block_size(size).content_size(Some(4 << 20)),
            ),
            skippable(0x50, b"at the end"),
        ]
        .concat();
        assert!(read(Codec::Lz4, &stored).await.unwrap() == file, "{size:?}");
    }
}

#[tokio::test]
async fn lz4_legacy_frames_and_dictionaries_are_refused() {
    let legacy = [&[0x02, 0x21, 0x4c, 0x18][..], &[0; 20]].concat();
    let error = read(Codec::Lz4, &legacy).await.unwrap_err();
    assert!(error.to_string().contains("legacy"), "{error}");
    // Of the 256 header checksums one is right; then the dictionary id is what is wrong.
    let mut refusals = Vec::new();
    for checksum in 0..=255 {
        let with_dictionary = [&[0x04, 0x22, 0x4d, 0x18, 0x61, 0x40, 7, 0, 0, 0, checksum], &[0; 4][..]].concat();
        refusals.push(read(Codec::Lz4, &with_dictionary).await.unwrap_err().to_string());
    }
    assert_eq!(refusals.iter().filter(|refusal| refusal.to_lowercase().contains("dict")).count(), 1, "{refusals:?}");
}

#[tokio::test]
async fn zstd_dictionaries_are_refused() {
    let mut compressor = zstd::bulk::Compressor::with_dictionary(3, &zstd_dictionary()).unwrap();
    let stored = compressor.compress(b"hello hello hello").unwrap();
    assert_ne!(stored[4] & 3, 0, "the frame names a dictionary");
    let error = read(Codec::Zstd, &stored).await.unwrap_err();
    assert!(matches!(error, CodecError::Damaged { codec: Codec::Zstd, .. }), "{error:?}");
}

fn zstd_dictionary() -> Vec<u8> {
    let samples: Vec<Vec<u8>> =
        (0..200_u8).map(|n| format!("sample {n} of a dictionary, hello {}", n % 7).into_bytes()).collect();
    zstd::dict::from_samples(&samples, 1024).unwrap()
}
