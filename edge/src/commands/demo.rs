//! `edge demo`: the whole station on one machine: an embedded broker, the demo bundle, replayed phantoms.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use contract::result::StudyResult;

use super::sentence;
use crate::app::App;
use crate::config::Config;
use crate::demo_broker;
use crate::exit::Exit;
use crate::publish::watch::Watch;

const STATION: &str = "demo";
/// Far beyond what the slowest board needs for the demo's studies.
const ONCE_DEADLINE: Duration = Duration::from_secs(600);
/// Between two studies put into the spool, so that an onlooker can follow.
const STUDY_PAUSE: Duration = Duration::from_millis(300);

/// Show the whole station on this machine: embedded broker, demo bundle, replayed phantom studies.
#[derive(Debug, Parser)]
pub struct Args {
    /// Folder with `bundle/` and `studies/<TYPE>/<study>/`
    #[arg(long, value_name = "DIR", default_value = "/usr/share/ulna/demo")]
    dir: PathBuf,
    /// Stop with exit code 0 once every replayed study has come back over MQTT
    #[arg(long)]
    once: bool,
    /// Where the technician's page listens [default: 127.0.0.1 and the first free port from 8460]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
}
