//! Commands from the centre: judged, remembered, executed once, answered.
//!
//! ```text
//! arrives ──judge──▶ refused, answered and forgotten: an id is not used up by what anybody may send
//!            └─▶ taken: its row is committed
//!                  └─▶ waits while the clock is not synchronised, which is said once
//!                        └─▶ judged again, then expired, refused or executed: effect, answer and row in one transaction
//!                              └─▶ the answer is sent until the broker has it
//! ```
//!
//! What takes long (`switch`) is worked on beside: its command is answered `running`, and settled later.
//!
//! A repetition is answered `duplicate`, with what came of it first. Nothing is executed that `[commands]` does not
//! allow, and nothing that changes how the station answers without a signature by a key of `[trust]`.

mod config;
mod diagnostics;
mod judge;
mod points;
mod switch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::bundle::BundleManifest;
use contract::command::{
    Command, CommandAck, CommandAddress, CommandOutcome, CommandReason, Diagnostics, FirstAck, Resent,
    SetPoints,
};
use contract::result::{ModelSummary, Topics};
use jiff::SignedDuration;

use crate::config::Config;
use crate::flood::Flood;
use crate::health::{self, Health};
use crate::publish::{Answer, Arrived, Mailbox, Waker};
use crate::store::{AckKey, Effect, NewCommand, PendingCommand, Store, StoreError, StoredAck, Taken};
use crate::wake::{Restart, Stop};

pub use config::CommandsConfig;
use judge::{Order, Policy, Refusal};
use switch::{Standing, Switch, Wish};

/// How often waiting commands are looked at, and a stop is noticed.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long one command may take: diagnostics wait for a broker or a disk that hangs.
const SILENCE_MAX: Duration = Duration::from_secs(300);
/// How far ahead a command may expire.
const EXPIRY_MAX: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Most results sent again by one command.
const RESEND_MAX: u64 = 10_000;

/// What executing commands needs.
pub struct Setup {
    /// The station's configuration.
    pub config: Config,
    /// Where commands are remembered, and results kept.
    pub store: Store,
    /// The manifest of the bundle in use.
    pub manifest: BundleManifest,
    /// The model in use.
    pub model: ModelSummary,
    /// Where commands come from and answers go.
    pub mailbox: Arc<Mailbox>,
    /// Wakes the session.
    pub session: Waker,
    /// Asked for when another bundle is to be used.
    pub restart: Restart,
    /// When the service started.
    pub started: Instant,
}

/// Executes commands.
pub struct Control {
    policy: Policy,
    topics: Topics,
    setup: Setup,
    /// Whether the clock is synchronised; `None` when not known, which counts as yes.
    synchronised: fn() -> Option<bool>,
    /// Whether commands may wait in the store.
    pending: bool,
    switch: Switch,
    next_look: Instant,
    refused: Flood,
    unanswerable: Flood,
    failing: Flood,
}

impl Control {
    /// Takes up what the last run left: commands that wait, and answers that the broker has not got.
    ///
    /// # Errors
    /// When the store fails.
    pub fn new(setup: Setup) -> Result<Self, StoreError> {
        let config = &setup.config;
        let policy = Policy {
            station: config.station.clone(),
            commands: config.commands.clone(),
            trust: config.trust.clone(),
        };
        let topics = Topics::new(&config.station);
        let control = Self {
            policy,
            topics,
            synchronised: health::clock_synchronised,
            pending: true,
            switch: Switch::new(config, &setup.model.bundle_sha256),
            next_look: Instant::now(),
            refused: Flood::default(),
            unanswerable: Flood::default(),
            failing: Flood::default(),
            setup,
        };
        let Setup { store, model, .. } = &control.setup;
        for stored in store.unsent_acks()? {
            control.post(stored);
        }
        if let Some(set) = store.points_in_force(&model.bundle_sha256)? {
            log::info!("operating points are in force that command {} has set", set.by);
        }
        Ok(control)
    }

    /// Works until stopped.
    pub fn run(&mut self, health: &Health, stop: &Stop) {
        while !stop.is_stopped() {
            health.beat("control", SILENCE_MAX);
            self.step();
            self.setup.mailbox.wait(PATIENCE);
        }
    }

