//! Commands taken once, and results sent again.

use contract::command::{CommandAck, CommandOutcome, Resent};

use super::*;

fn command(id: &str, expires_at_ms: i64) -> NewCommand {
    NewCommand { id: id.to_owned(), name: "ping".to_owned(), message: "{}".to_owned(), expires_at_ms }
}

fn ack(id: &str, outcome: CommandOutcome) -> CommandAck {
    CommandAck {
        station: "s".to_owned(),
        id: id.to_owned(),
        command: "ping".to_owned(),
        outcome,
        reason: None,
        detail: None,
        at: timestamp(0),
        clock_synchronised: None,
        signed_by: None,
        first: None,
        resent: None,
        diagnostics: None,
    }
}

pub(super) fn resend(store: &Store, id: &str, from_seq: u64, to_seq: u64) -> Resent {
    store.take_command(&command(id, 0)).unwrap();
    let mut resent = Resent::default();
    let effect = Effect::Resend { from_seq, to_seq };
    let answer = |found| {
        resent = found;
        ack(id, CommandOutcome::Done)
    };
    store.answer_command(id, &effect, answer).unwrap();
    resent
}

#[test]
fn a_command_is_answered_once_whatever_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    assert_eq!(store.take_command(&command("a", 0)).unwrap(), Taken::New);
    assert_eq!(store.take_command(&command("a", 0)).unwrap(), Taken::Known(None));
    let waits = store.command_goes_on("a", ack("a", CommandOutcome::Waiting)).unwrap();
    store.answer_command("a", &Effect::None, |_| ack("a", CommandOutcome::Done)).unwrap();
    assert!(store.answer_command("a", &Effect::None, |_| ack("a", CommandOutcome::Done)).is_err());
    assert!(store.pending_commands().unwrap().is_empty());

    store.ack_sent(&waits.key).unwrap();
    let unsent = store.unsent_acks().unwrap();
    assert_eq!(
        unsent[0].ack.outcome,
        CommandOutcome::Done,
        "the first answer's delivery is not the second's"
    );
    store.ack_sent(&unsent[0].key).unwrap();
    assert!(store.unsent_acks().unwrap().is_empty());
    let Taken::Known(Some(known)) = store.take_command(&command("a", 0)).unwrap() else {
        panic!("forgotten")
    };
    assert_eq!(known.outcome, CommandOutcome::Done);
}

#[test]
fn ids_are_forgotten_a_week_after_their_expiry_and_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let now_ms = store.now_ms();
    for (id, age_days) in [("old", 8), ("recent", 6)] {
        store.take_command(&command(id, now_ms - age_days * 86_400_000)).unwrap();
        let stored = store.answer_command(id, &Effect::None, |_| ack(id, CommandOutcome::Done)).unwrap();
        store.ack_sent(&stored.key).unwrap();
    }
    assert_eq!(store.take_command(&command("new", now_ms)).unwrap(), Taken::New);
    assert_eq!(store.take_command(&command("old", now_ms)).unwrap(), Taken::New);
    assert!(matches!(store.take_command(&command("recent", now_ms)).unwrap(), Taken::Known(Some(_))));
    for number in 3..1000 {
        assert_eq!(store.take_command(&command(&number.to_string(), now_ms)).unwrap(), Taken::New);
    }
    assert_eq!(store.take_command(&command("one more", now_ms)).unwrap(), Taken::Full);
}

#[test]
fn acknowledged_results_are_sent_again_under_their_own_number() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    for index in 0..3 {
        accept(&store, &origin(index), &format!("{index}"), b"x");
        finish_next(&store, true);
        close(&store, i64::from(index) + 1).unwrap();
    }
    let sent = store.unsent(0, 10).unwrap();
    store.acked(&[1]).unwrap();
    store.acked(&[2]).unwrap();
    assert_eq!(resend(&store, "a", 2, 9), Resent { requeued: 1, waiting: 1, missing: 0 });
    assert_eq!(resend(&store, "b", 2, 2), Resent { requeued: 0, waiting: 1, missing: 0 }, "it waits already");
    assert_eq!(store.unsent(0, 10).unwrap(), sent[1..]);
    assert_eq!(store.oldest_unsent_seq().unwrap(), Some(2));
    store.acked(&[2]).unwrap();
    assert_eq!(store.latest().unwrap().unwrap().seq, 2, "the newest is still the newest");

    // What is purged is not kept for anybody.
    let number = store.newest_studies(10).unwrap().into_iter().next_back().unwrap().number;
    store.purge(&number, false).unwrap();
    assert_eq!(resend(&store, "c", 1, 2), Resent { requeued: 1, waiting: 0, missing: 1 });
    // The next result's number is not one that was used.
    accept(&store, &origin(0), "later", b"y");
    finish_next(&store, true);
    assert_eq!(close(&store, 4).unwrap().seq, 4);
}

#[test]
fn a_study_whose_older_result_still_waits_is_not_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    accept(&store, &origin(0), "x", b"x");
    finish_next(&store, true);
    close(&store, 1).unwrap();
    store.acked(&[1]).unwrap();
    resend(&store, "a", 1, 1);
    let months_ago_ms = store.now_ms() - 100 * 86_400_000;
    store.connection().execute("UPDATE studies SET closed_at_ms = ?1", [months_ago_ms]).unwrap();
    store.upkeep().unwrap();
    assert_eq!(store.unsent(0, 10).unwrap().len(), 1);
    store.acked(&[1]).unwrap();
    store.upkeep().unwrap();
    assert!(store.newest_studies(10).unwrap().is_empty());
    assert_eq!(resend(&store, "b", 1, 1), Resent { requeued: 0, waiting: 0, missing: 1 });
}
