//! The `bantam` command: arguments, one command, an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    bantam::cli::main()
}
