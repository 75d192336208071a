//! A headless Chromium, driven over WebDriver, as a technician's hands and eyes.

use std::fmt;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::webdriver::Driver;
use crate::{port, wait};

/// Presses of Tab after which what is looked for is not there.
const TABS_MAX: usize = 80;
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Time a finger takes from one point to the next.
const MOVE_MS: u64 = 200;

/// What names the element that has the focus, and whether one sees that it has it.
const FOCUSED: &str = "const node = document.activeElement;
const seen = node.closest('.tile, .file') || node;
const outline = getComputedStyle(seen);
const label = node.labels?.[0]?.textContent || '';
return [[node.getAttribute('aria-label'), node.textContent, label].filter(Boolean).join(' '),
        outline.outlineStyle !== 'none' && parseFloat(outline.outlineWidth) >= 2];";

/// What names an element in WebDriver's answers (W3C WebDriver, "Elements").
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Keys without a letter, as WebDriver writes them (W3C WebDriver, "Keyboard actions").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "a key's name is what it is")]
pub enum Key {
    Tab = 0xE004,
    Enter = 0xE007,
    Escape = 0xE00C,
    End = 0xE010,
    Home = 0xE011,
    Left = 0xE012,
    Right = 0xE014,
    Down = 0xE015,
}

/// A browser with one page.
pub struct Browser {
    process: Child,
    driver: Driver,
}

/// A screen to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Its name in file names.
    pub name: &'static str,
    /// Width and height in pixels.
    pub size_px: [u32; 2],
    /// Whether the technician prefers dark colours.
    pub dark: bool,
}

