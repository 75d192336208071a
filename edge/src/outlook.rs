//! How the station is in one line, which `systemctl status` shows, and news about what it stands on: the camera, the clock,
//! the disk's space.

use std::fmt::Write as _;
use std::mem;
use std::sync::Arc;

use jiff::Timestamp;

use crate::capture::Camera;
use crate::clock;
use crate::health::{self, Health};
use crate::intake::Intake;
use crate::publish::Broker;
use crate::store::Store;

/// Looks at the station and says what changed.
pub struct Outlook {
    health: Arc<Health>,
    intake: Intake,
    camera: Option<Arc<dyn Camera>>,
    broker: Broker,
    now: Facts,
    said: String,
}

/// What the line is made of, beside the gravest trouble.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Facts {
    camera: Option<String>,
    clock: Option<String>,
    waiting: Option<String>,
}

impl Outlook {
    /// Nothing has been said yet.
    pub fn new(health: Arc<Health>, intake: Intake, camera: Option<Arc<dyn Camera>>, broker: Broker) -> Self {
        Self { health, intake, camera, broker, now: Facts::default(), said: String::new() }
    }

    /// Looks, logs what is news, and tells systemd when the line is another.
    pub fn tell(&mut self, store: &Store) {
        let now = Facts {
            camera: self.camera.as_ref().and_then(|camera| camera.trouble()),
            clock: clock_trouble(Timestamp::now()),
            waiting: self.waiting(store),
        };
        let before = mem::replace(&mut self.now, now);
        news("the camera", &before.camera, &self.now.camera);
        news("the clock", &before.clock, &self.now.clock);
        let line = self.line();
        if line != self.said {
            health::say(&line);
            self.said = line;
        }
    }

    /// Whether there is space for images, which is logged when it changes.
    pub fn look_at_space(&self) {
        if let Err(error) = self.intake.check_space() {
            log::debug!("{error}");
        }
    }

    /// Why results wait, if they do. The session logs it itself.
    fn waiting(&self, store: &Store) -> Option<String> {
        let why = self.broker.state().last_error?;
        let results = store.depth().ok().filter(|depth| *depth > 0)?;
        Some(format!("{results} results wait in the outbox: {why}"))
    }

    fn line(&self) -> String {
        let mut line = match self.health.gravest() {
            Some(trouble) => format!("needs attention: {}: {}", trouble.word(), trouble.remedy()),
            None => "scoring".to_owned(),
        };
        let Facts { camera, clock, waiting } = &self.now;
        for said in [camera, clock, waiting].into_iter().flatten() {
            let _ = write!(line, "; {said}");
        }
        line
    }
}

/// A board without a battery begins in 1970.
fn clock_trouble(now: Timestamp) -> Option<String> {
    let unset = now.as_millisecond() < clock::build_ms();
    unset.then(|| {
        "the clock is not set: results bear the latest time that is known; set it (timedatectl set-time), or let a time \
         server be reached"
            .to_owned()
    })
}

fn news(what: &str, before: &Option<String>, now: &Option<String>) {
    match (before, now) {
        (None, Some(why)) => log::warn!("{what} needs attention: {why}"),
        (Some(_), None) => log::info!("{what} is well again"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_the_program_was_built_is_not_set() {
        assert!(clock_trouble(Timestamp::UNIX_EPOCH).is_some_and(|said| said.contains("timedatectl")));
        assert_eq!(clock_trouble(Timestamp::now()), None);
    }
}
