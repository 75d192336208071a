//! The sequence: what is sent first, what is sent again, and what stands in place of results that do not come.

use contract::command::Resent;
use contract::result::{DropReason, Tombstone};
use contract::study::Answer;

use super::commands::resend;
use super::*;

/// A store with one closed study per answer, `seq` and study counting from 1.
fn filled(dir: &TempDir, answers: &[Option<Answer>]) -> Store {
    let store = open(dir);
    for (index, answer) in (0u8..).zip(answers) {
        let origin = Origin { single: true, name: format!("XR_WRIST/{index}.png"), ..origin(0) };
        accept(&store, &origin, &origin.name, &[index]);
        finish_next(&store, true).unwrap();
        let id = StudyId(i64::from(index) + 1);
        store
            .close(id, |study, views| StudyResult { answer: *answer, ..result(study, views) })
            .unwrap()
            .unwrap();
    }
    store
}

fn seqs(rows: &[OutboxRow]) -> Vec<u64> {
    rows.iter().map(|row| row.seq).collect()
}

fn unsent(store: &Store) -> Vec<u64> {
    seqs(&store.unsent(0, 100).unwrap())
}

fn tombstones(store: &Store) -> Vec<(u64, Tombstone)> {
    let rows = store.unsent_in(Lane::Tombstones, 0, 100).unwrap();
    rows.into_iter().map(|row| (row.seq, serde_json::from_str(&row.payload_json).unwrap())).collect()
}

#[test]
fn each_lane_is_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (normal, abnormal) = (Some(Answer::Normal), Some(Answer::Abnormal));
    let store = filled(&dir, &[normal, abnormal, None, abnormal, Some(Answer::Uncertain)]);
    let lane = |lane, after| seqs(&store.unsent_in(lane, after, 2).unwrap());
    assert_eq!((lane(Lane::Abnormal, 0), lane(Lane::Abnormal, 2)), (vec![2, 4], vec![4]));
    assert_eq!((lane(Lane::Others, 0), lane(Lane::Others, 3)), (vec![1, 3], vec![5]));
    assert!(lane(Lane::Tombstones, 0).is_empty());
    store.acked(&[2, 4]).unwrap();
    assert_eq!((store.oldest_unsent_seq().unwrap(), store.seq_acked_through().unwrap()), (Some(1), 0));
    store.acked(&[1]).unwrap();
    assert_eq!((store.oldest_unsent_seq().unwrap(), store.seq_acked_through().unwrap()), (Some(3), 2));
    assert_eq!(store.latest().unwrap().unwrap().seq, 4, "what was closed before it does not take its place");
    store.acked(&[3, 5, 5, 77]).unwrap();
    assert_eq!((store.oldest_unsent_seq().unwrap(), store.seq_acked_through().unwrap()), (None, 5));
    assert_eq!(store.latest().unwrap().unwrap().seq, 5);
}

#[test]
fn what_was_acknowledged_is_sent_again_under_its_own_key() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(&dir, &[Some(Answer::Abnormal), None, None]);
    let before = store.unsent(0, 10).unwrap();
    store.acked(&[1, 2]).unwrap();
    let latest = store.latest().unwrap();
    assert_eq!(resend(&store, "a", 1, u64::MAX), Resent { requeued: 2, waiting: 1, missing: 0 });
    assert_eq!(store.unsent(0, 10).unwrap(), before);
    assert_eq!(seqs(&store.unsent_in(Lane::Abnormal, 0, 10).unwrap()), [1]);
    assert_eq!(store.latest().unwrap(), latest);
    assert_eq!(resend(&store, "b", 3, 2), Resent::default());
    assert_eq!(resend(&store, "c", 4, 9), Resent::default(), "nothing has these numbers yet");
    store.acked(&[1, 2, 3]).unwrap();
    assert_eq!(store.latest().unwrap().unwrap().seq, 3);
    // A number is not used again.
    accept(&store, &origin(1), "later", b"later");
    finish_next(&store, true).unwrap();
    assert_eq!(close(&store, 4).unwrap().seq, 4);
}

