//! The simulated fleet, small: what `fleet` measures is there and nothing is lost across a restart of the broker.

use std::process::Command;

use anyhow::Context;
use e2e::bin;
use serde_json::Value;

#[test]
fn twenty_stations_lose_nothing_when_their_broker_restarts() -> anyhow::Result<()> {
    const STATIONS: u64 = 20;
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleet"));
    command.args(["--stations", &STATIONS.to_string(), "--results-per-minute", "60"]);
    let report = bin::succeed(command.args(["--seconds", "6", "--outage", "3"]))?;
    let report: Value = serde_json::from_str(&report)?;
    let number =
        |path: &str| report.pointer(path).and_then(Value::as_f64).context(format!("{path} in {report}"));

    // Twenty a second, by chance a few more or less.
    assert!((5.0..40.0).contains(&number("/steady/results_per_s")?), "{report}");
    assert!(number("/total/results_made")? > 100.0, "{report}");
    assert_eq!(number("/total/results_made")?, number("/total/results_arrived")?, "{report}");
    assert_eq!(number("/total/results_lost")?, 0.0);
    assert!(number("/outage/waiting")? > 0.0, "results were made while the broker was away: {report}");
    // Each announced itself at the start and after the restart, and took its leave.
    assert!(number("/total/births")? >= (2 * STATIONS) as f64, "{report}");
    assert_eq!(number("/total/offline_at_the_end")?, STATIONS as f64, "{report}");
    assert!(number("/memory/broker_peak_mib")? > 1.0 && number("/memory/per_station_kib")? > 1.0, "{report}");
    Ok(())
}
