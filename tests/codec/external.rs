//! Commands as compressors, with the programs that every Linux has.

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use vitess_backup::backup::failure::Reason;
use vitess_backup::codec::{Codec, CodecError, Compression, Decompression, compress, decompress};

use crate::{GZIP, read, sample};

async fn through(command: &str, file: &[u8]) -> Result<Vec<u8>, CodecError> {
    let compression = Compression::external(Codec::External, command)?;
    let blocks: Vec<io::Result<Bytes>> = file.chunks(100_000).map(|block| Ok(Bytes::copy_from_slice(block))).collect();
    Ok(compress(&compression, stream::iter(blocks), 2).try_collect::<Vec<_>>().await?.concat())
}

async fn back(command: &str, stored: &[u8]) -> Result<Vec<u8>, CodecError> {
    let decompression = Decompression::new("external", false, Some(command))?;
    let chunks = stream::iter([Ok::<_, io::Error>(Bytes::copy_from_slice(stored))]);
    Ok(decompress(&decompression, chunks, 2).try_collect::<Vec<_>>().await?.concat())
}

#[tokio::test]
async fn a_command_compresses_and_another_decompresses() {
    let file = sample(3 << 20);
    let stored = through("gzip -1 -c", &file).await.unwrap();
    assert!(stored.len() < file.len());
    assert!(read(GZIP, &stored).await.unwrap() == file, "what the command writes is gzip");
    assert!(back("gzip -d", &stored).await.unwrap() == file);
    assert_eq!(back("cat", &through("cat", b"").await.unwrap()).await.unwrap(), b"");
}

#[tokio::test]
async fn words_are_split_as_in_a_shell_and_no_shell_runs() {
    let printed =
        |command: &'static str| async move { String::from_utf8(through(command, b"").await.unwrap()).unwrap() };
    assert_eq!(printed("printf '%s|' a  b\tc").await, "a|b|c|");
    assert_eq!(
        printed(r#"printf %s\| 'one "two"' "three 'four' \"five\" \$" six\ seven '' # a comment"#).await,
        r#"one "two"|three 'four' "five" $|six seven||"#
    );
    assert_eq!(printed("printf '%s|' $HOME `id` * >x ; a#b").await, "$HOME|`id`|*|>x|;|a#b|");
}

#[tokio::test]
async fn a_command_that_fails_says_why() {
    let error = through("sh -c 'cat > /dev/null; echo no space left >&2; exit 3'", &sample(1000)).await.unwrap_err();
    assert!(error.to_string().contains("exit status: 3: no space left"), "{error}");
    let error = back("gzip -d", b"this is not gzip").await.unwrap_err();
    assert!(error.to_string().contains("external command \"gzip -d\" failed: exit status: 1"), "{error}");
    assert_eq!(error.failure().reason, Reason::DecompressionFailed);
    let error = through("/nowhere/compressor --fast", b"x").await.unwrap_err();
    assert!(error.to_string().contains("it cannot be started: No such file"), "{error}");
}

#[tokio::test]
async fn a_command_that_does_not_read_everything_has_failed() {
    let error = through("head -c 10", &sample(5 << 20)).await.unwrap_err();
    assert!(error.to_string().contains("did not read all of its input"), "{error}");
}

#[test]
fn a_command_line_that_is_none_is_refused() {
    for (command, problem) in [
        ("", "is empty"),
        ("  \t", "is empty"),
        ("# x", "is empty"),
        ("a 'b", "quote"),
        ("a \"b\\\"", "quote"),
        ("a \\", "backslash"),
    ] {
        let error = Compression::external(Codec::External, command).unwrap_err();
        assert!(matches!(&error, CodecError::Command { .. }), "{error:?}");
        assert!(error.to_string().contains(problem), "{command}: {error}");
    }
    assert!(matches!(Compression::new(Codec::External, 1), Err(CodecError::NoCompressor)));
    assert!(matches!(Decompression::new("external", false, Some("")), Err(CodecError::NoDecompressor)));
}

#[tokio::test]
async fn a_command_ends_with_its_stream() {
    let directory = tempfile::TempDir::new().unwrap();
    let pid_file = directory.path().join("pid");
    let command = format!("sh -c 'echo $$ > {}; echo ready; exec sleep 600'", pid_file.display());
    let compression = Compression::external(Codec::External, &command).unwrap();
    let mut compressed = compress(&compression, stream::pending(), 1);
    assert_eq!(compressed.next().await.unwrap().unwrap(), "ready\n");
    let pid = std::fs::read_to_string(pid_file).unwrap();
    let process = std::path::PathBuf::from(format!("/proc/{}", pid.trim()));
    assert!(process.exists());
    drop(compressed);
    let began = Instant::now();
    while process.exists() {
        assert!(began.elapsed() < Duration::from_secs(10), "the command runs on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
