//! `model_install` and `model_rollback`: another bundle is fetched, tested and put to use while results go on flowing.
//!
//! The work is done on a thread of its own, and the command stays pending until the station serves with the bundle, which
//! it does only after it has started anew; so a power cut at any point is followed by another attempt, which finds what
//! the one before has achieved. A line that is down is waited for until the command expires.

use std::thread;
use std::time::{Duration, Instant};

use contract::command::{Command, CommandBody, CommandName, CommandReason, SignedCommand};
use crossbeam_channel::{Receiver, TryRecvError, bounded};

use super::judge::Refusal;
use crate::config::Config;
use crate::slots::{Download, Record, Rules, Slots, SlotsError};
use crate::wake::Stop;

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
    /// Whether a command of this name is a wish.
    pub(super) fn is_one(name: &str) -> bool {
        [CommandName::ModelInstall, CommandName::ModelRollback].iter().any(|wish| wish.as_str() == name)
    }

    /// What a message wants that was judged when it came.
    pub(super) fn read(message: &str) -> Option<Self> {
        let SignedCommand { body, .. } = serde_json::from_str(message).ok()?;
        Self::of(&CommandBody::parse(&body).ok()?.command)
    }

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The station serves with the bundle.
    Fulfilled,
    /// It cannot be.
    Failed(Refusal),
    /// It is being worked on.
    Running,
    /// Nothing is done for it at the moment: another one is worked on, or an attempt has just come to nothing, for the reason
    /// given.
    Waiting(Option<String>),
}

/// What came of an attempt: the bundle is to be used from the next start on, or why not, and whether that may pass.
type Attempt = Result<(), (Refusal, bool)>;

/// An attempt that is being made.
struct Running {
    id: String,
    attempt: Receiver<Attempt>,
    stop: Stop,
}

/// The last attempt, which came to nothing.
struct Tried {
    id: String,
    again_at: Instant,
    why: String,
}

/// Fulfils wishes, one after the other.
pub(super) struct Switch {
    config: Config,
    /// The bundle that serves.
    serving: String,
    running: Option<Running>,
    tried: Option<Tried>,
}

impl Switch {
    pub(super) fn new(config: &Config, serving: &str) -> Self {
        Self { config: config.clone(), serving: serving.to_owned(), running: None, tried: None }
    }

    fn slots(&self) -> Result<Slots, SlotsError> {
        Slots::needed(&self.config)
    }

    /// What came of the last attempt, if it was for this command.
    fn tried(&self, id: &str) -> Option<&Tried> {
        self.tried.as_ref().filter(|tried| tried.id == id)
    }

    /// The bundle that is to be used in place of the one that serves, if there is one.
    pub(super) fn next_bundle(&self) -> Option<String> {
        let record = self.slots().ok()?.record().ok()?;
        let (_, bundle) = record.active()?;
        (bundle.bundle_sha256 != self.serving).then(|| bundle.to_string())
    }

    /// How a wish stands that was worked on before, by this run of the service or another; nothing is begun for it.
    pub(super) fn look(&mut self, id: &str, wish: &Wish, now: Instant) -> Standing {
        let record = match self.slots() {
            Ok(slots) => slots.record(),
            Err(error) => return Standing::Failed(Refusal::new(reason(&error), error.to_string())),
        };
        let record = match record {
            Ok(record) => record,
            Err(error) => return Standing::Waiting(Some(error.to_string())),
        };
        if wish.bundle_sha256 == self.serving {
            // On trial until the service is ready.
            return if record.trial().is_some() { Standing::Running } else { Standing::Fulfilled };
        }
        if let Some(why) = came_back(&record, wish) {
            return Standing::Failed(Refusal::new(CommandReason::ModelReturned, why));
        }
        match &self.running {
            Some(running) if running.id == id => self.look_at_attempt(now),
            _ => Standing::Waiting(self.tried(id).map(|tried| tried.why.clone())),
        }
    }

    /// Gets a wish on that waits.
    pub(super) fn get_on(&mut self, id: &str, wish: &Wish, now: Instant) -> Standing {
        let resting = self.tried(id).filter(|tried| now < tried.again_at);
        if self.running.is_some() || resting.is_some() {
            return Standing::Waiting(resting.map(|tried| tried.why.clone()));
        }
        self.begin(id, wish)
    }

    /// A wish is new: what became of the same one before does not count.
    pub(super) fn welcome(&self, wish: &Wish) {
        if let Ok(slots) = self.slots()
            && let Err(error) = slots.forget_return(&wish.bundle_sha256)
        {
            log::warn!("{error}");
        }
    }

