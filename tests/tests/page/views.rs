//! The answer's views: side by side, chosen by finger and by key, each left as it was; and fingers on a radiograph.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use contract::preprocess::Aspect;
use e2e::browser::{Browser, Key};
use e2e::station::{Setup, Station};
use e2e::{made, made_bundle};
use serde_json::{Value, json};

use crate::walk::{ALL, KIOSK, Walk, address};
use crate::{start, start_with};

/// Phantoms of which the demo model thinks differently: `(study, image)`.
const SIX: [(&str, &str); 5] = [
    ("study03", "image1.png"),
    ("study03", "image2.png"),
    ("study08", "image2.png"),
    ("study10", "image1.png"),
    ("study03", "image3.png"),
];

/// Tabs as one sees them: what is written on each, whether it is chosen, and whether all of it is on the screen.
const TABS: &str = "const below = document.querySelector('nav').getBoundingClientRect();
const bottom = below.top > 0 && below.width === innerWidth ? below.top : innerHeight;
return [...document.querySelectorAll('.tab')].map((tab) => {
  const { top, bottom: foot } = tab.getBoundingClientRect();
  const words = tab.querySelector('.words');
  return { text: words.innerText, chosen: tab.getAttribute('aria-selected') === 'true',
           picture: tab.querySelector('img')?.naturalWidth > 0,
           whole: top >= 0 && foot <= bottom && words.scrollWidth <= words.clientWidth };
});";
/// What the viewer shows and how: view, magnification, the layer's place, the slider.
const SHOWN: &str = "const stage = document.querySelector('.stage');
const { a, e, f } = new DOMMatrix(getComputedStyle(document.querySelector('.layer')).transform);
const { x, y, width, height } = stage.getBoundingClientRect();
return { name: stage.getAttribute('aria-label'), zoom: Number(stage.dataset.zoom), scale: a, left: e, top: f,
         opacity: Number(document.querySelector('#opacity').value), x, y, width, height };";

/// Has a study of these files scored and closed; gives it as the API does.
fn closed(station: &Station, browser: &Browser, name: &str, files: &[PathBuf]) -> anyhow::Result<Value> {
    station.drop_study("XR_HAND", name, files)?;
    let script = "return fetch('/api/v1/studies?limit=1').then((answer) => answer.json());";
    e2e::wait::until(&format!("{name} to be closed"), Duration::from_secs(60), || {
        let study = browser.script(script).ok()?.pointer_mut("/studies/0")?.take();
        let whole = study["images"].as_array().is_some_and(|images| images.len() == files.len());
        (whole && study["open"] == false && !study["result"].is_null()).then_some(study)
    })
    .map_err(|error| error.context(station.tail()))
}

/// Five phantoms and a pale image that is not used.
fn six_files(dir: &std::path::Path) -> anyhow::Result<Vec<PathBuf>> {
    let studies = e2e::demo_studies()?;
    let mut files = Vec::new();
    for (position, (study, image)) in SIX.iter().enumerate() {
        let (_, _, found) = studies.iter().find(|(_, name, _)| name == study).context("no such study")?;
        let from = found.iter().find(|path| path.ends_with(image)).context("no such image")?;
        let to = dir.join(format!("view{position}.png"));
        fs::copy(from, &to)?;
        files.push(to);
    }
    let pale = dir.join("view9.pgm");
    fs::write(&pale, made::pale())?;
    files.push(pale);
    Ok(files)
}

fn go(browser: &Browser, study: &Value) -> anyhow::Result<()> {
    browser.open_hash("#/")?;
    browser.wait_for_text("Newest studies")?;
    browser.open_hash(&format!("#/study/{}", study["number"].as_str().context("number")?))?;
    browser.wait_for("document.querySelector('.verdict')")?;
    loaded(browser)
}

/// Waits for the radiograph; of a view that was not scored, there is no colour.
fn loaded(browser: &Browser) -> anyhow::Result<()> {
    browser.wait_for("document.querySelector('.layer:not([hidden]) img')?.naturalWidth > 0")
}

/// What a study of this image alone would be answered, by the limits that the study's answer names.
fn answer_of(image: &Value, study: &Value) -> anyhow::Result<&'static str> {
    let Some(probability) = image["probability"].as_f64() else { return Ok("Not used") };
    let points = &study["result"]["operating_points"];
    let limit = |name: &str| points[name].as_f64().with_context(|| format!("no {name} in {points}"));
    Ok(if probability >= limit("rule_in")? {
        "Abnormal"
    } else if probability < limit("rule_out")? {
        "Normal"
    } else {
        "Uncertain"
    })
}

