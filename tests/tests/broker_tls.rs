//! The real station at the centre's broker: certificates on both sides, which end and are replaced while it runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use contract::result::{Presence, StationStatus};
use e2e::authority::{Authority, Identity};
use e2e::broker::{Broker, DASHBOARD};
use e2e::collector::Collector;
use e2e::made::study;
use e2e::station::{NAME, Setup, Station};
use e2e::websocket::Dashboard;
use e2e::{bin, port};

/// Long enough for two cores under load.
const LONG: Duration = Duration::from_secs(180);

/// The files that a station's `[mqtt]` names, in a folder of their own.
struct Files {
    _dir: tempfile::TempDir,
    identity: Identity,
}

impl Files {
    fn holding(identity: &Identity) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let file = |name: &str| dir.path().join(name);
        let own = Identity { ca: identity.ca.clone(), cert: file("station.pem"), key: file("station.key") };
        identity.copy_to(&own.cert, &own.key)?;
        Ok(Self { _dir: dir, identity: own })
    }

    fn replace(&self, identity: &Identity) -> anyhow::Result<()> {
        identity.copy_to(&self.identity.cert, &self.identity.key)
    }
}

fn station_at(port: u16, identity: &Identity) -> anyhow::Result<Station> {
    Station::new(&Setup { mqtt: identity.config(), ..Setup::new(port) })
}

/// Drops a study and waits for its result.
fn assert_delivers(station: &Station, collector: &Collector, dir: &Path, number: u32) -> anyhow::Result<()> {
    let made = study(dir, "XR_WRIST", &format!("study{number}"), 1, number)?;
    station.drop_study(made.study_type, &made.name, &made.files)?;
    collector.wait_for_results(number as usize, LONG).context(station.tail())?;
    Ok(())
}

fn statuses(collector: &Collector) -> Vec<(Presence, String)> {
    let messages = collector.messages();
    let said = messages.iter().filter(|message| message.topic == format!("ulna/v1/{NAME}/status"));
    let parsed = said.filter_map(|message| serde_json::from_slice::<StationStatus>(&message.payload).ok());
    parsed.map(|status| (status.status, status.reason)).collect()
}

#[test]
fn a_station_delivers_to_the_centre_and_nobody_takes_its_connection_over() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let broker = Broker::of_centre(&authority)?;
    let collector = Collector::start(broker.observer_port()?)?;
    let mut station = station_at(broker.port(), &authority.station(NAME)?)?;
    let dir = tempfile::tempdir()?;
    station.start()?;
    assert_delivers(&station, &collector, dir.path(), 1)?;

    // A dashboard under the name that a station might have as a client.
    let ca = authority.broker().ca;
    let name = format!("ulna-{NAME}");
    let dashboard = Dashboard::connect(broker.websocket_port()?, &ca, &name, Some(DASHBOARD))?;
    let mut dashboard = dashboard.map_err(|code| anyhow::anyhow!("{code:?}"))?;
    let kept = dashboard.read("ulna/v1/#", Duration::from_secs(2))?;
    for topic in ["birth", "status", "health", "latest"] {
        assert!(kept.contains_key(&format!("ulna/v1/{NAME}/{topic}")), "{topic}: {kept:?}");
    }
    assert_delivers(&station, &collector, dir.path(), 2)?;
    assert_eq!(statuses(&collector), [(Presence::Online, "started".to_owned())], "{}", station.tail());

    let doctor = bin::output(Command::new(bin::edge()?).args(["doctor", "--config"]).arg(station.config()))?;
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    for (name, words) in
        [("broker.files", "valid until"), ("broker.tls", "TLS 1.3"), ("broker.topics", "let in")]
    {
        let line = said.lines().find(|line| line.contains(name)).context(said.clone())?;
        assert!(line.contains(words), "{line}");
    }
    assert!(station.stop()?.success());
    Ok(())
}

