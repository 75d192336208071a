//! One connection to the broker, from CONNECT to its end.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::{Duration, Instant};

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Packet, PubAck};
use rumqttc::v5::{AsyncClient, Event, EventLoop};
use tokio::time::MissedTickBehavior;

use super::acks::Acks;
use super::backlog::Backlog;
use super::outage::Say;
use super::refusal::{Verdict, refuse};
use super::session::{self, Link, Loss, Memory};
use super::window::{Message, Window};
use super::{Condition, commands};
use crate::store::{OutboxRow, RowKind};
use crate::transition;

mod sending;

/// How often deadlines, rests, health and condition are looked at, and the outbox without a wake-up.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// Status, birth, health, latest, discovery, the farewell and the subscription may be under way beside a full window of rows.
const CONTROL_MESSAGES_MAX: usize = 8;

/// How a connection ended.
pub(super) enum Ended {
    /// As asked.
    Stopped,
    /// To be made anew with the certificates that the files hold now.
    Renewing,
    /// Unasked. `progress`: at least one row was acknowledged.
    Lost { loss: Loss, progress: bool },
}

/// Connects and serves until the connection is lost or the service stops.
pub(super) async fn serve(link: &mut Link, memory: &mut Memory) -> Ended {
    memory.renewal.connecting(&link.config);
    memory.renewal.tell(&*link.facts, link.store.now());
    let options = match session::options(link) {
        Ok(options) => options,
        Err(error) => return Ended::Lost { loss: error.into(), progress: false },
    };
    let window_max = usize::from(link.config.inflight_max);
    let (client, mut events) = AsyncClient::new(options, window_max + CONTROL_MESSAGES_MAX);
    let mut connection = Connection::new(client);
    let ended = connection.run(&mut events, link, memory).await;
    // What was acknowledged counts, however the connection ended.
    match ended.and(connection.commit(link)) {
        Ok(()) if connection.renewing && !connection.stopping => Ended::Renewing,
        Ok(()) => Ended::Stopped,
        Err(loss) => {
            connection.blame(&loss, link, memory);
            Ended::Lost { loss, progress: connection.rows_acked > 0 }
        }
    }
}

struct Connection {
    client: AsyncClient,
    /// Whether the CONNACK has come.
    accepted: bool,
    /// Whether an acknowledgement has come.
    heard: bool,
    stopping: bool,
    /// Nothing more is sent, and the connection ends once nothing is under way.
    renewing: bool,
    window: Window,
    /// The most messages that may be under way.
    window_max: usize,
    /// The largest packet the broker takes.
    packet_max_bytes: usize,
    /// Messages about the station itself; they go before any row.
    control: VecDeque<Message>,
    backlog: Backlog,
    /// Whether the backlog is to be read from its front once no row is under way.
    rewind: bool,
    acks: Acks,
    /// The lowest `seq` not known to be acknowledged, as long as nothing was committed since it was read.
    oldest_unsent: Option<u64>,
    rows_acked: u64,
    condition: Option<Condition>,
    health_at: Instant,
}

impl Connection {
    fn new(client: AsyncClient) -> Self {
        Self {
            client,
            accepted: false,
            heard: false,
            stopping: false,
            renewing: false,
            window: Window::default(),
            window_max: 1,
            packet_max_bytes: usize::MAX,
            control: VecDeque::new(),
            backlog: Backlog::new(),
            rewind: false,
            acks: Acks::default(),
            oldest_unsent: None,
            rows_acked: 0,
            condition: None,
            health_at: Instant::now(),
        }
    }