    /// Looks at everything that has arrived and everything that waits.
    pub fn step(&mut self) {
        let now = Instant::now();
        while let Some(arrived) = self.setup.mailbox.take() {
            self.receive(arrived, now);
        }
        let lost = self.setup.mailbox.take_lost();
        if lost > 0 {
            self.say_unanswerable(lost, now);
        }
        if self.pending
            && let Err(error) = self.settle_all()
            && let Some(times) = self.failing.add(1, now)
        {
            log::error!(times; "commands cannot be executed: {error}; trying again");
        }
        self.look_for_another_bundle(now);
    }

    /// Whoever puts another slot to use, a command or an engineer at the station, writes it into the record.
    fn look_for_another_bundle(&mut self, now: Instant) {
        if now < self.next_look {
            return;
        }
        self.next_look = now + PATIENCE;
        let Some(bundle) = self.switch.next_bundle() else { return };
        match self.setup.restart.ask() {
            Ok(true) => log::info!("{bundle} is to be used"),
            Ok(false) => {}
            Err(why) => {
                if let Some(times) = self.failing.add(1, now) {
                    log::error!(times; "{bundle} is to be used, and the service cannot start anew: {why}");
                }
            }
        }
    }

    fn receive(&mut self, Arrived { below, payload }: Arrived, now: Instant) {
        let Some(address) = CommandAddress::parse(&below) else {
            return self.say_unanswerable(1, now);
        };
        let judged = self.policy.judge(&address, &payload).and_then(|order| {
            let message = String::from_utf8(payload)
                .map_err(|error| Refusal::new(CommandReason::Malformed, error.to_string()))?;
            Ok((order, message))
        });
        match judged {
            Ok((order, message)) => self.take(&address, &order, message, now),
            Err(refusal) => self.refuse(&address, refusal, now),
        }
    }

    fn take(&mut self, address: &CommandAddress, order: &Order, message: String, now: Instant) {
        let command = NewCommand {
            id: address.id.clone(),
            name: address.name.clone(),
            message,
            expires_at_ms: order.expires_at.as_millisecond(),
        };
        match self.setup.store.take_command(&command) {
            Ok(Taken::New) => self.pending = true,
            Ok(Taken::Known(first)) => {
                let first = first.map(|ack| FirstAck { outcome: ack.outcome, at: ack.at });
                let ack = self.ack(address, &order.signed_by, CommandOutcome::Duplicate);
                let detail = "this id was sent before; a new command needs a new id";
                let ack = ack.because(CommandReason::AlreadySeen, detail);
                self.send(address, &CommandAck { first, ..ack }, None);
            }
            Ok(Taken::Full) => {
                let detail = "too many commands are remembered; send it again in some days";
                let refusal = Refusal::new(CommandReason::Busy, detail);
                self.refuse(address, refusal.of(&order.signed_by), now);
            }
            Err(error) => {
                log::error!("command {} {} cannot be taken: {error}", address.name, address.id);
                let ack = self.ack(address, &order.signed_by, CommandOutcome::Failed);
                let detail = "the station cannot write its store; send it again";
                self.send(address, &ack.because(CommandReason::StoreFailing, detail), None);
            }
        }
    }

    /// Nothing is stored: whoever may write to the broker could fill the disk with refusals, or use up ids.
    fn refuse(&mut self, address: &CommandAddress, refusal: Refusal, now: Instant) {
        if let Some(times) = self.refused.add(1, now) {
            let Refusal { reason, detail, .. } = &refusal;
            log::warn!(times; "command {} {} refused as {reason:?}: {detail}", address.name, address.id);
        }
        self.send(address, &self.refusal(address, refusal), None);
    }

    fn say_unanswerable(&mut self, more: u64, now: Instant) {
        if let Some(times) = self.unanswerable.add(more, now) {
            log::warn!(
                times;
                "messages below {} were left alone: too many at once, or without the name and id of a command",
                self.topics.commands()
            );
        }
    }

    fn settle_all(&mut self) -> Result<(), StoreError> {
        let commands = self.setup.store.pending_commands()?;
        let newest =
            commands.iter().rfind(|command| Wish::is_one(&command.name)).map(|command| command.id.clone());
        let mut waiting = false;
        for command in commands {
            waiting |= !self.settle(command, newest.as_deref())?;
        }
        self.pending = waiting;
        Ok(())
    }

