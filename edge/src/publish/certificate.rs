//! Certificates as people need them: whose, and from when to when.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use x509_cert::der::Decode;

use super::{MqttConfig, SetupError, tls};
use crate::tls::provider;

/// Within this time before its end a certificate should be replaced.
const RENEW_WITHIN: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Whose a certificate is, and from when to when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Where it was found: a key of the configuration, or the broker.
    pub found_in: &'static str,
    /// Its subject.
    pub subject: String,
    /// It is not valid before.
    pub not_before: Timestamp,
    /// It is not valid after.
    pub not_after: Timestamp,
}

impl Certificate {
    /// Whether it is time to put another into its place.
    pub fn ends_soon(&self, now: Timestamp) -> bool {
        self.not_after.duration_since(now) < RENEW_WITHIN
    }

    /// Its end, such as `expires in 19 days, on 2026-06-20`.
    pub fn end_in_words(&self, now: Timestamp) -> String {
        let left = self.not_after.duration_since(now);
        let day = self.not_after.strftime("%Y-%m-%d");
        match left.as_hours() {
            _ if left.is_negative() => format!("has expired on {day}"),
            hours @ ..48 => format!("expires in {hours} hours, on {day}"),
            hours => format!("expires in {} days, on {day}", hours / 24),
        }
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the certificate of {} ({})", self.found_in, self.subject)
    }
}

/// The certificates in the files of `[mqtt]`: the authority's, then the station's own.
pub(super) fn own(config: &MqttConfig) -> Result<Vec<Certificate>, SetupError> {
    let mut found = Vec::new();
    let files = [("mqtt.ca_file", &config.ca_file), ("mqtt.cert_file", &config.cert_file)];
    for (key, file) in files.into_iter().filter_map(|(key, file)| Some((key, file.as_ref()?))) {
        for certificate in tls::certificates(key, file)? {
            found.push(read(key, &certificate)?);
        }
    }
    Ok(found)
}

/// Reads one; `found_in` says where it comes from.
pub(super) fn read(
    found_in: &'static str,
    certificate: &CertificateDer<'_>,
) -> Result<Certificate, SetupError> {
    let unusable =
        |why: String| SetupError::Tls(format!("the certificate of {found_in} cannot be read: {why}"));
    let parsed =
        x509_cert::Certificate::from_der(certificate).map_err(|error| unusable(error.to_string()))?;
    let facts = parsed.tbs_certificate();
    let at = |time: x509_cert::time::Time| {
        let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
        Timestamp::from_second(seconds).map_err(|error| unusable(error.to_string()))
    };
    Ok(Certificate {
        found_in,
        subject: facts.subject().to_string(),
        not_before: at(facts.validity().not_before)?,
        not_after: at(facts.validity().not_after)?,
    })
}

/// Verifies as a station does, and remembers what it was shown.
#[derive(Debug)]
pub(super) struct Recorder {
    verifier: Arc<WebPkiServerVerifier>,
    shown: Mutex<Vec<CertificateDer<'static>>>,
}

impl Recorder {
    /// A recorder that trusts these authorities.
    pub(super) fn new(roots: RootCertStore) -> Result<Self, SetupError> {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| SetupError::Tls(error.to_string()))?;
        Ok(Self { verifier, shown: Mutex::default() })
    }

    /// What the broker has shown, its own certificate first.
    pub(super) fn seen(&self) -> Result<Vec<Certificate>, SetupError> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.iter().map(|certificate| read("the broker", certificate)).collect()
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = std::iter::once(end_entity).chain(intermediates);
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) =
            chain.map(|certificate| certificate.clone().into_owned()).collect();
        self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
