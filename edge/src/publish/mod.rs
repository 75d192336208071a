//! From the outbox to the broker.

pub mod config;
pub mod watch;

pub use config::MqttConfig;