    /// Executes a command or says why not; says whether it is settled. Of all wishes for a bundle the newest counts.
    fn settle(&mut self, command: PendingCommand, newest: Option<&str>) -> Result<bool, StoreError> {
        let PendingCommand { id, name, message, said } = command;
        let address = CommandAddress { name, id };
        // Keys and rules may have changed while it waited.
        let judged = self.policy.judge(&address, message.as_bytes());
        let mut tried = None;
        if said == Some(CommandOutcome::Running)
            && let Some(wish) = Wish::read(&message)
        {
            match self.look_at(&address, &wish, &judged, newest) {
                Standing::Running => return Ok(false),
                Standing::Waiting(why) => tried = why,
                ended => {
                    let signed_by = judged.ok().and_then(|order| order.signed_by);
                    return self.end(&address, &signed_by, ended);
                }
            }
        }
        let order = match judged {
            Ok(order) => order,
            Err(refusal) => return self.answer(&address, Effect::None, self.refusal(&address, refusal)),
        };
        let store = &self.setup.store;
        let ack = |outcome| self.ack(&address, &order.signed_by, outcome);
        if (self.synchronised)() == Some(false) {
            if said.is_none() {
                let detail = "the station's clock is not synchronised; the command waits until it is";
                let waiting =
                    ack(CommandOutcome::Waiting).because(CommandReason::ClockNotSynchronised, detail);
                self.post(store.command_goes_on(&address.id, waiting)?);
            }
            return Ok(false);
        }
        let now = store.now();
        if now >= order.expires_at {
            let tried = tried.map(|why| format!("; {why}")).unwrap_or_default();
            let detail = format!("it expired at {}{tried}", order.expires_at);
            let expired = ack(CommandOutcome::Expired).because(CommandReason::Expired, detail);
            return self.answer(&address, Effect::None, expired);
        }
        if order.expires_at.duration_since(now) > EXPIRY_MAX {
            let detail = format!("expires_at may be {} days ahead at most", EXPIRY_MAX.as_hours() / 24);
            let refused = ack(CommandOutcome::Refused).because(CommandReason::ExpiryTooFar, detail);
            return self.answer(&address, Effect::None, refused);
        }
        if let Some(wish) = Wish::of(&order.command) {
            return self.get_on(&address, &order, &wish, said, newest);
        }
        match self.execute(&address, &order) {
            Ok((effect, diagnostics)) => {
                let done = CommandAck { diagnostics, ..ack(CommandOutcome::Done) };
                self.answer(&address, effect, done)
            }
            Err(refusal) => {
                let refused = self.refusal(&address, refusal.of(&order.signed_by));
                self.answer(&address, Effect::None, refused)
            }
        }
    }

    /// How a wish stands that is being worked on. What has been carried out is said to be, whatever the rules are by now;
    /// what is not wanted any more is left.
    fn look_at(
        &mut self,
        address: &CommandAddress,
        wish: &Wish,
        judged: &Result<Order, Refusal>,
        newest: Option<&str>,
    ) -> Standing {
        let now = self.setup.store.now();
        let overdue = judged.as_ref().is_ok_and(|order| now >= order.expires_at);
        if overdue || newest != Some(address.id.as_str()) {
            self.switch.leave(&address.id);
        }
        self.switch.look(&address.id, wish, Instant::now())
    }

    /// Gets on with another bundle; settled once the station serves with it, or cannot.
    fn get_on(
        &mut self,
        address: &CommandAddress,
        order: &Order,
        wish: &Wish,
        said: Option<CommandOutcome>,
        newest: Option<&str>,
    ) -> Result<bool, StoreError> {
        if newest != Some(address.id.as_str()) {
            let detail = "a later command for another bundle took its place";
            let superseded = Standing::Failed(Refusal::new(CommandReason::Superseded, detail));
            return self.end(address, &order.signed_by, superseded);
        }
        let (began, now) = (said == Some(CommandOutcome::Running), Instant::now());
        if !began {
            self.switch.welcome(wish);
        }
        let mut standing = self.switch.look(&address.id, wish, now);
        if matches!(standing, Standing::Waiting(_)) {
            standing = self.switch.get_on(&address.id, wish, now);
        }
        if standing == Standing::Running && !began {
            let running = self.ack(address, &order.signed_by, CommandOutcome::Running);
            self.post(self.setup.store.command_goes_on(&address.id, running)?);
        }
        self.end(address, &order.signed_by, standing)
    }

