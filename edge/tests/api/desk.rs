//! A study in the technician's hands: opened, radiographed, answered, corrected, purged.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::station::{Station, radiograph};

fn closed(study: &Value) -> bool {
    study["open"] == false && !study["result"].is_null()
}

fn problem(answer: &crate::station::Answer, status: u16, word: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.json()["type"], format!("urn:ulna:problem:{word}"));
}

#[test]
fn a_study_goes_from_the_desk_to_an_answer_and_survives_a_restart() {
    let station = Station::start();
    let number = station.open(json!({"study_type": "XR_WRIST", "reference": "Mrs Doe, bed 4"}));
    assert!(number.starts_with("WRI-"), "{number}");
    let path = format!("/api/v1/studies/{number}");
    problem(&station.post(&format!("{path}/close"), &json!({})), 409, "study-empty");
    problem(&station.post(&format!("{path}/capture"), &json!({})), 404, "no-camera");

    let first = station.add(&number, &radiograph());
    station.wait_for(&number, |study| study["images"][0]["state"] == "scored");
    let station = station.restart();
    let study = station.get(&path).json();
    assert_eq!((&study["open"], &study["by_hand"]), (&json!(true), &json!(true)));
    assert_eq!(study["reference"], "Mrs Doe, bed 4");

    let closing = station.post(&format!("{path}/close"), &json!({}));
    assert_eq!(closing.status, 200, "{}", closing.text());
    let study = station.wait_for(&number, closed);
    assert_eq!((&study["revision"], &study["result"]["outcome"]), (&json!(1), &json!("scored")));
    assert!(study["result"]["notice"].as_str().unwrap().contains("DEMONSTRATION"));
    assert_eq!(study["images"][0]["image_id"], first.as_str());
    assert_eq!(study["images"][0]["activation_map"]["width"], 10);

    let picture = station.get(&format!("/api/v1/images/{first}/picture?max_px=100"));
    assert!(picture.head.contains("image/png"), "{}", picture.head);
    let decoded = image::load_from_memory(&picture.body).unwrap();
    assert_eq!(decoded.width().max(decoded.height()), 100);
    assert_eq!(decoded.color(), image::ColorType::L8);

    problem(&station.send("POST", &format!("{path}/images"), "", &radiograph()), 409, "study-closed");
    problem(&station.post("/api/v1/studies", &json!({"study_type": "wrist"})), 422, "not-understood");
    let long = "x".repeat(65);
    problem(
        &station.post("/api/v1/studies", &json!({"study_type": "XR_HAND", "reference": long})),
        422,
        "not-understood",
    );
}

#[test]
fn a_view_is_retaken_or_dropped_and_a_correction_is_a_new_revision() {
    let station = Station::start();
    let number = station.open(json!({"study_type": "XR_WRIST"}));
    let path = format!("/api/v1/studies/{number}");
    let first = station.add(&number, &radiograph());
    let again = station.send("POST", &format!("{path}/images?replaces={first}"), "", &radiograph());
    let second = again.json()["image_id"].as_str().unwrap().to_owned();
    problem(
        &station.send("POST", &format!("{path}/images?replaces={first}"), "", b"x"),
        404,
        "no-such-image",
    );
    station.post(&format!("{path}/close"), &json!({}));
    let study = station.wait_for(&number, closed);
    assert_eq!(study["images"][0]["state"], "dropped");
    assert_eq!(study["images"][1]["image_id"], second.as_str());

    // The first image does not count in the result; without the second there is none.
    let dropped = station.post(&format!("/api/v1/images/{second}/drop"), &json!({}));
    assert_eq!(dropped.status, 200, "{}", dropped.text());
    let study = station.wait_for(&number, |study| study["revision"] == 2);
    assert_eq!(study["result"]["outcome"], "rejected");

    assert_eq!(station.post(&format!("{path}/reopen"), &json!({})).status, 200);
    problem(&station.post(&format!("{path}/reopen"), &json!({})), 409, "study-open");
    station.add(&number, &radiograph());
    station.post(&format!("{path}/close"), &json!({}));
    let study = station.wait_for(&number, |study| study["revision"] == 3);
    assert_eq!(study["result"]["outcome"], "scored");
}

#[test]
fn a_rejected_view_is_scored_when_the_technician_overrules() {
    let station = Station::start();
    let number = station.open(json!({"study_type": "XR_WRIST"}));
    let mut dull = image::load_from_memory(&radiograph()).unwrap().to_luma8();
    dull.pixels_mut().for_each(|pixel| pixel.0[0] = 90 + pixel.0[0] / 8);
    let mut file = std::io::Cursor::new(Vec::new());
    dull.write_to(&mut file, image::ImageFormat::Png).unwrap();
    let flagged = station.add(&number, file.get_ref());
    let broken = station.add(&number, b"no image at all");
    station.post(&format!("/api/v1/studies/{number}/close"), &json!({}));
    let study = station.wait_for(&number, closed);
    assert_eq!(study["result"]["outcome"], "rejected");
    assert_eq!(study["images"][0]["rejected"]["reason"], "low_contrast");
    assert_eq!(
        (&study["images"][0]["overrulable"], &study["images"][1]["overrulable"]),
        (&json!(true), &json!(false))
    );

    let overrule = |image: &str, initials: &str| {
        station.post(&format!("/api/v1/images/{image}/overrule"), &json!({"initials": initials}))
    };
    problem(&overrule(&broken, "AB"), 409, "not-overrulable");
    problem(&overrule(&flagged, " "), 422, "not-understood");
    assert_eq!(overrule(&flagged, "AB").status, 200);
    let study = station.wait_for(&number, |study| study["revision"] == 2);
    assert_eq!(study["result"]["outcome"], "scored");
    assert_eq!(study["images"][0]["state"], "scored");
    assert!(
        study["images"][0]["overruled"].as_array().unwrap().contains(&json!("low_contrast")),
        "{study:#}"
    );
}

