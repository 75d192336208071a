//! The broker inside `edge demo` carries what the demo shows.
#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use contract::result::Topics;
use edge::publish::watch::Watch;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{Client, Event, Incoming, MqttOptions};

const RESULT: &str = r#"{"station":"demo","outbox_id":"a","seq":1,"oldest_unsent_seq":1,"outcome":"rejected",
    "answer":null,"answer_withheld":null,"reason":"no usable view","study":{"key":null,"key_id":null,
    "number":"ELB-0001","type":null,"revision":1,"opened_at":null,"closed_at":null,"probability":null},"views":[],
    "operating_points":null,"model":{"name":"m","version":1,"bundle_sha256":"","purpose":"demo"},
    "clock_synchronised":null,"notice":"decision support only"}"#;

#[test]
fn a_published_result_reaches_a_watch() {
    let address = edge::demo_broker::start().unwrap();
    assert!(address.ip().is_loopback());
    let mut watch = Watch::results(&address.ip().to_string(), address.port(), "demo").unwrap();

    let mut options = MqttOptions::new("publisher", address.ip().to_string(), address.port());
    options.set_keep_alive(Duration::from_secs(10));
    let (client, mut connection) = Client::new(options, 10);
    client.publish(Topics::new("demo").result(), QoS::AtLeastOnce, false, RESULT).unwrap();
    let acknowledged = connection
        .iter()
        .take(20)
        .any(|event| matches!(event.unwrap(), Event::Incoming(Incoming::PubAck(_))));
    assert!(acknowledged);

    let result = watch.next(Duration::from_secs(20)).unwrap().expect("the result arrives").result;
    assert_eq!(result.study.number.as_deref(), Some("ELB-0001"));
    assert_eq!(result.delivery.unwrap().seq, 1);
    assert!(watch.next(Duration::from_millis(200)).unwrap().is_none());
}
