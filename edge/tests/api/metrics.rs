//! What Prometheus scrapes.

use std::collections::BTreeMap;

use serde_json::json;

use crate::station::{Station, radiograph};

/// Samples by name and labels, as they are written.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

#[test]
fn metrics_are_text_that_follows_what_the_station_does() {
    let station = Station::start();
    let answer = station.get("/metrics");
    assert_eq!(answer.status, 200);
    assert!(
        answer.head.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{}",
        answer.head
    );
    let text = answer.text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let before = samples(&text);
    assert_eq!(before["ulna_outbox_results"], 0.0);
    assert_eq!(before["ulna_broker_connected"], 0.0);
    assert_eq!(before["ulna_studies_today{outcome=\"rejected\"}"], 0.0);
    assert!(
        before["ulna_disk_free_bytes"] > 0.0
            && before["ulna_disk_size_bytes"] >= before["ulna_disk_free_bytes"]
    );
    assert!(before["ulna_memory_bytes"] > 1e6, "{text}");
    assert!(before.keys().any(|name| name.starts_with("ulna_station_info{station=\"clinic-12\"")), "{text}");

    let number = station.open(json!({"study_type": "XR_WRIST", "reference": "bed 7"}));
    station.add(&number, &radiograph());
    station.post(&format!("/api/v1/studies/{number}/close"), &json!({}));
    station.wait_for(&number, |study| study["open"] == false);
    let text = station.get("/metrics").text();
    let after = samples(&text);
    assert_eq!(after["ulna_outbox_results"], 1.0);
    let closed: f64 =
        after.iter().filter(|(name, _)| name.starts_with("ulna_studies_today")).map(|(_, n)| n).sum();
    assert_eq!(closed, 1.0, "{text}");
    assert!(!text.contains("bed 7") && !text.contains(&number), "{text}");
}

#[test]
fn metrics_are_behind_the_same_guard_as_the_page() {
    let station = Station::start();
    let rebound = "GET /metrics HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
    let answer = station.ask(rebound);
    assert_eq!(answer.status, 403);
    assert!(!answer.text().contains("ulna_"), "{}", answer.text());
}
