//! The command line.

use clap::{Parser, Subcommand};

use crate::commands::{bench, diagram, evaluate, explore, export, index, pack, predict, prune, synth, train};

const AFTER_HELP: &str = "\
Exit codes:
   0  done
   1  internal error
   2  the command line is wrong
  65  the data cannot be used: a broken layout, cache, run or bundle, no readable image;
      of predict: some images could not be read, the others were scored
  66  an input is missing
  74  reading or writing failed
  75  stopped by a signal before the end, with everything saved; the same command
      with --resume goes on
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
    /// List a data set's studies and images as CSV, and say what does not fit or cannot be read
    Index(index::Args),
    /// Draw a data set's distributions and show some of its radiographs, on one HTML page
    Explore(explore::Args),
    /// Decode and preprocess a data set once, into a cache that the other commands take as --data
    Pack(pack::Args),
    /// Measure how fast parts of training run on this machine
    Bench(bench::Args),
    /// Train a DenseNet169
    Train(train::Args),
    /// Evaluate a run, an ensemble of runs or a bundle; write a report with pictures
    Evaluate(evaluate::Args),
    /// Shrink a trained network and fine-tune it
    Prune(prune::Args),
    /// Write a bundle for the station
    Export(export::Args),
    /// Say what a run or a bundle makes of radiographs, and draw where it looked
    Predict(predict::Args),
    /// Draw the network of a run or a bundle, before and after pruning
    Diagram(diagram::Args),
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
            "synth --out d --studies 10 --seed 1 --difficulty 0.3 --valid-share 0.5 --views-max 1",
            "index --data d --out o --no-check",
            "explore --data d --out o --per-sheet 4 --seed 2",
            "pack --data d --out c --size 224 --aspect squash",
            "bench loader --data c --batch 8 --seconds 1 --json",
            "train --data d --run r --size 96 --epochs 1 --device cpu --config t.toml --resume",
            "train --data d --run r --preset paper --weights densenet169-b2777c0a.pth --epochs 2",
            "train --data d --run r --preset classic --from-scratch",
            "bench step --size 96 --batch 4 --device cpu --precision f32 --seconds 1 --json",
            "evaluate --run r --data d --split valid --json",
            "evaluate --bundle b --data d --split valid",
            "evaluate --run a --run b --members best --data d --findings f.csv --out report",
            "prune --run r --data d --out o --macs 0.4 --epochs 1 --size 96",
            "export --run r --data d --out b --size 320 --purpose demo",
            "export --run r --data d --out b --rule-out-sensitivity 0.98 --rule-in-specificity 0.9 --data-licence X",
            "predict --run r --out o --json a.png b",
            "predict --bundle b --json --activation-map --study-type XR_HAND a.dcm",
            "diagram --run r --out d.svg",
            "diagram --bundle b --out d.html --size 224",
        ] {
            let parsed = Cli::try_parse_from(["trainer"].into_iter().chain(line.split(' ')));
            assert!(parsed.is_ok(), "{line}: {parsed:?}");
        }
    }
}
