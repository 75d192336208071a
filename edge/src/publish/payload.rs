//! Payloads. A result's is what the store holds, with the delivery fields in front.

use contract::result::{Delivery, Presence, StationStatus};
use serde::Serialize;

use super::session::Link;

/// Why a row cannot become a payload.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PayloadError {
    #[error("the stored payload is not a JSON object")]
    NotAnObject,
    #[error("the delivery fields are not JSON: {0}")]
    Delivery(String),
}

/// The stored object with the delivery's fields put in front. The stored text itself is not parsed and written
/// again, so that every number leaves the station exactly as it was recorded.
pub(crate) fn with_delivery(stored: &str, delivery: &Delivery) -> Result<String, PayloadError> {
    let fields = serde_json::to_string(delivery).map_err(|e| PayloadError::Delivery(e.to_string()))?;
    let head = fields.strip_suffix('}').ok_or(PayloadError::NotAnObject)?;
    let rest = stored.trim().strip_prefix('{').ok_or(PayloadError::NotAnObject)?;
    let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
    Ok(format!("{head}{comma}{rest}"))
}

pub(super) fn status(link: &Link, presence: Presence, reason: &str) -> Vec<u8> {
    json(&StationStatus {
        station: link.station.clone(),
        status: presence,
        reason: reason.to_owned(),
        at: Some(link.store.now()),
    })
}

/// The payload of one of the contract's types. They are plain data with string keys, which always serialise.
pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// Upper bound of a QoS 1 PUBLISH packet's size without properties.
pub(super) fn packet_bytes(topic: &str, payload_bytes: usize) -> usize {
    const HEADER_MAX: usize = 5;
    const TOPIC_LENGTH: usize = 2;
    const PACKET_ID: usize = 2;
    const PROPERTIES_LENGTH: usize = 1;
    HEADER_MAX + TOPIC_LENGTH + topic.len() + PACKET_ID + PROPERTIES_LENGTH + payload_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery() -> Delivery {
        Delivery { station: "clinic-12".into(), outbox_id: "abc".into(), seq: 7, oldest_unsent_seq: 5 }
    }

    #[test]
    fn numbers_leave_as_they_were_stored() {
        let stored = r#"{"probability":0.30000000000000004,"views":[]}"#;
        let payload = with_delivery(stored, &delivery()).unwrap();
        assert!(payload.ends_with(&stored[1..]), "{payload}");
        let value: serde_json::Value = serde_json::from_str(&payload).unwrap();
        assert_eq!(value["seq"], 7);
        assert_eq!(value["oldest_unsent_seq"], 5);
        assert_eq!(value["station"], "clinic-12");
        assert_eq!(value["outbox_id"], "abc");
    }

    #[test]
    fn an_empty_object_stays_json_and_another_thing_is_refused() {
        let payload = with_delivery("{}", &delivery()).unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(&payload).is_ok(), "{payload}");
        assert_eq!(with_delivery("[1]", &delivery()), Err(PayloadError::NotAnObject));
    }
}
