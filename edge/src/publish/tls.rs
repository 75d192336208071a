//! TLS to the broker: rustls on ring, trusting only the authority in `ca_file`.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};

use super::{MqttConfig, SetupError};
use crate::clock::{WallClock, timestamp};
use crate::store::Store;
use crate::tls::provider;

/// The TLS configuration for a broker; `None` when the connection is plain text. The files are read each time,
/// so that a renewed certificate is used at the next connect. Certificates are judged by `clock`.
pub(super) fn client_config(
    config: &MqttConfig,
    clock: Arc<dyn TimeProvider>,
) -> Result<Option<ClientConfig>, SetupError> {
    let Some(roots) = roots(config)? else { return Ok(None) };
    let builder = ClientConfig::builder_with_details(provider(), clock)
        .with_safe_default_protocol_versions()
        .map_err(|error| SetupError::Tls(error.to_string()))?
        .with_root_certificates(roots);

    let client = match (&config.cert_file, &config.key_file) {
        (Some(cert_file), Some(key_file)) => {
            let chain = certificates("mqtt.cert_file", cert_file)?;
            let key = PrivateKeyDer::from_pem_file(key_file)
                .map_err(|error| unusable("mqtt.key_file", key_file, &error))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| unusable("mqtt.cert_file", cert_file, &error))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Some(client))
}

/// Whether a connection could be set up with the files as they are, the key being the certificate's.
pub(super) fn usable(config: &MqttConfig) -> bool {
    client_config(config, Arc::new(DefaultTimeProvider)).is_ok()
}

/// The authority that the broker's certificate must come from; `None` when the connection is plain text.
pub(super) fn roots(config: &MqttConfig) -> Result<Option<RootCertStore>, SetupError> {
    let Some(ca_file) = &config.ca_file else { return Ok(None) };
    let mut roots = RootCertStore::empty();
    for certificate in certificates("mqtt.ca_file", ca_file)? {
        roots.add(certificate).map_err(|error| unusable("mqtt.ca_file", ca_file, &error))?;
    }
    Ok(Some(roots))
}

/// The certificates of a PEM file that the configuration names under `key`.
pub(super) fn certificates(
    key: &'static str,
    file: &Path,
) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let found: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(key, file, &error))?;
    if found.is_empty() {
        return Err(unusable(key, file, &"it holds no certificate"));
    }
    Ok(found)
}

fn unusable(key: &'static str, file: &Path, why: &dyn fmt::Display) -> SetupError {
    SetupError::File { key, file: file.to_owned(), why: why.to_string() }
}

/// Certificates are judged by the station's clock, which never runs behind what it has already recorded: a
/// board without a battery starts in 1970, when every certificate is not yet valid.
#[derive(Debug)]
pub(super) struct StationClock(pub(super) Store);

impl TimeProvider for StationClock {
    fn current_time(&self) -> Option<UnixTime> {
        unix_time(self.0.now())
    }
}

/// The same for a program that has not opened the store.
#[derive(Debug)]
pub(super) struct FloorClock(pub(super) WallClock);

impl TimeProvider for FloorClock {
    fn current_time(&self) -> Option<UnixTime> {
        unix_time(timestamp(self.0.now_ms()))
    }
}

fn unix_time(at: Timestamp) -> Option<UnixTime> {
    Some(UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at.as_second()).ok()?)))
}
