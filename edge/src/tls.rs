//! What every TLS connection of the station stands on, whoever the peer is.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};

/// rustls on ring: the default one would need cmake in every cross build.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
