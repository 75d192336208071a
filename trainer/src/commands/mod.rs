//! One module per subcommand: its arguments and what it does with them.

pub mod bench;
pub mod bench_loader;
pub mod bench_step;
pub mod diagram;
pub mod evaluate;
pub mod explore;
pub mod export;
pub mod index;
pub mod pack;
pub mod predict;
pub mod prune;
pub mod synth;
pub mod train;

use crate::cli::Command;

/// Runs a command to its end.
///
/// # Errors
/// With a [`crate::exit::Fault`] or [`crate::dataset::Error`] in the chain when the failure is an expected
/// one; see [`crate::exit::code`].
pub fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Synth(args) => synth::run(&args),
        Command::Index(args) => index::run(&args),
        Command::Explore(args) => explore::run(&args),
        Command::Pack(args) => pack::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Prune(args) => prune::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Diagram(args) => diagram::run(&args),
    }
}
