//! What is known of the broker, for the technician's page and the service's own health.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BrokerState {
    /// Whether the broker has accepted the station's connection.
    pub connected: bool,
    /// Since when that is so; null before the first connection or failure.
    pub since: Option<Timestamp>,
    /// Why the last connection failed or ended; null while connected.
    pub last_error: Option<String>,
    /// Results acknowledged since the service started.
    pub results_acked: u64,
    /// Results the broker has refused since the service started; each is tried several times.
    pub results_refused: u64,
}

/// The broker's state, shared between the session that changes it and those who show it.
#[derive(Clone, Debug, Default)]
pub struct Broker {
    state: Arc<Mutex<BrokerState>>,
}

impl Broker {
    /// The state now.
    pub fn state(&self) -> BrokerState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut BrokerState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
