//! Commands step by step, without a broker, a thread or a wait; the store is closed and opened between steps.

use std::path::Path;

use contract::bundle::MANIFEST_FILE;
use contract::command::CommandName;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::store::LimitsConfig;

const NAME: &str = "clinic-12";
const BUNDLE: &str = "00ff";

/// One life of a station over a folder.
struct Life {
    control: Control,
    mailbox: Arc<Mailbox>,
    store: Store,
}

fn life(dir: &TempDir) -> Life {
    let state = dir.path().join("state");
    let text = format!(
        "station = \"{NAME}\"\nstate_dir = \"{}\"\n[replay]\ndir = \"/nowhere\"\n[commands]\n\
         allow = [\"ping\", \"resend\"]\nunsigned = [\"ping\", \"resend\"]\n",
        state.display()
    );
    let store = Store::open(&state, LimitsConfig::default()).unwrap();
    let mailbox = Arc::new(Mailbox::default());
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/bundle").join(MANIFEST_FILE);
    let manifest = BundleManifest::parse(&std::fs::read(demo).unwrap()).unwrap();
    let mut control = Control::new(Setup {
        config: Config::parse(&text, Path::new("edge.toml")).unwrap(),
        store: store.clone(),
        model: ModelSummary::new(&manifest, BUNDLE.to_owned()),
        manifest,
        mailbox: Arc::clone(&mailbox),
        session: Waker::default(),
        restart: Restart::default(),
        started: Instant::now(),
    })
    .unwrap();
    // No configuration lets it pass unsigned; signatures are held against real ones elsewhere.
    control.policy.commands.allow.insert(CommandName::SetOperatingPoints);
    control.policy.commands.unsigned.insert(CommandName::SetOperatingPoints);
    control.synchronised = || Some(true);
    Life { control, mailbox, store }
}

impl Life {
    fn send(&mut self, id: &str, expires_in_s: i64, command: &Value) {
        let name = command["name"].as_str().unwrap();
        let expires_at = self.store.now() + SignedDuration::from_secs(expires_in_s);
        let body = json!({ "station": NAME, "id": id, "expires_at": expires_at, "command": command });
        let message = json!({ "body": body.to_string() }).to_string();
        self.mailbox.deliver(format!("{name}/{id}"), message.as_bytes());
        self.control.step();
    }

    /// The answers that were given since, as a broker would get them that acknowledges each.
    fn answers(&self) -> Vec<CommandAck> {
        let mut answers = Vec::new();
        while let Some((ticket, answer)) = self.mailbox.next() {
            let ack: CommandAck = serde_json::from_slice(&answer.payload).unwrap();
            assert_eq!(answer.topic, format!("ulna/v1/{NAME}/cmd/{}/{}/ack", ack.command, ack.id));
            if let Some(key) = self.mailbox.done(ticket).unwrap().stored {
                self.store.ack_sent(&key).unwrap();
            }
            answers.push(ack);
        }
        answers
    }

    fn outcomes(&self) -> Vec<(CommandOutcome, Option<CommandReason>)> {
        self.answers().into_iter().map(|ack| (ack.outcome, ack.reason)).collect()
    }
}

fn ping() -> Value {
    json!({ "name": "ping" })
}

fn points(rule_out: f64, rule_in: f64) -> Value {
    json!({ "name": "set_operating_points", "bundle_sha256": BUNDLE, "pooled": { "rule_out": rule_out, "rule_in": rule_in } })
}

const DONE: (CommandOutcome, Option<CommandReason>) = (CommandOutcome::Done, None);

#[test]
fn a_repetition_is_answered_and_not_executed_in_this_life_and_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = life(&dir);
    first.send("a", 60, &ping());
    assert_eq!(first.outcomes(), [DONE]);
    first.send("a", 60, &ping());
    let repeated = first.answers().remove(0);
    assert_eq!(repeated.outcome, CommandOutcome::Duplicate);
    assert_eq!(repeated.first.unwrap().outcome, CommandOutcome::Done);
    drop(first);

    let mut second = life(&dir);
    second.control.step();
    assert!(second.outcomes().is_empty());
    second.send("a", 60, &ping());
    assert_eq!(second.outcomes(), [(CommandOutcome::Duplicate, Some(CommandReason::AlreadySeen))]);
}

#[test]
fn an_answer_that_the_broker_has_not_got_is_given_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = life(&dir);
    first.send("a", 60, &ping());
    assert!(first.mailbox.next().is_some(), "it was sent, and no acknowledgement came");
    drop(first);
    let second = life(&dir);
    assert_eq!(second.outcomes(), [DONE]);
    drop(second);
    assert!(life(&dir).outcomes().is_empty());
}

