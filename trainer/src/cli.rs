//! The command line.

use clap::{Parser, Subcommand};

use crate::commands::{evaluate, export, index, prune, synth, train};

const AFTER_HELP: &str = "\
Exit codes:
   0  done
   1  internal error
   2  the command line is wrong
  65  the data cannot be used: a broken layout, run or bundle, no readable image
  66  an input is missing
  74  reading or writing failed
Results go to standard output, logs and progress to standard error.";

/// Trains, evaluates, prunes and exports Ulna's DenseNet169.
#[derive(Debug, Parser)]
#[command(name = "trainer", version, after_help = AFTER_HELP, propagate_version = true)]
pub struct Cli {
    /// How much to log: off, error, warn, info, debug or trace
    #[arg(long, global = true, default_value = "info", value_name = "LEVEL")]
    pub log_level: log::LevelFilter,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Draw synthetic radiographs in the MURA layout
    Synth(synth::Args),
    /// List a data set's studies and images as CSV, and say what does not fit
    Index(index::Args),
    /// Train a DenseNet169
    Train(train::Args),
    /// Evaluate a run, an ensemble of runs or a bundle; write a report with pictures
    Evaluate(evaluate::Args),
    /// Shrink a trained network and fine-tune it
    Prune(prune::Args),
    /// Write a bundle for the station
    Export(export::Args),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_documented_commands_parse() {
        for line in [
            "synth --out d --studies 10 --seed 1 --size 96 --hard",
            "index --data d --out o",
            "train --data d --run r --size 96 --epochs 1 --device cpu --config t.toml --resume",
            "evaluate --run r --data d --split valid --json",
            "evaluate --bundle b --data d --split valid",
            "evaluate --run a --run b --members best --data d --findings f.csv --out report",
            "prune --run r --data d --out o --macs 0.4 --epochs 1 --size 96",
            "export --run r --data d --out b --size 320 --purpose demo",
        ] {
            let parsed = Cli::try_parse_from(["trainer"].into_iter().chain(line.split(' ')));
            assert!(parsed.is_ok(), "{line}: {parsed:?}");
        }
    }
}
