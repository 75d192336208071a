//! `edge doctor` finds what is wrong, each by its name, and disturbs nobody.

mod sources;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::Context;
use e2e::broker::Broker;
use e2e::station::{Setup, Station};
use e2e::{bin, demo_bundle, port, sorted_entries};
use serde_json::Value;
use tempfile::TempDir;

use crate::{run, stderr, stdout};

/// What doctor found, and how it ended.
struct Report {
    code: Option<i32>,
    json: Value,
}

impl Report {
    fn of(config: &Path) -> anyhow::Result<Self> {
        Self::read(&run("doctor", config, &["--json"])?)
    }

    fn read(output: &Output) -> anyhow::Result<Self> {
        let json = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("not JSON: {}{}", stdout(output), stderr(output)))?;
        Ok(Self { code: output.status.code(), json })
    }

    fn checks(&self) -> Vec<(String, String)> {
        let checks = self.json["checks"].as_array().into_iter().flatten();
        let text = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
        checks.map(|check| (text(check, "name"), text(check, "verdict"))).collect()
    }

    /// The worst check of this name.
    fn check(&self, name: &str) -> anyhow::Result<&Value> {
        let severity =
            |check: &&Value| ["ok", "warn", "fail"].iter().position(|word| check["verdict"] == *word);
        let checks = self.json["checks"].as_array().context("checks")?.iter();
        let found = checks.filter(|check| check["name"] == name).max_by_key(severity);
        found.with_context(|| format!("no check {name} in {:#}", self.json))
    }

    fn assert(&self, name: &str, verdict: &str, found: &str) -> anyhow::Result<()> {
        let check = self.check(name)?;
        let text = check["found"].as_str().unwrap_or_default();
        assert!(check["verdict"] == verdict && text.contains(found), "{check:#}");
        assert_eq!(check["remedy"].is_null(), verdict == "ok", "{check:#}");
        if verdict == "fail" {
            assert_eq!((self.code, &self.json["verdict"]), (Some(5), &Value::from("fail")));
        }
        Ok(())
    }
}

/// The demo bundle, said to be for clinical evaluation: what a station in service has.
fn clinical_bundle(dir: &Path) -> anyhow::Result<PathBuf> {
    let bundle = dir.join("bundle");
    fs::create_dir_all(bundle.join("golden"))?;
    for file in
        sorted_entries(&demo_bundle())?.into_iter().chain(sorted_entries(&demo_bundle().join("golden"))?)
    {
        if file.is_file() {
            fs::copy(&file, bundle.join(file.strip_prefix(demo_bundle())?))?;
        }
    }
    let manifest = bundle.join("manifest.json");
    let mut facts: Value = serde_json::from_slice(&fs::read(&manifest)?)?;
    assert_eq!(facts["purpose"], "demo");
    facts["purpose"] = "clinical-evaluation".into();
    fs::write(&manifest, serde_json::to_vec_pretty(&facts)?)?;
    Ok(bundle)
}

/// A station that does not run: its folders and a configuration with these lines under `[mqtt]`.
struct Idle {
    dir: TempDir,
}

impl Idle {
    fn new(mqtt: &str, more: &str) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let root = dir.path().display();
        for folder in ["state", "spool"] {
            fs::create_dir(dir.path().join(folder))?;
        }
        fs::set_permissions(dir.path().join("state"), fs::Permissions::from_mode(0o700))?;
        let bundle = demo_bundle();
        let text = format!(
            "station = \"clinic-12\"\nstate_dir = \"{root}/state\"\nbundle_dir = \"{}\"\nallow_demo_model = true\n\
             [spool]\ndir = \"{root}/spool\"\n[mqtt]\n{mqtt}\n{more}",
            bundle.display()
        );
        fs::write(dir.path().join("edge.toml"), text)?;
        Ok(Self { dir })
    }

    fn report(&self) -> anyhow::Result<Report> {
        Report::of(&self.dir.path().join("edge.toml"))
    }
}

#[test]
fn a_station_in_order_is_found_so_and_not_disturbed() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let broker = Broker::start()?;
    let setup = Setup {
        bundle: Some(clinical_bundle(dir.path())?),
        allow_demo_model: false,
        ..Setup::new(broker.port())
    };
    let mut station = Station::new(&setup)?;
    station.start()?;
    station.wait_for_line("connected to the broker", Duration::from_secs(60))?;
    fs::set_permissions(station.state_dir(), fs::Permissions::from_mode(0o700))?;

    let report = Report::of(station.config())?;
    // Only the machine under the test decides whether its clock is synchronised.
    let checks = report.checks();
    for (name, verdict) in checks.iter().filter(|(name, _)| name != "clock") {
        assert_eq!(verdict, "ok", "{name}: {:#}", report.json);
    }
    for name in
        ["config", "state.store", "service", "model.golden", "source.spool", "broker.topics", "outbox"]
    {
        assert!(checks.iter().any(|(check, _)| check == name), "no {name} in {checks:?}");
    }
    let clock = report.check("clock")?["verdict"].as_str().unwrap_or_default().to_owned();
    assert_eq!(report.code, Some(if clock == "ok" { 0 } else { 4 }), "{clock}");

    // The report for people says the same, in lines that fit a terminal.
    let text = stdout(&run("doctor", station.config(), &[])?);
    assert!(text.lines().filter(|line| line.starts_with("ok ")).count() >= 12, "{text}");
    let long: Vec<&str> = text
        .lines()
        .filter(|line| line.chars().count() > 80 && line.split_whitespace().count() > 3)
        .collect();
    assert!(long.is_empty(), "{long:#?}");
    assert_eq!(station.log().iter().filter(|line| line.contains("cannot be sent")).count(), 0);
    assert!(station.stop()?.success());
    Ok(())
}

