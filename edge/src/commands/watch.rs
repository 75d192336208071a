//! `edge watch`: results as they come back from a broker.

use std::collections::{HashSet, VecDeque};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::Parser;
use contract::result::{StudyResult, check_station_name};

use super::common::{Failure, finish};
use super::infer::sentence;
use crate::config::Config;
use crate::exit::Exit;
use crate::publish::MqttConfig;
use crate::publish::watch::{ALL_STATIONS, Watch, WatchError};

const EXAMPLE: &str = "\
A result that the broker delivers again is shown once. When the broker goes
away, watching goes on as soon as it is back; what is sent in between is
missed.

Examples:
  edge watch                                  this station's results
  edge watch --json | jq .study.number
  edge watch --host broker.example --port 8883 --ca-file ca.pem \\
      --username anna --password-file secret --station +

Exit codes: 0 after --count results, 66 the configuration cannot be read, 69
the broker does not let this client in, 78 the options or the configuration
are wrong.";

/// Shortest and longest pause before connecting again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How many results back a repeat is recognised.
const REMEMBERED: usize = 4096;

/// Show results as they arrive at a broker
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// Configuration file of a station, whose broker and name are taken where --host is not given
    #[arg(long, value_name = "FILE", env = "ULNA_CONFIG", default_value = "/etc/ulna/edge.toml")]
    config: PathBuf,
    /// The broker's host name or address; the configuration file is then not read
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// The broker's port [default: 8883 with --ca-file, else 1883]
    #[arg(long, requires = "host")]
    port: Option<u16>,
    /// PEM file with the authority that signed the broker's certificate; the connection is then TLS
    #[arg(long, value_name = "FILE", requires = "host")]
    ca_file: Option<PathBuf>,
    /// PEM file with this client's certificate, where the broker asks for one
    #[arg(long, value_name = "FILE", requires_all = ["host", "ca_file", "key_file"])]
    cert_file: Option<PathBuf>,
    /// PEM file with the key of --cert-file
    #[arg(long, value_name = "FILE", requires_all = ["host", "cert_file"])]
    key_file: Option<PathBuf>,
    /// Name to log in with
    #[arg(long, requires = "host")]
    username: Option<String>,
    /// File that holds the password
    #[arg(long, value_name = "FILE", requires_all = ["host", "username"])]
    password_file: Option<PathBuf>,
    /// Lets a password and results pass in plain text to another machine
    #[arg(long, requires = "host")]
    allow_plaintext: bool,
    /// Name of the station, or + for all [default: the configured one; with --host all]
    #[arg(long, value_name = "NAME")]
    station: Option<String>,
    /// Print each result as one line of JSON, as it was sent
    #[arg(long)]
    json: bool,
    /// End after this many results
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// Runs the command.
pub fn run(args: &Args) -> Exit {
    finish("watch", broker(args).and_then(|(config, station)| watch(args, &config, &station)))
}

/// Which broker, and whose results.
fn broker(args: &Args) -> Result<(MqttConfig, String), Failure> {
    let (config, station) = match &args.host {
        None => {
            let config = Config::load(&args.config)?;
            (config.mqtt, args.station.clone().unwrap_or(config.station))
        }
        Some(host) => {
            let default_port = if args.ca_file.is_some() { 8883 } else { 1883 };
            let config = MqttConfig {
                host: host.clone(),
                port: args.port.unwrap_or(default_port),
                username: args.username.clone(),
                password_file: args.password_file.clone(),
                ca_file: args.ca_file.clone(),
                cert_file: args.cert_file.clone(),
                key_file: args.key_file.clone(),
                allow_plaintext: args.allow_plaintext,
                ..MqttConfig::default()
            };
            let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
            if config.ca_file.is_none() && !args.allow_plaintext && !local {
                return Err(Failure::new(
                    Exit::Config,
                    format!(
                        "{host} is another machine and the connection would be plain text; give --ca-file FILE \
                         for TLS, or --allow-plaintext where the network itself is protected"
                    ),
                ));
            }
            (config, args.station.clone().unwrap_or_else(|| ALL_STATIONS.to_owned()))
        }
    };
    if station != ALL_STATIONS {
        check_station_name(&station)
            .map_err(|problem| Failure::new(Exit::Config, format!("--station: {problem}")))?;
    }
    config.check().map_err(|problem| Failure::new(Exit::Config, problem))?;
    Ok((config, station))
}