    /// Answers a wish that has come to its end; says whether it has.
    fn end(
        &self,
        address: &CommandAddress,
        signed_by: &Option<String>,
        standing: Standing,
    ) -> Result<bool, StoreError> {
        let ack = match standing {
            Standing::Fulfilled => self.ack(address, signed_by, CommandOutcome::Done),
            Standing::Failed(Refusal { reason, detail, .. }) => {
                self.ack(address, signed_by, CommandOutcome::Failed).because(reason, detail)
            }
            Standing::Running | Standing::Waiting(_) => return Ok(false),
        };
        self.answer(address, Effect::None, ack)
    }

    /// What is to be changed in the store, and what is to be told.
    fn execute(
        &self,
        address: &CommandAddress,
        order: &Order,
    ) -> Result<(Effect, Option<Diagnostics>), Refusal> {
        match &order.command {
            Command::Ping {} => Ok((Effect::None, None)),
            Command::Diagnostics {} => {
                let counts = (self.refused.count(), self.unanswerable.count());
                Ok((Effect::None, Some(diagnostics::gather(&self.setup, counts))))
            }
            Command::Resend { outbox_id, from_seq, to_seq } => {
                let own = self.setup.store.outbox_id().unwrap_or_default();
                if *outbox_id != own {
                    let detail =
                        format!("the station's outbox is {own}; numbers of another one mean nothing here");
                    return Err(Refusal::new(CommandReason::OtherOutbox, detail));
                }
                if !(1..=*to_seq).contains(from_seq) || to_seq - from_seq >= RESEND_MAX {
                    let detail =
                        format!("expected 1 <= from_seq <= to_seq, and {RESEND_MAX} results at most");
                    return Err(Refusal::new(CommandReason::OutsideLimits, detail));
                }
                Ok((Effect::Resend { from_seq: *from_seq, to_seq: *to_seq }, None))
            }
            Command::SetOperatingPoints(settings) => {
                let Setup { manifest, model, .. } = &self.setup;
                let shift_max = f64::from(self.policy.commands.point_shift_max_pct) / 100.0;
                points::check(settings, manifest, &model.bundle_sha256, shift_max)?;
                let set = SetPoints { by: address.id.clone(), settings: settings.clone() };
                Ok((Effect::SetPoints(set), None))
            }
            // Another bundle is a wish, and never comes here.
            Command::ModelInstall { .. } | Command::ModelRollback { .. } => Ok((Effect::None, None)),
        }
    }

    /// Executes and answers in one transaction; the command is then settled.
    fn answer(&self, address: &CommandAddress, effect: Effect, ack: CommandAck) -> Result<bool, StoreError> {
        let resends = matches!(effect, Effect::Resend { .. });
        let with = |resent: Resent| CommandAck { resent: resends.then_some(resent), ..ack };
        let stored = self.setup.store.answer_command(&address.id, &effect, with)?;
        log::info!("command {} {}: {:?}", address.name, address.id, stored.ack.outcome);
        if resends {
            self.setup.mailbox.say_requeued();
        }
        self.post(stored);
        Ok(true)
    }

    fn refusal(&self, address: &CommandAddress, refusal: Refusal) -> CommandAck {
        let Refusal { reason, detail, signed_by } = refusal;
        self.ack(address, &signed_by, CommandOutcome::Refused).because(reason, detail)
    }

    fn ack(
        &self,
        address: &CommandAddress,
        signed_by: &Option<String>,
        outcome: CommandOutcome,
    ) -> CommandAck {
        CommandAck {
            station: self.policy.station.clone(),
            id: address.id.clone(),
            command: address.name.clone(),
            outcome,
            reason: None,
            detail: None,
            at: self.setup.store.now(),
            clock_synchronised: (self.synchronised)(),
            signed_by: signed_by.clone(),
            first: None,
            resent: None,
            diagnostics: None,
        }
    }

    fn post(&self, StoredAck { key, ack }: StoredAck) {
        let address = CommandAddress { name: ack.command.clone(), id: ack.id.clone() };
        self.send(&address, &ack, Some(key));
    }

    fn send(&self, address: &CommandAddress, ack: &CommandAck, stored: Option<AckKey>) {
        let payload = serde_json::to_vec(ack).unwrap_or_default();
        let answer = Answer { topic: self.topics.command_ack(address), payload, stored };
        if !self.setup.mailbox.answer(answer) {
            log::debug!("the answer to command {} {} found no room", address.name, address.id);
        }
        self.setup.session.wake();
    }
}

#[cfg(test)]
mod tests;
