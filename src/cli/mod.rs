//! The command line: one file per subcommand, typed arguments turned into options, no logic.
//!
//! Flags are kebab-case; Vitess's underscore spelling of any flag works too, and each flag has an environment variable.
//! Exit codes: 0 done (also "started empty") · 2 bad usage · 3 no usable backup · 4 storage · 5 MySQL or mysqlctld ·
//! 6 data refused (present, damaged, incompatible) · 7 cancelled or deadline · 70 a bug.

pub mod crd;
mod install;
mod operator;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

/// Backs up and restores Vitess shards, in Vitess's own format.
#[derive(Debug, Parser)]
#[command(name = "vitess-backup", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done (also \"started empty\") · 2 bad usage · 3 no usable backup · 4 storage · \
    5 MySQL or mysqlctld · 6 data refused (present, damaged, incompatible) · 7 cancelled or deadline · 70 a bug";

#[derive(Debug, clap::Subcommand)]
enum Command {
    Operator(Box<operator::Operator>),
    Crd(crd::Crd),
    #[command(hide = true)]
    InstallBinary(install::InstallBinary),
}

/// Parses the process's arguments, runs the subcommand, and gives its exit code.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse_from(std::env::args_os().map(kebab_case));
    match arguments.command {
        Command::Operator(command) => end(command.run()),
        Command::Crd(command) => end(command.run()),
        Command::InstallBinary(command) => end(command.run()),
    }
}

/// The exit code of a command that is no engine run; its error goes to stderr.
fn end(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vitess-backup: {error:#}");
            ExitCode::from(70)
        }
    }
}

/// `--restore_from_backup_ts=x` → `--restore-from-backup-ts=x`: people paste their tablet's flags as they have them.
fn kebab_case(argument: OsString) -> OsString {
    let Some(text) = argument.to_str().filter(|text| text.starts_with("--")) else {
        return argument;
    };
    match text.split_once('=') {
        Some((flag, value)) => format!("{}={value}", flag.replace('_', "-")).into(),
        None => text.replace('_', "-").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_underscore_spelling_of_a_flag_is_understood_and_values_are_left_alone() {
        let spelled = |text: &str| kebab_case(text.into()).into_string().unwrap();
        assert_eq!(spelled("--restore_from_backup_ts=2021_x"), "--restore-from-backup-ts=2021_x");
        assert_eq!(spelled("--allow_primary"), "--allow-primary");
        assert_eq!(spelled("my_keyspace/0"), "my_keyspace/0");
    }
}