#[test]
fn a_purged_result_leaves_a_tombstone_until_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(&dir, &[None, None]);
    store.purge("WRI-0001", true).unwrap();
    let found = tombstones(&store);
    assert_eq!(found.len(), 1);
    let (seq, tombstone) = &found[0];
    assert_eq!((*seq, tombstone.reason, tombstone.may_follow), (1, DropReason::Purged, false));
    assert_eq!(tombstone.study, None);
    assert_eq!((unsent(&store), store.oldest_unsent_seq().unwrap()), (vec![2], Some(1)));
    store.tombstones_acked(&[1]).unwrap();
    assert_eq!((tombstones(&store), store.oldest_unsent_seq().unwrap()), (Vec::new(), Some(2)));
    assert_eq!(resend(&store, "a", 1, 1), Resent { missing: 1, ..Resent::default() });
    assert_eq!(tombstones(&store), found);
    // A broker that takes no tombstone is asked a few times only.
    for _ in 0..FAILURES {
        assert_eq!(tombstones(&store).len(), 1);
        store.tombstone_failed(1).unwrap();
    }
    assert_eq!((tombstones(&store), store.oldest_unsent_seq().unwrap()), (Vec::new(), Some(2)));
}

const FAILURES: i64 = 5;

#[test]
fn a_result_set_aside_has_a_tombstone_until_it_comes_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(&dir, &[None]);
    for _ in 0..FAILURES {
        assert_eq!(tombstones(&store), []);
        store.failed(1, "packet too large").unwrap();
    }
    let (_, tombstone) = tombstones(&store).remove(0);
    assert_eq!((tombstone.reason, tombstone.may_follow), (DropReason::SetAside, true));
    assert_eq!(tombstone.detail.as_deref(), Some("packet too large"));
    assert_eq!(tombstone.study.unwrap().revision, 1);
    assert_eq!(store.revive_dead().unwrap(), 1);
    assert_eq!((tombstones(&store), unsent(&store)), (Vec::new(), vec![1]));
    for _ in 0..FAILURES {
        store.failed(1, "packet too large").unwrap();
    }
    assert_eq!(resend(&store, "a", 1, 1), Resent { waiting: 1, ..Resent::default() });
    assert_eq!((tombstones(&store), unsent(&store)), (Vec::new(), vec![1]));
}

#[test]
fn a_forgotten_result_is_answered_by_a_tombstone() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(&dir, &[None, None]);
    store.acked(&[1, 2]).unwrap();
    assert_eq!(resend(&store, "a", 1, 1), Resent { requeued: 1, ..Resent::default() });
    let months_ago_ms = store.now_ms() - 100 * 86_400_000;
    let older = |store: &Store| {
        store.connection().execute("UPDATE studies SET closed_at_ms = ?1", [months_ago_ms]).unwrap();
        store.upkeep().unwrap();
        store.newest_studies(10).unwrap().len()
    };
    assert_eq!(older(&store), 1, "one is to be sent again");
    store.acked(&[1]).unwrap();
    assert_eq!(older(&store), 0);
    assert_eq!(resend(&store, "b", 2, 2), Resent { missing: 1, ..Resent::default() });
    let (seq, tombstone) = tombstones(&store).remove(0);
    assert_eq!((seq, tombstone.reason, tombstone.may_follow), (2, DropReason::NotKept, false));
    assert_eq!(tombstone.study, None);
}

#[test]
fn an_older_revision_that_was_set_aside_does_not_keep_its_study_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(&dir, &[None]);
    store.reopen("WRI-0001").unwrap();
    close(&store, 1).unwrap();
    for _ in 0..FAILURES {
        store.failed(1, "refused").unwrap();
    }
    store.acked(&[2]).unwrap();
    store.tombstones_acked(&[1]).unwrap();
    let months_ago_ms = store.now_ms() - 100 * 86_400_000;
    store.connection().execute("UPDATE studies SET closed_at_ms = ?1", [months_ago_ms]).unwrap();
    store.upkeep().unwrap();
    assert_eq!(store.newest_studies(10).unwrap().len(), 0);
    assert_eq!(store.dead_count().unwrap(), 0);
    let (seq, tombstone) = tombstones(&store).remove(0);
    assert_eq!((seq, tombstone.reason), (1, DropReason::Superseded));
}
