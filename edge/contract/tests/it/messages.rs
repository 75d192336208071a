//! Example messages of every kind, committed under `messages/`: what a station writes, and what a consumer must read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use contract::bundle::{PointSource, Purpose, WithheldReason};
use contract::command::{CommandAck, CommandOutcome, CommandReason, SignedCommand};
use contract::preprocess::Aspect;
use contract::radiograph::RejectReason;
use contract::result::{
    ActivationMap, CameraState, DayCounters, Delivery, DropReason, DroppedStudy, ModelSummary, NOTICE,
    Outcome, Presence, Rejection, SCHEMAS, StationBirth, StationHealth, StationStatus, StudyResult,
    StudySummary, Tombstone, UsedPoints, ViewResult,
};
use contract::study::{Answer, StudyType};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const STATION: &str = "clinic-12";
const OUTBOX_ID: &str = "5f0c6a1be2d94783";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn delivery(seq: u64, oldest_unsent_seq: u64) -> Option<Delivery> {
    Some(Delivery { station: STATION.to_owned(), outbox_id: OUTBOX_ID.to_owned(), seq, oldest_unsent_seq })
}

fn model() -> ModelSummary {
    ModelSummary {
        name: "ulna-densenet169".to_owned(),
        version: 7,
        bundle_sha256: "9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab".to_owned(),
        purpose: Purpose::ClinicalEvaluation,
        aspect: Some(Aspect::Letterbox),
    }
}

fn types(names: &[&str]) -> Vec<StudyType> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn study(number: &str, study_type: &str, probability: Option<f64>) -> StudySummary {
    StudySummary {
        key: Some("7d1a54127b222502f5b79b5fb0803061152a44f92b37e23c6527baf665d4da9a".to_owned()),
        key_id: Some("1f3a90c2".to_owned()),
        number: Some(number.to_owned()),
        study_type: types(&[study_type]).pop(),
        revision: 1,
        opened_at: Some(at("2026-02-03T04:05:06.5Z")),
        closed_at: Some(at("2026-02-03T04:05:41.25Z")),
        probability,
    }
}

fn scored(image_id: &str, probability: f64, logit: f64) -> ViewResult {
    ViewResult {
        image_id: Some(image_id.to_owned()),
        probability: Some(probability),
        logit: Some(logit),
        activation_map: Some(ActivationMap { width: 2, height: 2, values: vec![0.5, -0.25, 1.75, 2.0] }),
        rejected: None,
        overruled: Vec::new(),
        inference_ms: Some(812.5),
    }
}

fn result() -> StudyResult {
    StudyResult {
        delivery: delivery(427, 419),
        outcome: Outcome::Scored,
        answer: Some(Answer::Abnormal),
        answer_withheld: None,
        reason: None,
        study: study("ELB-0427", "XR_ELBOW", Some(0.75)),
        views: vec![
            scored("0f8fad5bd9cb469f", 0.75, 1.25),
            ViewResult {
                overruled: vec![RejectReason::UnderExposed],
                ..scored("a165707286775089", 0.75, 1.25)
            },
            ViewResult::refused(
                Some("b21c9e6ff40a1d73".to_owned()),
                Rejection {
                    also: vec![RejectReason::LowContrast],
                    ..Rejection::new(
                        RejectReason::Cropped,
                        "the collimator leaves 20 % of the image; open it",
                    )
                },
            ),
        ],
        operating_points: Some(UsedPoints {
            rule_out: 0.18,
            rule_in: 0.62,
            source: PointSource::StudyType,
            set_by: None,
        }),
        model: model(),
        clock_synchronised: Some(true),
        notice: NOTICE.to_owned(),
    }
}

fn without_answer(outcome: Outcome, reason: RejectReason, detail: &str) -> StudyResult {
    StudyResult {
        delivery: delivery(428, 428),
        outcome,
        answer: None,
        reason: Some(detail.to_owned()),
        study: study("ELB-0428", "XR_ELBOW", None),
        views: vec![ViewResult::refused(Some("c4ca4238a0b92382".to_owned()), Rejection::new(reason, detail))],
        operating_points: None,
        ..result()
    }
}

fn tombstone() -> Tombstone {
    Tombstone {
        delivery: delivery(430, 430),
        reason: DropReason::Purged,
        may_follow: false,
        study: None,
        detail: None,
        at: at("2026-02-03T05:00:00Z"),
    }
}