fn watch(args: &Args, config: &MqttConfig, station: &str) -> Result<Exit, Failure> {
    let mut seen = Seen::default();
    let (mut shown, mut pause) = (0, PAUSE.0);
    let place = format!("{} port {}", config.host, config.port);
    loop {
        match follow(args, config, station, &place, &mut seen, &mut shown, &mut pause) {
            Ok(()) => return Ok(Exit::Ok),
            Err(Ended::Printing(error)) => return Err(error.into()),
            Err(Ended::Watching(error)) if !error.retriable() => {
                return Err(Failure::new(Exit::Unavailable, format!("{place}: {error}")));
            }
            Err(Ended::Watching(error)) => {
                // Said once for each outage.
                if pause == PAUSE.0 {
                    eprintln!("edge watch: {place}: {error}; trying again");
                }
                thread::sleep(pause);
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

enum Ended {
    Watching(WatchError),
    Printing(io::Error),
}

/// Shows what one connection brings.
fn follow(
    args: &Args,
    config: &MqttConfig,
    station: &str,
    place: &str,
    seen: &mut Seen,
    shown: &mut u64,
    pause: &mut Duration,
) -> Result<(), Ended> {
    let mut watch = Watch::open(config, station).map_err(Ended::Watching)?;
    if *pause > PAUSE.0 || *shown == 0 {
        eprintln!("edge watch: connected to {place}, waiting for results");
    }
    *pause = PAUSE.0;
    while args.count.is_none_or(|count| *shown < count) {
        let received = match watch.next(Duration::from_secs(1)) {
            Ok(Some(received)) => received,
            Ok(None) => continue,
            Err(error @ WatchError::Payload { .. }) => {
                eprintln!("edge watch: {error}");
                continue;
            }
            Err(error) => return Err(Ended::Watching(error)),
        };
        if seen.is_repeat(&received.result) {
            continue;
        }
        *shown += 1;
        let line = if args.json { received.json } else { line(&received.result, station == ALL_STATIONS) };
        let mut out = io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Ended::Printing)?;
    }
    Ok(())
}

/// The newest results, so that a repeat is not shown again.
#[derive(Default)]
struct Seen {
    keys: HashSet<(String, u64)>,
    order: VecDeque<(String, u64)>,
}

impl Seen {
    fn is_repeat(&mut self, result: &StudyResult) -> bool {
        let Some(delivery) = &result.delivery else { return false };
        let key = (delivery.outbox_id.clone(), delivery.seq);
        if !self.keys.insert(key.clone()) {
            return true;
        }
        self.order.push_back(key);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.keys.remove(&oldest);
        }
        false
    }
}

/// A result for people.
pub(super) fn line(result: &StudyResult, with_station: bool) -> String {
    let (seq, station) = match &result.delivery {
        Some(delivery) => (delivery.seq, delivery.station.as_str()),
        None => (0, "?"),
    };
    let number = result.study.number.as_deref().unwrap_or("?");
    let station = if with_station { format!("{station:<12}  ") } else { String::new() };
    let revision = match result.study.revision {
        0 | 1 => String::new(),
        later => format!("revision {later}: "),
    };
    format!("{station}seq {seq:>3}  {number:<10} {revision}{}", sentence(result))
}

#[cfg(test)]
mod tests {
    use contract::result::Delivery;

    use super::*;

    fn result(seq: u64) -> StudyResult {
        let study = serde_json::json!({"key": null, "key_id": null, "number": "WRI-0001", "type": null, "revision": 2,
            "opened_at": null, "closed_at": null, "probability": null});
        let mut result = crate::store::test_result(serde_json::from_value(study).unwrap(), Vec::new());
        result.delivery =
            Some(Delivery { station: "clinic-12".into(), outbox_id: "a".into(), seq, oldest_unsent_seq: 1 });
        result
    }

    #[test]
    fn a_repeat_is_recognised_and_memory_is_bounded() {
        let mut seen = Seen::default();
        assert!(!seen.is_repeat(&result(1)));
        assert!(seen.is_repeat(&result(1)));
        for seq in 2..=REMEMBERED as u64 + 1 {
            assert!(!seen.is_repeat(&result(seq)));
        }
        assert_eq!(seen.keys.len(), REMEMBERED);
        assert!(!seen.is_repeat(&result(1)), "forgotten by now");
    }

    #[test]
    fn a_line_names_the_station_where_there_may_be_several() {
        let shown = line(&result(7), false);
        assert!(shown.starts_with("seq   7  WRI-0001   revision 2: not scored"), "{shown}");
        assert!(line(&result(7), true).starts_with("clinic-12     seq   7"));
    }

    #[test]
    fn plain_text_to_another_machine_must_be_asked_for() {
        let parse = |arguments: &str| {
            let args = Args::try_parse_from(arguments.split(' ')).unwrap();
            broker(&args).map_err(|failure| failure.message)
        };
        assert!(parse("watch --host far.example").unwrap_err().contains("--ca-file FILE"));
        let (config, station) = parse("watch --host far.example --ca-file ca.pem").unwrap();
        assert_eq!((config.port, station.as_str()), (8883, "+"));
        assert_eq!(parse("watch --host far.example --allow-plaintext").unwrap().0.port, 1883);
        assert!(parse("watch --host 127.0.0.1 --station A/b").unwrap_err().contains("not a station name"));
        assert!(Args::try_parse_from(["watch", "--port", "1"]).is_err());
    }
}
