//! The fleet's dashboard in a real browser, served by mosquitto's own websocket listener, with simulated stations.
//!
//! Photographs of every screen come to lie in `target/dashboard-shots`.

mod fleet;

use std::time::Duration;

use e2e::browser::Key;
use e2e::simulated::{Publisher, days};
use fleet::{Centre, DARK, DESK, STATIONS, TABLET, station};
use serde_json::{Value, json};

/// What a page draws with while everything arrives at once: the longest pause between two frames, and the frames.
const WATCH_FRAMES: &str = "window.pauses = []; let last = performance.now();
const step = (now) => { window.pauses.push(now - last); last = now; requestAnimationFrame(step); };
requestAnimationFrame(step);";
const FRAMES: &str = "const sorted = window.pauses.slice(1).sort((a, b) => a - b);
return [sorted.length, sorted[Math.floor(sorted.length / 2)], sorted[Math.floor(sorted.length * 0.95)], sorted.at(-1)];";
/// The station whose results are looked for.
const SITE: u64 = 112;
/// Results of each station in the burst.
const BURST_EACH: u64 = 10;

#[test]
fn three_hundred_stations_are_watched_on_one_page() -> anyhow::Result<()> {
    let centre = Centre::start(true)?;
    let publisher = Publisher::connect(centre.broker.port(), "fleet")?;
    for index in 0..STATIONS {
        let name = station(index);
        publisher.birth(&name, index == 7)?;
        publisher.status(&name, "online", "started")?;
        // Three whose readings go up, and one whose plates are refused.
        let abnormal = if index % 100 == 42 { [0.6, 0.15] } else { [0.15, 0.15] };
        publisher.health(&name, &json!({"days": days(12, abnormal, index), "seq_acked_through": 0}))?;
    }
    publisher.health(
        &station(11),
        &json!({"disk_free_bytes": 300_000_000, "clock_synchronised": false, "temperature_c": 91.0}),
    )?;
    publisher.status(&station(12), "degraded", "disk_full")?;
    publisher.settle()?;

    let browser = centre.browser()?;
    centre.log_in(&browser, true)?;
    browser.wait_for_text("300 of 300")?;
    browser.wait_for("document.querySelector('.demonstration').innerText.includes('on 1 of 300')")?;
    browser.wait_for_text("Disk full")?;
    let rows = browser.script("return document.querySelectorAll('tbody tr').length;")?;
    assert!(
        rows.as_u64().is_some_and(|rows| (10..80).contains(&rows)),
        "only what is seen is in the page: {rows}"
    );
    centre.look(&browser, "stations", &[TABLET, DARK, DESK])?;

    browser.script(WATCH_FRAMES)?;
    std::thread::sleep(std::time::Duration::from_secs(2));
    let quiet = browser.script(FRAMES)?;
    browser.script("window.pauses.length = 0;")?;
    for seq in 1..=BURST_EACH {
        for index in 0..STATIONS {
            let answer = ["normal", "normal", "abnormal", "normal", "uncertain", "rejected"]
                [((seq + index) % 6) as usize];
            publisher.result(&station(index), seq, answer, &json!({}))?;
        }
    }
    browser.open_hash("#/results")?;
    browser.wait_for_text("3,000 of 3,000")?;
    let frames = browser.script(FRAMES)?;
    // Beside the same page on the same machine when nothing comes; and never long enough to be taken for dead.
    let told = format!(
        "frames (count, median, 95 %, longest pause in ms) with nothing coming: {quiet}; in the burst of 3,000 results: {frames}"
    );
    println!("{told}");
    let ratio = frames[1].as_f64().zip(quiet[1].as_f64()).map(|(burst, quiet)| burst / quiet);
    assert!(ratio.is_some_and(|ratio| ratio < 6.0), "{told}");
    assert!(frames[3].as_f64().is_some_and(|longest| longest < 3000.0), "{told}");
    centre.look(&browser, "results", &[TABLET, DARK, DESK])?;

    filters(&browser)?;
    browser.open_hash("#/rates")?;
    browser.wait_for_text("300 of 300")?;
    browser
        .wait_for("document.querySelector('tbody tr:nth-child(2) .differs')?.innerText.includes('higher')")?;
    let first = browser.script(
        "return [...document.querySelectorAll('tbody .name a')].slice(0, 3).map((a) => a.text).sort();",
    )?;
    assert_eq!(
        first,
        json!([station(142), station(242), station(42)]),
        "those whose rates went up are first"
    );
    centre.look(&browser, "rates", &[TABLET, DARK, DESK])?;

    browser.open_hash(&format!("#/station/{}", station(42)))?;
    browser.wait_for_text("the distribution has moved")?;
    browser.wait_for("document.querySelectorAll('.charts svg').length === 3")?;
    centre.look(&browser, "station", &[TABLET, DARK, DESK])?;
    browser.script("document.querySelector('.charts').scrollIntoView();")?;
    centre.look(&browser, "station-below", &[DARK, DESK])?;
    browser.open_hash("#/page")?;
    browser.wait_for_text("Drawing a frame")?;
    let said =
        browser.script("return [...document.querySelectorAll('dd')].slice(-2).map((dd) => dd.innerText);")?;
    println!("drawing, and taking messages in: {said}");
    centre.look(&browser, "page", &[TABLET, DARK, DESK])?;

    // Everything is there again after a reload, before anything is sent again.
    browser.open_hash("#/results")?;
    reload(&browser)?;
    browser.wait_for_text("3,000 of 3,000")?;
    assert_eq!(browser.errors()?, Vec::<String>::new());
    Ok(())
}

