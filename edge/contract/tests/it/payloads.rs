//! What leaves the station, and the committed schemas.

use std::fs;
use std::path::Path;

use contract::command::{Command, CommandAck, CommandAddress, CommandBody, SignedCommand};
use contract::result::{Delivery, StudyResult, Topics, check_station_name};
use serde_json::{Value, json};

use crate::manifest;
use crate::messages::committed;

fn command() -> Value {
    json!({ "body": command_body().to_string(), "signature": "untrusted comment: …" })
}

fn command_body() -> Value {
    json!({
        "station": "clinic-12", "id": "2026-02-03-a", "expires_at": "2026-02-03T04:05:06Z",
        "command": {
            "name": "set_operating_points", "bundle_sha256": "00", "pooled": { "rule_out": 0.2, "rule_in": 0.75 },
            "per_type": { "XR_WRIST": { "rule_out": 0.25, "rule_in": 0.75 } },
        },
    })
}

fn command_ack() -> Value {
    json!({
        "station": "clinic-12", "id": "2026-02-03-a", "command": "diagnostics", "outcome": "done", "reason": null,
        "detail": null, "at": "2026-02-03T04:05:06Z", "clock_synchronised": null, "signed_by": "73CCFFE0A0776C11",
        "diagnostics": {
            "edge_version": "0.1.0", "uptime_s": 60,
            "machine": { "os": "Debian", "kernel": "6.1", "machine": "aarch64", "cores": 4 },
            "model": { "name": "demo", "version": 1, "bundle_sha256": "00", "purpose": "demo" },
            "checks": [{ "name": "clock", "verdict": "ok", "found": "synchronised", "remedy": null }],
            "store": {
                "format": 3, "database_bytes": 4096, "rows": { "studies": 1 }, "outbox_depth": 0, "outbox_dead": 0,
                "images": { "files": 1, "bytes": 100 }, "rejected": { "files": 0, "bytes": 0 },
            },
            "commands_refused": 0, "commands_unanswerable": 0,
        },
    })
}

/// Reads and writes a payload of a type; what comes out must be what went in.
fn round_trip<T: serde::de::DeserializeOwned + serde::Serialize>(payload: &Value) -> T {
    let read: T = serde_json::from_value(payload.clone()).unwrap();
    assert_eq!(&serde_json::to_value(&read).unwrap(), payload);
    read
}

#[test]
fn commands_read_and_write_back() {
    round_trip::<SignedCommand>(&command());
    round_trip::<CommandBody>(&command_body());
    round_trip::<CommandAck>(&command_ack());
}

#[test]
fn a_station_refuses_what_it_does_not_know_in_a_command() {
    let parse = |body: &Value| CommandBody::parse(&body.to_string());
    assert!(matches!(parse(&command_body()).unwrap().command, Command::SetOperatingPoints(_)));
    for command in [json!({ "name": "ping" }), json!({ "name": "diagnostics" })] {
        let mut body = command_body();
        body["command"] = command;
        let read = parse(&body).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), body);
    }
    for pointer in ["", "/command", "/command/pooled"] {
        let mut later = command_body();
        later.pointer_mut(pointer).unwrap()["added_later"] = json!(1);
        assert!(parse(&later).is_err(), "{later}");
    }
    let mut ping = command_body();
    ping["command"] = json!({ "name": "ping", "times": 2 });
    assert!(parse(&ping).is_err(), "a field that this command has not");
    let twice = command_body().to_string().replacen("{", "{\"id\":\"first\",", 1);
    assert!(CommandBody::parse(&twice).is_err(), "two ids");
}

#[test]
fn a_commands_topic_has_a_name_and_an_id_of_plain_characters() {
    let address = CommandAddress::parse("set_operating_points/2026-02-03-a").unwrap();
    let topics = Topics::new("clinic-12");
    assert_eq!(topics.command_ack(&address), "ulna/v1/clinic-12/cmd/set_operating_points/2026-02-03-a/ack");
    let long = format!("ping/{}", "a".repeat(65));
    for below in ["", "ping", "ping/", "/a", "ping/a/b", "ping/ä", "ping/a b", "ping/+", long.as_str()] {
        assert_eq!(CommandAddress::parse(below), None, "{below}");
    }
}