fn status(status: Presence, reason: &str, at: Option<Timestamp>) -> StationStatus {
    StationStatus { station: STATION.to_owned(), status, reason: reason.to_owned(), at }
}

fn birth() -> StationBirth {
    StationBirth {
        station: STATION.to_owned(),
        edge_version: "0.1.0".to_owned(),
        model: model(),
        study_types: types(&["XR_ELBOW", "XR_WRIST"]),
        outbox_id: OUTBOX_ID.to_owned(),
        schemas: SCHEMAS.map(str::to_owned).to_vec(),
        notice: NOTICE.to_owned(),
    }
}

fn health() -> StationHealth {
    let yesterday = DayCounters {
        normal: 31,
        uncertain: 6,
        abnormal: 9,
        withheld: 1,
        rejected: 2,
        failed: 0,
        views_rejected: BTreeMap::from([("cropped".to_owned(), 4), ("under_exposed".to_owned(), 3)]),
        score_deciles: [14, 9, 6, 4, 3, 2, 1, 2, 3, 2],
        ..DayCounters::new("2026-02-02".parse().unwrap())
    };
    StationHealth {
        station: STATION.to_owned(),
        at: at("2026-02-03T04:06:00Z"),
        uptime_s: 86_400,
        disk_free_bytes: 21_474_836_480,
        disk_total_bytes: Some(31_138_512_896),
        outbox_depth: 9,
        outbox_oldest_age_s: Some(125),
        outbox_dead: 1,
        seq_acked_through: Some(418),
        images_waiting: 2,
        temperature_c: Some(41.5),
        load_1m: Some(0.75),
        cpus: Some(4),
        memory_bytes: Some(182_452_224),
        clock_synchronised: Some(true),
        camera: Some(CameraState::Present),
        model: Some(model()),
        days: vec![yesterday, DayCounters::new("2026-02-03".parse().unwrap())],
    }
}

/// A committed message.
pub(crate) struct Message {
    pub(crate) name: &'static str,
    pub(crate) schema: &'static str,
    /// As it is written, and whether it reads back as the same.
    check: fn(&Value) -> Value,
}

fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    made: &T,
    committed: &Value,
) -> Value {
    if !committed.is_null() {
        let read: T = serde_json::from_value(committed.clone()).unwrap();
        assert_eq!(read, *made);
    }
    serde_json::to_value(made).unwrap()
}

pub(crate) const MESSAGES: [Message; 12] = [
    Message { name: "result-abnormal", schema: "result.json", check: |found| check(&result(), found) },
    Message {
        name: "result-withheld",
        schema: "result.json",
        check: |found| {
            let made = StudyResult {
                answer: Some(Answer::Uncertain),
                answer_withheld: Some(WithheldReason::NotInIntendedUse),
                study: study("KNE-0429", "XR_KNEE", Some(0.75)),
                views: vec![scored("0f8fad5bd9cb469f", 0.75, 1.25)],
                operating_points: Some(UsedPoints {
                    rule_out: 0.2,
                    rule_in: 0.6,
                    source: PointSource::Pooled,
                    set_by: Some("2026-02-01-a".to_owned()),
                }),
                clock_synchronised: None,
                ..result()
            };
            check(&made, found)
        },
    },
    Message {
        name: "result-rejected",
        schema: "result.json",
        check: |found| {
            let detail = "the JPEG file ends before its image does; send it again";
            check(&without_answer(Outcome::Rejected, RejectReason::Truncated, detail), found)
        },
    },
    Message {
        name: "result-failed",
        schema: "result.json",
        check: |found| {
            let detail = "the model gave a number that is not finite; report it";
            check(&without_answer(Outcome::Failed, RejectReason::ModelOutput, detail), found)
        },
    },
    Message { name: "tombstone-purged", schema: "tombstone.json", check: |found| check(&tombstone(), found) },
    Message {
        name: "tombstone-set-aside",
        schema: "tombstone.json",
        check: |found| {
            let made = Tombstone {
                reason: DropReason::SetAside,
                may_follow: true,
                study: Some(DroppedStudy { key: study("", "XR_HAND", None).key.unwrap(), revision: 2 }),
                detail: Some("not authorised".to_owned()),
                ..tombstone()
            };
            check(&made, found)
        },
    },
    Message {
        name: "status-online",
        schema: "status.json",
        check: |found| check(&status(Presence::Online, "started", Some(at("2026-02-03T04:00:00Z"))), found),
    },
    Message {
        name: "status-will",
        schema: "status.json",
        check: |found| check(&status(Presence::Offline, "connection_lost", None), found),
    },
    Message {
        name: "command",
        schema: "command.json",
        check: |found| {
            let body = json!({
                "station": STATION, "id": "2026-02-03-a", "expires_at": "2026-02-10T00:00:00Z",
                "command": {"name": "resend", "outbox_id": OUTBOX_ID, "from_seq": 400, "to_seq": 410},
            });
            check(&SignedCommand { body: body.to_string(), signature: None }, found)
        },
    },
    Message {
        name: "command-ack",
        schema: "command-ack.json",
        check: |found| {
            let made = CommandAck {
                station: STATION.to_owned(),
                id: "2026-02-03-a".to_owned(),
                command: "resend".to_owned(),
                outcome: CommandOutcome::Refused,
                reason: Some(CommandReason::NotAllowed),
                detail: Some(
                    "this station does not take the command; see [commands] of its configuration".to_owned(),
                ),
                at: at("2026-02-03T04:06:00Z"),
                clock_synchronised: Some(true),
                signed_by: None,
                first: None,
                resent: None,
                diagnostics: None,
            };
            check(&made, found)
        },
    },
    Message { name: "birth", schema: "birth.json", check: |found| check(&birth(), found) },
    Message { name: "health", schema: "health.json", check: |found| check(&health(), found) },
];

pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("messages").join(format!("{name}.json"))
}

/// A committed message; null where there is none.
pub(crate) fn committed(name: &str) -> Value {
    fs::read(file(name)).map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap())
}

#[test]
fn committed_messages_are_what_a_station_writes_and_a_consumer_reads() {
    let bless = std::env::var_os("ULNA_BLESS").is_some();
    let schemas = contract::schema::all();
    for Message { name, schema, check } in &MESSAGES {
        let made = check(&Value::Null);
        if bless {
            fs::create_dir_all(file(name).parent().unwrap()).unwrap();
            fs::write(file(name), serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
        }
        let found = committed(name);
        assert_eq!(check(&found), found, "messages/{name}.json; `make schemas` writes it");
        let (_, schema) = schemas.iter().find(|(known, _)| known == schema).unwrap();
        let validator = jsonschema::validator_for(schema.as_value()).unwrap();
        let errors: Vec<String> = validator.iter_errors(&found).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
    }
    let files = fs::read_dir(file("x").parent().unwrap()).unwrap().count();
    assert_eq!(files, MESSAGES.len(), "messages/ holds other files too");
}

/// What the first stations of `v1` sent is understood, and keeps to the schemas, for as long as there is a `v1`.
#[test]
fn messages_without_fields_that_were_added_later_are_still_good() {
    let mut health = committed("health");
    for field in [
        "disk_total_bytes",
        "seq_acked_through",
        "load_1m",
        "cpus",
        "memory_bytes",
        "camera",
        "model",
        "days",
    ] {
        assert!(health.as_object_mut().unwrap().remove(field).is_some(), "{field}");
    }
    let mut result = committed("result-abnormal");
    for view in result["views"].as_array_mut().unwrap() {
        view.as_object_mut().unwrap().remove("overruled");
        if let Some(rejected) = view["rejected"].as_object_mut() {
            rejected.remove("also");
        }
    }
    for (schema, message) in [("health.json", &health), ("result.json", &result)] {
        let all = contract::schema::all();
        let (_, schema) = all.iter().find(|(known, _)| *known == schema).unwrap();
        assert!(jsonschema::is_valid(schema.as_value(), message));
    }
    let read: StationHealth = serde_json::from_value(health).unwrap();
    assert_eq!((read.seq_acked_through, read.days.len()), (None, 0));
    assert!(serde_json::from_value::<StudyResult>(result).is_ok());
}

#[test]
fn a_consumer_ignores_fields_that_it_does_not_know() {
    // A command with a field that a station does not know is refused: it is never half understood.
    for Message { name, check, .. } in MESSAGES.iter().filter(|message| message.name != "command") {
        let mut later = committed(name);
        later["added_later"] = json!({"a": 1});
        // The field is gone when it is written again: it was read and left out.
        assert_eq!(check(&later), committed(name));
    }
}