/// Waits until so many of the burst's results are shown.
fn shows(browser: &e2e::browser::Browser, count: usize) -> anyhow::Result<()> {
    browser.wait_for(&format!("document.querySelector('.shown').innerText === '{count} of 3,000'"))
}

/// Loads the page again.
fn reload(browser: &e2e::browser::Browser) -> anyhow::Result<()> {
    browser.script("window.before = true; location.reload();")?;
    browser.wait_for("!window.before && document.querySelector('main')")
}

/// Filters by site, type and answer, as they are counted.
fn filters(browser: &e2e::browser::Browser) -> anyhow::Result<()> {
    browser.tab_to("Site")?;
    browser.keys(&station(SITE))?;
    shows(browser, 10)?;
    let choose = |label: &str, value: &str| {
        browser.script(&format!(
            "const label = [...document.querySelectorAll('label')].find((one) => one.textContent === {label:?});
             const select = document.getElementById(label.htmlFor);
             select.value = {value:?};
             select.dispatchEvent(new Event('change'));"
        ))
    };
    choose("Answer", "abnormal")?;
    let fitting = (1..=BURST_EACH).filter(|seq| (seq + SITE) % 6 == 2).count();
    shows(browser, fitting)?;
    browser.wait_for(
        "[...document.querySelectorAll('tbody .state')].every((cell) => cell.innerText === 'Abnormal')",
    )?;
    choose("Study type", "XR_SHOULDER")?;
    let shoulders = (1..=BURST_EACH).filter(|seq| (seq + SITE) % 6 == 2 && seq % 4 == 2).count();
    shows(browser, shoulders)?;
    for label in ["Answer", "Study type"] {
        choose(label, "")?;
    }
    browser.script(
        "const site = document.querySelector('input[type=search]'); site.value = ''; site.dispatchEvent(new Event('input'));",
    )?;
    browser.wait_for_text("3,000 of 3,000").map(drop)
}

#[test]
fn gaps_are_shown_and_close_and_nothing_bad_stops_the_page() -> anyhow::Result<()> {
    let centre = Centre::start(false)?;
    let port = centre.broker.port();
    let publisher = Publisher::connect(port, "fleet")?;
    let lost = Publisher::connect_station(port, "moshi-1")?;
    for name in ["moshi-1", "moshi-2"] {
        publisher.birth(name, true)?;
        publisher.status(name, "online", "started")?;
        publisher.health(name, &json!({}))?;
    }
    let browser = centre.browser()?;
    centre.log_in(&browser, true)?;
    browser.wait_for_text("2 of 2")?;

    // The will of a station whose connection breaks.
    drop(lost);
    browser.wait_for_text("Lost")?;
    publisher.status("moshi-2", "offline", "clean_stop")?;
    browser.wait_for_text("Offline")?;

    // Missing: below the oldest unsent one. Late: from there on.
    let send = |seq: u64, change: Value| publisher.result("moshi-2", seq, "normal", &change);
    send(1, json!({}))?;
    send(4, json!({"oldest_unsent_seq": 4}))?;
    send(9, json!({"answer": "abnormal", "oldest_unsent_seq": 5}))?;
    browser.open_hash("#/gaps")?;
    browser.wait_for_text("2: 2\u{2013}3")?;
    browser.wait_for_text("4: 5\u{2013}8")?;
    centre.look(&browser, "gaps", &[TABLET, DARK, DESK])?;
    for seq in [2, 5, 6, 8, 7, 7, 3, 9] {
        send(seq, json!({"oldest_unsent_seq": 5}))?;
    }
    let cells = |expected: &str| {
        browser.wait_for(&format!(
            "[...document.querySelectorAll('tbody tr[aria-rowindex] td:not(:first-child)')].map((cell) => cell.innerText).join('|').includes({})",
            json!(expected)
        ))
    };
    // Received, missing, late, explained, not watched, sent again.
    cells("9|\u{2013}|\u{2013}|\u{2013}|\u{2013}|2")?;

    // A higher revision takes the place of the one before.
    send(
        10,
        json!({"study": {"key": format!("{:064x}", 4), "revision": 2}, "outcome": "rejected", "answer": null, "reason": "no usable view"}),
    )?;
    browser.open_hash("#/results")?;
    browser.wait_for_text("9 of 9")?;
    browser.wait_for_text("revision 2")?;
    browser.wait_for_text("Rejected")?;

    bad_messages(&publisher, &browser)?;
    centre.look(&browser, "bad", &[TABLET, DARK, DESK])?;

    // What comes while the page is closed is queued for it; what was seen is kept.
    browser.open("about:blank")?;
    std::thread::sleep(Duration::from_secs(1));
    for seq in 11..=15 {
        send(seq, json!({}))?;
    }
    publisher.settle()?;
    browser.open(&format!("{}#/results", centre.address()))?;
    browser.wait_for_text("14 of 14")?;
    browser.open_hash("#/gaps")?;
    cells("15|\u{2013}|\u{2013}|\u{2013}|\u{2013}|2")?;
    assert_eq!(browser.errors()?, Vec::<String>::new());
    Ok(())
}

