//! A centre: mosquitto with a listener for stations and one for dashboards, which serves the page.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use e2e::broker::Broker;
use e2e::browser::{Browser, Screen};
use e2e::{bin, port};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const DESK: Screen = Screen { name: "desk", size_px: [1440, 900], dark: false };
pub(crate) const DARK: Screen = Screen { name: "desk-dark", size_px: [1440, 900], dark: true };
pub(crate) const TABLET: Screen = Screen { name: "tablet", size_px: [820, 1180], dark: false };

/// Stations of the large fleet.
pub(crate) const STATIONS: u64 = 300;
const PLACES: [&str; 10] =
    ["arusha", "bukoba", "dodoma", "iringa", "kigoma", "lindi", "mbeya", "moshi", "mwanza", "tanga"];
const USER: &str = "dashboard";
const PASSWORD: &str = "read-only";

/// What is wrong with the page as it is seen; shared with the technician's page.
const AUDIT: &str = include_str!("../page/audit.js");

/// A station's name.
pub(crate) fn station(index: u64) -> String {
    format!("{}-{}", PLACES[(index % 10) as usize], index / 10 + 1)
}

/// A broker that serves the dashboard.
pub(crate) struct Centre {
    pub(crate) broker: Broker,
    web_port: u16,
    tls: bool,
    shots: PathBuf,
    /// Passwords, rules and certificate; they go with the broker.
    _files: TempDir,
}

impl Centre {
    /// Starts it, with or without TLS for the dashboard.
    pub(crate) fn start(tls: bool) -> anyhow::Result<Self> {
        let web_port = port::claim()?;
        let files = tempfile::tempdir()?;
        let at = |name: &str| files.path().join(name).display().to_string();
        fs::write(at("acl"), "pattern read ulna/v1/#\n")?;
        bin::succeed(Command::new("mosquitto_passwd").args(["-c", "-b", &at("passwd"), USER, PASSWORD]))?;
        let mut lines = format!(
            "allow_anonymous true\n\nlistener {web_port} 127.0.0.1\nprotocol websockets\nhttp_dir {}\n\
             allow_anonymous false\npassword_file {}\nacl_file {}\n",
            bin::dashboard()?.display(),
            at("passwd"),
            at("acl"),
        );
        if tls {
            let (key, cert) = (at("key.pem"), at("cert.pem"));
            let mut openssl = Command::new("openssl");
            openssl.args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ]);
            openssl.args(["-keyout", &key, "-out", &cert, "-days", "1", "-subj", "/CN=localhost"]);
            bin::succeed(openssl.args(["-addext", "subjectAltName=IP:127.0.0.1"]))?;
            lines += &format!("certfile {cert}\nkeyfile {key}\n");
        }
        let broker =
            Broker::start_with(&format!("per_listener_settings true\nmax_queued_messages 100000\n{lines}"))?;
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| e2e::repository().join("target"), PathBuf::from);
        let shots = target.join("dashboard-shots");
        fs::create_dir_all(&shots)?;
        Ok(Self { broker, web_port, tls, shots, _files: files })
    }

    /// Where the page is.
    pub(crate) fn address(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}/", self.web_port)
    }

    /// Starts a browser, which trusts the broker's certificate. Debian's mosquitto offers HTTP/2 and cannot speak it.
    pub(crate) fn browser(&self) -> anyhow::Result<Browser> {
        let over_tls = ["--ignore-certificate-errors", "--disable-http2"];
        Browser::start_with(if self.tls { &over_tls } else { &[] })
    }

    /// Opens the page where it is not open yet, and logs in.
    pub(crate) fn log_in(&self, browser: &Browser, keep: bool) -> anyhow::Result<()> {
        if !browser.text()?.contains("Log in") {
            browser.show_on(DESK)?;
            browser.open(&self.address())?;
        }
        browser.wait_for_text("Log in to the broker")?;
        browser.wait_for("!document.querySelector('form button').disabled")?;
        browser.script(&format!(
            "const [user, password] = document.querySelectorAll('form .text');
             [user.value, password.value] = {};
             document.querySelector('form [type=checkbox]').checked = {keep};
             document.querySelector('form button').click();",
            json!([USER, PASSWORD])
        ))?;
        browser.wait_for("document.querySelector('.connection').innerText === 'Connected'")
    }

    /// Photographs what is seen on each screen, and fails when something on it is out of place.
    pub(crate) fn look(&self, browser: &Browser, name: &str, screens: &[Screen]) -> anyhow::Result<()> {
        for screen in screens {
            browser.show_on(*screen)?;
            // Two frames: one in which the page learns of its size, one in which it has drawn for it.
            browser.script(
                "return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));",
            )?;
            browser.photograph(&self.shots.join(format!("{name}-{screen}.png")))?;
            let found = browser.script(AUDIT)?;
            anyhow::ensure!(found == Value::Array(Vec::new()), "{name} on {screen}: {found:#}");
        }
        Ok(())
    }
}
