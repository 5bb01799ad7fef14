//! One of XtraBackup's programs: fed with a stream or giving one, its stderr kept for whoever has to find out what was wrong.

use std::collections::VecDeque;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use crate::engine::EngineError;
use crate::engine::xtrabackup::tools::Invocation;

/// Lines of the end of stderr that are kept.
const KEPT: usize = 50;

/// How a program ended that did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// `exit status: 1`, `signal: 9 (SIGKILL)`.
    pub status: String,
    /// The end of stderr.
    pub lines: Vec<String>,
}

impl Ended {
    /// The line that says most: the last one that speaks of an error, else the last one.
    pub fn line(&self) -> &str {
        let speaks = |line: &&String| {
            ["error", "fatal", "failed", "can't", "cannot", "no space"]
                .iter()
                .any(|word| line.to_lowercase().contains(word))
        };
        self.lines.iter().rev().find(speaks).or(self.lines.last()).map_or("it said nothing", String::as_str)
    }

    pub fn is_out_of_space(&self) -> bool {
        self.lines.iter().any(|line| {
            line.contains("No space left on device") || line.contains("Errcode: 28") || line.contains("OS errno 28")
        })
    }
}

pub enum RunError {
    /// Of the input stream, or of the system.
    Engine(EngineError),
    Program(Ended),
}

/// Runs it to its end. It is killed when this future is dropped, and when its input fails.
pub async fn run(
    invocation: &Invocation,
    input: Option<BoxStream<'_, Result<Bytes, EngineError>>>,
) -> Result<(), RunError> {
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child = start(invocation, stdin, Stdio::null())?;
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let fed = async {
        match (stdin, input) {
            (Some(stdin), Some(input)) => feed(stdin, input).await,
            _ => Ok(true),
        }
    };
    let said = async { Ok(tail(stderr, |_| ()).await) };
    let (has_read_all, lines) = tokio::try_join!(fed, said).map_err(RunError::Engine)?;
    let status = wait(invocation, &mut child).await?;
    match (status.success(), has_read_all) {
        (true, true) => Ok(()),
        // Whatever it left unread is not in the data.
        (true, false) => Err(RunError::Program(Ended { status: "it did not read all of its input".to_owned(), lines })),
        (false, _) => Err(RunError::Program(Ended { status: status.to_string(), lines })),
    }
}

/// Runs it to its end, gives its stdout to `take` and every line of its stderr to `hear`. Gives what `take` gave once the
/// program has ended well. It is killed when this future is dropped, and when `take` fails.
pub async fn produce<T>(
    invocation: &Invocation,
    take: impl AsyncFnOnce(ChildStdout) -> Result<T, EngineError>,
    hear: impl FnMut(&str),
) -> Result<T, RunError> {
    let mut child = start(invocation, Stdio::null(), Stdio::piped())?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let taken = async {
        match stdout {
            Some(stdout) => take(stdout).await,
            None => Err(EngineError::Internal("a program has no stdout".to_owned())),
        }
    };
    let said = async { Ok(tail(stderr, hear).await) };
    let (taken, lines) = tokio::try_join!(taken, said).map_err(RunError::Engine)?;
    let status = wait(invocation, &mut child).await?;
    if status.success() { Ok(taken) } else { Err(RunError::Program(Ended { status: status.to_string(), lines })) }
}

