//! `edge doctor`: what is wrong, and what to do about it.

use std::io::{self, Write};

use clap::Parser;

use super::common::{Failure, StationArgs, finish, print_json, wrapped};
use crate::doctor::{self, Check, Report, Verdict};
use crate::exit::Exit;

const EXAMPLE: &str = "\
Run it as root, or as the service's user: another may not look into the state
directory. Nothing is changed, and the service may run meanwhile. To the
broker a message is sent under ulna/v1/<station>/cmd/doctor/, which nobody
keeps.

Examples:
  edge doctor
  edge doctor --json | jq '.checks[] | select(.verdict != \"ok\")'

Exit codes: 0 all is well, 4 at least one warning, 5 at least one failure.";

/// Check everything a station needs, and say what to do about what is wrong
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    #[command(flatten)]
    station: StationArgs,
    /// Print one JSON object with every check: name, verdict, found, remedy
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Exit {
    let report = doctor::examine(&args.station.config);
    let printed = if args.json { print_json(&report) } else { print(&report) };
    finish("doctor", printed.map(|()| report.verdict.exit()))
}

/// Width of the verdict and the name, with the spaces after them.
const INDENT: usize = 25;

fn print(report: &Report) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    for Check { name, verdict, found, remedy } in &report.checks {
        writeln!(out, "{:<4}  {name:<18} {}", verdict.word(), wrapped(found, INDENT))?;
        if let Some(remedy) = remedy {
            writeln!(out, "{:22}-> {}", "", wrapped(remedy, INDENT))?;
        }
    }
    let count = |verdict| report.checks.iter().filter(|check| check.verdict == verdict).count();
    writeln!(
        out,
        "{} ok, {} to look at, {} failed",
        count(Verdict::Ok),
        count(Verdict::Warn),
        count(Verdict::Fail)
    )?;
    Ok(())
}
