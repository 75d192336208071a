//! `edge run`: the service.

use clap::Parser;

use super::common::StationArgs;
use crate::config::Config;
use crate::exit::Exit;
use crate::service;

/// Run the station until it is told to stop
#[derive(Debug, Parser)]
pub struct Args {
    #[command(flatten)]
    station: StationArgs,
}

/// Runs the command.
pub fn run(args: &Args) -> Exit {
    match Config::load(&args.station.config) {
        Ok(config) => service::run(&config, &args.station.config),
        Err(error) => {
            log::error!("{error}");
            Exit::Config
        }
    }
}
