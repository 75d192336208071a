//! The service and the clock.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::{Check, Station};
use crate::client::{Client, ClientError};
use crate::clock::{build_ms, timestamp};
use crate::health;
use crate::store::Inspection;

const SERVICE: &str = "service";
const CLOCK: &str = "clock";
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How far the system's clock may be behind what the station has recorded.
const BEHIND_MAX_MS: i64 = 5 * 60_000;

/// Whether the service runs, and what it says of itself.
pub(super) fn service(station: &Station) -> Vec<Check> {
    let answer = Client::new(&station.config.socket())
        .and_then(|client| client.with_timeout(ANSWER_MAX).get::<Value>("/station"));
    vec![match answer {
        Ok(said) => running(&said),
        Err(ClientError::NotRunning { .. }) => match station.identity.holder {
            Some(pid) => Check::warn(
                SERVICE,
                format!("process {pid} holds the state directory and does not answer on its socket"),
                "wait if it is just starting; else see `journalctl -u ulna-edge`",
            ),
            None => Check::warn(
                SERVICE,
                "not running",
                "start it: systemctl start ulna-edge; `journalctl -u ulna-edge` says why it has ended",
            ),
        },
        Err(error) => Check::fail(SERVICE, error.to_string(), "see `journalctl -u ulna-edge`"),
    }]
}

fn running(said: &Value) -> Check {
    let text = |key: &str| said.get(key).and_then(Value::as_str).unwrap_or_default();
    let (version, presence, reason) = (text("edge_version"), text("presence"), text("reason"));
    let found = format!("running, version {version}, {presence} ({reason})");
    if presence == "degraded" {
        return Check::warn(SERVICE, found, "see the other checks and `journalctl -u ulna-edge`");
    }
    if version != env!("CARGO_PKG_VERSION") {
        let remedy = format!("this is version {}: systemctl restart ulna-edge", env!("CARGO_PKG_VERSION"));
        return Check::warn(SERVICE, found, remedy);
    }
    Check::ok(SERVICE, found)
}

/// Whether the clock can be right, and whether something keeps it so.
pub(super) fn clock(station: &Station) -> Vec<Check> {
    let recorded_ms = match Inspection::open(&station.config.state_dir) {
        Ok(Some(store)) => store.wall_ms().unwrap_or(0),
        _ => 0,
    };
    // Where timesyncd is not the one that keeps the clock, systemd knows better than what it has left.
    let left = health::clock_synchronised();
    let synchronised = left.filter(|yes| *yes).or_else(timedatectl).or(left);
    vec![judge_clock(Timestamp::now().as_millisecond(), recorded_ms, synchronised)]
}

fn judge_clock(system_ms: i64, recorded_ms: i64, synchronised: Option<bool>) -> Check {
    let now = format!("{:.0}", timestamp(system_ms));
    let set = "set it (timedatectl set-time), and let systemd-timesyncd or chrony keep it; a board without a battery \
               loses it at every power cut";
    if system_ms < build_ms() {
        let found = format!("{now} is before this program was built ({:.0})", timestamp(build_ms()));
        return Check::fail(CLOCK, found, set);
    }
    if system_ms + BEHIND_MAX_MS < recorded_ms {
        let found = format!("{now} is behind what the station has recorded ({:.0})", timestamp(recorded_ms));
        return Check::fail(CLOCK, found, set);
    }
    match synchronised {
        Some(true) => Check::ok(CLOCK, format!("{now}, synchronised")),
        Some(false) => Check::warn(
            CLOCK,
            format!("{now}, not synchronised"),
            "results say so; give the machine a time server (systemd-timesyncd), or compare the time by hand",
        ),
        None => Check::warn(
            CLOCK,
            format!("{now}; nothing here says whether it is synchronised"),
            "compare it with a watch; systemd-timesyncd keeps it where there is a network",
        ),
    }
}

/// What systemd says of the kernel's clock, whoever keeps it; `None` without systemd.
fn timedatectl() -> Option<bool> {
    if fs::metadata("/run/systemd/system").is_err() {
        return None;
    }
    let said = Command::new("timedatectl")
        .args(["show", "--property=NTPSynchronized", "--value"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    match String::from_utf8_lossy(&said.stdout).trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_clock_that_cannot_be_right_fails() {
        let now = build_ms() + 1_000_000;
        assert_eq!(judge_clock(now, now, Some(true)).verdict, Verdict::Ok);
        assert_eq!(judge_clock(now, now, Some(false)).verdict, Verdict::Warn);
        assert_eq!(judge_clock(now, 0, None).verdict, Verdict::Warn);
        let lost = judge_clock(0, 0, Some(true));
        assert!(lost.verdict == Verdict::Fail && lost.found.contains("1970-01-01"), "{lost:?}");
        let behind = judge_clock(now, now + 600_000, Some(true));
        assert!(behind.verdict == Verdict::Fail && behind.found.contains("behind"), "{behind:?}");
    }

    #[test]
    fn a_service_that_is_older_or_degraded_needs_a_look() {
        let said = |version: &str, presence: &str| serde_json::json!({"edge_version": version, "presence": presence, "reason": "started"});
        let own = env!("CARGO_PKG_VERSION");
        assert_eq!(running(&said(own, "online")).verdict, Verdict::Ok);
        assert_eq!(running(&said(own, "degraded")).verdict, Verdict::Warn);
        assert!(running(&said("0.0.1", "online")).remedy.unwrap().contains("restart"));
    }
}
