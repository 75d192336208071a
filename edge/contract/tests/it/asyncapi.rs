//! The committed AsyncAPI document: that it is what the types give, that it is one, and that it describes the messages.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use contract::asyncapi::{CHANNELS, document};
use contract::result::{SCHEMAS, Topics};
use serde_json::{Value, json};

use crate::messages::{MESSAGES, committed};

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("asyncapi.json")
}

fn read() -> Value {
    serde_json::from_slice(&fs::read(path()).unwrap_or_default()).unwrap_or_default()
}

/// AsyncAPI's own schema of a 3.0.0 document.
fn official() -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/asyncapi");
    let packed = fs::File::open(folder.join("3.0.0.json.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_committed_asyncapi_document_is_that_of_the_types() {
    let made = document(|name| Some(committed(name)).filter(|message| !message.is_null()));
    if std::env::var_os("ULNA_BLESS").is_some() {
        fs::write(path(), serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    assert_eq!(read(), made, "asyncapi.json is not what the types say; `make schemas` writes it");
}

#[test]
fn the_asyncapi_document_keeps_to_asyncapis_own_schema() {
    let official = official();
    let validator = jsonschema::options().build(&official).unwrap();
    let document = read();
    let errors: Vec<String> =
        validator.iter_errors(&document).map(|error| error.to_string()).take(5).collect();
    assert!(errors.is_empty(), "{errors:?}");
    for (pointer, wrong) in [
        ("/asyncapi", json!("2.6.0")),
        ("/operations/send-result/action", json!("publish")),
        ("/channels/result/address", json!(1)),
        ("/info", json!({"title": "no version"})),
    ] {
        let mut broken = document.clone();
        *broken.pointer_mut(pointer).unwrap() = wrong;
        assert!(!validator.is_valid(&broken), "{pointer}");
    }
}

/// References are no business of the schema.
#[test]
fn every_reference_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|field| references(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = read();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 20, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

#[test]
fn every_example_keeps_to_the_schema_of_its_channel() {
    let document = read();
    let mut seen = Vec::new();
    for channel in CHANNELS {
        let message = &document["components"]["messages"][channel.name];
        let mut schema = message["payload"].clone();
        schema["components"] = json!({"schemas": document["components"]["schemas"]});
        let validator = jsonschema::draft7::options().build(&schema).unwrap();
        let examples = message["examples"].as_array().unwrap();
        assert_eq!(examples.len(), channel.examples.len(), "{}", channel.name);
        for example in examples {
            let errors: Vec<String> =
                validator.iter_errors(&example["payload"]).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{}: {errors:?}", channel.name);
            seen.push(example["name"].as_str().unwrap().to_owned());
        }
        assert!(!validator.is_valid(&json!({"station": 1})), "{}", channel.name);
    }
    assert!(MESSAGES.iter().all(|message| seen.iter().any(|name| name == message.name)), "{seen:?}");
}

#[test]
fn every_topic_of_a_station_is_a_channel() {
    let topics = Topics::new("{station}");
    let addresses: Vec<String> = CHANNELS.iter().map(contract::asyncapi::Channel::address).collect();
    let known = [
        topics.result(),
        topics.latest(),
        topics.tombstone(),
        topics.status(),
        topics.birth(),
        topics.health(),
    ];
    assert!(known.iter().all(|topic| addresses.contains(topic)), "{addresses:?}");
    for schema in SCHEMAS {
        let name = schema.strip_prefix("ulna/v1/").unwrap();
        assert!(CHANNELS.iter().any(|channel| channel.name == name), "{schema} has no channel");
    }
}