#[test]
fn every_view_of_an_answer_is_seen_at_a_glance_and_chosen() -> anyhow::Result<()> {
    let (station, browser) = start()?;
    let walk = Walk::new(&browser)?;
    browser.show_on(KIOSK)?;
    browser.open(&address(&station, ""))?;
    let dir = tempfile::tempdir()?;
    let files = six_files(dir.path())?;

    let one = closed(&station, &browser, "one", &files[..1])?;
    go(&browser, &one)?;
    assert_eq!(browser.script(TABS)?, json!([]), "a single view needs no choosing");
    walk.look("answer-1-view", &ALL)?;

    let two = closed(&station, &browser, "two", &files[1..3])?;
    go(&browser, &two)?;
    walk.look("answer-2-views", &ALL)?;
    browser.wait_for_text("The mean of the 2 views.")?;

    let six = closed(&station, &browser, "six", &files)?;
    go(&browser, &six)?;
    browser.wait_for_text("The mean of the views 1, 2, 3, 4, and 5")?;
    let images = six["images"].as_array().context("images")?;
    let answers = images.iter().map(|image| answer_of(image, &six)).collect::<anyhow::Result<Vec<_>>>()?;
    for kind in ["Normal", "Uncertain", "Abnormal", "Not used"] {
        assert!(answers.contains(&kind), "{kind} is not among {answers:?}");
    }
    for screen in ALL {
        walk.look("answer-6-views", &[screen])?;
        let tabs = browser.script(TABS)?;
        let tabs = tabs.as_array().context("tabs")?;
        assert_eq!(tabs.len(), 6);
        for ((tab, image), (position, answer)) in tabs.iter().zip(images).zip(answers.iter().enumerate()) {
            assert_eq!((&tab["picture"], &tab["whole"]), (&json!(true), &json!(true)), "{screen}: {tab}");
            assert_eq!(tab["chosen"], position == 0, "{screen}: {tab}");
            let text = tab["text"].as_str().context("text")?;
            let sure = image["probability"].as_f64().map(|share| format!("{:.1} %", share * 100.0));
            let told = text.contains(&format!("View {}", position + 1))
                && text.contains(answer)
                && text.contains(&sure.unwrap_or_default());
            assert!(told, "{screen}: {image:#}\nis called {text:?}");
        }
    }
    assert_eq!(browser.errors()?, Vec::<String>::new());
    views_are_left_as_they_were(&browser)
}

/// Chooses among six views with arrow keys and a finger.
fn views_are_left_as_they_were(browser: &Browser) -> anyhow::Result<()> {
    let is_shown = |index: u32| {
        browser.wait_for(&format!(
        "document.querySelector('.stage').getAttribute('aria-label').startsWith('Radiograph, view {index}.') \
         && document.querySelectorAll('.tab')[{index} - 1].getAttribute('aria-selected') === 'true'"
    ))
    };
    browser.tab_to("Radiograph, view 1")?;
    browser.keys("++")?;
    browser.press(Key::Down)?;
    browser.tab_to("Colour")?;
    browser.press(Key::Home)?;
    let first = browser.script(SHOWN)?;
    assert_eq!((&first["zoom"], &first["opacity"]), (&json!(2.25), &json!(0)));

    browser.tab_to("View 1")?;
    browser.press(Key::Right)?;
    is_shown(2)?;
    loaded(browser)?;
    let second = browser.script(SHOWN)?;
    assert_eq!((&second["zoom"], &second["opacity"]), (&json!(1), &json!(60)), "a view of its own");
    browser.press(Key::End)?;
    is_shown(6)?;
    browser.wait_for_text("Too little contrast")?;
    browser.press(Key::Right)?;
    is_shown(1)?;
    loaded(browser)?;
    let again = browser.script(SHOWN)?;
    // Where the viewer stands on the screen is the page's scrolling, not the view's.
    for kept in ["name", "zoom", "scale", "left", "top", "opacity"] {
        assert_eq!(again[kept], first[kept], "{kept} was left otherwise");
    }

    let middle = browser.script(
        "const { x, y, width, height } = document.querySelectorAll('.tab')[3].getBoundingClientRect();
         return [x + width / 2, y + height / 2];",
    )?;
    browser.touch(&[&[[middle[0].as_f64().context("x")?, middle[1].as_f64().context("y")?]]])?;
    is_shown(4)?;
    loaded(browser)
}

/// What the viewer shows, in numbers.
struct Shown(Value);

impl Shown {
    fn of(browser: &Browser) -> anyhow::Result<Self> {
        Ok(Self(browser.script(SHOWN)?))
    }

    fn get(&self, name: &str) -> f64 {
        self.0[name].as_f64().unwrap_or(f64::NAN)
    }

    /// The stage's middle in the window.
    fn middle(&self) -> [f64; 2] {
        [self.get("x") + self.get("width") / 2.0, self.get("y") + self.get("height") / 2.0]
    }

    /// What point of the radiograph, in its own pixels, lies under a point of the window.
    fn beneath(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let scale = self.get("scale");
        [(x - self.get("x") - self.get("left")) / scale, (y - self.get("y") - self.get("top")) / scale]
    }
}

