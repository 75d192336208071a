//! Results on their way out, on the page: seen, sent again, carried away on a stick.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use e2e::broker::Broker;
use e2e::browser::{Browser, Key};
use e2e::made::study;
use e2e::sorted_entries;
use e2e::station::{Setup, Station};
use serde_json::Value;

use crate::start_with;
use crate::walk::{ALL, KIOSK, Walk, address};

/// A file system of its own on every Linux, as a stick has one.
const STICK: &str = "/dev/shm";
const LONG: Duration = Duration::from_secs(60);

/// Folders of this station's results on the stick; gone when dropped.
struct OnStick {
    outbox_id: String,
}

impl OnStick {
    fn folders(&self) -> anyhow::Result<Vec<PathBuf>> {
        let own = |path: &PathBuf| e2e::name(path).contains(&self.outbox_id);
        Ok(sorted_entries(Path::new(STICK))?.into_iter().filter(own).collect())
    }
}

impl Drop for OnStick {
    fn drop(&mut self) {
        for folder in self.folders().unwrap_or_default() {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

fn two_studies(station: &Station, dir: &Path) -> anyhow::Result<()> {
    for number in 0..2 {
        let made = study(dir, "XR_WRIST", &format!("study{number}"), 1, number)?;
        station.drop_study(made.study_type, &made.name, &made.files)?;
    }
    station.wait_for_count("close.committed", 2, LONG)
}

fn outbox(browser: &Browser) -> anyhow::Result<Value> {
    browser.script("return fetch('/api/v1/outbox').then((answer) => answer.json());")
}

#[test]
fn results_that_wait_are_seen_and_carried_away() -> anyhow::Result<()> {
    let setup = Setup { extra: format!("sticks_in = [\"{STICK}\"]\n"), ..Setup::new(e2e::port::claim()?) };
    let (station, browser) = start_with(&setup)?;
    let walk = Walk::new(&browser)?;
    browser.show_on(KIOSK)?;
    browser.open(&address(&station, "#/outbox"))?;
    browser.wait_for_text("Every result has been sent.")?;
    walk.look("outbox-empty", &ALL)?;

    let dir = tempfile::tempdir()?;
    two_studies(&station, dir.path())?;
    browser.open_hash("#/")?;
    browser.wait_for_text("2 to send")?;
    browser.tab_to("2 to send")?;
    browser.press(Key::Enter)?;
    browser.wait_for_text("2 results wait, the oldest for")?;
    browser.wait_for_text("The centre cannot be reached.")?;
    browser.wait_for_text("Connection refused")?;
    browser.wait_for("document.querySelectorAll('.row').length === 2")?;
    browser.wait_for_text("Write to \u{201c}shm\u{201d}")?;
    walk.look("outbox-waiting", &ALL)?;

    browser.tab_to("Write to")?;
    browser.press(Key::Enter)?;
    browser.wait_for_text("2 results are on the stick, read back and compared.")?;
    let written = browser.script("return document.querySelector('.carrying .detail').textContent;")?;
    let folder =
        PathBuf::from(written.as_str().and_then(|text| text.strip_prefix("Folder ")).context("folder")?);
    let name = e2e::name(&folder);
    let on_stick = OnStick { outbox_id: name.split('-').nth(2).context("outbox id")?.to_owned() };
    assert_eq!(on_stick.folders()?, std::slice::from_ref(&folder));
    let files: Vec<String> = sorted_entries(&folder)?.iter().map(|path| e2e::name(path)).collect();
    assert_eq!(files, ["manifest.json", "result-00000001.json", "result-00000002.json"]);
    assert_eq!(outbox(&browser)?["unsent"], 2, "they stay until somebody says that they have arrived");
    walk.look("outbox-written", &ALL)?;

    browser.tab_to("The stick has reached the centre")?;
    browser.press(Key::Enter)?;
    browser.wait_for("document.querySelector('dialog')?.open")?;
    walk.look("outbox-delivered", &ALL)?;
    browser.tab_to("It has")?;
    browser.press(Key::Enter)?;
    browser.wait_for_text("They count as sent.")?;
    browser.wait_for_text("Every result has been sent.")?;
    assert_eq!(outbox(&browser)?["unsent"], 0);
    assert_eq!(browser.errors()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn results_that_were_refused_say_why_and_are_sent_again() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let rules = dir.path().join("acl");
    fs::write(&rules, "topic readwrite ulna/v1/+/status\n")?;
    let mut broker = Broker::start_with(&format!("allow_anonymous true\nacl_file {}\n", rules.display()))?;
    let setup = Setup { extra: "sticks_in = []\n".to_owned(), ..Setup::new(broker.port()) };
    let (station, browser) = start_with(&setup)?;
    let walk = Walk::new(&browser)?;
    browser.show_on(KIOSK)?;
    browser.open(&address(&station, "#/outbox"))?;
    two_studies(&station, dir.path())?;
    browser.wait_for_text("2 results were refused by the centre.")?;
    browser.wait_for_text("not authorised")?;
    browser.wait_for("document.querySelectorAll('.row.failed').length === 2")?;
    browser.wait_for_text("tried 5 times")?;
    // There is no stick here, and no folder of this machine is taken for one.
    browser.wait_for_text("No stick is in.")?;
    walk.look("outbox-refused", &ALL)?;
    let refused = browser.script(
        "return fetch('/api/v1/outbox/carry', { method: 'POST', headers: { 'content-type': 'application/json' },
           body: JSON.stringify({ to: '/tmp' }) }).then((answer) => answer.json());",
    )?;
    assert_eq!(refused["type"], "urn:ulna:problem:no-such-stick", "{refused}");

    fs::write(&rules, "topic readwrite #\n")?;
    broker.restart()?;
    browser.tab_to("Send refused results again")?;
    browser.press(Key::Enter)?;
    browser
        .wait_for("document.querySelector('#said').textContent === '2 refused results are sent again.'")?;
    browser.wait_for_text("Every result has been sent.")?;
    assert_eq!(outbox(&browser)?["rows"], Value::Array(Vec::new()));
    Ok(())
}
