//! Parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    vitess_backup::cli::main()
}