    /// Nothing more is done for a wish, as soon as it can be left.
    pub(super) fn leave(&self, id: &str) {
        if let Some(running) = self.running.as_ref().filter(|running| running.id == id) {
            running.stop.stop();
        }
    }

    fn begin(&mut self, id: &str, wish: &Wish) -> Standing {
        let Ok(slots) = self.slots() else { return Standing::Waiting(None) };
        let (sender, attempt) = bounded(1);
        let (config, wish, stop) = (self.config.clone(), wish.clone(), Stop::default());
        let told = stop.clone();
        let spawned = thread::Builder::new().name("switch".to_owned()).spawn(move || {
            // Nobody waits for it any more when the service stops.
            let _ = sender.send(fulfil(&slots, &config, &wish, told));
        });
        match spawned {
            Ok(_) => {
                self.running = Some(Running { id: id.to_owned(), attempt, stop });
                Standing::Running
            }
            Err(error) => Standing::Waiting(Some(format!("a thread cannot be started: {error}"))),
        }
    }

    /// How the attempt that is being made stands.
    fn look_at_attempt(&mut self, now: Instant) -> Standing {
        let Some(running) = &self.running else { return Standing::Waiting(None) };
        let (refusal, may_pass) = match running.attempt.try_recv() {
            Err(TryRecvError::Empty) => return Standing::Running,
            // The service starts anew within a second, and the next one answers.
            Ok(Ok(())) => return Standing::Running,
            Err(TryRecvError::Disconnected) if self.next_bundle().is_some() => return Standing::Running,
            Err(TryRecvError::Disconnected) => {
                let detail = "installing it ended in a fault of this program; report it";
                (Refusal::new(CommandReason::SelfTestFailed, detail), false)
            }
            Ok(Err(ended)) => ended,
        };
        let id = running.id.clone();
        self.running = None;
        if !may_pass {
            return Standing::Failed(refusal);
        }
        log::warn!("the bundle is not installed yet: {}; trying again", refusal.detail);
        let why = refusal.detail;
        self.tried = Some(Tried { id, again_at: now + RETRY_AFTER, why: why.clone() });
        Standing::Waiting(Some(why))
    }
}

/// Why the station no longer uses a bundle that it was to use.
fn came_back(record: &Record, wish: &Wish) -> Option<String> {
    let returned = record.returned()?;
    (returned.bundle.bundle_sha256 == wish.bundle_sha256)
        .then(|| format!("the station has returned to the bundle before, because {}", returned.why))
}

fn fulfil(slots: &Slots, config: &Config, wish: &Wish, stop: Stop) -> Attempt {
    let rules = Rules::of(config);
    let attempt = match &wish.url {
        Some(url) => Download::new(url, &config.model, stop)
            .map_err(SlotsError::from)
            .and_then(|mut source| fetch(slots, &mut source, &rules, &wish.bundle_sha256)),
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

fn fetch(slots: &Slots, source: &mut Download, rules: &Rules, bundle_sha256: &str) -> Result<(), SlotsError> {
    // What is there already needs no server.
    if let Some(slot) = slots.record()?.holding(bundle_sha256)
        && slots.activate(slot, rules).is_ok()
    {
        return Ok(());
    }
    let placed = slots.install(source, rules, Some(bundle_sha256))?;
    if placed.already {
        return slots.activate(placed.slot, rules).map(drop);
    }
    slots.use_from_now(placed.slot, bundle_sha256)
}

/// To the other slot only: what a rollback uses has been on this station before.
fn go_back(slots: &Slots, rules: &Rules, bundle_sha256: &str) -> Result<(), SlotsError> {
    let record = slots.record()?;
    let other = record.other();
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
        SlotsError::Model(_) | SlotsError::Slow { .. } | SlotsError::Deadly => CommandReason::SelfTestFailed,
        SlotsError::Empty | SlotsError::NotThere(_) => CommandReason::OtherBundle,
        SlotsError::Busy(_) | SlotsError::OnTrial => CommandReason::Busy,
        SlotsError::State(_) | SlotsError::Space { .. } | SlotsError::Record { .. } => {
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
    fn hashes_are_the_same_in_either_case() {
        let rollback = Command::ModelRollback { bundle_sha256: "ABCDEF".to_owned() };
        assert_eq!(Wish::of(&rollback).unwrap().bundle_sha256, "abcdef");
        assert_eq!(Wish::of(&Command::Ping {}), None);
    }
}
