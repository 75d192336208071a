//! The broker, step by step: reached, TLS, certificates, let in, the station's topics.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::{Check, Station, Verdict};
use crate::clock::timestamp;
use crate::publish::probe::{self, Echo, Handshake, ProbeError};
use crate::publish::{Certificate, MqttConfig};

const REACH: &str = "broker.reach";
const FILES: &str = "broker.files";
const TLS: &str = "broker.tls";
const TOPICS: &str = "broker.topics";
const CONNECT_MAX: Duration = Duration::from_secs(5);
const ECHO_MAX: Duration = Duration::from_secs(8);

pub(super) fn checks(station: &Station) -> Vec<Check> {
    let mqtt = &station.config.mqtt;
    let now = timestamp(station.clock().now_ms());
    let mut checks = files(mqtt, now);
    let place = format!("{} port {}", mqtt.host, mqtt.port);
    match probe::reach(mqtt, CONNECT_MAX) {
        Ok(address) => checks.push(Check::ok(REACH, format!("{place} answers ({address})"))),
        Err(error) => {
            let remedy = match error {
                ProbeError::Resolve { .. } => "check mqtt.host and the network's name server",
                _ => {
                    "check that the broker runs, mqtt.host and mqtt.port, the cable and the firewall; results wait \
                      in the outbox meanwhile"
                }
            };
            checks.push(Check::fail(REACH, error.to_string(), remedy));
            return checks;
        }
    }
    let tls = tls(station, now);
    let shaken = tls.verdict != Verdict::Fail;
    checks.push(tls);
    if shaken {
        checks.push(topics(station));
    }
    checks
}

/// The files of `[mqtt]`: there, private where they must be, and their certificates' dates.
fn files(mqtt: &MqttConfig, now: Timestamp) -> Vec<Check> {
    let private = [("mqtt.password_file", &mqtt.password_file), ("mqtt.key_file", &mqtt.key_file)];
    let mut found: Vec<Check> =
        private.iter().filter_map(|(key, file)| exposed(key, file.as_deref()?)).collect();
    match probe::own_certificates(mqtt) {
        Ok(certificates) if found.is_empty() && !certificates.is_empty() => {
            found.push(dates(FILES, &certificates, now));
        }
        Ok(certificates) => {
            let check = dates(FILES, &certificates, now);
            found.extend((check.verdict != Verdict::Ok).then_some(check));
        }
        Err(error) => {
            found.push(Check::fail(FILES, error.to_string(), "correct the file that mqtt names"));
        }
    }
    found
}

fn exposed(key: &str, file: &Path) -> Option<Check> {
    let shown = file.display();
    match fs::metadata(file) {
        Ok(facts) if facts.mode() & 0o007 == 0 => None,
        Ok(facts) => Some(Check::warn(
            FILES,
            format!("every user may read {key} {shown} (mode {:04o})", facts.mode() & 0o7777),
            format!("chmod o-rwx {shown}"),
        )),
        Err(error) => Some(Check::fail(
            FILES,
            format!("{key} {shown} cannot be looked at: {error}"),
            "correct the path, or run `edge doctor` as root",
        )),
    }
}

fn tls(station: &Station, now: Timestamp) -> Check {
    let mqtt = &station.config.mqtt;
    match probe::handshake(mqtt, station.clock(), CONNECT_MAX) {
        Ok(None) if mqtt.allow_plaintext => Check::warn(
            TLS,
            "plain text, as mqtt.allow_plaintext says",
            "whoever is on the network can read and change results; set mqtt.ca_file unless the network itself is \
             protected",
        ),
        Ok(None) => Check::ok(TLS, "plain text, which does not leave this machine"),
        Ok(Some(handshake)) => judge_handshake(&handshake, now),
        Err(error) => {
            Check::fail(TLS, error.to_string(), "check mqtt.ca_file, mqtt.cert_file and the network")
        }
    }
}

fn judge_handshake(handshake: &Handshake, now: Timestamp) -> Check {
    let dates = dates(TLS, &handshake.certificates, now);
    match &handshake.outcome {
        Ok(version) => Check { found: format!("{version}; {}", dates.found), ..dates },
        // What is wrong with a date says more than what the handshake says of it.
        Err(why) if dates.verdict == Verdict::Fail => {
            Check { found: format!("no handshake ({why}): {}", dates.found), ..dates }
        }
        Err(why) => Check::fail(
            TLS,
            format!("no handshake: {why}"),
            "mqtt.ca_file must hold the authority that signed the broker's certificate, and that must carry the \
             name in mqtt.host; check the port too",
        ),
    }
}

