//! `[mqtt]` of the station's configuration.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::home_assistant::HomeAssistantConfig;

/// `[mqtt]`. With `ca_file` the connection is TLS; without it, it is plain text.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MqttConfig {
    /// The broker's host name or address. With TLS its certificate must carry this name.
    pub host: String,
    /// The broker's port.
    pub port: u16,
    /// Name to log in with.
    pub username: Option<String>,
    /// File whose content, without a final line break, is the password. Read at every connect.
    pub password_file: Option<PathBuf>,
    /// PEM file with the certificates of the authority that signed the broker's.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the station's own certificate chain.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the key of `cert_file`.
    pub key_file: Option<PathBuf>,
    /// Lets results leave in plain text to a broker on another machine.
    pub allow_plaintext: bool,
    /// Seconds between two signs of life.
    pub keep_alive_s: u16,
    /// Messages sent and not yet acknowledged, at most.
    pub inflight_max: u16,
    /// Seconds a message may stay unacknowledged before the connection is given up.
    pub puback_timeout_s: u64,
    /// Shortest wait before connecting again, in milliseconds; it doubles with each failure.
    pub backoff_min_ms: u64,
    /// Longest wait before connecting again, in milliseconds.
    pub backoff_max_ms: u64,
    /// Seconds between two health messages.
    pub health_interval_s: u64,
    /// `[mqtt.home_assistant]`: makes the station a device in Home Assistant. Left out, nothing is said to it.
    pub home_assistant: Option<HomeAssistantConfig>,
}

impl Default for MqttConfig {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 1883,
            username: None,
            password_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            allow_plaintext: false,
            keep_alive_s: 25,
            inflight_max: 16,
            puback_timeout_s: 20,
            backoff_min_ms: 500,
            backoff_max_ms: 60_000,
            health_interval_s: 60,
            home_assistant: None,
        }
    }
}

impl MqttConfig {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// Says which key is wrong, why, and what to do. Files are not opened.
    pub fn check(&self) -> Result<(), String> {
        if self.host.is_empty() {
            return Err("mqtt.host is empty; name the broker's host".to_owned());
        }
        within("mqtt.port", u64::from(self.port), 1, 65_535)?;
        within("mqtt.keep_alive_s", u64::from(self.keep_alive_s), 5, 3600)?;
        within("mqtt.inflight_max", u64::from(self.inflight_max), 1, 100)?;
        within("mqtt.puback_timeout_s", self.puback_timeout_s, 1, 600)?;
        within("mqtt.backoff_min_ms", self.backoff_min_ms, 10, 3_600_000)?;
        within("mqtt.backoff_max_ms", self.backoff_max_ms, self.backoff_min_ms, 3_600_000)?;
        within("mqtt.health_interval_s", self.health_interval_s, 1, 86_400)?;
        if let Some(home_assistant) = &self.home_assistant {
            home_assistant.check()?;
        }
        if self.password_file.is_some() && self.username.is_none() {
            return Err("mqtt.password_file is set without mqtt.username; set both or neither".to_owned());
        }
        if self.cert_file.is_some() != self.key_file.is_some() {
            return Err("mqtt.cert_file and mqtt.key_file belong together; set both or neither".to_owned());
        }
        if self.cert_file.is_some() && self.ca_file.is_none() {
            return Err("mqtt.cert_file is set without mqtt.ca_file; name the authority of the broker's \
                        certificate too"
                .to_owned());
        }
        if self.ca_file.is_none() && !self.allow_plaintext && !is_loopback(&self.host) {
            return Err(format!(
                "mqtt.host is `{}`, another machine, and the connection would be plain text; set mqtt.ca_file \
                 for TLS, or mqtt.allow_plaintext = true where the network itself is protected",
                self.host
            ));
        }
        if self.ca_file.is_some() && self.host.parse::<Ipv6Addr>().is_ok() {
            return Err(format!(
                "mqtt.host is `{}`, an IPv6 address; with mqtt.ca_file give the name in the broker's certificate",
                self.host
            ));
        }
        Ok(())
    }

    /// The host as it stands before `:port`.
    pub(super) fn address(&self) -> String {
        match self.host.parse::<Ipv6Addr>() {
            Ok(address) => format!("[{address}]"),
            Err(_) => self.host.clone(),
        }
    }

    pub(super) fn puback_timeout(&self) -> Duration {
        Duration::from_secs(self.puback_timeout_s)
    }

    pub(super) fn health_interval(&self) -> Duration {
        Duration::from_secs(self.health_interval_s)
    }
}

fn within(key: &str, value: u64, min: u64, max: u64) -> Result<(), String> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(format!("{key} is {value}; expected {min} to {max}"))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(MqttConfig::default().check(), Ok(()));
        assert_eq!(toml::from_str::<MqttConfig>("").unwrap(), MqttConfig::default());
        assert!(toml::from_str::<MqttConfig>("hots = \"x\"").is_err());
    }

    #[test]
    fn plain_text_leaves_the_machine_only_when_allowed() {
        let at = |host: &str| MqttConfig { host: host.to_owned(), ..MqttConfig::default() };
        for host in ["localhost", "127.0.0.9", "::1"] {
            assert_eq!(at(host).check(), Ok(()), "{host}");
        }
        for host in ["broker.example", "10.0.0.1", "localhost.example"] {
            assert!(at(host).check().unwrap_err().contains("plain text"), "{host}");
            let allowed = MqttConfig { allow_plaintext: true, ..at(host) };
            assert_eq!(allowed.check(), Ok(()), "{host}");
            let encrypted = MqttConfig { ca_file: Some("ca.pem".into()), ..at(host) };
            assert_eq!(encrypted.check(), Ok(()), "{host}");
        }
    }

    #[test]
    fn an_ipv6_address_is_bracketed_and_needs_a_name_for_tls() {
        let plain = MqttConfig { host: "::1".to_owned(), ..MqttConfig::default() };
        assert_eq!(plain.address(), "[::1]");
        assert_eq!(MqttConfig::default().address(), "127.0.0.1");
        let encrypted = MqttConfig { ca_file: Some("ca.pem".into()), ..plain };
        assert!(encrypted.check().unwrap_err().contains("IPv6"));
    }

    #[test]
    fn keys_that_belong_together_are_demanded_together() {
        let base = MqttConfig::default();
        let half =
            MqttConfig { cert_file: Some("c.pem".into()), ca_file: Some("ca.pem".into()), ..base.clone() };
        assert!(half.check().unwrap_err().contains("key_file"));
        let nameless = MqttConfig { password_file: Some("p".into()), ..base.clone() };
        assert!(nameless.check().unwrap_err().contains("username"));
        let restless = MqttConfig { keep_alive_s: 1, ..base.clone() };
        assert!(restless.check().unwrap_err().contains("keep_alive_s"));
        let crossed = MqttConfig { backoff_max_ms: 100, ..base };
        assert!(crossed.check().unwrap_err().contains("backoff_max_ms"));
    }
}
