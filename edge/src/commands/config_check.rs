//! `edge config check`: says what is wrong with a configuration before a service stumbles over it.

use std::path::PathBuf;

use clap::Parser;

use crate::config::{Config, ConfigError};
use crate::exit::Exit;

/// Check a configuration file; nothing it names is opened
#[derive(Debug, Parser)]
pub struct Args {
    /// The file
    #[arg(value_name = "FILE", default_value = "/etc/ulna/edge.toml")]
    config: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args) -> Exit {
    match Config::load(&args.config) {
        Ok(config) => {
            println!("{}: ok, station {}", args.config.display(), config.station);
            Exit::Ok
        }
        Err(error) => {
            eprintln!("edge config check: {error}");
            match error {
                ConfigError::Read { .. } => Exit::Input,
                ConfigError::Parse { .. } | ConfigError::Invalid { .. } => Exit::Config,
            }
        }
    }
}
