//! The bytes that we store are inside what Vitess's readers take: checked in the bytes, not by our own reader.

use std::io::{BufRead, Read};

use vitess_backup::codec::{Codec, GzipFlavour};

use crate::{GZIP, sample, stored};

const MIB: usize = 1 << 20;

/// The frames of a zstd stream: header flags, window in bytes, content size.
fn zstd_frames(mut stored: &[u8]) -> Vec<(u8, u64, u64)> {
    let mut frames = Vec::new();
    while !stored.is_empty() {
        assert_eq!(stored[..4], [0x28, 0xb5, 0x2f, 0xfd], "a frame begins here, and no skippable one");
        let flags = stored[4];
        let content = zstd::zstd_safe::get_frame_content_size(stored).unwrap().unwrap();
        let is_single_segment = flags & 0x20 != 0;
        let window = if is_single_segment { content } else { window(stored[5]) };
        frames.push((flags, window, content));
        stored = &stored[zstd::zstd_safe::find_frame_compressed_size(stored).unwrap()..];
    }
    frames
}

/// Source: RFC 8878, 3.1.1.1.2.
fn window(descriptor: u8) -> u64 {
    let base = 1_u64 << (10 + (descriptor >> 3));
    base + base / 8 * u64::from(descriptor & 7)
}

#[tokio::test]
async fn zstd_frames_have_a_small_window_a_checksum_and_no_dictionary() {
    // A block above 4 MiB as well: then the window no longer is the content.
    for (length, block, contents) in [
        (9 * MIB, 4 * MIB, vec![4 * MIB, 4 * MIB, MIB]),
        (10 * MIB, 10 * MIB, vec![10 * MIB]),
        (5, 4 * MIB, vec![5]),
        (0, 4 * MIB, vec![0]),
    ] {
        let frames = zstd_frames(&stored(Codec::Zstd, &sample(length), block).await);
        assert_eq!(
            frames.iter().map(|frame| frame.2).collect::<Vec<_>>(),
            contents.iter().map(|&c| c as u64).collect::<Vec<_>>()
        );
        for (flags, window, _) in frames {
            assert_eq!(flags & 0x04, 0x04, "content checksum");
            assert_eq!(flags & 0x03, 0, "no dictionary id");
            assert!(window <= 4 << 20, "window {window}");
        }
    }
}

#[tokio::test]
async fn gzip_members_tell_their_length_and_hold_a_block_each() {
    for flavour in [GzipFlavour::Pargzip, GzipFlavour::Pgzip] {
        let file = sample(5 * MIB / 2);
        let stored = stored(Codec::Gzip(flavour), &file, MIB).await;
        let mut rest = &stored[..];
        let mut lengths = Vec::new();
        while !rest.is_empty() {
            // Deflate, an extra field (so no name, comment or header checksum), no time, OS unknown; one subfield, VB.
            assert_eq!(rest[..16], [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 4, 255, 8, 0, b'V', b'B', 4, 0]);
            let told = u32::from_le_bytes(rest[16..20].try_into().unwrap()) as usize;
            let before = rest.len();
            let mut member = flate2::bufread::GzDecoder::new(rest);
            let mut content = Vec::new();
            member.read_to_end(&mut content).unwrap();
            lengths.push(content.len());
            rest = member.into_inner();
            assert_eq!(before - rest.len(), told, "the length that the field tells");
        }
        assert_eq!(lengths, [MIB, MIB, MIB / 2]);
    }
}

#[tokio::test]
async fn lz4_frames_have_independent_blocks_and_a_checksum() {
    for (length, frames) in [(2 * MIB + 5, vec![2, 2, 2]), (10, vec![2]), (0, vec![1])] {
        let stored = stored(Codec::Lz4, &sample(length), MIB).await;
        assert_eq!(lz4_frames(&stored), frames, "blocks of each frame, the end mark among them");
    }
    // More than 1 MiB at a time is a frame of several blocks.
    assert_eq!(lz4_frames(&stored(Codec::Lz4, &sample(2 * MIB + 5), 4 * MIB).await), [4]);
}

/// How many blocks each frame has. Source: lz4 `doc/lz4_Frame_format.md`.
fn lz4_frames(mut stored: &[u8]) -> Vec<usize> {
    let mut frames = Vec::new();
    while !stored.is_empty() {
        // Version 01, independent blocks, no block checksum, no content size, content checksum, no dictionary; 1 MiB.
        assert_eq!(stored[..6], [0x04, 0x22, 0x4d, 0x18, 0x64, 0x60], "Vitess's own header, but for the blocks' size");
        stored.consume(7);
        let mut blocks = 0;
        loop {
            let word = u32::from_le_bytes(stored[..4].try_into().unwrap());
            let length = (word & 0x7fff_ffff) as usize;
            assert!(length <= MIB);
            stored.consume(4 + length);
            blocks += 1;
            if word == 0 {
                break;
            }
        }
        stored.consume(4);
        frames.push(blocks);
    }
    frames
}

#[tokio::test]
async fn an_empty_file_is_not_an_empty_object() {
    let lengths = [(GZIP, 33), (Codec::Zstd, 13), (Codec::Lz4, 15)];
    for (codec, length) in lengths {
        let stored = stored(codec, b"", 1).await;
        assert!((1..=length).contains(&stored.len()), "{codec}: {} bytes", stored.len());
    }
    assert_eq!(stored(Codec::None, b"", 1).await, b"");
}
