//! The grabber taken away in mid-study, giving errors alone, and coming back: the whole station in the machine that has
//! it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use edge::app::App;
use edge::client::{Client, ClientError};
use edge::config::Config;
use edge::wake::Restart;
use serde_json::{Value, json};

use super::device;

const DRIVER: &str = "/sys/bus/platform/drivers/vivid";
const LONG: Duration = Duration::from_secs(240);

struct Station {
    _app: App,
    client: Client,
    _dir: tempfile::TempDir,
}

impl Station {
    fn start(device: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().display();
        let bundle = std::env::var("ULNA_TEST_BUNDLE").unwrap();
        // Warm-up frames enough for the device to go in the midst of them.
        let text = format!(
            "station = \"t\"\nstate_dir = \"{root}/state\"\nbundle_dir = \"{bundle}\"\nallow_demo_model = true\n\
             [v4l2]\ndevice = \"{}\"\nfourcc = \"Y16\"\nwidth_px = 640\nheight_px = 360\nwarmup_frames = 30\n\
             [web]\nlisten = \"127.0.0.1:0\"\n[mqtt]\nport = 1\n[limits]\ndisk_free_min_mib = 1\n",
            device.display()
        );
        let config = Config::parse(&text, Path::new("t.toml")).unwrap();
        let app = App::start(&config, (Path::new(&bundle), None), &Restart::default()).unwrap();
        let client = Client::new(&dir.path().join("state/api.sock")).unwrap().with_timeout(LONG);
        Self { _app: app, client, _dir: dir }
    }

    /// What it says of the camera: null while nothing is known against it.
    fn trouble(&self) -> Option<String> {
        let said: Value = self.client.get("/station").unwrap();
        assert_eq!(said["camera"], true);
        said["camera_trouble"].as_str().map(str::to_owned)
    }

    fn study(&self, number: &str) -> Value {
        self.client.get(&format!("/studies/{number}")).unwrap()
    }
}

fn capture(client: &Client, number: &str) -> Result<Value, ClientError> {
    client.post(&format!("/studies/{number}/capture"), &json!({}))
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < LONG, "gave up waiting for {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Takes the device away from its driver, as pulling its plug does, or gives it back.
fn plug(device: &Path, plugged: bool) {
    fs::write(format!("{DRIVER}/{}", if plugged { "bind" } else { "unbind" }), "vivid.0").unwrap();
    until("the device's node", || device.exists() == plugged);
}

fn control(device: &Path, setting: &str) {
    let mut command = Command::new("v4l2-ctl");
    let output = command.arg("-d").arg(device).args(["-c", setting]).output().unwrap();
    assert!(output.status.success(), "{setting}: {output:?}");
}

#[test]
fn a_study_outlives_a_grabber_that_goes_fails_and_comes_back() {
    let Some(device) = device() else { return };
    let station = Station::start(&device);
    let client = &station.client;
    let opened: Value = client.post("/studies", &json!({"study_type": "XR_WRIST"})).unwrap();
    let number = opened["number"].as_str().unwrap();
    capture(client, number).unwrap();
    assert_eq!(station.trouble(), None);

    // Its plug is pulled while frames are read.
    let refused = thread::scope(|scope| {
        let capturing = scope.spawn(|| capture(client, number));
        thread::sleep(Duration::from_millis(300));
        plug(&device, false);
        capturing.join().unwrap()
    });
    let said = refused.unwrap_err().to_string();
    println!("unplugged: {said}");
    assert!(said.contains("no radiograph was taken") && said.contains("check the cable"), "{said}");
    assert!(station.trouble().unwrap().contains("check the cable"), "{:?}", station.trouble());
    let study = station.study(number);
    assert!(study["open"] == true && study["images"].as_array().unwrap().len() == 1, "{study}");

    plug(&device, true);
    assert_eq!(station.trouble(), None, "a new node, and nothing is known against it");
    capture(client, number).unwrap();

    // It is there and gives nothing.
    control(&device, "percentage_of_dropped_buffers=100");
    let said = capture(client, number).unwrap_err().to_string();
    println!("without a frame: {said}");
    assert!(said.contains("gave no frame in time; check that it has a signal"), "{said}");
    assert!(station.trouble().unwrap().contains("gave no frame in time"), "{:?}", station.trouble());
    control(&device, "percentage_of_dropped_buffers=0");
    capture(client, number).unwrap();
    assert_eq!(station.trouble(), None);

    // One error after the other, as of a bad contact: tried again until a radiograph is there.
    for fault in
        ["inject_vidioc_reqbufs_error", "inject_vidioc_streamon_error", "inject_fatal_streaming_error"]
    {
        control(&device, &format!("{fault}=1"));
        capture(client, number).unwrap();
    }
    let _: Value = client.post(&format!("/studies/{number}/close"), &json!({})).unwrap();
    until("the study's result", || station.study(number)["result"].is_object());
    let study = station.study(number);
    let images = study["images"].as_array().unwrap();
    assert_eq!(images.len(), 6, "{study}");
    assert!(images.iter().all(|image| image["state"] != "waiting"), "{study}");
}
