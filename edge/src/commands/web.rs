//! `edge web link`: how a phone or another computer gets to the technician's page.

use clap::{Parser, Subcommand};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use super::common::StationArgs;
use crate::config::Config;
use crate::exit::Exit;
use crate::web::lan;

/// The technician's page in the network
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The code that lets a phone or another computer in.
    Link(Args),
}

/// Show the code that lets a phone or another computer in (`[web.lan]`)
#[derive(Debug, Parser)]
pub struct Args {
    #[command(flatten)]
    station: StationArgs,
    /// Only the address, without the code
    #[arg(long)]
    text: bool,
}

/// Runs the command.
pub fn run(command: &Command) -> Exit {
    let Command::Link(args) = command;
    let config = match Config::load(&args.station.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("edge web link: {error}");
            return Exit::Config;
        }
    };
    let Some(door) = &config.web.lan else {
        eprintln!(
            "edge web link: {} has no section [web.lan], so the page cannot be reached from the network",
            args.station.config.display()
        );
        return Exit::Config;
    };
    let token = match lan::token(&config.state_dir) {
        Ok(token) => token,
        Err(error) => {
            eprintln!(
                "edge web link: the token cannot be read: {error}; run this as the service's user or as root"
            );
            return Exit::Io;
        }
    };
    let link = door.link(&token);
    if !args.text {
        match QrCode::new(&link) {
            Ok(code) => println!("{}", code.render::<Dense1x2>().build()),
            Err(error) => eprintln!("edge web link: the code cannot be drawn: {error}"),
        }
    }
    println!("{link}");
    Exit::Ok
}