#[test]
fn a_plate_sent_twice_is_known_again() {
    let station = Station::start();
    let first = station.open(json!({"study_type": "XR_WRIST"}));
    station.add(&first, &radiograph());
    station.wait_for(&first, |study| study["images"][0]["state"] == "scored");
    let second = station.open(json!({"study_type": "XR_WRIST"}));
    let mut jpeg = std::io::Cursor::new(Vec::new());
    image::load_from_memory(&radiograph())
        .unwrap()
        .to_luma8()
        .write_to(&mut jpeg, image::ImageFormat::Jpeg)
        .unwrap();
    station.add(&second, jpeg.get_ref());
    let study = station.wait_for(&second, |study| study["images"][0]["state"] != "waiting");
    assert_eq!(study["images"][0]["rejected"]["reason"], "duplicate");
    assert!(study["images"][0]["rejected"]["detail"].as_str().unwrap().contains(&first), "{study:#}");
}

#[test]
fn a_purged_study_leaves_nothing_behind() {
    let station = Station::start();
    let number = station.open(json!({"study_type": "XR_WRIST", "reference": "Doe"}));
    let path = format!("/api/v1/studies/{number}");
    let image = station.add(&number, &radiograph());
    problem(&station.send("DELETE", &path, "", b""), 409, "study-open");
    station.post(&format!("{path}/close"), &json!({}));
    station.wait_for(&number, closed);
    problem(&station.send("DELETE", &path, "", b""), 409, "result-unsent");
    assert_eq!(station.send("DELETE", &format!("{path}?unsent=true"), "", b"").status, 204);
    problem(&station.get(&path), 404, "no-such-study");
    problem(&station.get(&format!("/api/v1/images/{image}/picture")), 404, "no-such-image");
    assert_eq!(fs::read_dir(station.dir().join("state/images")).unwrap().count(), 0);
    // A study without a view is simply discarded.
    let empty = station.open(json!({"study_type": "XR_HAND"}));
    assert_eq!(station.send("DELETE", &format!("/api/v1/studies/{empty}"), "", b"").status, 204);
}

#[test]
fn studies_are_listed_searched_and_paged() {
    let station = Station::start();
    let numbers: Vec<String> = (0..5)
        .map(|index| station.open(json!({"study_type": if index == 2 { "XR_HAND" } else { "XR_ELBOW" }, "reference": format!("bed {index}")})))
        .collect();
    let list = |query: &str| -> (Vec<String>, Value) {
        let answer = station.get(&format!("/api/v1/studies?{query}")).json();
        let names =
            answer["studies"].as_array().unwrap().iter().map(|s| s["number"].as_str().unwrap().to_owned());
        (names.collect(), answer["next"].clone())
    };
    let (page, next) = list("limit=2");
    assert_eq!(page, [numbers[4].clone(), numbers[3].clone()]);
    assert_eq!(list(&format!("limit=2&before={next}")).0, [numbers[2].clone(), numbers[1].clone()]);
    assert_eq!(list("query=hand").0, [numbers[2].clone()]);
    assert_eq!(list("query=BED%203").0, [numbers[3].clone()]);
    assert_eq!(list("open=false").0, Vec::<String>::new());
    assert_eq!(station.get("/api/v1/studies?limitt=2").status, 400);
}

#[test]
fn changes_are_told_as_they_happen() {
    let station = Station::start();
    let mut events = TcpStream::connect(station.address()).unwrap();
    events.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let request = format!("GET /api/v1/events HTTP/1.1\r\nhost: {}\r\n\r\n", station.address());
    events.write_all(request.as_bytes()).unwrap();
    let mut seen = String::new();
    let mut until = |wanted: &str| {
        let mut chunk = [0; 4096];
        while !seen.contains(wanted) {
            let read =
                events.read(&mut chunk).unwrap_or_else(|error| panic!("no {wanted} ({error}): {seen}"));
            assert!(read > 0, "the stream has ended: {seen}");
            seen.push_str(&String::from_utf8_lossy(&chunk[..read]));
        }
    };
    until("event: station");
    let number = station.open(json!({"study_type": "XR_WRIST"}));
    until(&format!("\"number\":\"{number}\""));
    station.send("DELETE", &format!("/api/v1/studies/{number}"), "", b"");
    until("event: removed");
}