#[test]
fn commands_wait_for_the_clock_and_say_so_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = life(&dir);
    first.control.synchronised = || Some(false);
    first.send("a", 60, &ping());
    first.send("late", -60, &ping());
    first.control.step();
    let waiting = (CommandOutcome::Waiting, Some(CommandReason::ClockNotSynchronised));
    assert_eq!(first.outcomes(), [waiting, waiting]);
    first.send("a", 60, &ping());
    let repeated = first.answers().remove(0);
    assert_eq!(repeated.first.unwrap().outcome, CommandOutcome::Waiting);
    drop(first);

    let mut second = life(&dir);
    second.control.synchronised = || Some(false);
    second.control.step();
    assert!(second.outcomes().is_empty(), "it was said before");
    second.control.synchronised = || Some(true);
    second.control.step();
    assert_eq!(second.outcomes(), [DONE, (CommandOutcome::Expired, Some(CommandReason::Expired))]);
}

#[test]
fn what_waited_is_judged_by_the_rules_of_the_day() {
    let dir = tempfile::tempdir().unwrap();
    let mut station = life(&dir);
    station.control.synchronised = || Some(false);
    station.send("a", 60, &ping());
    assert_eq!(station.answers().len(), 1);
    station.control.policy.commands.unsigned.clear();
    station.control.synchronised = || None;
    station.control.step();
    assert_eq!(station.outcomes(), [(CommandOutcome::Refused, Some(CommandReason::Unsigned))]);
    station.control.step();
    assert!(station.outcomes().is_empty());
}

#[test]
fn a_command_of_next_year_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut station = life(&dir);
    station.send("a", 31 * 86_400, &ping());
    assert_eq!(station.outcomes(), [(CommandOutcome::Refused, Some(CommandReason::ExpiryTooFar))]);
}

#[test]
fn a_refused_message_does_not_use_up_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let mut station = life(&dir);
    station.mailbox.deliver("ping/a".to_owned(), b"{}");
    station.mailbox.deliver("ping".to_owned(), b"{}");
    station.mailbox.deliver("ping/ä/b".to_owned(), b"{}");
    station.send("a", 60, &ping());
    assert_eq!(station.outcomes(), [(CommandOutcome::Refused, Some(CommandReason::Malformed)), DONE]);
    assert_eq!((station.control.refused.count(), station.control.unanswerable.count()), (1, 2));
}

#[test]
fn points_are_set_within_limits_kept_and_returned() {
    let dir = tempfile::tempdir().unwrap();
    let mut station = life(&dir);
    let own = station.control.setup.manifest.operating_points.pooled;
    let near = points(own.rule_out + 0.05, own.rule_in);
    station.send("near", 60, &near);
    assert_eq!(station.outcomes(), [DONE]);
    let mut other = near.clone();
    other["bundle_sha256"] = json!("11");
    station.send("other", 60, &other);
    station.send("far", 60, &points(own.rule_out - 0.11, own.rule_in));
    let refused = |reason| (CommandOutcome::Refused, Some(reason));
    let expected = [refused(CommandReason::OtherBundle), refused(CommandReason::OutsideLimits)];
    assert_eq!(station.outcomes(), expected);
    drop(station);

    let mut station = life(&dir);
    let set = station.store.points_in_force(BUNDLE).unwrap().unwrap();
    assert_eq!((set.by.as_str(), set.settings.pooled.unwrap().rule_out), ("near", own.rule_out + 0.05));
    assert_eq!(station.store.points_in_force("11").unwrap(), None, "another bundle has its own");
    let manifest = &station.control.setup.manifest;
    let judged = manifest.answer(Some(&set), None, 0.5);
    assert_eq!((judged.points.rule_out, judged.set_by.as_deref()), (own.rule_out + 0.05, Some("near")));
    station.send("back", 60, &json!({ "name": "set_operating_points", "bundle_sha256": BUNDLE }));
    assert_eq!(station.outcomes(), [DONE]);
    assert_eq!(station.store.points_in_force(BUNDLE).unwrap(), None);
}

#[test]
fn a_resend_is_of_this_outbox_and_of_a_bounded_range() {
    let dir = tempfile::tempdir().unwrap();
    let mut station = life(&dir);
    let own = station.store.outbox_id().unwrap();
    let mut refused = |id: &str, outbox_id: &str, from_seq: u64, to_seq: u64| {
        let command =
            json!({ "name": "resend", "outbox_id": outbox_id, "from_seq": from_seq, "to_seq": to_seq });
        station.send(id, 60, &command);
        station.outcomes().remove(0).1
    };
    assert_eq!(refused("a", "other", 1, 2), Some(CommandReason::OtherOutbox));
    for (id, from_seq, to_seq) in [("b", 0, 5), ("c", 6, 5), ("d", 1, RESEND_MAX + 1), ("e", 1, u64::MAX)] {
        assert_eq!(refused(id, &own, from_seq, to_seq), Some(CommandReason::OutsideLimits), "{id}");
    }
    assert_eq!(refused("f", &own, 1, RESEND_MAX), None);
}
