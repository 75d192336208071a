//! `edge outbox`: results that wait to be sent, and how they leave where there is never a network.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::{Failure, StationArgs, finish, print_json, refuse_other_user};
use crate::client::Client;
use crate::config::Config;
use crate::exit::Exit;
use crate::export::stick::{self, StickError, Written};
use crate::export::{self, ExportError};
use crate::store::{OutboxEntry, Store, StoreError};
use crate::web::api::types;

const EXAMPLE: &str = "\
While the service runs it is asked over its socket; else the state directory
is opened, which then must not be in use.

Examples:
  edge outbox list
  edge outbox retry               after the broker's rules were mended
  edge outbox export --to /media/usb --delivered

Exit codes: 0 done, 6 the service refused, 69 it does not answer, 74 the state
directory or the folder of --to cannot be used, 78 the configuration is wrong.";

/// Rows listed at once.
const PAGE_ROWS: usize = 500;
/// Most rows listed.
const ROWS_MAX: usize = 100_000;

/// See, retry or carry away results that wait to be sent
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List results that were not acknowledged yet
    List {
        #[command(flatten)]
        station: StationArgs,
        /// Print the rows as JSON
        #[arg(long)]
        json: bool,
    },
    /// Send results again that the broker had refused for good
    Retry {
        #[command(flatten)]
        station: StationArgs,
    },
    /// Write unsent results to a folder, such as a USB stick
    ///
    /// A new folder is made there with one JSON file per result, as the broker would get it, and manifest.json with the
    /// SHA-256 of each. It gets its final name only once everything has been written, read back and compared.
    Export {
        #[command(flatten)]
        station: StationArgs,
        /// Folder in which the new folder is made [default: the current one]
        #[arg(long, value_name = "DIR", default_value = ".")]
        to: PathBuf,
        /// Then take the results for delivered: they are not sent any more, and their images may go in time
        #[arg(long)]
        delivered: bool,
        /// Print what was written as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub fn run(args: &Args) -> Exit {
    match &args.command {
        Command::List { station, json } => finish("outbox list", list(station, *json)),
        Command::Retry { station } => finish("outbox retry", retry(station)),
        Command::Export { station, to, delivered, json } => {
            finish("outbox export", export(station, to, *delivered, *json))
        }
    }
}

/// The outbox: over the running service, or the store itself.
enum Outbox {
    Service(Client),
    Store(Box<Store>),
}

impl Outbox {
    fn open(config: &Config) -> Result<Self, Failure> {
        let client = Client::new(&config.socket())?;
        if client.is_running()? {
            return Ok(Self::Service(client));
        }
        if !config.state_dir.exists() {
            let message = format!("{} does not exist; start the service once", config.state_dir.display());
            return Err(Failure::new(Exit::Io, message));
        }
        refuse_other_user(config, "outbox ...")?;
        match Store::open(&config.state_dir, config.limits) {
            Ok(store) => Ok(Self::Store(Box::new(store))),
            Err(StoreError::InUse(dir)) => Err(Failure::new(
                Exit::Unavailable,
                format!(
                    "the service holds {} and does not answer yet; wait until it has started, or see \
                     `journalctl -u ulna-edge`",
                    dir.display()
                ),
            )),
            Err(error) => Err(error.into()),
        }
    }

    fn rows(&self) -> Result<Vec<OutboxEntry>, Failure> {
        match self {
            Self::Service(client) => Ok(client.get::<types::Outbox>("/outbox")?.rows),
            Self::Store(store) => {
                let mut rows: Vec<OutboxEntry> = Vec::new();
                while rows.len() < ROWS_MAX {
                    let page = store.outbox_rows(rows.last().map_or(0, |row| row.seq), PAGE_ROWS)?;
                    if page.is_empty() {
                        break;
                    }
                    rows.extend(page);
                }
                Ok(rows)
            }
        }
    }

    fn retry(&self) -> Result<usize, Failure> {
        match self {
            Self::Service(client) => Ok(client.post::<types::Revived>("/outbox/retry", &json!({}))?.revived),
            Self::Store(store) => Ok(store.revive_dead()?),
        }
    }