/// The certificate that needs attention first.
fn dates(name: &str, certificates: &[Certificate], now: Timestamp) -> Check {
    let judged = certificates.iter().map(|certificate| judge_date(name, certificate, now));
    let worst = judged.max_by_key(|check| check.verdict);
    match worst {
        Some(check) if check.verdict != Verdict::Ok => check,
        _ => {
            let first = certificates.iter().min_by_key(|certificate| certificate.not_after);
            let until = first.map_or(String::new(), |first| format!(" until {}", day(first.not_after)));
            Check::ok(name, format!("certificates valid{until}"))
        }
    }
}

fn judge_date(name: &str, certificate: &Certificate, now: Timestamp) -> Check {
    let renew = "renew it where the certificates are made, and put it into place before it ends";
    if now < certificate.not_before {
        return Check::fail(
            name,
            format!("{certificate} is not valid before {}", day(certificate.not_before)),
            "check the clock of this machine and of the one that made the certificate",
        );
    }
    if !certificate.ends_soon(now) {
        return Check::ok(name, certificate.to_string());
    }
    let found = format!("{certificate} {}", certificate.end_in_words(now));
    if now > certificate.not_after {
        Check::fail(name, found, renew)
    } else {
        Check::warn(name, found, renew)
    }
}

fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

fn topics(station: &Station) -> Check {
    let config = &station.config;
    match probe::echo(&config.mqtt, &config.station, station.clock(), ECHO_MAX) {
        Ok(echo) => judge_echo(&echo, &config.station),
        Err(error) => Check::fail(
            TOPICS,
            error.to_string(),
            "check mqtt.username, its password file and the station's certificate against the broker's accounts",
        ),
    }
}

fn judge_echo(echo: &Echo, station: &str) -> Check {
    let base = format!("ulna/v1/{station}/");
    if let Some(why) = &echo.publish_refused {
        return Check::fail(
            TOPICS,
            format!("the broker does not let the station write below {base} ({why})"),
            format!("allow it in the broker's access list: write {base}#"),
        );
    }
    if let Some(why) = &echo.subscribe_refused {
        return Check::warn(
            TOPICS,
            format!("results may be sent, and the broker does not let the station read its commands ({why})"),
            format!("allow it in the broker's access list: read {base}cmd/#"),
        );
    }
    if !echo.returned {
        return Check::warn(
            TOPICS,
            format!("a message to {base}cmd/ was taken and did not come back"),
            format!("allow it in the broker's access list: write {base}# and read {base}cmd/#"),
        );
    }
    Check::ok(TOPICS, format!("let in; may write and read below {base}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(not_before: &str, not_after: &str) -> Certificate {
        Certificate {
            found_in: "the broker",
            subject: "CN=broker".to_owned(),
            not_before: not_before.parse().unwrap(),
            not_after: not_after.parse().unwrap(),
        }
    }

    #[test]
    fn certificates_are_judged_by_their_dates() {
        let now = "2026-06-01T00:00:00Z".parse().unwrap();
        let judge = |from: &str, to: &str| dates(TLS, &[certificate(from, to)], now);
        let (past, future) = ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
        assert_eq!(judge(past, future).found, "certificates valid until 2027-01-01");
        let soon = judge(past, "2026-06-20T00:00:00Z");
        assert!(soon.verdict == Verdict::Warn && soon.found.contains("expires in 19 days"), "{soon:?}");
        let ended = judge(past, "2026-05-31T00:00:00Z");
        assert!(ended.verdict == Verdict::Fail && ended.found.contains("expired on 2026-05-31"), "{ended:?}");
        let early = judge("2026-06-02T00:00:00Z", future);
        assert!(early.verdict == Verdict::Fail && early.remedy.unwrap().contains("clock"));
        let both = [certificate(past, future), certificate(past, "2026-05-31T00:00:00Z")];
        assert_eq!(dates(TLS, &both, now).verdict, Verdict::Fail);
    }

    #[test]
    fn a_refused_write_fails_and_a_refused_read_warns() {
        let echo = |publish: Option<&str>, subscribe: Option<&str>, returned| Echo {
            topic: String::new(),
            publish_refused: publish.map(str::to_owned),
            subscribe_refused: subscribe.map(str::to_owned),
            returned,
        };
        let judge = |echo: &Echo| judge_echo(echo, "clinic-12");
        assert_eq!(judge(&echo(None, None, true)).verdict, Verdict::Ok);
        assert_eq!(judge(&echo(None, None, false)).verdict, Verdict::Warn);
        assert_eq!(judge(&echo(None, Some("NotAuthorized"), false)).verdict, Verdict::Warn);
        let denied = judge(&echo(Some("NotAuthorized"), None, false));
        assert_eq!(denied.verdict, Verdict::Fail);
        assert!(denied.remedy.unwrap().ends_with("write ulna/v1/clinic-12/#"));
    }
}
