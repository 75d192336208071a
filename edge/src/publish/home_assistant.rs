//! Home Assistant's discovery: one retained message that makes the station a device there, where `[mqtt.home_assistant]` asks
//! for it. Its entities read the station's own retained topics; nothing else is sent for them.
//!
//! The message is of Home Assistant's device-based kind (2024.11 and later), at `<prefix>/device/<station>/ulna/config`:
//! <https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload>.

use contract::result::{StationBirth, Topics};
use serde::Deserialize;
use serde_json::{Value, json};

/// `[mqtt.home_assistant]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HomeAssistantConfig {
    /// The topic below which Home Assistant looks for devices.
    pub discovery_prefix: String,
}

impl Default for HomeAssistantConfig {
    fn default() -> Self {
        Self { discovery_prefix: "homeassistant".to_owned() }
    }
}

impl HomeAssistantConfig {
    pub(super) fn check(&self) -> Result<(), String> {
        let prefix = &self.discovery_prefix;
        let levels_are_named = prefix.split('/').all(|level| !level.is_empty());
        if levels_are_named && !prefix.contains(['+', '#']) && !prefix.starts_with(['$']) {
            return Ok(());
        }
        Err(format!(
            "mqtt.home_assistant.discovery_prefix is `{prefix}`; expected a topic such as homeassistant, without wildcards"
        ))
    }

    /// Where a station's device is described.
    pub(super) fn topic(&self, station: &str) -> String {
        format!("{}/device/{station}/ulna/config", self.discovery_prefix)
    }
}

/// An entity of the device: its key, name, template over a message, and what else Home Assistant wants to know.
struct Entity {
    key: &'static str,
    name: &'static str,
    template: &'static str,
    more: Value,
}

/// The description of a station's device.
pub(super) fn discovery(birth: &StationBirth, topics: &Topics) -> Value {
    let id = format!("ulna_{}", birth.station);
    let components: serde_json::Map<String, Value> = entities(topics)
        .into_iter()
        .map(|entity| {
            let mut component = json!({
                "platform": "sensor",
                "name": entity.name,
                "unique_id": format!("{id}_{}", entity.key),
                "value_template": entity.template,
            });
            for (key, value) in entity.more.as_object().into_iter().flatten() {
                component[key] = value.clone();
            }
            (entity.key.to_owned(), component)
        })
        .collect();
    json!({
        "device": {
            "identifiers": [id],
            "name": format!("Ulna {}", birth.station),
            "manufacturer": "Ulna",
            "model": format!("{} {}", birth.model.name, birth.model.version),
            "sw_version": birth.edge_version,
        },
        "origin": {"name": "ulna", "sw_version": birth.edge_version},
        "availability": [{
            "topic": topics.status(),
            "value_template": "{{ 'offline' if value_json.status == 'offline' else 'online' }}",
        }],
        "state_topic": topics.health(),
        "qos": 1,
        "components": components,
    })
}

fn entities(topics: &Topics) -> Vec<Entity> {
    let entity = |key, name, template, more| Entity { key, name, template, more };
    let count = |key, name, template| {
        entity(key, name, template, json!({"state_class": "measurement", "suggested_display_precision": 0}))
    };
    vec![
        entity("status", "Status", "{{ value_json.status }}", json!({"state_topic": topics.status()})),
        entity(
            "last_answer",
            "Last answer",
            "{{ value_json.answer or value_json.outcome }}",
            json!({"state_topic": topics.latest()}),
        ),
        count("normal_today", "Normal today", "{{ value_json.days[-1].normal }}"),
        count("uncertain_today", "Uncertain today", "{{ value_json.days[-1].uncertain }}"),
        count("abnormal_today", "Abnormal today", "{{ value_json.days[-1].abnormal }}"),
        count("rejected_today", "Rejected today", "{{ value_json.days[-1].rejected }}"),
        count("queue", "Results waiting", "{{ value_json.outbox_depth }}"),
        count("set_aside", "Results set aside", "{{ value_json.outbox_dead }}"),
        entity(
            "oldest",
            "Oldest result waiting",
            "{{ value_json.outbox_oldest_age_s or 0 }}",
            json!({"device_class": "duration", "unit_of_measurement": "s", "state_class": "measurement"}),
        ),
        entity(
            "disk_free",
            "Free space",
            "{{ value_json.disk_free_bytes }}",
            json!({"device_class": "data_size", "unit_of_measurement": "B", "state_class": "measurement"}),
        ),
        entity(
            "temperature",
            "Temperature",
            "{{ value_json.temperature_c }}",
            json!({"device_class": "temperature", "unit_of_measurement": "°C", "state_class": "measurement"}),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_topic() {
        let at = |prefix: &str| HomeAssistantConfig { discovery_prefix: prefix.to_owned() };
        assert_eq!(HomeAssistantConfig::default().check(), Ok(()));
        assert_eq!(at("site/ha").topic("clinic-12"), "site/ha/device/clinic-12/ulna/config");
        for bad in ["", "/ha", "ha/", "a//b", "ha/#", "+", "$SYS"] {
            assert!(at(bad).check().unwrap_err().contains("discovery_prefix"), "{bad}");
        }
    }
}
