//! The technician's page in a real browser, from a running station: a study from opening to answer with the keyboard
//! alone, and what every screen looks like on the station's panel and on a phone.
//!
//! Photographs of every screen come to lie in `target/page-shots`.

mod outbox;
mod views;
mod walk;

use std::time::Duration;

use e2e::browser::{Browser, Key};
use e2e::station::{Setup, Station};
use e2e::{demo_studies, port};
use walk::{ALL, KIOSK, Walk, address};

/// A station without a broker and without a camera, and a browser on its page.
fn start() -> anyhow::Result<(Station, Browser)> {
    start_with(&Setup::new(port::claim()?))
}

/// The same for another station.
fn start_with(setup: &Setup) -> anyhow::Result<(Station, Browser)> {
    let mut station = Station::new(setup)?;
    station.start()?;
    let browser = Browser::start()?;
    station.wait_for_line("loaded and self-tested", Duration::from_secs(60))?;
    e2e::wait::until("the page", Duration::from_secs(20), || {
        std::net::TcpStream::connect(("127.0.0.1", station.web_port())).ok()
    })?;
    Ok((station, browser))
}

#[test]
fn a_study_is_taken_and_answered_with_the_keyboard_alone() -> anyhow::Result<()> {
    let (station, browser) = start()?;
    let walk = Walk::new(&browser)?;
    browser.show_on(KIOSK)?;
    browser.open(&address(&station, ""))?;
    browser.wait_for_text("No studies yet")?;
    browser.wait_for_text("Offline")?;
    walk.look("station-empty", &ALL)?;

    let number = walk.open_study("Wrist", "bed <b>4</b>")?;
    let phantom = demo_studies()?
        .into_iter()
        .find(|(_, study, _)| study == "study10")
        .and_then(|(_, _, files)| files.into_iter().next());
    let phantom = phantom.ok_or_else(|| anyhow::anyhow!("edge/demo/studies has no study10"))?;
    walk.add_file(&phantom)?;
    browser.wait_for_text("Usable")?;
    walk.reject_and_overrule()?;
    walk.drop_view()?;
    walk.close()?;
    walk.answer(&number)?;
    walk.correct(&number)?;
    walk.search(&station, &number)?;
    walk.settings()?;
    assert_eq!(browser.errors()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn a_service_that_stops_is_said_and_one_that_comes_back_is_found() -> anyhow::Result<()> {
    let (mut station, browser) = start()?;
    let walk = Walk::new(&browser)?;
    browser.show_on(KIOSK)?;
    browser.open(&address(&station, ""))?;
    browser.wait_for_text("No studies yet")?;
    assert!(station.stop()?.success());
    browser.wait_for("!document.querySelector('#silent').hidden")?;
    walk.look("silent", &ALL)?;

    // What is asked for meanwhile is refused in words, where it was asked.
    browser.open_hash("#/new")?;
    browser.wait_for_text("Elbow")?;
    browser.tab_to("Elbow")?;
    browser.keys(" ")?;
    browser.tab_to("Open study")?;
    browser.press(Key::Enter)?;
    browser.wait_for("document.querySelector('.complaint').innerText.includes('did not answer')")?;

    browser.open_hash("#/")?;
    station.start()?;
    browser.wait_for("document.querySelector('#silent').hidden")?;
    let (study_type, study, files) = demo_studies()?.remove(0);
    station.drop_study(&study_type, &study, &files)?;
    browser.wait_for("document.querySelectorAll('.row').length === 1")?;
    Ok(())
}
