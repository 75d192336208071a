//! `edge run`: the service.

use clap::Parser;

use super::common::StationArgs;
use crate::config::Config;
use crate::exit::Exit;
use crate::{health, logging, restarts, service};

/// Run the station until it is told to stop
#[derive(Debug, Parser)]
pub struct Args {
    #[command(flatten)]
    station: StationArgs,
}

/// Runs the command.
pub fn run(args: &Args) -> Exit {
    match Config::load(&args.station.config) {
        Ok(config) => {
            logging::name_station(&config.station);
            restarts::pause();
            service::run(&config, &args.station.config)
        }
        Err(error) => {
            log::error!("{error}");
            health::say(&error.to_string());
            Exit::Config
        }
    }
}