/// All that it says on stdout and stderr, whatever its exit status.
pub async fn answer(invocation: &Invocation) -> Result<String, EngineError> {
    let Invocation { program, arguments } = invocation;
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.map_err(|error| cannot("start", program, &error))?;
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

fn start(invocation: &Invocation, stdin: Stdio, stdout: Stdio) -> Result<Child, RunError> {
    let Invocation { program, arguments } = invocation;
    tracing::info!("running {} {}", program.display(), arguments.join(" "));
    let started = Command::new(program)
        .args(arguments)
        .stdin(stdin)
        .stdout(stdout)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    started.map_err(|error| RunError::Engine(cannot("start", program, &error)))
}

async fn wait(invocation: &Invocation, child: &mut Child) -> Result<ExitStatus, RunError> {
    child.wait().await.map_err(|error| RunError::Engine(cannot("wait for the end of", &invocation.program, &error)))
}

fn cannot(verb: &str, program: &Path, error: &std::io::Error) -> EngineError {
    EngineError::Internal(format!("cannot {verb} {}: {error}", program.display()))
}

/// False when the program stopped reading before the end.
async fn feed(
    mut stdin: ChildStdin,
    mut input: BoxStream<'_, Result<Bytes, EngineError>>,
) -> Result<bool, EngineError> {
    while let Some(bytes) = input.try_next().await? {
        if stdin.write_all(&bytes).await.is_err() {
            return Ok(false);
        }
    }
    Ok(stdin.shutdown().await.is_ok())
}

/// Reads to the end and keeps the last lines.
async fn tail(stderr: Option<ChildStderr>, mut hear: impl FnMut(&str)) -> Vec<String> {
    let Some(stderr) = stderr else { return Vec::new() };
    let mut lines = BufReader::new(stderr).split(b'\n');
    let mut kept = VecDeque::new();
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if line.is_empty() {
            continue;
        }
        tracing::debug!("stderr: {line}");
        hear(&line);
        kept.push_back(line);
        if kept.len() > KEPT {
            kept.pop_front();
        }
    }
    kept.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use tokio::io::AsyncReadExt;

    fn shell(script: &str) -> Invocation {
        Invocation { program: "/bin/sh".into(), arguments: vec!["-c".into(), script.into()] }
    }

    fn input(parts: Vec<Result<Bytes, EngineError>>) -> BoxStream<'static, Result<Bytes, EngineError>> {
        futures::stream::iter(parts).boxed()
    }

    async fn ended(script: &str, parts: Vec<Result<Bytes, EngineError>>) -> Ended {
        match run(&shell(script), Some(input(parts))).await {
            Err(RunError::Program(ended)) => ended,
            Err(RunError::Engine(error)) => panic!("{error}"),
            Ok(()) => panic!("it ended well"),
        }
    }

    #[tokio::test]
    async fn a_program_gets_all_of_the_stream() {
        let parts = vec![Ok(Bytes::from_static(b"ab")), Ok(Bytes::from_static(b"cd"))];
        assert!(run(&shell("test \"$(cat)\" = abcd"), Some(input(parts))).await.is_ok());
        assert!(run(&shell("exit 0"), None).await.is_ok());
    }

    #[tokio::test]
    async fn what_a_failed_program_said_is_kept_and_the_telling_line_found() {
        let ended = ended("cat; echo one >&2; echo 'Error: two' >&2; echo three >&2; exit 3", vec![]).await;
        assert_eq!(
            ended,
            Ended { status: "exit status: 3".into(), lines: ["one", "Error: two", "three"].map(str::to_owned).into() }
        );
        assert_eq!((ended.line(), ended.is_out_of_space()), ("Error: two", false));
        let full = Ended { lines: vec!["xbstream: write: No space left on device".into()], ..ended };
        assert!(full.is_out_of_space());
    }

    #[tokio::test]
    async fn a_program_that_stops_reading_has_failed_whatever_its_exit_status() {
        let parts = std::iter::repeat_with(|| Ok(Bytes::from(vec![0; 1 << 20]))).take(20).collect();
        assert_eq!(ended("exit 0", parts).await.status, "it did not read all of its input");
    }

    async fn produced(script: &str) -> Result<String, Ended> {
        let take = async |mut stdout: ChildStdout| {
            let mut text = String::new();
            stdout.read_to_string(&mut text).await.unwrap();
            Ok(text)
        };
        let mut heard = String::new();
        match produce(&shell(script), take, |line| heard.push_str(line)).await {
            Ok(text) => Ok(format!("{text}|{heard}")),
            Err(RunError::Program(ended)) => Err(ended),
            Err(RunError::Engine(error)) => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn a_stream_counts_only_when_its_program_ended_well() {
        assert_eq!(produced("echo one; echo two >&2; echo three >&2").await.unwrap(), "one\n|twothree");
        let ended = produced("echo one; echo 'Error: two' >&2; exit 1").await.unwrap_err();
        assert_eq!((ended.line(), ended.status.as_str()), ("Error: two", "exit status: 1"));
    }

    #[tokio::test]
    async fn a_program_whose_stream_cannot_be_taken_is_killed() {
        let marker = tempfile::tempdir().unwrap();
        let script = format!("sleep 0.3; touch {}/ended", marker.path().display());
        let take = async |_: ChildStdout| Err::<(), _>(EngineError::invalid("full"));
        let result = produce(&shell(&script), take, |_| ()).await;
        assert!(matches!(result, Err(RunError::Engine(EngineError::InvalidArguments(text))) if text == "full"));
        tokio::time::sleep(std::time::Duration::from_millis(600)).await;
        assert!(!marker.path().join("ended").exists());
    }

    #[tokio::test]
    async fn a_stream_that_fails_kills_the_program() {
        let marker = tempfile::tempdir().unwrap();
        let script = format!("cat >/dev/null; sleep 0.3; touch {}/ended", marker.path().display());
        let parts = vec![Ok(Bytes::from_static(b"ab")), Err(EngineError::invalid("broken"))];
        let result = run(&shell(&script), Some(input(parts))).await;
        assert!(matches!(result, Err(RunError::Engine(EngineError::InvalidArguments(text))) if text == "broken"));
        tokio::time::sleep(std::time::Duration::from_millis(600)).await;
        assert!(!marker.path().join("ended").exists());
    }
}
