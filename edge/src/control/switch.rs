//! `model_install` and `model_rollback`: another bundle is fetched, tested and put to use while results go on flowing.
//!
//! The work is done on a thread of its own, and the command stays pending until the station serves with the bundle, which
//! it does only after it has started anew; so a power cut at any point is followed by another attempt, which finds what
//! the one before has achieved. A line that is down is waited for until the command expires.

use std::thread;
use std::time::{Duration, Instant};

use contract::command::{Command, CommandAddress, CommandReason};
use crossbeam_channel::{Receiver, TryRecvError, bounded};
use jiff::Timestamp;

use super::judge::Refusal;
use crate::config::Config;
use crate::slots::{Download, Record, Rules, Slot, Slots, SlotsError};

/// How long after an attempt that came to nothing the next one is made.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// A bundle that the centre wants used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    bundle_sha256: String,
    /// Where it is fetched from; it is in the other slot where there is no such place.
    url: Option<String>,
}

impl Wish {
    /// What a command wants; `None` when it is about something else.
    pub(super) fn of(command: &Command) -> Option<Self> {
        let (bundle_sha256, url) = match command {
            Command::ModelInstall { url, bundle_sha256 } => (bundle_sha256, Some(url.clone())),
            Command::ModelRollback { bundle_sha256 } => (bundle_sha256, None),
            _ => return None,
        };
        Some(Self { bundle_sha256: bundle_sha256.to_ascii_lowercase(), url })
    }
}

/// How a wish stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The station serves with the bundle.
    Fulfilled,
    /// It cannot be.
    Failed(Refusal),
    /// It is being worked on.
    Running,
    /// Nothing is done for it at the moment: another one is worked on, or an attempt has just come to nothing.
    Waiting,
}

/// What came of an attempt: the bundle is to be used from the next start on, or why not, and whether that may pass.
type Attempt = Result<(), (Refusal, bool)>;

/// An attempt that is being made.
struct Running {
    address: CommandAddress,
    attempt: Receiver<Attempt>,
}

/// Fulfils wishes, one after the other.
pub(super) struct Switch {
    slots: Option<Slots>,
    config: Config,
    /// The bundle that serves.
    serving: String,
    running: Option<Running>,
    retry_at: Option<Instant>,
}

impl Switch {
    pub(super) fn new(config: &Config, serving: &str) -> Self {
        Self {
            slots: Slots::of(config),
            config: config.clone(),
            serving: serving.to_owned(),
            running: None,
            retry_at: None,
        }
    }

    /// The bundle that is to be used in place of the one that serves, if there is one.
    pub(super) fn next_bundle(&self) -> Option<String> {
        let record = self.slots.as_ref()?.record().ok()?;
        let (_, bundle) = record.active()?;
        (bundle.bundle_sha256 != self.serving).then(|| bundle.to_string())
    }

    /// Looks at a wish and gets it on. `began` is when work on it began, in this run of the service or another;
    /// `may_begin` says whether another attempt may be made.
    pub(super) fn stand(
        &mut self,
        address: &CommandAddress,
        wish: &Wish,
        (began, may_begin): (Option<Timestamp>, bool),
        now: Instant,
    ) -> Standing {
        let Some(slots) = &self.slots else {
            return Standing::Failed(named(&self.config));
        };
        if wish.bundle_sha256 == self.serving {
            return Standing::Fulfilled;
        }
        if let Some(began) = began
            && let Some(why) = slots.record().ok().and_then(|record| came_back(&record, wish, began))
        {
            return Standing::Failed(Refusal::new(CommandReason::ModelReturned, why));
        }
        match &self.running {
            Some(running) if running.address == *address => return self.look(now),
            Some(_) => return Standing::Waiting,
            None => {}
        }
        if !may_begin || self.retry_at.is_some_and(|at| now < at) {
            return Standing::Waiting;
        }
        self.begin(address, wish)
    }

    fn begin(&mut self, address: &CommandAddress, wish: &Wish) -> Standing {
        let Some(slots) = self.slots.clone() else { return Standing::Waiting };
        let (sender, attempt) = bounded(1);
        let (config, wish) = (self.config.clone(), wish.clone());
        let spawned = thread::Builder::new().name("switch".to_owned()).spawn(move || {
            // Nobody waits for it any more when the service stops.
            let _ = sender.send(fulfil(&slots, &config, &wish));
        });
        match spawned {
            Ok(_) => {
                self.running = Some(Running { address: address.clone(), attempt });
                Standing::Running
            }
            Err(error) => Standing::Failed(Refusal::new(
                CommandReason::Busy,
                format!("a thread cannot be started: {error}"),
            )),
        }
    }

    /// How the attempt that is being made stands.
    fn look(&mut self, now: Instant) -> Standing {
        let Some(ended) = self.running.as_ref().map(|running| running.attempt.try_recv()) else {
            return Standing::Waiting;
        };
        match ended {
            Err(TryRecvError::Empty) => Standing::Running,
            // The service starts anew within a second, and the next one answers.
            Ok(Ok(())) => Standing::Running,
            Ok(Err((refusal, true))) => {
                log::warn!("the bundle is not installed yet: {}; trying again", refusal.detail);
                self.running = None;
                self.retry_at = Some(now + RETRY_AFTER);
                Standing::Waiting
            }
            Ok(Err((refusal, false))) => {
                self.running = None;
                Standing::Failed(refusal)
            }
            Err(TryRecvError::Disconnected) if self.next_bundle().is_some() => Standing::Running,
            Err(TryRecvError::Disconnected) => {
                self.running = None;
                Standing::Failed(Refusal::new(
                    CommandReason::SelfTestFailed,
                    "installing it ended in a fault of this program; report it",
                ))
            }
        }
    }
}