    /// Returns when the connection is to be made anew, or when the session was asked to stop and has said goodbye or its time
    /// for that is over.
    async fn run(
        &mut self,
        events: &mut EventLoop,
        link: &mut Link,
        memory: &mut Memory,
    ) -> Result<(), Loss> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut deadline = None;
        loop {
            let event = {
                // The same poll is awaited until it is done: a cancelled one may leave half a packet unsent.
                let mut poll = pin!(events.poll());
                loop {
                    let wake = std::sync::Arc::clone(&link.wake);
                    tokio::select! {
                        event = &mut poll => break event,
                        () = wake.notified() => self.on_woken(link, memory)?,
                        () = at(self.acks.due()) => self.settle(link, memory)?,
                        _ = tick.tick() => self.tick(link, memory)?,
                        stop = stop_asked(&mut link.stop), if !self.stopping => {
                            if !self.accepted {
                                return Ok(());
                            }
                            deadline = Some(stop);
                            self.say_goodbye(link)?;
                        }
                        () = at(deadline) => return Ok(()),
                    }
                }
            };
            match event {
                Ok(Event::Outgoing(Outgoing::Disconnect)) => return Ok(()),
                Ok(event) => self.on(event, link, memory)?,
                Err(error) => {
                    // What was read together with the bad news still counts.
                    while let Some(event) = events.state.events.pop_front() {
                        if matches!(event, Event::Incoming(Packet::PubAck(_))) {
                            self.on(event, link, memory)?;
                        }
                    }
                    return Err(Box::new(error).into());
                }
            }
        }
    }

    fn on(&mut self, event: Event, link: &Link, memory: &mut Memory) -> Result<(), Loss> {
        match event {
            Event::Incoming(Packet::ConnAck(connack)) => self.on_accepted(&connack, link, memory)?,
            Event::Incoming(Packet::PubAck(puback)) => self.on_puback(&puback, link, memory)?,
            Event::Incoming(Packet::SubAck(suback)) => memory.subscription.answered(&suback, link),
            Event::Incoming(Packet::Publish(publish)) => commands::arrived(&publish, link),
            Event::Outgoing(Outgoing::Publish(pkid)) => {
                if let Some(Message::Row { .. }) = self.window.sent(pkid) {
                    transition("publish.sent");
                }
                return Ok(());
            }
            _ => return Ok(()),
        }
        self.settle(link, memory)
    }

    fn on_woken(&mut self, link: &Link, memory: &mut Memory) -> Result<(), Loss> {
        self.backlog.look_again();
        self.rewind = true;
        self.settle(link, memory)
    }

    fn on_accepted(&mut self, connack: &ConnAck, link: &Link, memory: &mut Memory) -> Result<(), Loss> {
        let limits = connack.properties.as_ref();
        let receive_max = limits.and_then(|limits| limits.receive_max).unwrap_or(u16::MAX);
        let window_max = usize::from(link.config.inflight_max.min(receive_max).max(1));
        self.window_max = if memory.careful { 1 } else { window_max };
        if let Some(bytes) = limits.and_then(|limits| limits.max_packet_size) {
            self.packet_max_bytes = bytes as usize;
        }
        self.accepted = true;
        self.control.extend([Message::Birth, Message::Status, Message::Health]);
        if link.store.latest()?.is_some() {
            self.control.push_back(Message::Latest);
        }
        if link.config.home_assistant.is_some() {
            self.control.push_back(Message::Discovery);
        }
        memory.subscription.ask(&self.client, link, Instant::now())?;

        let now = link.store.now();
        link.broker.change(|state| {
            state.connected = true;
            state.since = Some(now);
            state.last_error = None;
        });
        Ok(())
    }

    /// A broker that lets the station in and hangs up on whatever it says is not back.
    fn say_connected(&mut self, link: &Link, memory: &mut Memory) {
        if std::mem::replace(&mut self.heard, true) {
            return;
        }
        let (host, port) = (&link.config.host, link.config.port);
        match memory.outage.back(Instant::now()) {
            Say::Back { attempts, away } => log::info!(
                host = host.as_str(), port, attempts, away_s = away.as_secs();
                "connected to the broker again"
            ),
            _ => log::info!(host = host.as_str(), port; "connected to the broker"),
        }
    }

    fn on_puback(&mut self, puback: &PubAck, link: &Link, memory: &mut Memory) -> Result<(), Loss> {
        self.say_connected(link, memory);
        // An acknowledgement of nothing was already an error inside the client.
        let Some(message) = self.window.acknowledged(puback.pkid) else { return Ok(()) };
        let verdict = Verdict::of(puback.reason);
        let seq = match message {
            Message::Row { seq } => seq,
            Message::Answer { ticket } => return commands::acknowledged(ticket, &verdict, link),
            Message::Tombstone { seq } => return self.on_tombstone_acked(seq, verdict, link),
            Message::Farewell => {
                // Whatever the broker thinks of it, nothing more is to be said.
                return self.disconnect();
            }
            other => {
                note_control(other, &verdict, memory);
                return Ok(());
            }
        };
        match verdict {
            Verdict::Accepted => self.on_row_acked(seq, link, memory),
            Verdict::Permanent(why) => refuse(seq, why, link, memory),
            Verdict::Temporary(why) => {
                let rest = memory.refusals.add(seq, Instant::now());
                log::warn!(seq, rest_ms = rest.as_millis() as u64; "the broker cannot take a result now ({why})");
                link.broker.change(|state| state.results_refused += 1);
                Ok(())
            }
        }
    }

    fn on_row_acked(&mut self, seq: u64, link: &Link, memory: &mut Memory) -> Result<(), Loss> {
        transition("publish.puback");
        self.acks.add_result(seq, Instant::now());
        memory.refusals.remove(seq);
        self.rows_acked += 1;
        link.broker.change(|state| state.results_acked += 1);
        log::debug!(seq; "result acknowledged");
        Ok(())
    }

    fn on_tombstone_acked(&mut self, seq: u64, verdict: Verdict, link: &Link) -> Result<(), Loss> {
        match verdict {
            Verdict::Accepted => self.acks.add_tombstone(seq, Instant::now()),
            Verdict::Permanent(why) => {
                log::warn!(seq; "the broker refuses a tombstone ({why}); check its access rules");
                link.store.tombstone_failed(seq)?;
                self.backlog.rest_tombstones(true);
            }
            Verdict::Temporary(_) => self.backlog.rest_tombstones(true),
        }
        Ok(())
    }

    /// Commits what was acknowledged.
    fn commit(&mut self, link: &Link) -> Result<(), Loss> {
        let (results, tombstones) = self.acks.take();
        if !tombstones.is_empty() {
            link.store.tombstones_acked(&tombstones)?;
        }
        if !results.is_empty() {
            link.store.acked(&results)?;
            transition("publish.committed");
            // Several commits in a row make one `latest`: what it holds is read when it is sent.
            if !self.control.contains(&Message::Latest) {
                self.control.push_back(Message::Latest);
            }
        }
        self.oldest_unsent = None;
        Ok(())
    }

    /// Sends what may be sent, and commits acknowledgements that must not wait for others.
    fn settle(&mut self, link: &Link, memory: &mut Memory) -> Result<(), Loss> {
        self.fill(link, memory)?;
        if self.acks.is_empty() || (self.window.has_rows() && !self.acks.are_due(Instant::now())) {
            return Ok(());
        }
        self.commit(link)?;
        self.fill(link, memory)
    }

    /// Hands over messages until the window is full or there are no more.
    fn fill(&mut self, link: &Link, memory: &mut Memory) -> Result<(), Loss> {
        if !self.accepted || self.stopping {
            return Ok(());
        }
        if self.renewing {
            return if self.window.is_empty() { self.disconnect() } else { Ok(()) };
        }
        if link.mailbox.was_requeued() {
            self.backlog.look_again();
            self.rewind = true;
        }
        while self.window.len() < self.window_max {
            if let Some(message) = self.next_control() {
                self.send_control(message, link)?;
            } else if let Some((ticket, answer)) = link.mailbox.next() {
                self.send_answer(ticket, answer, link)?;
            } else if let Some(row) = self.next_row(link, memory)? {
                self.send_row(&row, link, memory)?;
            } else if self.rewind && !self.window.has_rows() && self.acks.is_empty() {
                self.rewind = false;
                self.backlog.rewind();
            } else {
                if self.window.is_empty() && memory.refusals.is_empty() {
                    memory.careful = false;
                }
                break;
            }
        }
        Ok(())
    }

    /// The next message about the station. While rows wait, `latest` waits for the one before it.
    fn next_control(&mut self) -> Option<Message> {
        let next = self.control.iter().position(|message| !self.window.holds(message))?;
        self.control.remove(next)
    }

    fn next_row(&mut self, link: &Link, memory: &mut Memory) -> Result<Option<OutboxRow>, Loss> {
        while let Some(seq) = memory.refusals.take_due(Instant::now()) {
            let row = link.store.unsent(seq - 1, 1)?.into_iter().next();
            match row.filter(|row| row.seq == seq) {
                Some(row) => return Ok(Some(row)),
                None => memory.refusals.remove(seq),
            }
        }
        while let Some(row) = self.backlog.next(&link.store)? {
            if row.kind == RowKind::Tombstone || !memory.refusals.contains(row.seq) {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    fn tick(&mut self, link: &Link, memory: &mut Memory) -> Result<(), Loss> {
        link.facts.alive();
        if !self.accepted {
            return Ok(());
        }
        let now = Instant::now();
        let waited = self.window.oldest_wait(now);
        if waited > link.config.puback_timeout() {
            return Err(Loss::Overdue(waited));
        }
        memory.subscription.tick(&self.client, link, now)?;
        if now.duration_since(self.health_at) >= link.config.health_interval()
            && !self.control.contains(&Message::Health)
        {
            self.control.push_back(Message::Health);
        }
        if self.condition.as_ref().is_some_and(|said| *said != link.facts.condition())
            && !self.control.contains(&Message::Status)
        {
            self.control.push_back(Message::Status);
        }
        memory.renewal.tell(&*link.facts, link.store.now());
        if !self.renewing && memory.renewal.is_due(&link.config, link.store.now(), now) {
            log::info!("the certificates were replaced; connecting anew with them");
            self.renewing = true;
        }
        self.backlog.look_again();
        if !self.window.has_rows() && self.acks.is_empty() {
            self.backlog.rewind_tombstones();
        }
        self.settle(link, memory)
    }

    /// Says `offline`, reason `clean_stop`; its acknowledgement is followed by DISCONNECT. Rows under way may
    /// still be acknowledged meanwhile; no new one is sent.
    fn say_goodbye(&mut self, link: &Link) -> Result<(), Loss> {
        self.stopping = true;
        self.control.clear();
        self.send_control(Message::Farewell, link)
    }

    /// Finds the row that makes the broker hang up: after the first time rows go one by one, and the one that
    /// was alone when it happened again counts as refused.
    fn blame(&self, loss: &Loss, link: &Link, memory: &mut Memory) {
        if !loss.blames_message() {
            return;
        }
        if !memory.careful {
            memory.careful = self.window.rows().next().is_some();
            return;
        }
        if let Some(seq) = self.window.only_row()
            && let Err(error) = refuse(seq, &loss.to_string(), link, memory)
        {
            log::error!("cannot record a refusal: {error}");
        }
    }
}

/// One line when a message about the station is refused for the first time: some of them go out every minute.
fn note_control(message: Message, verdict: &Verdict, memory: &mut Memory) {
    let (Verdict::Permanent(why) | Verdict::Temporary(why)) = verdict else {
        memory.control_refused.remove(&message);
        return;
    };
    if memory.control_refused.insert(message.clone()) {
        log::warn!("the broker refuses the station's {message:?} ({why}); check its access rules");
    }
}

async fn stop_asked(stop: &mut tokio::sync::watch::Receiver<Option<Instant>>) -> Instant {
    match stop.wait_for(Option::is_some).await {
        Ok(deadline) => deadline.unwrap_or_else(Instant::now),
        // Whoever held the handle is gone.
        Err(_) => Instant::now(),
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