#[test]
fn a_certificate_that_ends_is_said_and_replaced_while_the_station_runs() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let mut broker = Broker::of_centre(&authority)?;
    let collector = Collector::start(broker.observer_port()?)?;
    let end = Instant::now() + Duration::from_secs(60);
    let ending = authority.client_between(NAME, "1 hour ago", "60 seconds")?;
    let lasting = authority.station(NAME)?;
    let files = Files::holding(&ending)?;
    let mut station = station_at(broker.port(), &files.identity)?;
    let dir = tempfile::tempdir()?;
    station.start()?;
    station.wait_for_line("the certificate of mqtt.cert_file (CN=e2e) expires in 0 hours", LONG)?;
    assert_delivers(&station, &collector, dir.path(), 1)?;
    let degraded = (Presence::Degraded, "certificate_ends_soon".to_owned());
    assert_eq!(statuses(&collector), std::slice::from_ref(&degraded));

    // The certificate alone is not its key's: nothing is given up for half a pair.
    fs::copy(&lasting.cert, &files.identity.cert)?;
    std::thread::sleep(Duration::from_secs(12));
    assert!(!station.log().iter().any(|line| line.contains("connecting anew")), "{}", station.tail());
    files.replace(&lasting)?;
    station.wait_for_line("the certificates were replaced; connecting anew", LONG)?;
    let online = (Presence::Online, "started".to_owned());
    e2e::wait::until("online without an end in sight", LONG, || {
        statuses(&collector).contains(&online).then_some(())
    })?;
    assert_eq!(statuses(&collector), [degraded, online], "it was never gone");
    assert_delivers(&station, &collector, dir.path(), 2)?;

    // Once the first one has ended, only the second can come in again.
    std::thread::sleep(end.saturating_duration_since(Instant::now()) + Duration::from_secs(2));
    broker.stop()?;
    broker.restart()?;
    assert_delivers(&station, &collector, dir.path(), 3)?;
    assert!(station.stop()?.success());
    Ok(())
}

#[test]
fn an_expired_certificate_keeps_results_until_it_is_replaced() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let broker = Broker::of_centre(&authority)?;
    let collector = Collector::start(broker.observer_port()?)?;
    let files = Files::holding(&authority.client_between(NAME, "2 days ago", "1 hour ago")?)?;
    let mut station = station_at(broker.port(), &files.identity)?;
    let dir = tempfile::tempdir()?;
    station.start()?;
    station.wait_for_line("the certificate of mqtt.cert_file (CN=e2e) has expired on", LONG)?;
    station.wait_for_line("results cannot be sent: received fatal alert: CertificateExpired", LONG)?;
    let made = study(dir.path(), "XR_WRIST", "study1", 1, 1)?;
    station.drop_study(made.study_type, &made.name, &made.files)?;
    station.wait_for_count("close.committed", 1, LONG)?;
    assert!(collector.results()?.is_empty());

    files.replace(&authority.station(NAME)?)?;
    collector.wait_for_results(1, LONG).context(station.tail())?;
    assert!(station.stop()?.success());
    Ok(())
}

#[test]
fn a_broker_whose_certificate_is_of_another_kind_or_time_gets_nothing() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let broker = Broker::of_centre(&authority)?;
    let collector = Collector::start(broker.observer_port()?)?;
    let mut station = station_at(broker.port(), &authority.station(NAME)?)?;
    let show = |identity: &Identity| -> anyhow::Result<()> {
        let certs = broker.dir().join("certs");
        identity.copy_to(&certs.join("ulna-broker.pem"), &certs.join("ulna-broker.key"))?;
        broker.reload()
    };
    show(&authority.broker_between("3 days ago", "1 day ago")?)?;
    station.start()?;
    let refused = |station: &Station, words: &str| station.wait_for_line(words, LONG).map(drop);
    refused(&station, "results cannot be sent: invalid peer certificate: certificate expired")?;
    station.stop()?;

    // What a stolen station's certificate would be good for.
    show(&authority.station("clinic-13")?)?;
    station.start()?;
    refused(&station, "results cannot be sent: invalid peer certificate")?;
    assert!(statuses(&collector).is_empty());

    show(&authority.broker())?;
    station.wait_for_line("connected to the broker again", LONG)?;
    assert!(station.stop()?.success());
    Ok(())
}

