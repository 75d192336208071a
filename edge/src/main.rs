//! The station. What it does is in the library; this only hands over the command line.

use clap::Parser;
use edge::cli::Cli;
use edge::exit::Exit;

fn main() -> Exit {
    Cli::parse().run()
}
