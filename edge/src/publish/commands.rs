//! A connection's part in commands: it subscribes, fills the [`super::Mailbox`] and sends the answers.

use std::time::{Duration, Instant};

use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Publish, SubAck, SubscribeReasonCode};

use super::mailbox::Answer;
use super::refusal::Verdict;
use super::session::{Link, Loss};

/// A level below `cmd/` that `edge doctor` sends to itself on.
const DOCTOR: &str = "doctor/";
/// The end of an answer's topic.
const ACK: &str = "/ack";

/// Connections that may be lost one after the other while the broker owes the answer to a subscription.
const LOSSES_MAX: u32 = 3;
/// How long nothing is subscribed to after that: some brokers hang up on what they do not allow, and results must flow.
const REST: Duration = Duration::from_secs(600);

/// The subscription to commands, over all connections.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    asked: bool,
    losses: u32,
    rests_until: Option<Instant>,
}

impl Subscription {
    /// Asks for the station's commands, those that the broker keeps too, and not for what the station itself sends
    /// there.
    pub(super) fn ask(&mut self, client: &AsyncClient, link: &Link, now: Instant) -> Result<(), Loss> {
        if self.rests_until.is_some_and(|until| now < until) {
            return Ok(());
        }
        self.rests_until = None;
        self.asked = true;
        let filter = Filter {
            nolocal: true,
            preserve_retain: true,
            ..Filter::new(format!("{}#", link.topics.commands()), QoS::AtLeastOnce)
        };
        client.try_subscribe_many([filter]).map_err(|_| Loss::ClientFull)
    }

    /// Asks again once the rest is over, on a connection that was made meanwhile.
    pub(super) fn tick(&mut self, client: &AsyncClient, link: &Link, now: Instant) -> Result<(), Loss> {
        if self.rests_until.is_some_and(|until| now >= until) { self.ask(client, link, now) } else { Ok(()) }
    }

    /// The broker has answered. Results need no subscription, so one that is refused is said and no more.
    pub(super) fn answered(&mut self, answer: &SubAck, link: &Link) {
        (self.asked, self.losses) = (false, 0);
        for code in &answer.return_codes {
            if matches!(code, SubscribeReasonCode::Success(_)) {
                log::debug!("subscribed to commands");
            } else {
                log::warn!(
                    "the broker does not let the station read its commands ({code:?}); allow it in the broker's \
                     access list: read {}#",
                    link.topics.commands()
                );
            }
        }
    }

    fn connection_lost(&mut self, now: Instant) {
        if !std::mem::take(&mut self.asked) {
            return;
        }
        self.losses += 1;
        if self.losses >= LOSSES_MAX {
            self.losses = 0;
            self.rests_until = Some(now + REST);
            log::warn!(
                rest_s = REST.as_secs();
                "the broker hangs up when the station asks for its commands; results go on without them"
            );
        }
    }
}

/// A message came. What is no command, the doctor's echo or an answer, is left alone.
pub(super) fn arrived(publish: &Publish, link: &Link) {
    let topic = String::from_utf8_lossy(&publish.topic);
    let Some(below) = topic.strip_prefix(&link.topics.commands()) else { return };
    let answer = below.ends_with(ACK) && below.split('/').count() == 3;
    // An empty retained message is how the centre takes a command back.
    if below.starts_with(DOCTOR) || answer || publish.payload.is_empty() {
        return;
    }
    link.mailbox.deliver(below.to_owned(), &publish.payload);
}

/// The broker has said what it thinks of an answer.
pub(super) fn acknowledged(ticket: u64, verdict: &Verdict, link: &Link) -> Result<(), Loss> {
    match verdict {
        Verdict::Accepted => match link.mailbox.done(ticket) {
            Some(answer) => forget(&answer, link),
            None => Ok(()),
        },
        Verdict::Permanent(why) | Verdict::Temporary(why) => {
            give_up(ticket, &format!("the broker refuses it ({why}); check its access rules"), link)
        }
    }
}

/// An answer larger than the broker takes.
pub(super) fn too_large(ticket: u64, bytes: usize, link: &Link) -> Result<(), Loss> {
    give_up(ticket, &format!("it has {bytes} bytes, and the broker takes fewer"), link)
}

/// What was under way when the connection was lost is sent again, a few times.
pub(super) fn connection_lost(subscription: &mut Subscription, link: &Link) {
    subscription.connection_lost(Instant::now());
    for answer in link.mailbox.connection_lost() {
        say_given_up(&answer, "the broker hangs up when it is sent", link);
        if let Err(error) = forget(&answer, link) {
            log::warn!("cannot record that an answer was given up: {error}");
        }
    }
}

fn give_up(ticket: u64, why: &str, link: &Link) -> Result<(), Loss> {
    let Some(answer) = link.mailbox.done(ticket) else { return Ok(()) };
    say_given_up(&answer, why, link);
    forget(&answer, link)
}

fn say_given_up(answer: &Answer, why: &str, link: &Link) {
    if let Some(times) = link.mailbox.refused() {
        log::warn!(times; "the answer {} is given up: {why}", answer.topic);
    }
}

fn forget(answer: &Answer, link: &Link) -> Result<(), Loss> {
    match &answer.stored {
        Some(key) => Ok(link.store.ack_sent(key)?),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_that_ends_connections_rests_and_one_that_was_answered_does_not() {
        let now = Instant::now();
        let mut subscription = Subscription::default();
        for _ in 0..10 {
            subscription.connection_lost(now);
        }
        assert_eq!(subscription.rests_until, None, "nothing was asked");
        for _ in 1..LOSSES_MAX {
            subscription.asked = true;
            subscription.connection_lost(now);
        }
        assert_eq!(subscription.rests_until, None);
        subscription.asked = true;
        subscription.connection_lost(now);
        assert_eq!(subscription.rests_until, Some(now + REST));
    }
}
