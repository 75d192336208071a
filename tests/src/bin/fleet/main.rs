//! `fleet`: many stations in one process at a real broker, to see what a centre has to bear.
//!
//! Each station is the real one from its store to its connection: a state directory, studies closed through the store's own steps,
//! the publishing thread with its outbox, a certificate. Only the scores are made up. The broker is mosquitto as `deploy/broker`
//! has it, on free ports of this machine, and an observer counts what arrives. After a while the broker is stopped and
//! started again, and all stations come back at once.

mod crowd;
mod observer;
mod usage;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use e2e::authority::Authority;
use e2e::broker::Broker;
use e2e::wait;
use serde::Serialize;

use crowd::Crowd;
use observer::{Latency, Observer};
use usage::Usage;

const CONNECT_MAX: Duration = Duration::from_secs(300);
const BACK_MAX: Duration = Duration::from_secs(300);
const DRAIN_MAX: Duration = Duration::from_secs(600);

/// Let many stations publish at a broker and say what came of it
#[derive(Debug, Parser)]
struct Args {
    /// How many stations
    #[arg(long, default_value_t = 1000)]
    stations: usize,
    /// Results of one station in a minute, at random times
    #[arg(long, default_value_t = 6.0)]
    results_per_minute: f64,
    /// Seconds before the broker is stopped, and again after it is back
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Seconds for which the broker is away
    #[arg(long, default_value_t = 20)]
    outage: u64,
    /// Folder for the stations' stores [default: /dev/shm, so that no disk is measured]
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// What came of it; printed as JSON.
#[derive(Debug, Serialize)]
struct Report {
    stations: usize,
    /// Until the broker had let all of them in.
    connected_s: f64,
    /// While nothing happened to the broker.
    steady: Steady,
    outage: Outage,
    total: Total,
    memory: Memory,
}

#[derive(Debug, Serialize)]
struct Steady {
    seconds: f64,
    results_per_s: f64,
    /// All messages that arrived: results, `latest`, health.
    messages_per_s: f64,
    bytes_per_s: f64,
    /// From the end of a study to its arrival.
    latency: Latency,
    /// Shares of one core.
    broker_cpu: f64,
    stations_cpu: f64,
}

#[derive(Debug, Serialize)]
struct Outage {
    seconds: f64,
    /// From the broker's start until so many were let in.
    half_back_s: f64,
    nine_tenths_back_s: f64,
    all_back_s: f64,
    /// Results that waited when the broker came back.
    waiting: u64,
}

#[derive(Debug, Serialize)]
struct Total {
    results_made: u64,
    results_arrived: u64,
    results_lost: u64,
    /// Came again under the same key, as a delivery of at least once may.
    results_repeated: u64,
    births: u64,
    healths: u64,
    topics: usize,
    /// Stations whose last word was that they were stopped.
    offline_at_the_end: usize,
}

#[derive(Debug, Serialize)]
struct Memory {
    broker_alone_mib: f64,
    broker_connected_mib: f64,
    broker_peak_mib: f64,
    stations_connected_mib: f64,
    stations_peak_mib: f64,
    per_station_kib: f64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    anyhow::ensure!(
        args.stations > 0 && args.results_per_minute > 0.0,
        "give at least one station and result"
    );
    let report = run(&args)?;
    println!("{}", serde_json::to_string_pretty(&report)?);
    anyhow::ensure!(report.total.results_lost == 0, "{} results were lost", report.total.results_lost);
    Ok(())
}

/// Progress, for whoever waits.
fn say(what: &str) {
    eprintln!("fleet: {what}");
}

fn run(args: &Args) -> anyhow::Result<Report> {
    usage::allow_open_files(args.stations)?;
    say(&format!("making {} certificates", args.stations));
    let authority = Authority::new()?;
    let names: Vec<String> = (1..=args.stations).map(|number| format!("sim-{number:05}")).collect();
    let asked: Vec<&str> = ["station"].into_iter().chain(names.iter().map(String::as_str)).collect();
    authority.script(&asked)?;

    let mut broker = Broker::of_centre(&authority)?;
    let observer = Observer::start(broker.observer_port()?)?;
    let broker_alone = Usage::of(broker.pid()?)?;
    let shared = Path::new("/dev/shm");
    let root = args
        .folder
        .clone()
        .unwrap_or_else(|| if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() });
    let folder = tempfile::tempdir_in(&root).with_context(|| format!("no folder in {}", root.display()))?;

