//! `edge demo`: the whole station on one machine: an embedded broker, the demo bundle, replayed phantoms.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::watch::line;
use crate::app::{App, StartError};
use crate::config::{Config, ConfigError};
use crate::demo_broker;
use crate::exit::Exit;
use crate::publish::watch::{Watch, WatchError};
use crate::service::DRAIN_MAX;
use crate::wake::Restart;

const STATION: &str = "demo";
/// Far beyond what the slowest board needs for the demo's studies.
const ONCE_MAX: Duration = Duration::from_secs(600);
/// Between two studies, so that an onlooker can follow.
const PAUSE_MS: u64 = 300;

/// Show the whole station on this machine: embedded broker, demo bundle, replayed phantom studies
#[derive(Debug, Parser)]
pub struct Args {
    /// Folder with `bundle/` and `studies/<TYPE>/<study>/`
    #[arg(long, value_name = "DIR", default_value = "/usr/share/ulna/demo")]
    dir: PathBuf,
    /// Stop with exit code 0 once every replayed study has come back over MQTT
    #[arg(long)]
    once: bool,
    /// Where the technician's page listens; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: String,
}

/// Why the demo ended early.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("cannot {doing} {}: {source}", path.display())]
    Files { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("{} holds no studies; name the folder of the demo with --dir", .0.display())]
    NoStudies(PathBuf),
    #[error("cannot start the embedded broker: {0}; check that loopback ports are free")]
    Broker(io::Error),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Watch(#[from] WatchError),
    #[error("cannot receive signals: {0}")]
    Signals(io::Error),
    #[error("only {came} of {expected} results came back within {} s", ONCE_MAX.as_secs())]
    Missing { came: usize, expected: usize },
}

impl DemoError {
    fn exit(&self) -> Exit {
        match self {
            Self::Files { .. } => Exit::Io,
            Self::NoStudies(_) => Exit::Input,
            Self::Broker(_) | Self::Watch(_) => Exit::Unavailable,
            Self::Config(_) => Exit::Config,
            Self::Start(error) => error.exit(),
            Self::Signals(_) | Self::Missing { .. } => Exit::Internal,
        }
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Exit {
    match demonstrate(args) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            eprintln!("edge demo: {error}");
            error.exit()
        }
    }
}

fn demonstrate(args: &Args) -> Result<(), DemoError> {
    let stopped = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stopped)).map_err(DemoError::Signals)?;
    }
    let studies = count_studies(&args.dir.join("studies"))?;
    let work = tempfile::tempdir().map_err(files("make", Path::new("a temporary folder")))?;
    let broker = demo_broker::start().map_err(DemoError::Broker)?;
    let config = config(args, work.path(), broker.port())?;
    let mut watch = Watch::results(&broker.ip().to_string(), broker.port(), STATION)?;
    let app = App::start(&config, (&args.dir.join("bundle"), None), &Restart::default())?;
    println!("broker            mqtt://{broker}, topics ulna/v1/{STATION}/#");
    println!("technician's page http://{}", app.page_address());
    println!("replaying         {} phantom studies from {}", studies, args.dir.display());

    let shown = show(&mut watch, studies, &stopped);
    if shown.is_ok() && !stopped.load(Ordering::SeqCst) && !args.once {
        println!("all results are in; Ctrl-C ends the demo");
        while !stopped.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(100));
        }
    }
    app.stop(DRAIN_MAX);
    shown
}

/// The number of study folders below `<dir>/<TYPE>/`.
fn count_studies(dir: &Path) -> Result<usize, DemoError> {
    let folders = |dir: &Path| -> Result<Vec<PathBuf>, DemoError> {
        let read = || fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
        let mut paths = read().map_err(files("list", dir))?;
        paths.retain(|path| path.is_dir());
        Ok(paths)
    };
    let mut studies = 0;
    for type_dir in folders(dir)? {
        studies += folders(&type_dir)?.len();
    }
    if studies == 0 {
        return Err(DemoError::NoStudies(dir.to_owned()));
    }
    Ok(studies)
}

/// The same configuration a station reads from its file, for a station that forgets everything.
fn config(args: &Args, work: &Path, broker_port: u16) -> Result<Config, DemoError> {
    let bundle = args.dir.join("bundle");
    let (studies, state, listen) = (args.dir.join("studies"), work.join("state"), &args.listen);
    let text = format!(
        "station = {STATION:?}\nstate_dir = {state:?}\nbundle_dir = {bundle:?}\nallow_demo_model = true\n\
         [study]\nidle_close_s = 1\n[replay]\ndir = {studies:?}\npause_ms = {PAUSE_MS}\n\
         [mqtt]\nport = {broker_port}\n[web]\nlisten = {listen:?}\n"
    );
    Ok(Config::parse(&text, Path::new("of the demo"))?)
}

/// Prints each result as it comes back from the broker, until all have come or the demo is stopped.
fn show(watch: &mut Watch, expected: usize, stopped: &AtomicBool) -> Result<(), DemoError> {
    let deadline = Instant::now() + ONCE_MAX;
    let mut came = 0;
    while came < expected && !stopped.load(Ordering::SeqCst) {
        if Instant::now() > deadline {
            return Err(DemoError::Missing { came, expected });
        }
        if let Some(received) = watch.next(Duration::from_millis(200))? {
            came += 1;
            println!("{}", line(&received.result, false));
        }
    }
    Ok(())
}

fn files<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> DemoError + 'a {
    move |source| DemoError::Files { doing, path: path.to_owned(), source }
}
