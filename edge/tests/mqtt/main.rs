//! The session against a real mosquitto: what is in the outbox arrives, whatever happens to the broker, the
//! connection or a single message; and what the station says of itself is true.
//!
//! These tests need the Debian package `mosquitto` and, for the certificates, `openssl`; `make test` installs
//! them. Without them they fail and say so.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod broker;
mod delivery;
mod drain;
mod gaps;
mod home_assistant;
#[path = "../../../tests/src/port.rs"]
mod port;
mod presence;
mod refusal;
mod station;
mod tls;
