//! The technician's page, asked over a real socket.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use contract::bundle::Purpose;
use contract::result::{
    DEMONSTRATION_NOTICE, ModelSummary, Outcome, Presence, StationBirth, StationHealth, StudyResult,
    ViewResult,
};
use contract::study::{Answer, StudyType};
use edge::publish::{Broker, Condition, Facts};
use edge::store::{Grouping, LimitsConfig, NewImage, Origin, SourceFacts, Store};
use edge::web::{Capture, Server, Sources, WebConfig};
use jiff::Timestamp;

struct Said;

impl Facts for Said {
    fn birth(&self) -> StationBirth {
        StationBirth {
            station: "clinic-12".to_owned(),
            edge_version: "0.1.0".to_owned(),
            model: model(),
            study_types: vec!["XR_WRIST".parse().unwrap()],
            outbox_id: "abc".to_owned(),
            schemas: Vec::new(),
            notice: DEMONSTRATION_NOTICE.to_owned(),
        }
    }

    fn health(&self) -> StationHealth {
        StationHealth {
            station: "clinic-12".to_owned(),
            at: Timestamp::now(),
            uptime_s: 1,
            disk_free_bytes: 100,
            outbox_depth: 7,
            outbox_oldest_age_s: Some(3),
            outbox_dead: 2,
            images_waiting: 4,
            temperature_c: None,
            clock_synchronised: Some(false),
        }
    }

    fn condition(&self) -> Condition {
        Condition { presence: Presence::Degraded, reason: "disk_full".to_owned() }
    }
}

/// Takes one radiograph and is busy from then on.
#[derive(Default)]
struct Grabber {
    asked: Mutex<Vec<StudyType>>,
}

impl Capture for Grabber {
    fn take(&self, study_type: StudyType) -> Result<String, String> {
        let mut asked = self.asked.lock().unwrap();
        if !asked.is_empty() {
            return Err("the grabber is busy; wait for the radiograph before".to_owned());
        }
        asked.push(study_type);
        Ok("WRI-0001".to_owned())
    }
}

fn model() -> ModelSummary {
    ModelSummary {
        name: "test".to_owned(),
        version: 1,
        bundle_sha256: "0".repeat(64),
        purpose: Purpose::Demo,
    }
}

/// A served page over an empty store.
struct Page {
    address: SocketAddr,
    store: Store,
    _folder: tempfile::TempDir,
}