impl Browser {
    /// Starts it.
    ///
    /// # Errors
    /// When chromedriver or Chromium is not there or does not start.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(&[])
    }

    /// Starts it with further arguments of Chromium's.
    ///
    /// # Errors
    /// As [`Browser::start`].
    pub fn start_with(arguments: &[&str]) -> anyhow::Result<Self> {
        let mut all = vec![
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--force-prefers-reduced-motion",
        ];
        all.extend(arguments);
        let port = port::claim()?;
        let process = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context(
                "cannot start chromedriver; scripts/test-deps.sh fetches it (Debian: chromium-driver)",
            )?;
        // From here on a failure ends the process, too.
        let mut browser = Self { process, driver: Driver::new(port) };
        wait::until("chromedriver", WAIT_MAX, || TcpStream::connect(("127.0.0.1", port)).ok())?;
        browser.driver.begin(json!({
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"args": all},
        }))?;
        Ok(browser)
    }

    fn chromium(&self, command: &str, parameters: Value) -> anyhow::Result<Value> {
        self.driver.post("goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    /// Loads an address.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub fn open(&self, address: &str) -> anyhow::Result<()> {
        self.driver.post("url", &json!({"url": address})).map(drop)
    }

    /// Goes to another screen of the page.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub fn open_hash(&self, hash: &str) -> anyhow::Result<()> {
        self.script(&format!("location.hash = {};", json!(hash))).map(drop)
    }

    /// Makes the page as large and as dark as a screen.
    ///
    /// # Errors
    /// When the browser does not do it.
    pub fn show_on(&self, screen: Screen) -> anyhow::Result<()> {
        let [width, height] = screen.size_px;
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 640});
        self.chromium("Emulation.setDeviceMetricsOverride", metrics)?;
        let value = if screen.dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": value}]});
        self.chromium("Emulation.setEmulatedMedia", media).map(drop)
    }

    /// Runs a script in the page and gives what it returns.
    ///
    /// # Errors
    /// When it throws.
    pub fn script(&self, script: &str) -> anyhow::Result<Value> {
        self.driver.post("execute/sync", &json!({"script": script, "args": []}))
    }

    /// Waits until an expression in the page is true.
    ///
    /// # Errors
    /// When it is not in time, with what the page then says.
    pub fn wait_for(&self, expression: &str) -> anyhow::Result<()> {
        let script = format!("return Boolean({expression});");
        wait::until(expression, WAIT_MAX, || {
            self.script(&script).ok().filter(|is| is == &Value::Bool(true)).map(drop)
        })
        .with_context(|| format!("the page says:\n{}", self.text().unwrap_or_default()))
    }

    /// Waits until the page's main part shows a text.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_for_text(&self, text: &str) -> anyhow::Result<()> {
        self.wait_for(&format!("document.querySelector('main').innerText.includes({})", json!(text)))
    }

    /// All of the page's text.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub fn text(&self) -> anyhow::Result<String> {
        Ok(self.script("return document.body.innerText;")?.as_str().unwrap_or_default().to_owned())
    }

    /// Types into whatever has the focus; a file's path chooses that file where the focus is on a file input.
    ///
    /// # Errors
    /// When nothing there takes it.
    pub fn keys(&self, keys: &str) -> anyhow::Result<()> {
        let active = self.driver.get("element/active")?;
        let id = active[ELEMENT].as_str().context("nothing has the focus")?;
        self.driver.post(&format!("element/{id}/value"), &json!({"text": keys})).map(drop)
    }

    /// Presses a key, wherever the focus is.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub fn press(&self, key: Key) -> anyhow::Result<()> {
        let value = char::from_u32(key as u32).map(String::from).unwrap_or_default();
        let strokes = ["keyDown", "keyUp"].map(|way| json!({"type": way, "value": value}));
        let actions = json!({"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]});
        self.driver.post("actions", &actions).map(drop)
    }

    /// Puts fingers on the page, each at the beginning of its path, moves all of them from point to point, and lifts them.
    /// Points are pixels from the window's upper left corner.
    ///
    /// # Errors
    /// When a point is not in the window.
    pub fn touch(&self, paths: &[&[[f64; 2]]]) -> anyhow::Result<()> {
        let finger = |(number, path): (usize, &&[[f64; 2]])| {
            let to = |[x, y]: [f64; 2], ms: u64| json!({"type": "pointerMove", "duration": ms, "x": x.round(), "y": y.round(), "origin": "viewport"});
            let first = path.first().map(|point| to(*point, 0));
            let down = json!({"type": "pointerDown", "button": 0});
            let further = path.iter().skip(1).map(|point| to(*point, MOVE_MS));
            let up = json!({"type": "pointerUp", "button": 0});
            let actions: Vec<Value> = first.into_iter().chain([down]).chain(further).chain([up]).collect();
            json!({"type": "pointer", "id": format!("finger {number}"), "parameters": {"pointerType": "touch"},
                   "actions": actions})
        };
        let actions: Vec<Value> = paths.iter().enumerate().map(finger).collect();
        self.driver.post("actions", &json!({"actions": actions})).map(drop)
    }

    /// Presses Tab until what has the focus is called something with `name` in it. Each element on the way must show
    /// that it has the focus.
    ///
    /// # Errors
    /// When nothing of that name is reached, or the focus was not to be seen.
    pub fn tab_to(&self, name: &str) -> anyhow::Result<()> {
        let mut met = Vec::new();
        for _ in 0..TABS_MAX {
            self.press(Key::Tab)?;
            let focused = self.script(FOCUSED)?;
            let here = focused[0].as_str().unwrap_or_default().to_owned();
            let is_body =
                self.script("return document.activeElement === document.body;")? == Value::Bool(true);
            anyhow::ensure!(
                is_body || focused[1] == Value::Bool(true),
                "the focus on {here:?} is not to be seen"
            );
            if !is_body && here.contains(name) {
                return Ok(());
            }
            if !is_body {
                met.push(here);
            }
        }
        anyhow::bail!("Tab does not reach {name:?}, only {met:?}")
    }

    /// Writes what is seen as a PNG file.
    ///
    /// # Errors
    /// When the browser gives no picture or it cannot be written.
    pub fn photograph(&self, path: &Path) -> anyhow::Result<()> {
        let png = self.driver.get("screenshot")?;
        let png = BASE64_STANDARD.decode(png.as_str().unwrap_or_default())?;
        fs::write(path, png).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Errors in the page's console since it was last asked.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub fn errors(&self) -> anyhow::Result<Vec<String>> {
        let said = self.driver.post("se/log", &json!({"type": "browser"}))?;
        let entries = said.as_array().cloned().unwrap_or_default();
        let grave = entries.iter().filter(|entry| entry["level"] == "SEVERE");
        Ok(grave.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.end();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl fmt::Display for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
