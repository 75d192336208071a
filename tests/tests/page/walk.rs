//! A technician's way through the page.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use e2e::browser::{Browser, Key, Screen};
use e2e::made;
use e2e::station::Station;
use serde_json::Value;
use tempfile::TempDir;

/// The panel on the station.
pub(crate) const KIOSK: Screen = Screen { name: "kiosk", size_px: [800, 480], dark: false };
/// Panel and phone, light and dark.
pub(crate) const ALL: [Screen; 4] = [
    Screen { name: "kiosk-dark", size_px: [800, 480], dark: true },
    Screen { name: "phone", size_px: [360, 740], dark: false },
    Screen { name: "phone-dark", size_px: [360, 740], dark: true },
    KIOSK,
];

const AUDIT: &str = include_str!("audit.js");
/// How much colour there is over the radiograph, and where the most of it is, as shares of its sides.
const COLOUR: &str = "const canvas = document.querySelector('canvas.heat');
const { width, height } = canvas;
const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
let [sum, most, at] = [0, -1, 0];
for (let i = 0; i < width * height; i += 1) {
  sum += data[4 * i + 3];
  if (data[4 * i + 3] > most) [most, at] = [data[4 * i + 3], i];
}
const picture = document.querySelector('.layer img');
return { sum, x: (at % width + 0.5) / width, y: (Math.floor(at / width) + 0.5) / height,
         width: picture.naturalWidth, height: picture.naturalHeight };";

pub(crate) fn address(station: &Station, hash: &str) -> String {
    format!("http://127.0.0.1:{}/{hash}", station.web_port())
}

