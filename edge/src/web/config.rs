//! `[web]` of the station's configuration.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;

use super::lan::LanConfig;

/// `[web]`: where the technician's page listens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebConfig {
    /// Address and port.
    pub listen: SocketAddr,
    /// The unix socket of the command line; `api.sock` in the state directory where it is left out.
    pub socket: Option<PathBuf>,
    /// Folders on or below which sticks are mounted that the page may write results to.
    pub sticks_in: Vec<PathBuf>,
    /// `[web.lan]`, where there is one.
    pub lan: Option<LanConfig>,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8460)),
            socket: None,
            sticks_in: ["/media", "/run/media", "/mnt"].map(PathBuf::from).to_vec(),
            lan: None,
        }
    }
}

impl WebConfig {
    /// Checks what the type does not.
    ///
    /// # Errors
    /// When the page would be reachable from other machines: it asks nobody who they are.
    pub fn check(&self) -> Result<(), String> {
        if !self.listen.ip().is_loopback() {
            return Err(format!(
                "web.listen is {}; the page asks nobody there for a password, so it may only listen on this machine, \
                 such as 127.0.0.1:8460; for the network add a section [web.lan]",
                self.listen
            ));
        }
        if let Some(path) = self.sticks_in.iter().find(|path| !path.is_absolute() || path.as_os_str() == "/")
        {
            return Err(format!(
                "web.sticks_in has {}; name folders by their whole path, such as /media",
                path.display()
            ));
        }
        self.lan.as_ref().map_or(Ok(()), LanConfig::check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_may_look() {
        assert_eq!(WebConfig::default().check(), Ok(()));
        assert_eq!(WebConfig { listen: "[::1]:80".parse().unwrap(), ..WebConfig::default() }.check(), Ok(()));
        for listen in ["0.0.0.0:8460", "192.168.0.5:8460", "[::]:8460"] {
            let problem =
                WebConfig { listen: listen.parse().unwrap(), ..WebConfig::default() }.check().unwrap_err();
            assert!(problem.contains(listen), "{problem}");
        }
        for path in ["media", "/"] {
            let problem =
                WebConfig { sticks_in: vec![path.into()], ..WebConfig::default() }.check().unwrap_err();
            assert!(problem.contains("sticks_in"), "{problem}");
        }
    }
}
