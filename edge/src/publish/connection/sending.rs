//! What a message says, made at the moment it is handed to the client.

use std::time::Instant;

use contract::result::{Delivery, Presence};
use rumqttc::v5::mqttbytes::QoS;

use super::super::mailbox::Answer;
use super::super::payload::{self, json, packet_bytes, status};
use super::super::refusal::refuse;
use super::super::session::{Link, Loss, Memory};
use super::super::window::Message;
use super::super::{commands, home_assistant};
use super::Connection;
use crate::store::{OutboxRow, RowKind};
use crate::transition;

impl Connection {
    pub(super) fn send_row(&mut self, row: &OutboxRow, link: &Link, memory: &mut Memory) -> Result<(), Loss> {
        let delivery = delivery(row.seq, self.oldest_unsent(link)?.unwrap_or(row.seq).min(row.seq), link);
        if row.kind == RowKind::Tombstone {
            let payload = payload::with_delivery(&row.payload_json, &delivery).unwrap_or_default();
            let message = Message::Tombstone { seq: row.seq };
            return self.hand_over(message, link.topics.tombstone(), false, payload.into_bytes());
        }
        let payload = match payload::with_delivery(&row.payload_json, &delivery) {
            Ok(payload) => payload,
            Err(error) => return refuse(row.seq, &error.to_string(), link, memory),
        };
        let topic = link.topics.result();
        let bytes = packet_bytes(&topic, payload.len());
        if bytes > self.packet_max_bytes {
            let why = format!("packet of {bytes} bytes; the broker takes {}", self.packet_max_bytes);
            return refuse(row.seq, &why, link, memory);
        }
        transition("publish.before_send");
        self.hand_over(Message::Row { seq: row.seq }, topic, false, payload.into_bytes())
    }

    pub(super) fn send_answer(&mut self, ticket: u64, answer: Answer, link: &Link) -> Result<(), Loss> {
        let Answer { topic, payload, .. } = answer;
        let bytes = packet_bytes(&topic, payload.len());
        if bytes > self.packet_max_bytes {
            return commands::too_large(ticket, bytes, link);
        }
        self.hand_over(Message::Answer { ticket }, topic, false, payload)
    }

    pub(super) fn send_control(&mut self, message: Message, link: &Link) -> Result<(), Loss> {
        let topics = &link.topics;
        let (topic, payload) = match message {
            Message::Birth => (topics.birth(), json(&link.facts.birth())),
            Message::Health => {
                self.health_at = Instant::now();
                self.rewind = true;
                self.backlog.rest_tombstones(false);
                (topics.health(), json(&link.facts.health()))
            }
            Message::Status => {
                let condition = link.facts.condition();
                let status = status(link, condition.presence, &condition.reason);
                self.condition = Some(condition);
                (topics.status(), status)
            }
            Message::Farewell => (topics.status(), status(link, Presence::Offline, "clean_stop")),
            Message::Latest => match link.store.latest()? {
                Some(latest) => (topics.latest(), Self::latest(&latest, link)?),
                None => return Ok(()),
            },
            Message::Discovery => match &link.config.home_assistant {
                Some(config) => {
                    let device = home_assistant::discovery(&link.facts.birth(), topics);
                    (config.topic(&link.station), json(&device))
                }
                None => return Ok(()),
            },
            Message::Answer { .. } | Message::Row { .. } | Message::Tombstone { .. } => return Ok(()),
        };
        if payload.is_empty() {
            return Ok(());
        }
        let bytes = packet_bytes(&topic, payload.len());
        if bytes > self.packet_max_bytes {
            log::warn!(
                "the station's {message:?} is a packet of {bytes} bytes, the broker takes {}; raise its limit",
                self.packet_max_bytes
            );
            return Ok(());
        }
        self.hand_over(message, topic, true, payload)
    }

    fn oldest_unsent(&mut self, link: &Link) -> Result<Option<u64>, Loss> {
        if self.oldest_unsent.is_none() {
            self.oldest_unsent = link.store.oldest_unsent_seq()?;
        }
        Ok(self.oldest_unsent)
    }

    /// The newest result as it is retained.
    fn latest(row: &OutboxRow, link: &Link) -> Result<Vec<u8>, Loss> {
        let oldest_unsent_seq = link.store.oldest_unsent_seq()?.unwrap_or(row.seq + 1);
        let payload = payload::with_delivery(&row.payload_json, &delivery(row.seq, oldest_unsent_seq, link));
        Ok(payload.unwrap_or_default().into_bytes())
    }

    pub(super) fn disconnect(&self) -> Result<(), Loss> {
        self.client.try_disconnect().map_err(|_| Loss::ClientFull)
    }

    /// Never waits: the client's queue has room for a full window and the control messages beside it.
    fn hand_over(
        &mut self,
        message: Message,
        topic: String,
        retain: bool,
        payload: Vec<u8>,
    ) -> Result<(), Loss> {
        self.client.try_publish(topic, QoS::AtLeastOnce, retain, payload).map_err(|_| Loss::ClientFull)?;
        self.window.handed_over(message, Instant::now());
        Ok(())
    }
}

fn delivery(seq: u64, oldest_unsent_seq: u64, link: &Link) -> Delivery {
    Delivery { station: link.station.clone(), outbox_id: link.outbox_id.clone(), seq, oldest_unsent_seq }
}