/// No processor of this architecture computes in f16 as the kernels do.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_precision_that_the_processor_lacks_is_a_warning() -> anyhow::Result<()> {
    let report = Idle::new("port = 1", "[model]\nprecision = \"f16\"\n")?.report()?;
    report.assert("model.golden", "warn", "in f32: model.precision is f16")
}

#[test]
fn a_broker_that_is_down_is_named_with_what_to_do() -> anyhow::Result<()> {
    let port = port::claim()?;
    let report = Idle::new(&format!("port = {port}"), "")?.report()?;
    report.assert("broker.reach", "fail", &format!("127.0.0.1 port {port} cannot be reached"))?;
    report.assert("service", "warn", "not running")?;
    report.assert("model.bundle", "warn", "DEMONSTRATION MODEL")?;
    report.assert("source.spool", "ok", "readable and writable")?;
    Ok(())
}

#[test]
fn certificates_are_judged_by_their_dates() -> anyhow::Result<()> {
    for (days, verdict, found) in
        [("365", "ok", "TLS 1.3"), ("12", "warn", "expires in 1"), ("-1", "fail", "has expired on")]
    {
        let dir = tempfile::tempdir()?;
        authority(dir.path(), days)?;
        let root = dir.path().display();
        let mut broker = Broker::start_stopped()?;
        let conf = broker.dir().join("mosquitto.conf");
        let port = broker.port();
        fs::write(
            &conf,
            format!(
                "listener {port} 127.0.0.1\nuser root\nallow_anonymous true\ncafile {root}/ca.pem\n\
                 certfile {root}/broker.pem\nkeyfile {root}/broker.key\n"
            ),
        )?;
        broker.restart()?;
        let mqtt = format!("host = \"localhost\"\nport = {port}\nca_file = \"{root}/ca.pem\"");
        let report = Idle::new(&mqtt, "")?.report()?;
        report.assert("broker.tls", verdict, found)?;
        if verdict != "fail" {
            report.assert("broker.topics", "ok", "may write and read")?;
        }
        report.assert("broker.files", "ok", "valid until")?;
    }
    Ok(())
}

/// An authority, and a broker's certificate of it that ends in some days.
fn authority(dir: &Path, days: &str) -> anyhow::Result<()> {
    let openssl = |arguments: &str| {
        bin::succeed(Command::new("openssl").args(arguments.split(' ')).current_dir(dir)).map(drop)
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -days 3650 -subj /CN=authority"))?;
    openssl(&format!("req {key} -keyout broker.key -out broker.csr -subj /CN=localhost"))?;
    fs::write(dir.join("names"), "subjectAltName=DNS:localhost\n")?;
    openssl(&format!(
        "x509 -req -in broker.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} -extfile names -out broker.pem"
    ))
}

#[test]
fn a_denied_topic_fails_and_the_delivered_access_list_is_enough() -> anyhow::Result<()> {
    let rules = tempfile::tempdir()?;
    let denied = rules.path().join("denied.acl");
    fs::write(&denied, "topic read ulna/v1/#\n")?;
    let lines = format!("allow_anonymous true\nacl_file {}\n", denied.display());
    let broker = Broker::start_with(&lines)?;
    let report = Idle::new(&format!("port = {}", broker.port()), "")?.report()?;
    report.assert("broker.topics", "fail", "does not let the station write below ulna/v1/clinic-12/")?;

    let passwords = rules.path().join("passwords");
    let secret = rules.path().join("secret");
    fs::write(&secret, "letmein\n")?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
    let mut command = Command::new("mosquitto_passwd");
    bin::succeed(command.args(["-b", "-c"]).arg(&passwords).args(["clinic-12", "letmein"]))?;
    let acl = e2e::repository().join("deploy/broker/acl");
    let lines =
        format!("allow_anonymous false\npassword_file {}\nacl_file {}\n", passwords.display(), acl.display());
    let broker = Broker::start_with(&lines)?;
    let account = |user: &str| {
        format!("port = {}\nusername = \"{user}\"\npassword_file = \"{}\"", broker.port(), secret.display())
    };
    let report = Idle::new(&account("clinic-12"), "")?.report()?;
    report.assert("broker.topics", "ok", "may write and read below ulna/v1/clinic-12/")?;
    let report = Idle::new(&account("nobody"), "")?.report()?;
    report.assert("broker.topics", "fail", "the broker refused the connection")?;
    Ok(())
}

#[test]
fn a_missing_camera_and_spool_and_a_damaged_bundle_are_named() -> anyhow::Result<()> {
    let idle = Idle::new(
        &format!("port = {}", port::claim()?),
        "[v4l2]\ndevice = \"/dev/v4l/by-id/none\"\nwidth_px = 640\nheight_px = 480\n",
    )?;
    let bundle = clinical_bundle(idle.dir.path())?;
    let model = bundle.join("model.onnx");
    let mut bytes = fs::read(&model)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&model, bytes)?;
    let config = idle.dir.path().join("edge.toml");
    let text = fs::read_to_string(&config)?;
    let text = text.replace(&demo_bundle().display().to_string(), &bundle.display().to_string());
    fs::write(&config, text)?;
    fs::remove_dir(idle.dir.path().join("spool"))?;

    let report = idle.report()?;
    report.assert("source.v4l2", "fail", "/dev/v4l/by-id/none is not there")?;
    report.assert("source.spool", "fail", "cannot be looked at")?;
    report.assert("model.bundle", "fail", "is damaged: its SHA-256 is")?;
    Ok(())
}