    let model = crowd::model()?;
    say("starting the stations");
    let before = Usage::own()?;
    let began = Instant::now();
    let mut crowd = Crowd::start(&names, folder.path(), model, &authority, broker.port())?;
    wait::until("all stations to be let in", CONNECT_MAX, || crowd.all_connected().then_some(()))?;
    let connected_s = began.elapsed().as_secs_f64();

    say(&format!("all connected after {connected_s:.1} s; publishing for {} s", args.seconds));
    crowd.produce(args.results_per_minute)?;
    let steady = steady(args, &broker, &observer)?;
    let (broker_connected, connected) = (Usage::of(broker.pid()?)?, Usage::own()?);

    let outage = outage(args, &mut broker, &crowd)?;
    thread::sleep(Duration::from_secs(args.seconds));
    crowd.finish_producing()?;
    say("waiting for the last results");
    wait::until("all outboxes to be empty", DRAIN_MAX, || (crowd.unsent().ok()? == 0).then_some(()))?;
    let made = crowd.made();
    // What is lost does not come by waiting longer; it is counted below.
    let _ = wait::until("all results to arrive", Duration::from_secs(60), || {
        (observer.counts().results >= made).then_some(())
    });
    let (broker_end, end) = (Usage::of(broker.pid()?)?, Usage::own()?);
    say("stopping the stations");
    crowd.stop()?;
    let _ = wait::until("all to be offline", Duration::from_secs(60), || {
        (observer.offline() == names.len()).then_some(())
    });

    let counts = observer.counts();
    Ok(Report {
        stations: names.len(),
        connected_s,
        steady,
        outage,
        total: Total {
            results_made: made,
            results_arrived: counts.results,
            results_lost: made.saturating_sub(counts.results),
            results_repeated: counts.repeated,
            births: counts.births,
            healths: counts.healths,
            topics: counts.topics,
            offline_at_the_end: observer.offline(),
        },
        memory: Memory {
            broker_alone_mib: broker_alone.memory_mib,
            broker_connected_mib: broker_connected.memory_mib,
            broker_peak_mib: broker_connected.peak_mib.max(broker_end.peak_mib),
            stations_connected_mib: connected.memory_mib,
            stations_peak_mib: end.peak_mib,
            per_station_kib: (connected.memory_mib - before.memory_mib) * 1024.0 / names.len() as f64,
        },
    })
}

fn steady(args: &Args, broker: &Broker, observer: &Observer) -> anyhow::Result<Steady> {
    let began = Instant::now();
    let (counts, broker_usage, usage) = (observer.counts(), Usage::of(broker.pid()?)?, Usage::own()?);
    observer.measure_latency();
    thread::sleep(Duration::from_secs(args.seconds));
    let seconds = began.elapsed().as_secs_f64();
    let (after, broker_after, after_usage) = (observer.counts(), Usage::of(broker.pid()?)?, Usage::own()?);
    Ok(Steady {
        seconds,
        results_per_s: (after.results - counts.results) as f64 / seconds,
        messages_per_s: (after.messages - counts.messages) as f64 / seconds,
        bytes_per_s: (after.bytes - counts.bytes) as f64 / seconds,
        latency: observer.latency(),
        broker_cpu: (broker_after.cpu_s - broker_usage.cpu_s) / seconds,
        stations_cpu: (after_usage.cpu_s - usage.cpu_s) / seconds,
    })
}

fn outage(args: &Args, broker: &mut Broker, crowd: &Crowd) -> anyhow::Result<Outage> {
    say(&format!("stopping the broker for {} s", args.outage));
    broker.stop()?;
    let began = Instant::now();
    thread::sleep(Duration::from_secs(args.outage));
    let waiting = crowd.unsent()?;
    let seconds = began.elapsed().as_secs_f64();
    broker.restart()?;
    let began = Instant::now();
    let back = |share: f64| {
        let wanted = (share * crowd.len() as f64).ceil() as usize;
        wait::until("the stations to be back", BACK_MAX, || (crowd.connected() >= wanted).then_some(()))?;
        anyhow::Ok(began.elapsed().as_secs_f64())
    };
    let outage = Outage {
        seconds,
        half_back_s: back(0.5)?,
        nine_tenths_back_s: back(0.9)?,
        all_back_s: back(1.0)?,
        waiting,
    };
    say(&format!("all back after {:.1} s", outage.all_back_s));
    Ok(outage)
}