#[test]
fn a_result_that_was_not_sent_has_no_delivery_fields() {
    let mut local = committed("result-abnormal");
    for field in ["station", "outbox_id", "seq", "oldest_unsent_seq"] {
        local.as_object_mut().unwrap().remove(field);
    }
    let read: StudyResult = round_trip(&local);
    assert_eq!(read.delivery, None);
    // The store keeps it so and adds the delivery when it is sent.
    let delivery =
        Delivery { station: "s".to_owned(), outbox_id: "o".to_owned(), seq: 1, oldest_unsent_seq: 1 };
    let sent = serde_json::to_value(StudyResult { delivery: Some(delivery), ..read }).unwrap();
    assert_eq!((&sent["seq"], &sent["station"]), (&json!(1), &json!("s")));
}

/// Compares the committed schemas with the types; `ULNA_BLESS=1` writes them.
#[test]
fn committed_schemas_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let bless = std::env::var_os("ULNA_BLESS").is_some();
    let mut expected = Vec::new();
    for (name, schema) in contract::schema::all() {
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if bless {
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), &text).unwrap();
        }
        let committed = fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(
            committed == text,
            "schemas/{name} is not what the types say; run the test with ULNA_BLESS=1"
        );
        expected.push(name.to_owned());
    }
    let mut found: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "schemas/ holds other files too");
}

#[test]
fn examples_keep_to_their_schemas_and_wrong_ones_do_not() {
    let schemas = contract::schema::all();
    for (name, example, required) in [
        ("bundle-manifest.json", manifest::example(), "golden"),
        ("result.json", committed("result-abnormal"), "outcome"),
        ("tombstone.json", committed("tombstone-purged"), "reason"),
        ("status.json", committed("status-will"), "status"),
        ("birth.json", committed("birth"), "model"),
        ("health.json", committed("health"), "uptime_s"),
        ("command.json", command(), "body"),
        ("command-body.json", command_body(), "command"),
        ("command-ack.json", command_ack(), "outcome"),
    ] {
        let (_, schema) = schemas.iter().find(|(known, _)| *known == name).unwrap();
        let validator = jsonschema::validator_for(schema.as_value()).unwrap();
        let errors: Vec<String> = validator.iter_errors(&example).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
        let mut missing = example.clone();
        missing.as_object_mut().unwrap().remove(required);
        assert!(!validator.is_valid(&missing), "{name} without {required}");
        let mut wrong = example;
        wrong[required] = json!(-1.5);
        assert!(!validator.is_valid(&wrong), "{name} with {required} = -1.5");
    }
    // A result without delivery is valid too: `edge infer` prints it.
    let (_, schema) = schemas.iter().find(|(name, _)| *name == "result.json").unwrap();
    let mut local = committed("result-abnormal");
    for field in ["station", "outbox_id", "seq", "oldest_unsent_seq"] {
        local.as_object_mut().unwrap().remove(field);
    }
    assert!(jsonschema::is_valid(schema.as_value(), &local));
}

#[test]
fn no_payload_type_has_a_field_for_a_patient() {
    for (name, schema) in contract::schema::all() {
        let text = serde_json::to_string(&schema).unwrap();
        for field in ["patient", "accession", "birth_date", "file_name", "path", "uid", "pixels"] {
            assert!(!text.contains(&format!("\"{field}\":")), "{name} has a field {field}");
        }
    }
}

#[test]
fn topics_and_station_names() {
    let topics = Topics::new("clinic-12");
    let all = [topics.status(), topics.birth(), topics.health(), topics.result(), topics.latest()];
    assert_eq!(all[3], "ulna/v1/clinic-12/result");
    assert!(all.iter().all(|topic| topic.starts_with("ulna/v1/clinic-12/")));
    assert!(check_station_name("clinic-12").is_ok());
    for bad in ["", "-a", "Clinic", "a/b", "a+", "#", "ä", &"a".repeat(65)] {
        assert!(check_station_name(bad).is_err(), "{bad}");
    }
}