pub(crate) struct Walk<'a> {
    browser: &'a Browser,
    files: TempDir,
    shots: PathBuf,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(browser: &'a Browser) -> anyhow::Result<Self> {
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| e2e::repository().join("target"), PathBuf::from);
        let shots = target.join("page-shots");
        fs::create_dir_all(&shots)?;
        Ok(Self { browser, files: tempfile::tempdir()?, shots })
    }

    /// Photographs what is seen on each screen, and fails when something on it is out of place.
    pub(crate) fn look(&self, name: &str, screens: &[Screen]) -> anyhow::Result<()> {
        for screen in screens {
            self.browser.show_on(*screen)?;
            self.browser.script("scrollTo(0, 0);")?;
            self.browser.photograph(&self.shots.join(format!("{name}-{screen}.png")))?;
            let found = self.browser.script(AUDIT)?;
            anyhow::ensure!(found == Value::Array(Vec::new()), "{name} on {screen}: {found:#}");
        }
        Ok(())
    }

    fn key(&self, key: Key) -> anyhow::Result<()> {
        self.browser.press(key)
    }

    /// Goes to a control and presses Enter.
    fn choose(&self, name: &str) -> anyhow::Result<()> {
        self.browser.tab_to(name)?;
        self.key(Key::Enter)
    }

    /// Opens a study and gives its number.
    pub(crate) fn open_study(&self, part: &str, reference: &str) -> anyhow::Result<String> {
        let browser = self.browser;
        self.choose("New study")?;
        browser.wait_for_text("What is radiographed?")?;
        browser.wait_for_text("Elbow")?;
        self.look("new-study", &ALL)?;
        self.choose("Other")?;
        browser.wait_for_text("it will give no answer")?;
        self.look("new-study-other", &ALL)?;
        self.choose("Open study")?;
        browser.wait_for_text("Choose what is radiographed.")?;
        browser.tab_to("Elbow")?;
        for _ in 0..20 {
            self.key(Key::Right)?;
            let chosen = browser.script("return document.activeElement.labels[0].textContent;")?;
            if chosen == part {
                break;
            }
        }
        browser.tab_to("Reference")?;
        browser.keys(reference)?;
        browser.tab_to("Open study")?;
        self.key(Key::Enter)?;
        browser.wait_for_text("Write this number into the register book")?;
        let number = browser.script("return document.querySelector('.enormous').textContent;")?;
        let number = number.as_str().context("no number")?.to_owned();
        anyhow::ensure!(number.starts_with("WRI-"), "{number}");
        self.look("register", &ALL)?;
        // The focus is where one goes on.
        self.key(Key::Enter)?;
        browser.wait_for_text("No views yet")?;
        browser.wait_for_text(reference)?;
        self.look("study-empty", &ALL)?;
        Ok(number)
    }

    pub(crate) fn add_file(&self, path: &Path) -> anyhow::Result<()> {
        self.browser.tab_to("Add image file")?;
        self.browser.keys(path.to_str().context("the path is not text")?)
    }

    /// A blank image is refused with what to do; a pale one is flagged, and used all the same.
    pub(crate) fn reject_and_overrule(&self) -> anyhow::Result<()> {
        let browser = self.browser;
        let blank = self.files.path().join("blank.pgm");
        fs::write(&blank, made::blank())?;
        let pale = self.files.path().join("pale.pgm");
        fs::write(&pale, made::pale())?;
        self.add_file(&blank)?;
        browser.wait_for_text("Image is blank")?;
        browser.wait_for_text("take it again")?;
        let thumbnails = "[...document.querySelectorAll('.thumbnail img')]";
        browser.wait_for(&format!(
            "{thumbnails}.length === 2 && {thumbnails}.every((one) => one.naturalWidth > 0)"
        ))?;
        self.look("study-rejected", &ALL)?;
        self.add_file(&pale)?;
        browser.wait_for_text("Too little contrast")?;
        self.look("study-flagged", &ALL)?;
        self.choose("Use it anyway")?;
        browser.wait_for("document.querySelector('dialog')?.open")?;
        self.look("overrule", &ALL)?;
        browser.keys("jd")?;
        self.key(Key::Enter)?;
        browser.wait_for("!document.querySelector('dialog')")?;
        browser.wait_for("document.querySelectorAll('.view.scored').length === 2")?;
        browser.wait_for_text("Scored although flagged: too little contrast")
    }

    /// Drops the blank view, after thinking better of it once.
    pub(crate) fn drop_view(&self) -> anyhow::Result<()> {
        let browser = self.browser;
        let drop_blank = || -> anyhow::Result<()> {
            browser
                .script("document.querySelector('.view.rejected').querySelector('input, button').focus();")?;
            self.choose("Drop")?;
            browser.wait_for("document.querySelector('dialog')?.open")
        };
        drop_blank()?;
        self.look("drop", &ALL)?;
        self.key(Key::Escape)?;
        browser.wait_for("!document.querySelector('dialog')")?;
        anyhow::ensure!(browser.text()?.contains("View 2"), "it was dropped although nobody said so");
        drop_blank()?;
        self.choose("Drop view")?;
        browser.wait_for_text("1 dropped view is not used.")?;
        browser.wait_for("document.querySelectorAll('.view').length === 2")
    }

    pub(crate) fn close(&self) -> anyhow::Result<()> {
        self.choose("Close study")?;
        self.browser.wait_for("document.querySelector('.verdict')")?;
        // Whoever cannot see the page is told, and is where the answer is.
        self.browser.wait_for("document.querySelector('#said').textContent.startsWith('Answer: ')")?;
        self.browser.wait_for("document.activeElement.classList.contains('word')")
    }

    /// What the answer says, and the colours over the radiograph.
    pub(crate) fn answer(&self, number: &str) -> anyhow::Result<()> {
        let browser = self.browser;
        let text = browser.text()?;
        let needed = [
            number,
            "Abnormal",
            "Probability of being abnormal",
            "View 1",
            "DEMONSTRATION MODEL",
            "decision support only",
            "Time taken",
            "ulna-demo v1",
            "not for patients",
            "Normal below",
            "Not sent yet",
            "bed <b>4</b>",
        ];
        for needed in needed {
            anyhow::ensure!(text.contains(needed), "the answer does not say {needed:?}:\n{text}");
        }
        browser.wait_for("document.querySelector('canvas.heat:not([hidden])')")?;
        let before = browser.script(COLOUR)?;
        self.colour_is_where_the_model_looked(number, &before)?;
        self.look("answer", &ALL)?;
        browser.script("document.querySelector('.rest').scrollIntoView();")?;
        browser.photograph(&self.shots.join("answer-below-kiosk.png"))?;

        browser.tab_to("Radiograph, view 1")?;
        browser.keys("++")?;
        browser.wait_for("document.querySelector('.stage').dataset.zoom === '2.25'")?;
        let placed = "return document.querySelector('.layer').style.transform;";
        let middle = browser.script(placed)?;
        self.key(Key::Down)?;
        anyhow::ensure!(browser.script(placed)? != middle, "the arrow key does not move the radiograph");
        browser.photograph(&self.shots.join("answer-zoomed-kiosk.png"))?;
        browser.tab_to("All")?;
        self.key(Key::Enter)?;
        browser.wait_for("document.querySelector('.stage').dataset.zoom === '1.00'")?;

        browser.tab_to("Colour")?;
        for _ in 0..4 {
            self.key(Key::Left)?;
        }
        let fainter = browser.script(COLOUR)?["sum"].as_f64().context("no sum")?;
        let sum = before["sum"].as_f64().context("no sum")?;
        anyhow::ensure!(
            fainter > 0.0 && fainter < 0.8 * sum,
            "colour {sum}, after moving the slider {fainter}"
        );
        self.key(Key::Home)?;
        anyhow::ensure!(browser.script(COLOUR)?["sum"] == 0, "some colour stays");
        self.key(Key::End)?;
        Ok(())
    }

    /// The strongest colour lies within a cell of the map's largest value, the map lying on the padded square.
    fn colour_is_where_the_model_looked(&self, number: &str, colour: &Value) -> anyhow::Result<()> {
        let of = |name: &str| colour[name].as_f64().with_context(|| format!("no {name} in {colour}"));
        anyhow::ensure!(of("sum")? > 1000.0, "there is no colour: {colour}");
        let study = self
            .browser
            .script(&format!("return fetch('/api/v1/studies/{number}').then((answer) => answer.json());"))?;
        let map = &study["images"][0]["activation_map"];
        let values: Vec<f64> =
            map["values"].as_array().context("values")?.iter().filter_map(Value::as_f64).collect();
        let columns = map["width"].as_u64().context("width")? as usize;
        let rows = values.len() / columns;
        let longer = of("width")?.max(of("height")?);
        let shares = [of("width")? / longer, of("height")? / longer];
        let to_picture = |cell: usize, cells: usize, share: f64| {
            (((cell as f64 + 0.5) / cells as f64 - (1.0 - share) / 2.0) / share).clamp(0.0, 1.0)
        };
        let largest = values
            .iter()
            .enumerate()
            .max_by(|(_, one), (_, other)| one.total_cmp(other))
            .context("no values")?
            .0;
        let expected = [
            to_picture(largest % columns, columns, shares[0]),
            to_picture(largest / columns, rows, shares[1]),
        ];
        let cell = [1.0 / columns as f64 / shares[0], 1.0 / rows as f64 / shares[1]];
        let off = [(of("x")? - expected[0]).abs(), (of("y")? - expected[1]).abs()];
        anyhow::ensure!(
            off[0] <= cell[0] && off[1] <= cell[1],
            "colour at {colour}, the model looked at {expected:?}"
        );
        Ok(())
    }

    /// Opens the study again; closing it makes a revision that replaces the first.
    pub(crate) fn correct(&self, number: &str) -> anyhow::Result<()> {
        let browser = self.browser;
        self.choose("Correct this study")?;
        browser.wait_for("document.querySelector('dialog')?.open")?;
        self.choose("Open again")?;
        browser.wait_for_text("closing it makes revision 2")?;
        self.look("study-reopened", &ALL)?;
        self.choose("Close study")?;
        browser.wait_for_text("revision 2 replaces the answer before")?;
        anyhow::ensure!(browser.text()?.contains(number), "another study");
        Ok(())
    }

    pub(crate) fn search(&self, station: &Station, number: &str) -> anyhow::Result<()> {
        let browser = self.browser;
        for (study_type, study, files) in e2e::demo_studies()?.into_iter().take(3) {
            station.drop_study(&study_type, &study, &files)?;
        }
        self.choose("History")?;
        browser.wait_for("document.querySelectorAll('.row').length === 4")?;
        browser.wait_for("!document.querySelector('.row.waiting, .row.open')")?;
        self.look("history", &ALL)?;
        browser.tab_to("Search")?;
        browser.keys("bed <b>")?;
        browser.wait_for("document.querySelectorAll('.row').length === 1")?;
        browser.wait_for_text(number)?;
        browser.keys("zzz")?;
        browser.wait_for_text("No study found.")?;
        self.choose("Station")?;
        browser.wait_for_text("Newest studies")?;
        self.look("station", &ALL)
    }

    pub(crate) fn settings(&self) -> anyhow::Result<()> {
        self.choose("Settings")?;
        self.browser.wait_for_text("bundle_dir")?;
        self.browser.wait_for_text("OpenAPI 3.1")?;
        self.look("settings", &ALL)
    }
}
