//! Compressing and decompressing by a command of the operator's: stdin to stdout, no shell.
//!
//! Source: Vitess `mysqlctl/compression.go` (`newExternalCompressor`, `newExternalDecompressor`; the command line is split by
//! `google/shlex`, the program found through PATH, what it writes to stderr goes to the log).

use std::process::Stdio;

use bytes::{Bytes, BytesMut};
use futures::Stream;
use futures::stream::BoxStream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;

use super::CodecError;
use super::pipe::{Outlet, Piece, through};

/// Bytes of the command's output in one chunk, at most.
const CHUNK: usize = 1 << 20;

/// Bytes of the end of stderr that go into a message.
const STDERR_TAIL: usize = 2000;

/// Splits a command line into words: blanks between them; `'…'` as it is; `"…"` and bare words with `\` before a character
/// that stands for itself; a word that begins with `#` and the rest of its line are left out.
///
/// # Errors
/// [`CodecError::Command`] when there is no word, a quote is not closed, or the line ends in `\`.
pub fn split(command: &str) -> Result<Vec<String>, CodecError> {
    let refused = |problem| CodecError::Command { command: command.to_owned(), problem };
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = command.chars();
    while let Some(character) = rest.next() {
        match character {
            blank if blank.is_whitespace() => words.extend(word.take()),
            '#' if word.is_none() => {
                rest.by_ref().find(|character| *character == '\n');
            }
            '\\' => {
                let literal = rest.next().ok_or_else(|| refused("ends in a backslash"))?;
                word.get_or_insert_default().push(literal);
            }
            quote @ ('\'' | '"') => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next().ok_or_else(|| refused("has a quote that is not closed"))? {
                        end if end == quote => break,
                        '\\' if quote == '"' => word.push(rest.next().ok_or_else(|| refused("ends in a backslash"))?),
                        other => word.push(other),
                    }
                }
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    if words.is_empty() { Err(refused("is empty")) } else { Ok(words) }
}

/// Sends `input` through the command. The command is killed when the stream is dropped.
pub(super) fn run<'a, S>(words: Vec<String>, input: S) -> BoxStream<'a, Result<Bytes, CodecError>>
where
    S: Stream<Item = Result<Bytes, CodecError>> + Send + 'a,
{
    let start = move |from, to: Outlet| {
        tokio::spawn(async move {
            let worked = tokio::select! {
                // Dropping the child kills it.
                () = to.closed() => return,
                worked = work(&words, from, &to) => worked,
            };
            let last = match worked {
                Ok(()) => Piece::Done,
                Err(problem) => Piece::Failed(CodecError::External { command: words.join(" "), problem }),
            };
            let _ = to.send(last).await;
        });
    };
    through(input, start)
}

async fn work(words: &[String], from: mpsc::Receiver<Bytes>, to: &Outlet) -> Result<(), String> {
    let (program, arguments) = words.split_first().ok_or("there is no command")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("it cannot be started: {error}"))?;
    let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err("it has no standard streams".to_owned());
    };
    let (fed, copied, said) = tokio::join!(feed(stdin, from), copy(stdout, to), tail(stderr));
    ended(&mut child, &said).await?;
    // A command that stops reading early has not seen all of the data, whatever its exit code.
    fed.map_err(|error| format!("it did not read all of its input: {error}"))?;
    copied.map_err(|error| format!("its output cannot be read: {error}"))
}

async fn feed(mut stdin: ChildStdin, mut from: mpsc::Receiver<Bytes>) -> std::io::Result<()> {
    while let Some(bytes) = from.recv().await {
        stdin.write_all(&bytes).await?;
    }
    stdin.shutdown().await
}

async fn copy(mut stdout: impl AsyncRead + Unpin, to: &Outlet) -> std::io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        if stdout.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        if to.send(Piece::Bytes(buffer.split().freeze())).await.is_err() {
            return Ok(());
        }
    }
}

/// Reads to the end and keeps the last [`STDERR_TAIL`] bytes.
async fn tail(mut stderr: impl AsyncRead + Unpin) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = stderr.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..length]);
        let surplus = kept.len().saturating_sub(STDERR_TAIL);
        kept.drain(..surplus);
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}

async fn ended(child: &mut Child, said: &str) -> Result<(), String> {
    let status = child.wait().await.map_err(|error| format!("its end cannot be waited for: {error}"))?;
    if !said.is_empty() {
        tracing::info!(stderr = said, "external compression command");
    }
    match (status.success(), said) {
        (true, _) => Ok(()),
        (false, "") => Err(status.to_string()),
        (false, said) => Err(format!("{status}: {said}")),
    }
}
