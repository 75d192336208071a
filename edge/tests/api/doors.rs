//! Who is let in, what the page is made of, and what the API says of itself.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::station::Station;

#[test]
fn the_page_is_whole_and_asks_for_nothing_from_outside() {
    let station = Station::start();
    let page = station.get("/");
    assert_eq!(page.status, 200);
    assert!(page.head.contains("content-security-policy: default-src 'self'"), "{}", page.head);
    assert!(page.head.contains("x-content-type-options: nosniff"), "{}", page.head);
    let html = page.text();
    assert!(!html.contains("http:") && !html.contains("https:"), "it names another site");
    let assets: Vec<&str> = ["href=\"/", "src=\"/"]
        .iter()
        .flat_map(|start| html.split(start).skip(1).map(|rest| rest.split('"').next().unwrap()))
        .collect();
    assert!(assets.len() >= 3, "{assets:?}");
    for asset in assets {
        let answer = station.get(&format!("/{asset}"));
        assert_eq!(answer.status, 200, "{asset}");
        let text = answer.text().replace("http://www.w3.org/2000/svg", "");
        assert!(!text.contains("http:") && !text.contains("https:"), "{asset} names another site");
    }
    assert_eq!(station.get("/nothing").status, 404);
}

#[test]
fn another_site_in_the_same_browser_gets_nothing() {
    let station = Station::start();
    let rebound = "GET /api/v1/station HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
    let answer = station.ask(rebound);
    assert_eq!(answer.status, 403);
    assert!(!answer.text().contains("clinic-12"), "{}", answer.text());
    assert!(answer.head.contains("content-security-policy"), "{}", answer.head);

    let body = json!({"study_type": "XR_WRIST"}).to_string();
    let post = |origin: &str| {
        station.ask(&format!(
            "POST /api/v1/studies HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\n\
             origin: {origin}\r\ncontent-length: {}\r\n\r\n{body}",
            station.address(),
            body.len()
        ))
    };
    assert_eq!(post("http://evil.example").status, 403);
    assert_eq!(station.get("/api/v1/studies").json()["studies"], json!([]));
    assert_eq!(post(&format!("http://{}", station.address())).status, 201);
}

#[test]
fn the_socket_is_the_groups_and_a_left_over_one_is_replaced() {
    let station = Station::start();
    let socket = station.dir().join("state/api.sock");
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o660);
    let station = station.restart();
    assert_eq!(station.send("GET", "/api/v1/station", "", b"").status, 200);
}

#[test]
fn the_station_says_how_it_is() {
    let station = Station::start();
    let said = station.get("/api/v1/station").json();
    assert_eq!(said["station"], "clinic-12");
    assert_eq!(said["demonstration"], true);
    assert!(said["notice"].as_str().unwrap().contains("DEMONSTRATION MODEL"));
    assert_eq!(said["broker"]["connected"], false);
    assert_eq!(said["camera"], false);
    assert_eq!(said["queue"]["unsent"], 0);
    let settings = station.get("/api/v1/settings");
    assert_eq!(settings.json()["mqtt"]["username"], "u");
}

#[test]
fn every_described_operation_is_there_and_errors_are_problems() {
    let station = Station::start();
    let description = station.get("/api/v1/openapi.json").json();
    let mut operations = 0;
    for (path, methods) in description["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            operations += 1;
            if path.ends_with("/events") {
                continue;
            }
            let path = path.replace("{number}", "WRI-9999").replace("{image_id}", "none");
            let answer = station.send(&method.to_uppercase(), &path, "application/json", b"{}");
            let problem = answer.head.contains("application/problem+json");
            assert_eq!(problem, answer.status >= 400, "{method} {path}: {} {}", answer.head, answer.text());
            assert!(answer.status != 405, "{method} {path}");
            if problem {
                let said = answer.json();
                assert_eq!(said["status"], answer.status);
                assert!(said["type"].as_str().unwrap().starts_with("urn:ulna:problem:"), "{said}");
                assert_ne!(said["type"], "urn:ulna:problem:no-such-resource", "{method} {path}");
            }
        }
    }
    assert!(operations > 12, "{operations}");
    let unknown = station.get("/api/v1/nothing");
    assert_eq!(unknown.json()["type"], "urn:ulna:problem:no-such-resource");
}

#[test]
fn the_committed_description_is_the_current_one() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let current = format!("{:#}\n", edge::web::api::description());
    if std::env::var_os("ULNA_BLESS").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == current, "run the tests with ULNA_BLESS=1 and commit edge/openapi.json");
}