#[test]
fn fingers_magnify_and_move_the_radiograph() -> anyhow::Result<()> {
    let (station, browser) = start()?;
    browser.show_on(KIOSK)?;
    browser.open(&address(&station, ""))?;
    let dir = tempfile::tempdir()?;
    let study = closed(&station, &browser, "one", &six_files(dir.path())?[..1])?;
    for screen in ALL {
        browser.show_on(screen)?;
        go(&browser, &study)?;
        browser.script("document.querySelector('.frame').scrollIntoView({ block: 'nearest' });")?;
        let fitted = Shown::of(&browser)?;
        assert_eq!(fitted.get("zoom"), 1.0, "{screen}");
        let [x, y] = fitted.middle();

        // Two fingers go apart, above and below a point that is not the middle.
        let point = [x, y - 20.0];
        let path = |way: f64| [[x, y - 20.0 + way * 20.0], [x, y - 20.0 + way * 50.0]];
        browser.touch(&[&path(-1.0), &path(1.0)])?;
        let pinched = Shown::of(&browser)?;
        assert!((pinched.get("zoom") - 2.5).abs() < 0.1, "{screen}: {:#}", pinched.0);
        let [before, after] = [fitted.beneath(point), pinched.beneath(point)];
        let slipped = (after[1] - before[1]).abs() * pinched.get("scale");
        assert!(slipped < 3.0, "{screen}: the point between the fingers slipped by {slipped} px");

        // One finger takes the radiograph along.
        browser.touch(&[&[[x, y], [x, y + 40.0]]])?;
        let moved = Shown::of(&browser)?;
        assert!((moved.get("top") - pinched.get("top") - 40.0).abs() < 2.0, "{screen}: {:#}", moved.0);
        assert_eq!(moved.get("zoom"), pinched.get("zoom"), "{screen}");

        let scrolled = || browser.script("return scrollY;");
        let place = scrolled()?;
        for expected in [1.0, 2.0, 1.0] {
            // Two double taps are not one of four taps.
            std::thread::sleep(Duration::from_millis(800));
            browser.touch(&[&[point]])?;
            browser.touch(&[&[point]])?;
            let tapped = Shown::of(&browser)?;
            assert_eq!(tapped.get("zoom"), expected, "{screen}");
            if expected > 1.0 {
                let slipped =
                    (tapped.beneath(point)[1] - fitted.beneath(point)[1]).abs() * tapped.get("scale");
                assert!(slipped < 3.0, "{screen}: what was tapped slipped by {slipped} px");
            }
        }
        assert_eq!(scrolled()?, place, "{screen}: the page was scrolled");
        // While all of it is seen, one finger scrolls the page.
        browser.touch(&[&[[x, y], [x, y - 60.0]]])?;
        browser.wait_for(&format!("scrollY > {place}"))?;
        assert_eq!(Shown::of(&browser)?.get("zoom"), 1.0, "{screen}");
    }
    assert_eq!(browser.errors()?, Vec::<String>::new());
    Ok(())
}

/// How far the colour over a radiograph follows its brightness: the correlation of both, each averaged over patches.
/// The map is of brightness, from the middle grey on.
const FOLLOWS: &str = "const heat = document.querySelector('canvas.heat');
const picture = document.querySelector('.layer img');
const [across, down] = [picture.naturalWidth, picture.naturalHeight].map((side) => Math.round(side / 20));
const shrunk = (from) => {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [across, down];
  const context = canvas.getContext('2d');
  context.imageSmoothingQuality = 'high';
  context.drawImage(from, 0, 0, across, down);
  return context.getImageData(0, 0, across, down).data;
};
const [grey, colour] = [shrunk(picture), shrunk(heat)];
const places = [...Array(across * down).keys()];
const bright = places.map((at) => Math.max(0, grey[4 * at] - 124));
const painted = places.map((at) => colour[4 * at + 3]);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const spread = (one, other) => mean(one.map((value, at) => (value - mean(one)) * (other[at] - mean(other))));
return spread(bright, painted) / Math.sqrt(spread(bright, bright) * spread(painted, painted));";

/// A model that sees brightness is shown radiographs far from square, letterboxed and squashed.
#[test]
fn colours_lie_over_what_the_model_saw_letterboxed_and_squashed() -> anyhow::Result<()> {
    for aspect in [Aspect::Letterbox, Aspect::Squash] {
        let bundle = tempfile::tempdir()?;
        made_bundle::write_mean(bundle.path(), &e2e::demo_bundle(), aspect)?;
        let setup = Setup { bundle: Some(bundle.path().to_owned()), ..Setup::new(e2e::port::claim()?) };
        let (station, browser) = start_with(&setup)?;
        browser.show_on(KIOSK)?;
        browser.open(&address(&station, ""))?;
        let dir = tempfile::tempdir()?;
        for (name, width, height) in [("tall", 320, 800), ("wide", 800, 320)] {
            let file = dir.path().join(format!("{name}.pgm"));
            fs::write(&file, made::pgm(width, height, 7))?;
            let study = closed(&station, &browser, name, &[file])?;
            assert_eq!(study["result"]["model"]["aspect"], json!(aspect), "{study:#}");
            go(&browser, &study)?;
            browser.wait_for("document.querySelector('canvas.heat:not([hidden])')")?;
            let follows = browser.script(FOLLOWS)?.as_f64().context("no number")?;
            assert!(follows > 0.9, "{aspect:?}, {name}: the colour follows the brightness by {follows}");
        }
    }
    Ok(())
}
