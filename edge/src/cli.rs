//! The command line.

use clap::{Parser, Subcommand};
use log::LevelFilter;

#[cfg(feature = "demo")]
use crate::commands::demo;
use crate::commands::{
    bench, completions, config_check, doctor, infer, model, outbox, run, study, support_bundle, watch, web,
};
use crate::exit::Exit;
use crate::logging;

const EXIT_CODES: &str = "\
Exit codes:
   0  everything asked for was done
   1  a fault of the program itself
   2  the command line is not understood
   3  infer: some studies could not be scored; all the others were
   4  doctor: something needs attention; the station works
   5  doctor: something does not work
   6  refused as things are, and said why: by the service, or by `edge model`
  65  the bundle is damaged, not allowed here, or fails its self-test
  66  an input or a study that was named does not exist
  69  something needed does not answer: the service, a broker, an address
  74  the state directory, or a place to write to, cannot be used
  78  the configuration is wrong; starting again will not help";

/// Ulna's station: captures radiographs, scores studies on the CPU, publishes results over MQTT.
///
/// Decision support only.
#[derive(Debug, Parser)]
#[command(name = "edge", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli {
    /// How much is logged: off, error, warn, info, debug or trace
    #[arg(long, global = true, value_name = "LEVEL", default_value = "info")]
    log_level: LevelFilter,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Infer(infer::Args),
    Bench(bench::Args),
    #[cfg(feature = "demo")]
    Demo(demo::Args),
    Study(study::Args),
    Watch(watch::Args),
    Outbox(outbox::Args),
    Model(model::Args),
    Doctor(doctor::Args),
    SupportBundle(support_bundle::Args),
    /// Work with the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    #[command(subcommand)]
    Web(web::Command),
    Completions(completions::CompletionsArgs),
    Man(completions::ManArgs),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    Check(config_check::Args),
}

impl Cli {
    /// Runs the command that was asked for.
    pub fn run(self) -> Exit {
        if let Err(error) = logging::init(self.log_level) {
            eprintln!("edge: cannot start logging: {error}");
            return Exit::Internal;
        }
        match self.command {
            Command::Run(args) => run::run(&args),
            Command::Infer(args) => infer::run(&args),
            Command::Bench(args) => bench::run(&args),
            #[cfg(feature = "demo")]
            Command::Demo(args) => demo::run(&args),
            Command::Study(args) => study::run(&args),
            Command::Watch(args) => watch::run(&args),
            Command::Outbox(args) => outbox::run(&args),
            Command::Model(args) => model::run(&args),
            Command::Doctor(args) => doctor::run(&args),
            Command::SupportBundle(args) => support_bundle::run(&args),
            Command::Config(ConfigCommand::Check(args)) => config_check::run(&args),
            Command::Web(command) => web::run(&command),
            Command::Completions(args) => completions::run_completions(&args),
            Command::Man(args) => completions::run_man(&args),
        }
    }
}
