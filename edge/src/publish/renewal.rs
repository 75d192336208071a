//! The certificates in the files of `[mqtt]` over time.
//!
//! A connection outlives the certificate it was made with, and its loss would be the first that anybody hears of it. So
//! somebody is told in good time; and once the files hold a later certificate, it is tried while the one before still holds.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::certificate::{self, Certificate};
use super::{Facts, MqttConfig, tls};

/// How often the files are looked at when an end is near.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often the log says that an end is near.
const SAY_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Follows the certificates of the present connection.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    /// The one of them that ends first.
    first: Option<Certificate>,
    looked: Option<Instant>,
    /// When the log said that this end is near.
    said: Option<(Timestamp, Instant)>,
}

impl Renewal {
    /// To be called before the files are read for a connection: a file replaced in between then makes one connection too many,
    /// not one too few.
    pub(super) fn connecting(&mut self, config: &MqttConfig) {
        // What is wrong with a file is said by whoever connects with it.
        if let Ok(found) = certificate::own(config) {
            self.first = first_to_end(found);
        }
    }

    /// Tells the station whether an end is near, and the log now and then.
    pub(super) fn tell(&mut self, facts: &dyn Facts, now: Timestamp) {
        let Some(first) = &self.first else { return };
        let soon = first.ends_soon(now);
        facts.certificate_ends_soon(soon);
        let at = Instant::now();
        let said = self
            .said
            .is_some_and(|(end, said)| end == first.not_after && at.duration_since(said) < SAY_EVERY);
        if soon && !said {
            self.said = Some((first.not_after, at));
            let end = first.end_in_words(now);
            log::warn!("{first} {end}; put a new one into its place, it is taken without a restart");
        }
    }

    /// Whether an end is near and the files hold certificates that end later and can be used.
    pub(super) fn is_due(&mut self, config: &MqttConfig, now: Timestamp, at: Instant) -> bool {
        let Some(first) = self.first.as_ref().filter(|first| first.ends_soon(now)) else { return false };
        if self.looked.is_some_and(|looked| at.duration_since(looked) < LOOK_EVERY) {
            return false;
        }
        self.looked = Some(at);
        let found = certificate::own(config).ok().and_then(first_to_end);
        // A key that was not replaced yet is not the certificate's.
        found.is_some_and(|found| found.not_after > first.not_after && found.not_before <= now)
            && tls::usable(config)
    }
}

fn first_to_end(found: Vec<Certificate>) -> Option<Certificate> {
    found.into_iter().min_by_key(|certificate| certificate.not_after)
}