    /// Every result, in order, as the broker would get it.
    fn each(&self, station: &str, each: &mut dyn FnMut(&str) -> Result<(), Failure>) -> Result<(), Failure> {
        match self {
            Self::Service(client) => client.lines("/outbox/export", each),
            Self::Store(store) => export::each(store, station, each),
        }
    }

    fn delivered(&self, seqs: &[u64]) -> Result<usize, Failure> {
        match self {
            Self::Service(client) => Ok(client
                .post::<types::Removed>("/outbox/delivered", &types::Delivered { seqs: seqs.to_vec() })?
                .removed),
            Self::Store(store) => Ok(store.delivered(seqs)?),
        }
    }
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        Self::new(Exit::Io, error)
    }
}

impl From<StickError> for Failure {
    fn from(error: StickError) -> Self {
        Self::new(Exit::Io, error)
    }
}

fn list(station: &StationArgs, as_json: bool) -> Result<Exit, Failure> {
    let rows = Outbox::open(&station.load()?)?.rows()?;
    if as_json {
        print_json(&rows)?;
        return Ok(Exit::Ok);
    }
    let mut out = io::stdout().lock();
    if rows.is_empty() {
        writeln!(out, "nothing waits: every result has been acknowledged")?;
        return Ok(Exit::Ok);
    }
    writeln!(out, "{:>6}  {:<10} {:>3}  {:<20}  {:>5}  STATE", "SEQ", "STUDY", "REV", "SINCE", "TRIED")?;
    for row in &rows {
        let state = if row.dead { "refused" } else { "waits" };
        let number = row.number.as_deref().unwrap_or("?");
        let since = format!("{:.0}", row.created_at);
        let (seq, revision, tried) = (row.seq, row.revision, row.attempts);
        writeln!(out, "{seq:>6}  {number:<10} {revision:>3}  {since:<20}  {tried:>5}  {state}")?;
        if let Some(reason) = &row.last_error {
            writeln!(out, "        {}", super::common::wrapped(reason, 8))?;
        }
    }
    let dead = rows.iter().filter(|row| row.dead).count();
    writeln!(
        out,
        "{} wait, {dead} refused for good (`edge outbox retry` sends them again)",
        rows.len() - dead
    )?;
    Ok(Exit::Ok)
}

fn retry(station: &StationArgs) -> Result<Exit, Failure> {
    let revived = Outbox::open(&station.load()?)?.retry()?;
    println!("{revived} refused results will be sent again");
    Ok(Exit::Ok)
}

fn export(
    station: &StationArgs,
    to: &std::path::Path,
    delivered: bool,
    as_json: bool,
) -> Result<Exit, Failure> {
    let config = station.load()?;
    let outbox = Outbox::open(&config)?;
    let written = stick::write(to, &config.station, Timestamp::now(), |each| {
        outbox.each(&config.station, &mut |line| each(line))
    })?;
    let removed = match (&written, delivered) {
        (Some(written), true) => Some(outbox.delivered(&written.seqs).map_err(|failure| {
            let message = format!(
                "{}; the results lie in {} and could not be marked as delivered: they stay in the outbox",
                failure.message,
                written.dir.display()
            );
            Failure { message, ..failure }
        })?),
        _ => None,
    };
    report(written.as_ref(), removed, as_json)?;
    Ok(Exit::Ok)
}

fn report(written: Option<&Written>, removed: Option<usize>, as_json: bool) -> Result<(), Failure> {
    if as_json {
        let (dir, sha256) = written.map_or((Value::Null, Value::Null), |written| {
            (json!(written.dir), json!(written.manifest_sha256))
        });
        let results = written.map_or(0, |written| written.seqs.len());
        return print_json(&json!({
            "dir": dir, "results": results, "manifest_sha256": sha256, "delivered": removed
        }));
    }
    let mut out = io::stdout().lock();
    let Some(written) = written else {
        writeln!(out, "nothing waits: there is nothing to export")?;
        return Ok(());
    };
    writeln!(out, "{} results written and compared: {}", written.seqs.len(), written.dir.display())?;
    writeln!(out, "manifest.json has SHA-256 {}", written.manifest_sha256)?;
    match removed {
        Some(removed) => writeln!(out, "{removed} taken for delivered")?,
        None => writeln!(out, "they also stay in the outbox; --delivered takes them for delivered")?,
    }
    Ok(())
}