/// Debian's `libfaketime`, which tells a program another time.
fn libfaketime() -> anyhow::Result<PathBuf> {
    let folders = e2e::sorted_entries(Path::new("/usr/lib"))?;
    let library = folders.iter().map(|dir| dir.join("faketime/libfaketime.so.1")).find(|path| path.is_file());
    library.context("libfaketime is not installed; `make deps` fetches it")
}

/// A board without a battery starts in 1970. Certificates are judged by what the station has recorded; where that is too early
/// too, it waits for the clock.
#[test]
fn a_station_that_starts_in_1970_believes_its_records_and_then_its_clock() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let broker = Broker::of_centre(&authority)?;
    let identity = authority.station(NAME)?;
    let collector = Collector::start(broker.observer_port()?)?;
    // It begins after this station's program was built.
    let young = authority.broker_between("1 second ago", "1 day")?;
    let certs = broker.dir().join("certs");
    young.copy_to(&certs.join("ulna-broker.pem"), &certs.join("ulna-broker.key"))?;
    broker.reload()?;

    let dir = tempfile::tempdir()?;
    let clock = dir.path().join("clock");
    let (library, file) = (libfaketime()?, clock.display().to_string());
    let environment = [
        ("LD_PRELOAD", &*library.to_string_lossy()),
        ("FAKETIME_TIMESTAMP_FILE", &file),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ]
    .map(|(name, value)| (name, value.to_owned()));
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (*name, value.as_str())).collect();

    // A new station, with nothing recorded.
    fs::write(&clock, "@1970-01-01 00:00:00\n")?;
    let mut station = station_at(broker.port(), &identity)?;
    station.start_in(&environment)?;
    station
        .wait_for_line("results cannot be sent: invalid peer certificate: certificate not valid yet", LONG)?;
    fs::write(&clock, "+0\n")?;
    station.wait_for_line("connected to the broker again", LONG)?;
    assert_delivers(&station, &collector, dir.path(), 1)?;
    assert!(station.stop()?.success());

    fs::write(&clock, "@1970-01-01 00:00:00\n")?;
    station.start_in(&environment)?;
    assert_delivers(&station, &collector, dir.path(), 2)?;
    assert!(!station.log().iter().any(|line| line.contains("cannot be sent")), "{}", station.tail());
    let closed: Vec<_> = collector.results()?.into_iter().map(|result| result.study.closed_at).collect();
    assert!(closed.is_sorted(), "{closed:?}");
    assert!(station.stop()?.success());
    Ok(())
}

#[test]
fn plain_text_stays_on_this_machine_unless_the_configuration_says_so() -> anyhow::Result<()> {
    let port = port::claim()?;
    for (mqtt, accepted) in [
        ("", true),
        ("host = \"localhost\"", true),
        ("host = \"broker.example\"", false),
        ("host = \"broker.example\"\nallow_plaintext = true", true),
        ("host = \"broker.example\"\nca_file = \"/etc/ulna/broker-ca.pem\"", true),
    ] {
        let station = Station::new(&Setup { mqtt: mqtt.to_owned(), ..Setup::new(port) })?;
        let checked =
            bin::output(Command::new(bin::edge()?).args(["config", "check"]).arg(station.config()))?;
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert_eq!(checked.status.code(), Some(if accepted { 0 } else { 78 }), "{mqtt}: {said}");
        assert!(accepted || said.contains("plain text"), "{mqtt}: {said}");
    }
    Ok(())
}