/// Each is counted for its reason, and results go on.
fn bad_messages(publisher: &Publisher, browser: &e2e::browser::Browser) -> anyhow::Result<()> {
    let topic = |rest: &str| format!("ulna/v1/moshi-2/{rest}");
    publisher.publish(topic("result"), false, b"{".to_vec())?;
    publisher.publish(topic("result"), false, vec![0xff; 200_000])?;
    publisher.publish(topic("result"), false, br#"{"outcome":"scored","answer":"perhaps"}"#.to_vec())?;
    publisher.publish(topic("health"), false, b"[]".to_vec())?;
    publisher.publish(
        topic("status"),
        false,
        br#"{"station":"moshi-1","status":"online","reason":"started"}"#.to_vec(),
    )?;
    browser.open_hash("#/page")?;
    browser.wait_for_text("2 not JSON")?;
    browser.wait_for_text("2 does not match the schema")?;
    browser.wait_for_text("1 names another station")
}

#[test]
fn a_login_is_asked_for_and_kept_only_when_told_to() -> anyhow::Result<()> {
    let centre = Centre::start(true)?;
    let publisher = Publisher::connect(centre.broker.port(), "fleet")?;
    publisher.status("moshi-1", "online", "started")?;
    let browser = centre.browser()?;
    browser.show_on(DESK)?;
    browser.open(&centre.address())?;
    browser.wait_for_text("Log in to the broker")?;
    centre.look(&browser, "login", &[TABLET, DARK, DESK])?;
    let elsewhere = format!("ws://127.0.0.1:{}/mqtt", e2e::port::claim()?);
    browser.script(&format!(
        "const [user, , address] = document.querySelectorAll('form .text');
         [user.value, address.value] = ['dashboard', {elsewhere:?}];
         document.querySelector('form button').click();"
    ))?;
    browser.wait_for_text("There is no broker that answers there.")?;
    reload(&browser)?;
    browser.wait_for("document.activeElement.labels?.[0]?.textContent === 'Name'")?;
    // With the keyboard alone; the focus is on the name.
    browser.keys("dashboard")?;
    browser.press(Key::Tab)?;
    browser.keys("wrong")?;
    browser.press(Key::Enter)?;
    browser.wait_for_text("does not know this name and password")?;
    centre.log_in(&browser, false)?;
    browser.wait_for_text("1 of 1")?;
    for screen in ["Results", "Rates", "Gaps", "This page", "Stations"] {
        browser.tab_to(screen)?;
        browser.press(Key::Enter)?;
        browser.wait_for(&format!("document.querySelector('[aria-current]').text === {screen:?}"))?;
    }
    // The table, which scrolls with the keyboard, and the link in its row.
    browser.tab_to("moshi-1")?;
    browser.tab_to("moshi-1")?;
    browser.press(Key::Enter)?;
    browser.wait_for("location.hash === '#/station/moshi-1'")?;

    reload(&browser)?;
    browser.wait_for_text("Log in to the broker")?;
    centre.log_in(&browser, true)?;
    reload(&browser)?;
    browser.wait_for_text("moshi-1")?;

    // Forgotten: the login and all that was seen.
    browser.open_hash("#/page")?;
    browser.tab_to("Forget everything")?;
    browser.press(Key::Enter)?;
    browser.wait_for_text("Really forget everything")?;
    browser.press(Key::Enter)?;
    browser.wait_for_text("Log in to the broker")?;
    let kept = browser.script("return indexedDB.databases().then((all) => new Promise((done) => {
        const open = indexedDB.open(all[0].name);
        open.onsuccess = () => {
            const tx = open.result.transaction([...open.result.objectStoreNames]);
            const counts = [...tx.objectStoreNames].map((name) => new Promise((count) => {
                tx.objectStore(name).count().onsuccess = (event) => count(event.target.result);
            }));
            Promise.all(counts).then((list) => { open.result.close(); done(list.filter((_, i) => tx.objectStoreNames[i] !== 'settings')); });
        };
    }));")?;
    assert_eq!(
        kept,
        json!([0, 0, 0, 0]),
        "outboxes, samples, stations and studies; the settings hold a new client name"
    );
    Ok(())
}
