//! The station as a device in Home Assistant.

use std::path::Path;

use edge::publish::{HomeAssistantConfig, MqttConfig};
use serde_json::Value;

use crate::broker::{Mosquitto, Subscriber, eventually};
use crate::station::{Outbox, Station, config};

const TOPIC: &str = "homeassistant/device/clinic-12/ulna/config";

fn golden(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("contract/messages").join(format!("{name}.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// What Home Assistant makes of a message by a template.
fn rendered(template: &Value, message: &Value) -> String {
    let engine = minijinja::Environment::new();
    engine.render_str(template.as_str().unwrap(), minijinja::context! { value_json => message }).unwrap()
}

#[test]
fn a_station_is_a_device_in_home_assistant_where_that_is_asked_for() {
    let broker = Mosquitto::start("", &[]);
    let outbox = Outbox::new();
    outbox.fill(1, 10);
    let config = MqttConfig { home_assistant: Some(HomeAssistantConfig::default()), ..config(broker.port()) };
    let station = Station::start(&outbox.store, config);
    eventually("connected", || station.handle.state().connected);
    let home = Subscriber::start(broker.port());
    let found = || home.all().into_iter().find(|message| message.topic == TOPIC);
    eventually("the device is described", || found().is_some());
    assert!(found().unwrap().retained);
    let device = found().unwrap().json();
    station.stop();

    assert_eq!(device["device"]["identifiers"][0], "ulna_clinic-12");
    let available = &device["availability"][0];
    assert_eq!(available["topic"], "ulna/v1/clinic-12/status");
    assert_eq!(rendered(&available["value_template"], &golden("status-will")), "offline");
    assert_eq!(rendered(&available["value_template"], &golden("status-online")), "online");

    let mut health = golden("health");
    health["days"][1]["abnormal"] = 3.into();
    let expected = [
        ("status", "online"),
        ("last_answer", "abnormal"),
        ("normal_today", "0"),
        ("uncertain_today", "0"),
        ("abnormal_today", "3"),
        ("rejected_today", "0"),
        ("queue", "9"),
        ("set_aside", "1"),
        ("oldest", "125"),
        ("disk_free", "21474836480"),
        ("temperature", "41.5"),
    ];
    let components = device["components"].as_object().unwrap();
    assert_eq!(components.len(), expected.len(), "{components:?}");
    for (key, value) in expected {
        let component = &components[key];
        assert_eq!(component["platform"], "sensor", "{key}");
        assert_eq!(component["unique_id"], format!("ulna_clinic-12_{key}"));
        let topic = component.get("state_topic").unwrap_or(&device["state_topic"]).as_str().unwrap();
        let message = match topic.rsplit_once('/').unwrap().1 {
            "health" => health.clone(),
            "status" => golden("status-online"),
            "latest" => golden("result-abnormal"),
            other => panic!("{key} reads {other}"),
        };
        assert_eq!(rendered(&component["value_template"], &message), value, "{key}");
    }
    let idle = &components["oldest"]["value_template"];
    health["outbox_oldest_age_s"] = Value::Null;
    assert_eq!(rendered(idle, &health), "0");
    let rejected = &components["last_answer"]["value_template"];
    assert_eq!(rendered(rejected, &golden("result-rejected")), "rejected");
}

#[test]
fn nothing_is_said_to_home_assistant_unless_asked() {
    let broker = Mosquitto::start("", &[]);
    let subscriber = Subscriber::start(broker.port());
    let outbox = Outbox::new();
    let station = Station::start(&outbox.store, config(broker.port()));
    eventually("health is said", || !subscriber.on("health").is_empty());
    station.stop();
    eventually("the leave arrives", || subscriber.last_status().as_deref() == Some("offline clean_stop"));
    assert!(subscriber.all().iter().all(|message| message.topic.starts_with("ulna/v1/clinic-12/")));
}