impl Page {
    fn start(capture: Option<Arc<dyn Capture>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), LimitsConfig::default()).unwrap();
        let sources = Sources {
            facts: Arc::new(Said),
            broker: Broker::default(),
            store: store.clone(),
            disk_free_min_bytes: 200,
            capture,
        };
        let server = Server::bind(&WebConfig { listen: "127.0.0.1:0".parse().unwrap() }, sources).unwrap();
        let address = server.address();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(server.serve());
        });
        Self { address, store, _folder: folder }
    }

    /// Sends one request; gives status, headers and body.
    fn ask(&self, request: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), body.to_owned())
    }

    fn get(&self, path: &str) -> (u16, String, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.address))
    }

    fn post_capture(&self, headers: &str, body: &str) -> (u16, String, String) {
        self.ask(&format!(
            "POST /api/capture HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\n\
             {headers}content-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        ))
    }

    fn state(&self) -> serde_json::Value {
        let (status, _, body) = self.get("/api/state");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }
}

#[test]
fn the_page_is_whole_and_asks_for_nothing_from_outside() {
    let page = Page::start(None);
    let (status, head, html) = page.get("/");
    assert_eq!(status, 200);
    assert!(head.contains("content-security-policy: default-src 'self'"), "{head}");
    assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    assert!(!html.contains("http:") && !html.contains("https:"), "it names another site");
    let assets: Vec<&str> = ["href=\"/", "src=\"/"]
        .iter()
        .flat_map(|start| html.split(start).skip(1).map(|rest| rest.split('"').next().unwrap()))
        .collect();
    assert_eq!(assets.len(), 3, "{assets:?}");
    for asset in assets {
        let (status, head, body) = page.get(&format!("/{asset}"));
        assert_eq!(status, 200, "{asset}");
        assert!(head.contains("javascript") || head.contains("text/css"), "{asset}: {head}");
        assert!(!body.contains("http:") && !body.contains("https:"), "{asset} names another site");
    }
    assert_eq!(page.get("/nothing").0, 404);
}

#[test]
fn the_state_says_how_the_station_is() {
    let page = Page::start(None);
    let state = page.state();
    assert_eq!(state["station"], "clinic-12");
    assert_eq!(state["demonstration"], true);
    assert_eq!(state["notice"], DEMONSTRATION_NOTICE);
    assert_eq!(state["presence"], "degraded");
    assert_eq!(state["broker"]["connected"], false);
    assert_eq!(state["queue"], serde_json::json!({"unsent": 7, "oldest_age_s": 3, "set_aside": 2}));
    assert_eq!(state["disk_low"], true);
    assert_eq!(state["clock_synchronised"], false);
    assert!(state["capture"].is_null());
    assert_eq!(state["studies"], serde_json::json!([]));
}

#[test]
fn a_study_is_shown_by_its_number_and_never_by_its_file() {
    let page = Page::start(None);
    let origin = Origin {
        name: "XR_WRIST/DOE-JOHN".to_owned(),
        study_type: Some("XR_WRIST".parse().unwrap()),
        single: false,
    };
    let facts = SourceFacts { path: "XR_WRIST/DOE-JOHN/doe.png".to_owned(), size_bytes: 3, modified_ns: 0 };
    let staged = page.store.stage(&facts, &mut &b"png"[..]).unwrap();
    let image = NewImage {
        origin: &origin,
        source_name: "doe.png",
        extension: "png",
        grouping: Grouping { views_max: 8, reopen_max_ms: 0 },
    };
    let number = page.store.accept(staged, &image).unwrap().study_number;

    let study = page.state()["studies"][0].clone();
    assert_eq!(study["number"], number.as_str());
    assert_eq!((&study["open"], &study["views_waiting"]), (&true.into(), &1.into()));
    assert!(study["result"].is_null());

    let claim = page.store.claim().unwrap().unwrap();
    let view = ViewResult {
        image_id: Some(claim.image_id.clone()),
        probability: Some(0.75),
        logit: Some(1.1),
        activation_map: None,
        rejected: None,
        inference_ms: Some(400.0),
    };
    page.store.finish(&claim, &view).unwrap();
    page.store
        .close(claim.study, |mut study, views| {
            study.probability = Some(0.75);
            StudyResult {
                delivery: None,
                outcome: Outcome::Scored,
                answer: Some(Answer::Abnormal),
                answer_withheld: None,
                reason: None,
                study,
                views,
                operating_points: None,
                model: model(),
                clock_synchronised: None,
                notice: DEMONSTRATION_NOTICE.to_owned(),
            }
        })
        .unwrap();

    let study = page.state()["studies"][0].clone();
    assert_eq!((&study["open"], &study["sent"]), (&false.into(), &false.into()));
    assert_eq!(study["result"]["answer"], "abnormal");
    assert_eq!(study["result"]["probability"], 0.75);
    assert_eq!(study["result"]["views"][0]["probability"], 0.75);
    assert_eq!(study["result"]["inference_ms"], 400.0);
    assert!(!page.get("/api/state").2.to_lowercase().contains("doe"), "a name is on the page");

    page.store.acked(1).unwrap();
    assert_eq!(page.state()["studies"][0]["sent"], true);
}

#[test]
fn a_radiograph_is_taken_on_request() {
    let grabber = Arc::new(Grabber::default());
    let page = Page::start(Some(Arc::clone(&grabber) as Arc<dyn Capture>));
    assert_eq!(page.state()["capture"], serde_json::json!(["XR_WRIST"]));

    let origin = format!("origin: http://{}\r\n", page.address);
    assert_eq!(page.post_capture(&origin, r#"{"study_type": "wrist"}"#).0, 422);
    assert_eq!(page.post_capture(&origin, r#"{"study_type": "XR_WRIST", "x": 1}"#).0, 422);
    assert_eq!(page.post_capture(&origin, "{").0, 400);
    assert!(grabber.asked.lock().unwrap().is_empty());
    let (status, _, body) = page.post_capture(&origin, r#"{"study_type": "XR_WRIST"}"#);
    assert_eq!((status, body.as_str()), (201, r#"{"study_number":"WRI-0001"}"#));
    assert_eq!(*grabber.asked.lock().unwrap(), ["XR_WRIST".parse().unwrap()]);
    let (status, _, body) = page.post_capture("", r#"{"study_type": "XR_WRIST"}"#);
    assert_eq!(status, 409);
    assert!(body.contains("busy"), "{body}");
}

#[test]
fn a_station_without_a_grabber_says_so() {
    let page = Page::start(None);
    let (status, _, body) = page.post_capture("", r#"{"study_type": "XR_WRIST"}"#);
    assert_eq!(status, 404);
    assert!(body.contains("no frame grabber"), "{body}");
}

#[test]
fn another_site_in_the_same_browser_gets_nothing() {
    let grabber = Arc::new(Grabber::default());
    let page = Page::start(Some(Arc::clone(&grabber) as Arc<dyn Capture>));
    let rebound = "GET /api/state HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
    let (status, head, body) = page.ask(rebound);
    assert_eq!(status, 403);
    assert!(!body.contains("clinic-12"), "{body}");
    assert!(head.contains("content-security-policy"), "{head}");
    let (status, ..) = page.post_capture("origin: http://evil.example\r\n", r#"{"study_type": "XR_WRIST"}"#);
    assert_eq!(status, 403);
    assert!(grabber.asked.lock().unwrap().is_empty());
}
