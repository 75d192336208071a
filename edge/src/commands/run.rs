//! `edge run`: the service.

use std::path::PathBuf;

use clap::Parser;

use crate::app;
use crate::config::Config;
use crate::exit::Exit;

/// Run the station until it is told to stop
#[derive(Debug, Parser)]
pub struct Args {
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/ulna/edge.toml")]
    config: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args) -> Exit {
    match Config::load(&args.config) {
        Ok(config) => app::run(&config),
        Err(error) => {
            log::error!("{error}");
            Exit::Config
        }
    }
}
