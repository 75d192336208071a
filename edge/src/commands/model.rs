//! `edge model`: bundles looked at, installed and put to use.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use contract::bundle::SIGNATURE_FILE;
use serde_json::{Value, json};

use super::common::{Failure, StationArgs, finish, print_json, refuse_other_user};
use crate::client::Client;
use crate::config::Config;
use crate::exit::Exit;
use crate::inference::{Bundle, Model};
use crate::slots::{Download, Folder, Installed, Placed, Rules, Slot, Slots, SlotsError, Source, in_time};
use crate::wake::Stop;

const EXAMPLE: &str = "\
A station has two slots for bundles: one serves, the other takes the next one
and is the way back. A bundle is installed only if a key of trust.bundle_keys
signed it, its version is higher than any before, and it passes its self-test
on this machine in the time that model.view_max_ms gives it.

Examples:
  edge model verify /media/usb/bundle
  edge model install /media/usb/bundle --activate
  edge model install https://models.example/7
  edge model list
  edge model rollback

Exit codes: 0 done, 6 refused as things are, 65 the bundle may not be used
here or fails its self-test, 66 it is not there or not whole, 69 its server
does not answer, 74 the state directory cannot be used, 78 the configuration is
wrong. Run it as the service's user.";

/// How long the service may take to start anew with another bundle.
const SWITCH_MAX: Duration = Duration::from_secs(360);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// See, check, install and change the model's bundle
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a bundle: every file's hash, its signature, its golden images on this machine, the time they take
    ///
    /// Nothing is changed.
    Verify {
        #[command(flatten)]
        station: StationArgs,
        /// Folder of the bundle
        #[arg(value_name = "DIR")]
        bundle: PathBuf,
    },
    /// Put a bundle into the slot that is not in use
    ///
    /// What was fetched before it was cut off is kept: run it again. What is in use stays in use.
    Install {
        #[command(flatten)]
        station: StationArgs,
        /// Folder of the bundle, such as on a USB stick, or its address, https://HOST/FOLDER
        #[arg(value_name = "BUNDLE")]
        bundle: String,
        /// Then use it
        #[arg(long)]
        activate: bool,
    },
    /// Show what is in the slots
    List {
        #[command(flatten)]
        station: StationArgs,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Use the newer bundle in the other slot
    ///
    /// A running service starts anew with it. If it does not become ready, it returns to the one before by itself.
    Activate {
        #[command(flatten)]
        station: StationArgs,
    },
    /// Go back to the older bundle in the other slot
    Rollback {
        #[command(flatten)]
        station: StationArgs,
    },
}

