//! `countermove`, the program.

use std::process::ExitCode;

fn main() -> ExitCode {
    countermove::client()
}
