//! Stored bytes that are cut short, followed by something, or changed: an error each time, never a shorter file.

use vitess_backup::backup::failure::Reason;
use vitess_backup::codec::{Codec, CodecError};

use crate::{COMPRESSED, GZIP, read, read_in, sample, stored};

const BLOCK: usize = 300;

/// A stored file of three blocks, and where each of its members or frames ends.
async fn three(codec: Codec) -> (Vec<u8>, Vec<u8>, Vec<usize>) {
    let file = sample(3 * BLOCK);
    let mut whole = Vec::new();
    let mut ends = Vec::new();
    for block in file.chunks(BLOCK) {
        whole.extend(stored(codec, block, BLOCK).await);
        ends.push(whole.len());
    }
    assert_eq!(whole, stored(codec, &file, BLOCK).await);
    (file, whole, ends)
}

#[tokio::test]
async fn an_object_that_ends_early_is_an_error_wherever_it_ends() {
    for codec in COMPRESSED {
        let (file, whole, ends) = three(codec).await;
        for length in 0..whole.len() {
            let outcome = read(codec, &whole[..length]).await;
            if let Some(blocks) = ends.iter().position(|&end| end == length) {
                // A whole member or frame: only the object's size and hash can tell that others are missing.
                assert_eq!(outcome.unwrap(), file[..(blocks + 1) * BLOCK], "{codec} at {length}");
            } else {
                let error = outcome.unwrap_err();
                let expected = matches!(error, CodecError::Truncated { codec: named } if named == codec);
                assert!(expected, "{codec} at {length} of {}: {error:?}", whole.len());
                assert_eq!(error.failure().reason, Reason::DecompressionFailed);
            }
        }
        assert_eq!(read(codec, &whole).await.unwrap(), file);
    }
}

#[tokio::test]
async fn nothing_may_follow_the_last_member_or_frame() {
    let garbage: [&[u8]; 8] = [
        b"\0",
        b"\0\0\0",
        &[0; 512],
        b"x",
        b"xyz",
        b"MANIFEST",
        // The beginnings of another member or frame.
        &[0x1f, 0x8b, 8],
        &[0x28, 0xb5, 0x2f, 0xfd],
    ];
    for codec in COMPRESSED {
        let (_, whole, _) = three(codec).await;
        for tail in garbage {
            let stored = [&whole, tail].concat();
            for chunk in [1, whole.len(), stored.len()] {
                let error = read_in(codec, &stored, chunk).await.unwrap_err();
                let expected = matches!(error, CodecError::Truncated { .. } | CodecError::Damaged { .. });
                assert!(expected, "{codec} followed by {tail:?}: {error:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_object_of_no_bytes_is_cut_short() {
    for codec in COMPRESSED {
        let error = read(codec, b"").await.unwrap_err();
        assert_eq!(error.to_string(), format!("cannot decompress with {codec}: the stored bytes end too early"));
    }
    assert_eq!(read(Codec::None, b"").await.unwrap(), b"");
}

#[tokio::test]
async fn a_changed_bit_never_yields_another_file() {
    for codec in COMPRESSED {
        let (file, whole, _) = three(codec).await;
        let mut refused = 0;
        for position in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[position / 8] ^= 1 << (position % 8);
            match read(codec, &damaged).await {
                Err(_) => refused += 1,
                // A bit that carries nothing, such as the time in a gzip header.
                Ok(content) => assert!(content == file, "{codec}: bit {position} changes the file unnoticed"),
            }
        }
        // In blocks as small as these a gzip header is an eighth of a member.
        assert!(refused * 100 > whole.len() * 8 * 85, "{codec}: {refused} of {} bits noticed", whole.len() * 8);
    }
}

#[tokio::test]
async fn an_object_of_another_codec_is_damaged() {
    for codec in COMPRESSED {
        for other in COMPRESSED.into_iter().filter(|other| *other != codec) {
            let (_, whole, _) = three(other).await;
            let error = read(codec, &whole).await.unwrap_err();
            assert!(matches!(error, CodecError::Damaged { .. }), "{other} read as {codec}: {error:?}");
        }
        assert!(read(codec, b"just some text that was never compressed").await.is_err());
    }
    assert!(read(GZIP, &[0; 100]).await.is_err());
}