impl From<SlotsError> for Failure {
    fn from(error: SlotsError) -> Self {
        Self::new(error.exit(), error)
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Exit {
    match &args.command {
        Command::Verify { station, bundle } => finish("model verify", verify(station, bundle)),
        Command::Install { station, bundle, activate } => {
            finish("model install", install(station, bundle, *activate))
        }
        Command::List { station, json } => finish("model list", list(station, *json)),
        Command::Activate { station } => finish("model activate", to_the_other(station, true)),
        Command::Rollback { station } => finish("model rollback", to_the_other(station, false)),
    }
}

fn verify(station: &StationArgs, dir: &Path) -> Result<Exit, Failure> {
    let config = station.load()?;
    let rules = Rules::of(&config);
    let bundle = Bundle::load(dir).map_err(SlotsError::from)?;
    let summary = bundle.summary();
    let mut out = io::stdout().lock();
    writeln!(out, "{} version {}, bundle {}", summary.name, summary.version, summary.bundle_sha256)?;
    writeln!(out, "files      {} whole", bundle.manifest.files.len())?;
    let signature = fs::read_to_string(dir.join(SIGNATURE_FILE)).ok();
    let judged = rules.signer(&bundle.manifest_json, signature.as_deref()).and_then(|key| {
        writeln!(out, "signature  by {key}").ok();
        rules.allow(&bundle.manifest)
    });
    let model = Model::load(&bundle, config.model.execution()).map_err(SlotsError::from)?;
    let (pairs, golden_ms) = (bundle.manifest.golden.len(), model.golden_ms());
    writeln!(out, "self-test  {pairs} golden images come out as recorded, {golden_ms:.0} ms each")?;
    judged.map_err(SlotsError::from)?;
    in_time(&model, config.model.view_max_ms)?;
    writeln!(out, "ok")?;
    Ok(Exit::Ok)
}

/// The slots, to be changed: what another user made there, the service could not change.
fn own_slots(config: &Config) -> Result<Slots, Failure> {
    refuse_other_user(config, "model ...")?;
    Ok(Slots::needed(config)?)
}

fn install(station: &StationArgs, from: &str, activate: bool) -> Result<Exit, Failure> {
    let config = station.load()?;
    let slots = own_slots(&config)?;
    let mut source: Box<dyn Source> = if Download::is_address(from) {
        Box::new(Download::new(from, &config.model, Stop::default()).map_err(SlotsError::from)?)
    } else {
        Box::new(Folder(PathBuf::from(from)))
    };
    let rules = Rules::of(&config);
    let Placed { slot, bundle, already } = slots.install(source.as_mut(), &rules, None)?;
    let in_use = slots.record()?.active().is_some_and(|(active, _)| active == slot);
    match (already, in_use) {
        (true, true) => println!("{bundle}: already in use"),
        (true, false) => println!("{bundle}: already in slot {slot}"),
        (false, _) => println!("{bundle}: verified, tested, in slot {slot}"),
    }
    if in_use {
        return Ok(Exit::Ok);
    }
    if !activate {
        println!("`edge model activate` puts it to use");
        return Ok(Exit::Ok);
    }
    if already {
        slots.activate(slot, &rules)?;
    } else {
        slots.use_from_now(slot, &bundle.bundle_sha256)?;
    }
    follow(&config, &slots, &bundle)
}

fn to_the_other(station: &StationArgs, newer: bool) -> Result<Exit, Failure> {
    let config = station.load()?;
    let slots = own_slots(&config)?;
    let record = slots.record()?;
    let active = record.active();
    let other = record.other();
    let next = record.bundle(other).ok_or(SlotsError::Empty)?;
    if let Some((_, current)) = active
        && (next.version > current.version) != newer
    {
        let (word, right) = if newer { ("older", "rollback") } else { ("newer", "activate") };
        let problem = format!(
            "slot {other} holds something {word} than what is in use ({next}; in use: {current}); `edge model {right}` uses it"
        );
        return Err(SlotsError::Direction(problem).into());
    }
    let bundle = slots.activate(other, &Rules::of(&config))?;
    follow(&config, &slots, &bundle)
}

/// Waits until a running service serves with a bundle or has returned to the one before.
fn follow(config: &Config, slots: &Slots, bundle: &Installed) -> Result<Exit, Failure> {
    let client = Client::new(&config.socket())?;
    if !client.is_running()? {
        println!("{bundle}: in use from the service's next start on");
        return Ok(Exit::Ok);
    }
    let until = Instant::now() + SWITCH_MAX;
    while Instant::now() < until {
        let record = slots.record()?;
        if let Some(returned) = record.returned().filter(|r| r.bundle.bundle_sha256 == bundle.bundle_sha256) {
            let message = format!("{bundle} is not in use, because {}; the one before is", returned.why);
            return Err(Failure::new(Exit::Bundle, message));
        }
        let serving = || Some(client.get::<Value>("/station").ok()?.pointer("/model/bundle_sha256")?.clone());
        if record.trial().is_none() && serving().is_some_and(|hash| hash == json!(bundle.bundle_sha256)) {
            println!("{bundle}: in use");
            return Ok(Exit::Ok);
        }
        thread::sleep(LOOK_EVERY);
    }
    let seconds = SWITCH_MAX.as_secs();
    let message = format!(
        "the service did not start anew with {bundle} within {seconds} s; see `journalctl -u ulna-edge`, and `edge model list`"
    );
    Err(Failure::new(Exit::Unavailable, message))
}

fn list(station: &StationArgs, as_json: bool) -> Result<Exit, Failure> {
    let config = station.load()?;
    let slots = Slots::needed(&config)?;
    let record = slots.record()?;
    let active = record.active().map(|(slot, _)| slot);
    if as_json {
        let of =
            |slot| json!({ "slot": slot, "in_use": active == Some(slot), "bundle": record.bundle(slot) });
        let listed = json!({
            "slots": Slot::ALL.map(of),
            "on_trial": record.trial().is_some(),
            "returned": record.returned(),
            "version_max": record.version_max(),
        });
        print_json(&listed)?;
        return Ok(Exit::Ok);
    }
    let mut out = io::stdout().lock();
    for slot in Slot::ALL {
        let state = match (active == Some(slot), record.trial().is_some()) {
            (true, true) => "on trial",
            (true, false) => "in use",
            (false, _) => "",
        };
        match record.bundle(slot) {
            Some(bundle) => {
                let Installed { signed_by, installed_at, .. } = bundle;
                writeln!(
                    out,
                    "{slot}  {state:<8}  {bundle}, signed by {signed_by}, installed {installed_at:.0}"
                )?;
            }
            None => writeln!(out, "{slot}  {state:<8}  empty")?,
        }
    }
    if let Some(returned) = record.returned() {
        writeln!(out, "returned from {} at {:.0}: {}", returned.bundle, returned.at, returned.why)?;
    }
    Ok(Exit::Ok)
}
