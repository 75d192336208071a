//! The AsyncAPI 3.0 document of what a station says over MQTT, made from the table of its channels and the payload types.
//!
//! Payload schemas are JSON Schemas of draft 7, the dialect of AsyncAPI's own schema objects; the same types' schemas of
//! draft 2020-12 are in [`crate::schema`].

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::command::{CommandAck, SignedCommand};
use crate::result::{StationBirth, StationHealth, StationStatus, StudyResult, Tombstone};

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// A kind of topic: one channel, one operation, one message.
#[derive(Clone, Copy)]
pub struct Channel {
    /// The channel's name.
    pub name: &'static str,
    /// Its topic below the station's, variable levels in braces.
    pub below: &'static str,
    /// Whether the station sends it; else it receives it.
    pub sent: bool,
    /// Whether the broker keeps the newest for whoever subscribes later.
    pub retained: bool,
    /// When it is sent, and how it is to be read.
    pub summary: &'static str,
    /// The type's name.
    pub payload: &'static str,
    /// Its schema.
    pub schema: SchemaOf,
    /// Names of example messages.
    pub examples: &'static [&'static str],
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Every kind of topic.
pub const CHANNELS: &[Channel] = &[
    Channel {
        name: "result",
        below: "result",
        sent: true,
        retained: false,
        summary: "One message per study revision, abnormal ones first while there is a backlog. At least once: drop repeats by (outbox_id, seq).",
        payload: "StudyResult",
        schema: of::<StudyResult>,
        examples: &["result-abnormal", "result-withheld", "result-rejected", "result-failed"],
    },
    Channel {
        name: "latest",
        below: "latest",
        sent: true,
        retained: true,
        summary: "The result that was closed last among those that have arrived; never an older one than before.",
        payload: "StudyResult",
        schema: of::<StudyResult>,
        examples: &["result-abnormal"],
    },
    Channel {
        name: "tombstone",
        below: "tombstone",
        sent: true,
        retained: false,
        summary: "In place of a result that does not come, or not for now: explains a hole in the sequence.",
        payload: "Tombstone",
        schema: of::<Tombstone>,
        examples: &["tombstone-purged", "tombstone-set-aside"],
    },
    Channel {
        name: "status",
        below: "status",
        sent: true,
        retained: true,
        summary: "Whether the station serves: at every connect, when that changes, before a clean disconnect; also the will.",
        payload: "StationStatus",
        schema: of::<StationStatus>,
        examples: &["status-online", "status-will"],
    },
    Channel {
        name: "birth",
        below: "birth",
        sent: true,
        retained: true,
        summary: "What the station is, at every connect.",
        payload: "StationBirth",
        schema: of::<StationBirth>,
        examples: &["birth"],
    },
    Channel {
        name: "health",
        below: "health",
        sent: true,
        retained: true,
        summary: "How the station is, at every connect and every 60 s, with counters of its last 28 days.",
        payload: "StationHealth",
        schema: of::<StationHealth>,
        examples: &["health"],
    },
    Channel {
        name: "command",
        below: "cmd/{name}/{id}",
        sent: false,
        retained: false,
        summary: "From the centre: a command, executed once and until it expires. Its body is a string, so that what was signed is what is verified.",
        payload: "SignedCommand",
        schema: of::<SignedCommand>,
        examples: &["command"],
    },
    Channel {
        name: "command-ack",
        below: "cmd/{name}/{id}/ack",
        sent: true,
        retained: false,
        summary: "What came of a command. Only `waiting` and `running` are followed by another answer.",
        payload: "CommandAck",
        schema: of::<CommandAck>,
        examples: &["command-ack"],
    },
];

impl Channel {
    /// Its topic, with the station's name and other variable levels in braces.
    pub fn address(&self) -> String {
        format!("ulna/v1/{{station}}/{}", self.below)
    }
}

/// The document. `example` gives the example message of a name.
pub fn document(example: impl Fn(&str) -> Option<Value>) -> Value {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    for channel in CHANNELS {
        let name = channel.name;
        let examples: Vec<Value> = channel
            .examples
            .iter()
            .filter_map(|name| Some(json!({"name": name, "payload": example(name)?})))
            .collect();
        messages.insert(
            name.to_owned(),
            json!({
                "name": name,
                "title": channel.payload,
                "contentType": "application/json",
                "payload": (channel.schema)(&mut generator),
                "examples": examples,
            }),
        );
        channels.insert(name.to_owned(), describe(channel));
        let action = if channel.sent { "send" } else { "receive" };
        operations.insert(
            format!("{action}-{name}"),
            json!({
                "action": action,
                "channel": {"$ref": format!("#/channels/{name}")},
                "messages": [{"$ref": format!("#/channels/{name}/messages/{name}")}],
                "bindings": {"mqtt": {"qos": 1, "retain": channel.retained, "bindingVersion": "0.2.0"}},
            }),
        );
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Ulna station",
            "version": "1.0.0",
            "description": "What a station says over MQTT v5, from the station's side. Within v1 fields and codes are added, never \
                            renamed, removed or given another meaning; consumers ignore what they do not know. Decision support only.",
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "centre": {
                "host": "broker.example:8883",
                "protocol": "secure-mqtt",
                "protocolVersion": "5",
                "description": "The centre's broker. A station logs in with a certificate whose common name is its own.",
                "security": [{"$ref": "#/components/securitySchemes/certificate"}],
            },
        },
        "channels": channels,
        "operations": operations,
        "components": {
            "securitySchemes": {"certificate": {"type": "X509"}},
            "parameters": {
                "station": {"description": "The station's name: 1 to 64 lower-case letters, digits and hyphens, such as clinic-12."},
                "name": {"description": "The command's name."},
                "id": {"description": "The command's id: 1 to 64 letters, digits, hyphens and underscores, never used twice."},
            },
            "messages": messages,
            "schemas": generator.take_definitions(true),
        },
    })
}

fn describe(channel: &Channel) -> Value {
    let (name, address) = (channel.name, channel.address());
    let levels = address.split('/').filter_map(|level| level.strip_prefix('{')?.strip_suffix('}'));
    let parameters: Map<String, Value> = levels
        .map(|level| (level.to_owned(), json!({"$ref": format!("#/components/parameters/{level}")})))
        .collect();
    json!({
        "address": address,
        "summary": channel.summary,
        "servers": [{"$ref": "#/servers/centre"}],
        "parameters": parameters,
        "messages": {name: {"$ref": format!("#/components/messages/{name}")}},
    })
}
