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

#[test]
fn the_network_comes_in_by_tls_with_the_scanned_token() {
    let dir = tempfile::tempdir().unwrap();
    let lan = "[web.lan]\nlisten = \"127.0.0.1:0\"\nhosts = [\"127.0.0.1\"]\n";
    let station = Station::at(dir, lan);
    let address = station.lan_address();
    let token = std::fs::read_to_string(station.dir().join("state/web.token")).unwrap();
    let ask = |path: &str, headers: &str| station.ask_tls(address, path, headers);

    assert_eq!(ask("/", "").status, 401);
    assert_eq!(ask("/enter?token=0000", "").status, 401);
    let entered = ask(&format!("/enter?token={token}"), "");
    assert_eq!(entered.status, 200);
    for wanted in ["httponly", "secure", "samesite=strict"] {
        assert!(entered.head.contains(wanted), "{}", entered.head);
    }
    let page = ask("/", &format!("cookie: ulna={token}\r\n"));
    assert!(page.status == 200 && page.text().contains("<html"), "{}", page.text());
    assert_eq!(
        ask("/api/v1/station", &format!("authorization: Bearer {token}\r\n")).json()["station"],
        "clinic-12"
    );

    // Plain HTTP gets nothing there.
    let mut plain = std::net::TcpStream::connect(address).unwrap();
    std::io::Write::write_all(&mut plain, b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = std::io::Read::read_to_end(&mut plain, &mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1.1"), "{answer:?}");
}
