//! What every engine subcommand has in common: logging, signals, the deadline, the outcome, the exit code.

use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use futures::FutureExt;
use tokio::signal::unix::{SignalKind, signal};

use crate::backup::failure::{Failure, Reason};
use crate::backup::report::{Operation, Outcome, Verdict};
use crate::cli::arguments::{OutputFormat, ReportFormat, RunArguments};
use crate::cli::io_priority::IoPriority;
use crate::cli::report::{self, About, INTERVAL, Reporter};
use crate::cli::{progress_bar, summary};
use crate::engine::{Cause, EngineError, Interrupt};
use crate::progress::{Monitor, Step};

/// An engine subcommand, ready to run. Its future stays on the thread that runs it: what is heavy goes to tokio's pool for
/// blocking work.
#[async_trait(?Send)]
pub trait EngineCommand {
    fn run_arguments(&self) -> &RunArguments;

    /// How the outcome is written to stdout at the end; `None`: not at all.
    fn output(&self) -> Option<OutputFormat>;

    fn operation(&self) -> Operation;

    /// What each report line says besides.
    fn about(&self) -> About {
        About::default()
    }

    /// Does the work and fills in what the outcome shall say. The verdict is `Succeeded` unless it sets another; an error
    /// makes it `Failed`.
    async fn execute(
        &self,
        outcome: &mut Outcome,
        interrupt: &Interrupt,
        monitor: &dyn Monitor,
    ) -> Result<(), EngineError>;
}

/// Runs a subcommand to its outcome and gives the process's exit code.
pub fn engine(command: &impl EngineCommand) -> ExitCode {
    start_logging();
    let RunArguments { nice, ionice, .. } = *command.run_arguments();
    let nice = lowered(nice);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(move || step_back(nice, ionice))
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("cannot start the async runtime: {error}");
            return ExitCode::from(Reason::Internal.exit_code());
        }
    };
    let outcome = runtime.block_on(to_outcome(command));
    // Blocking file reads that were abandoned must not keep the process.
    runtime.shutdown_background();
    outcome.failure.map_or(ExitCode::SUCCESS, |failure| ExitCode::from(failure.reason.exit_code()))
}

/// The niceness for the runtime's threads; `None`: they are to be as they are.
fn lowered(by: u8) -> Option<i32> {
    let own = rustix::process::getpriority_process(None).unwrap_or(0);
    (by > 0).then(|| (own + i32::from(by)).min(19))
}

/// Lowers this thread's priorities. On Linux they are a thread's own, and what it starts inherits them: reading, compressing
/// and writing happen on the runtime's threads, while mysqld is started from the main one, which stays as it was.
fn step_back(nice: Option<i32>, io: Option<IoPriority>) {
    if let Some(nice) = nice
        && let Err(error) = rustix::process::setpriority_process(None, nice)
    {
        tracing::warn!("cannot lower the priority: {error}");
    }
    if let Some(io) = io
        && let Err(error) = io.take()
    {
        tracing::warn!("cannot lower the priority of reads and writes: {error}");
    }
}

/// Logs go to stderr; stdout belongs to results and report lines.
fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("VITESS_BACKUP_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| progress_bar::Log).with_ansi(colours);
    let _ = logs.with_target(false).try_init();
}

async fn to_outcome(command: &impl EngineCommand) -> Outcome {
    let arguments = command.run_arguments();
    let reporter = Arc::new(Reporter::new(arguments.report, command.about()));
    let interrupt = Interrupt::new();
    let watch = tokio::spawn(watch(interrupt.clone(), arguments.clone()));
    let ticker = tokio::spawn(tick(Arc::clone(&reporter)));

    let mut outcome = Outcome::begun(command.operation(), jiff::Timestamp::now());
    let run = command.execute(&mut outcome, &interrupt, reporter.as_ref());
    // The engine puts the tablet back when a step of it panics; what arrives here is only for the report.
    let result = std::panic::AssertUnwindSafe(run).catch_unwind().await;
    outcome.finished_time = jiff::Timestamp::now();
    match result {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            outcome.untouched = outcome.operation == Operation::Backup && reporter.step_now() == Step::Checking;
            outcome.lag_seconds = error.lag();
            fail(&mut outcome, error.failure());
        }
        Err(_) => fail(&mut outcome, EngineError::Panicked.failure()),
    }
    ticker.abort();
    watch.abort();
    tell(command, &reporter, &outcome);
    outcome
}

fn fail(outcome: &mut Outcome, failure: Failure) {
    outcome.verdict = Verdict::Failed;
    outcome.failure = Some(failure);
}

fn tell(command: &impl EngineCommand, reporter: &Reporter, outcome: &Outcome) {
    let arguments = command.run_arguments();
    reporter.outcome(outcome);
    if let Some(path) = &arguments.termination_log {
        report::leave_termination_message(path, outcome);
    }
    if arguments.report == ReportFormat::Json {
        return;
    }
    if let Some(failure) = &outcome.failure {
        tracing::error!("{:?}: {}. {}", failure.reason, failure.message, failure.remedy);
    }
    let text = match command.output() {
        Some(OutputFormat::Json) => serde_json::to_string_pretty(outcome).unwrap_or_default() + "\n",
        Some(OutputFormat::Text) if outcome.failure.is_none() => summary::text(outcome),
        // What failed is on stderr; what a run learned until then is worth a word there too.
        Some(OutputFormat::Text) | None => {
            outcome.warnings.iter().chain(&outcome.not_carried).for_each(|warning| tracing::warn!("{warning}"));
            return;
        }
    };
    // A reader that went away (`| head`) is no failure of ours.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Turns SIGTERM, SIGINT and the deadline into an interruption of the run.
async fn watch(interrupt: Interrupt, arguments: RunArguments) {
    let deadline = async {
        if arguments.deadline.0.is_zero() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(arguments.deadline.0).await;
    };
    let (Ok(mut terminate), Ok(mut interactive)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::warn!("cannot listen for signals");
        deadline.await;
        return interrupt.raise(Cause::Deadline(arguments.deadline.0));
    };
    tokio::select! {
        () = deadline => interrupt.raise(Cause::Deadline(arguments.deadline.0)),
        _ = terminate.recv() => interrupt.raise(Cause::Signal("SIGTERM")),
        _ = interactive.recv() => interrupt.raise(Cause::Signal("SIGINT")),
    }
    // From here on the tablet is being put back; a second signal must not cut that short, so both stay caught.
    loop {
        tokio::select! {
            _ = terminate.recv() => tracing::warn!("still putting the tablet back"),
            _ = interactive.recv() => tracing::warn!("still putting the tablet back"),
        }
    }
}

async fn tick(reporter: Arc<Reporter>) {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        reporter.tick(Instant::now(), jiff::Timestamp::now());
    }
}
