//! The `trainer` binary: see `trainer --help`.

use std::process::ExitCode;

use clap::Parser;
use trainer::cli::Cli;
use trainer::{commands, exit, logging};

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::init(cli.log_level);
    match commands::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", exit::last_words(&error));
            ExitCode::from(exit::code(&error))
        }
    }
}
