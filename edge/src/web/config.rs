//! `[web]` of the station's configuration.

use std::net::{Ipv4Addr, SocketAddr};

use serde::Deserialize;

/// `[web]`: where the technician's page listens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebConfig {
    /// Address and port.
    pub listen: SocketAddr,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8460)) }
    }
}