/// Why the station does not use a bundle that it has been using on trial since `began`.
fn came_back(record: &Record, wish: &Wish, began: Timestamp) -> Option<String> {
    let returned = record.returned()?;
    (returned.bundle.bundle_sha256 == wish.bundle_sha256 && returned.at >= began)
        .then(|| format!("the station has returned to the bundle before, because {}", returned.why))
}

fn named(config: &Config) -> Refusal {
    let dir = config.bundle_dir.clone().unwrap_or_default();
    Refusal::new(CommandReason::NotAllowed, SlotsError::Named(dir).to_string())
}

fn fulfil(slots: &Slots, config: &Config, wish: &Wish) -> Attempt {
    let rules = Rules::of(config);
    let attempt = match &wish.url {
        Some(url) => fetch(slots, config, &rules, url, &wish.bundle_sha256),
        None => go_back(slots, &rules, &wish.bundle_sha256),
    };
    attempt.map_err(|error| {
        let passing = match &error {
            SlotsError::Download(error) => error.may_pass(),
            SlotsError::Busy(_) | SlotsError::OnTrial => true,
            _ => false,
        };
        (Refusal::new(reason(&error), error.to_string()), passing)
    })
}

fn fetch(
    slots: &Slots,
    config: &Config,
    rules: &Rules,
    url: &str,
    bundle_sha256: &str,
) -> Result<(), SlotsError> {
    if let Some(slot) = slots.record()?.holding(bundle_sha256) {
        return slots.activate(slot, rules).map(drop);
    }
    let mut source = Download::new(url, &config.model)?;
    let placed = slots.install(&mut source, rules, Some(bundle_sha256))?;
    slots.use_from_now(placed.slot, bundle_sha256)
}

/// To the other slot only: what a rollback uses has been on this station before.
fn go_back(slots: &Slots, rules: &Rules, bundle_sha256: &str) -> Result<(), SlotsError> {
    let record = slots.record()?;
    let other = record.active().map_or(Slot::A, |(slot, _)| slot.other());
    match record.bundle(other) {
        None => Err(SlotsError::Empty),
        Some(bundle) if bundle.bundle_sha256 != bundle_sha256 => {
            Err(SlotsError::NotThere(bundle_sha256.to_owned()))
        }
        Some(_) => slots.activate(other, rules).map(drop),
    }
}

fn reason(error: &SlotsError) -> CommandReason {
    match error {
        SlotsError::Download(_) | SlotsError::Source { .. } => CommandReason::DownloadFailed,
        SlotsError::Model(_) | SlotsError::Slow { .. } => CommandReason::SelfTestFailed,
        SlotsError::Empty | SlotsError::NotThere(_) => CommandReason::OtherBundle,
        SlotsError::Busy(_) | SlotsError::OnTrial => CommandReason::Busy,
        SlotsError::Io { .. } | SlotsError::Space { .. } | SlotsError::Record { .. } => {
            CommandReason::StoreFailing
        }
        SlotsError::Named(_) | SlotsError::NoModel(_) | SlotsError::Direction(_) => CommandReason::NotAllowed,
        SlotsError::Refused(_) | SlotsError::Bundle(_) => CommandReason::BundleRefused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_return_since_work_began_counts_against_a_command() {
        let returned = |at: &str| -> Record {
            let bundle = serde_json::json!({
                "name": "m", "version": 2, "purpose": "demo", "bundle_sha256": "ab", "signed_by": "K",
                "installed_at": "2026-01-01T00:00:00Z",
            });
            let record = serde_json::json!({
                "format": 1, "active": null, "trial": null, "version_max": 2, "slots": { "b": bundle },
                "returned": { "bundle": bundle, "why": "it died", "at": at },
            });
            serde_json::from_value(record).unwrap()
        };
        let began: Timestamp = "2026-02-01T00:00:00Z".parse().unwrap();
        let wish = |hash: &str| Wish { bundle_sha256: hash.to_owned(), url: None };
        let why = came_back(&returned("2026-02-01T00:01:00Z"), &wish("ab"), began);
        assert!(why.unwrap().contains("it died"));
        assert_eq!(came_back(&returned("2026-01-31T00:00:00Z"), &wish("ab"), began), None);
        assert_eq!(came_back(&returned("2026-02-01T00:01:00Z"), &wish("cd"), began), None);
        assert_eq!(came_back(&Record::default(), &wish("ab"), began), None);
    }

    #[test]
    fn hashes_are_the_same_in_either_case() {
        let rollback = Command::ModelRollback { bundle_sha256: "ABCDEF".to_owned() };
        assert_eq!(Wish::of(&rollback).unwrap().bundle_sha256, "abcdef");
        assert_eq!(Wish::of(&Command::Ping {}), None);
    }
}
