//! Whether a message is a command that this station executes. Pure: neither the store nor a clock is asked.

use contract::command::{BodyError, Command, CommandAddress, CommandBody, CommandReason, SignedCommand};
use jiff::Timestamp;

use super::config::CommandsConfig;
use crate::publish::COMMAND_MAX_BYTES;
use crate::trust::{self, TrustConfig, TrustError};

/// What the configuration lets the centre do.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    /// The station's name.
    pub(super) station: String,
    /// `[commands]`
    pub(super) commands: CommandsConfig,
    /// `[trust]`
    pub(super) trust: TrustConfig,
}

/// A command that may be executed, unless it comes too late or again.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Order {
    /// Until when.
    pub(super) expires_at: Timestamp,
    /// What to do.
    pub(super) command: Command,
    /// The id of the key that signed it.
    pub(super) signed_by: Option<String>,
}

/// Why a message is not executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// In a word.
    pub(super) reason: CommandReason,
    /// In a sentence.
    pub(super) detail: String,
    /// The id of the key that signed it all the same.
    pub(super) signed_by: Option<String>,
}

impl Refusal {
    pub(super) fn new(reason: CommandReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), signed_by: None }
    }

    /// The same of something that a key has signed.
    pub(super) fn of(self, signed_by: &Option<String>) -> Self {
        Self { signed_by: signed_by.clone(), ..self }
    }
}

impl Policy {
    /// Judges a message. What is signed is verified before it is read.
    pub(super) fn judge(&self, address: &CommandAddress, message: &[u8]) -> Result<Order, Refusal> {
        if message.len() > COMMAND_MAX_BYTES {
            let detail = format!("a command has at most {COMMAND_MAX_BYTES} bytes");
            return Err(Refusal::new(CommandReason::TooLarge, detail));
        }
        let SignedCommand { body, signature } = serde_json::from_slice(message).map_err(|error| {
            let detail = format!("expected an object with `body` and `signature`: {error}");
            Refusal::new(CommandReason::Malformed, detail)
        })?;
        let signed_by = match signature {
            Some(signature) => Some(self.signer(&body, &signature)?),
            None => None,
        };
        let refused = |refusal: Refusal| refusal.of(&signed_by);
        let body = CommandBody::parse(&body).map_err(|error| {
            let reason = match error {
                BodyError::Malformed(_) => CommandReason::Malformed,
                BodyError::Unknown(_) => CommandReason::UnknownCommand,
            };
            refused(Refusal::new(reason, error.to_string()))
        })?;
        self.check(address, &body, signed_by.is_some()).map_err(refused)?;
        Ok(Order { expires_at: body.expires_at, command: body.command, signed_by })
    }

    fn signer(&self, body: &str, signature: &str) -> Result<String, Refusal> {
        let keys = &self.trust.command_keys;
        let key = trust::verify(keys, body.as_bytes(), signature).map_err(|error| {
            let reason = match error {
                TrustError::UnknownKey => CommandReason::UnknownKey,
                TrustError::NotASignature | TrustError::Forged => CommandReason::BadSignature,
            };
            Refusal::new(reason, format!("the signature does not count: {error}"))
        })?;
        Ok(key.id().to_owned())
    }

    fn check(&self, address: &CommandAddress, body: &CommandBody, signed: bool) -> Result<(), Refusal> {
        let name = body.command.name();
        if body.station != self.station {
            return Err(Refusal::new(
                CommandReason::WrongStation,
                "the body names another station than the topic",
            ));
        }
        if body.id != address.id || name.as_str() != address.name {
            return Err(Refusal::new(
                CommandReason::TopicMismatch,
                "the body names another id or command than the topic",
            ));
        }
        if !self.commands.allow.contains(&name) {
            let detail = format!("this station's commands.allow does not name `{}`", name.as_str());
            return Err(Refusal::new(CommandReason::NotAllowed, detail));
        }
        if !signed && !self.commands.unsigned.contains(&name) {
            let detail = format!("this station takes `{}` only with a signature", name.as_str());
            return Err(Refusal::new(CommandReason::Unsigned, detail));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use contract::command::CommandName;
    use serde_json::{Value, json};

    use super::*;

    fn policy() -> Policy {
        let names = [CommandName::Ping, CommandName::Resend];
        let commands = CommandsConfig {
            allow: names.into(),
            unsigned: [CommandName::Ping].into(),
            ..CommandsConfig::default()
        };
        Policy { station: "clinic-12".to_owned(), commands, trust: TrustConfig::default() }
    }

    fn body(command: Value) -> Value {
        json!({ "station": "clinic-12", "id": "c-1", "expires_at": "2026-02-03T04:05:06Z", "command": command })
    }

    fn judge(topic: &str, message: &Value) -> Result<Order, CommandReason> {
        let address = CommandAddress::parse(topic).unwrap();
        policy().judge(&address, message.to_string().as_bytes()).map_err(|refusal| refusal.reason)
    }

    fn unsigned(topic: &str, body: &Value) -> Result<Order, CommandReason> {
        judge(topic, &json!({ "body": body.to_string() }))
    }

    #[test]
    fn a_command_for_this_station_is_an_order() {
        let order = unsigned("ping/c-1", &body(json!({ "name": "ping" }))).unwrap();
        assert_eq!((order.command, order.signed_by), (Command::Ping {}, None));
    }

    #[test]
    fn everything_else_has_its_reason() {
        let ping = body(json!({ "name": "ping" }));
        let with = |field: &str, value: Value| {
            let mut changed = ping.clone();
            changed[field] = value;
            changed
        };
        let resend = json!({ "name": "resend", "outbox_id": "o", "from_seq": 1, "to_seq": 2 });
        let mut partly = resend.clone();
        partly["only_abnormal"] = json!(true);
        for (topic, body, reason) in [
            ("ping/c-2", ping.clone(), CommandReason::TopicMismatch),
            ("resend/c-1", ping.clone(), CommandReason::TopicMismatch),
            ("ping/c-1", with("station", json!("clinic-13")), CommandReason::WrongStation),
            ("ping/c-1", with("expires_at", json!("tomorrow")), CommandReason::Malformed),
            ("ping/c-1", with("urgent", json!(true)), CommandReason::Malformed),
            ("ping/c-1", with("command", json!({})), CommandReason::Malformed),
            ("ping/c-1", with("command", json!({ "name": "ping", "count": 3 })), CommandReason::Malformed),
            ("reboot/c-1", with("command", json!({ "name": "reboot" })), CommandReason::UnknownCommand),
            ("resend/c-1", with("command", json!({ "name": "resend" })), CommandReason::Malformed),
            ("resend/c-1", with("command", partly), CommandReason::Malformed),
            ("resend/c-1", with("command", resend), CommandReason::Unsigned),
            ("diagnostics/c-1", with("command", json!({ "name": "diagnostics" })), CommandReason::NotAllowed),
        ] {
            assert_eq!(unsigned(topic, &body), Err(reason), "{topic} {body}");
        }
        for message in [json!("x"), json!({}), json!({ "body": ping }), json!({ "body": "{}", "more": 1 })] {
            assert_eq!(judge("ping/c-1", &message), Err(CommandReason::Malformed), "{message}");
        }
        let signed = json!({ "body": ping.to_string(), "signature": "none" });
        assert_eq!(judge("ping/c-1", &signed), Err(CommandReason::BadSignature), "even where none is needed");
        let long = json!({ "body": "x".repeat(COMMAND_MAX_BYTES) });
        assert_eq!(judge("ping/c-1", &long), Err(CommandReason::TooLarge));
    }
}
