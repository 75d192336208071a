//! What became of the studies, by day.

use contract::result::DayCounters;
use contract::study::Answer;

use super::*;

fn today(store: &Store) -> DayCounters {
    let days = store.days().unwrap();
    assert_eq!(days.len(), 28);
    assert!(days.windows(2).all(|pair| pair[0].day < pair[1].day));
    days.into_iter().next_back().unwrap()
}

fn close_as(store: &Store, id: i64, answer: Option<Answer>, probability: Option<f64>) {
    let closed = store.close(StudyId(id), |study, views| {
        let outcome = if answer.is_some() { Outcome::Scored } else { Outcome::Rejected };
        StudyResult { outcome, answer, ..result(StudySummary { probability, ..study }, views) }
    });
    closed.unwrap().unwrap();
}

#[test]
fn a_study_counts_once_by_its_newest_revision() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    for index in 0..3u8 {
        accept(&store, &origin(index), "x", &[index]);
        finish_next(&store, index < 2).unwrap();
    }
    close_as(&store, 1, Some(Answer::Normal), Some(0.05));
    close_as(&store, 2, Some(Answer::Abnormal), Some(1.0));
    close_as(&store, 3, None, None);
    let counted = today(&store);
    assert_eq!((counted.normal, counted.abnormal, counted.rejected, counted.failed), (1, 1, 1, 0));
    assert_eq!(counted.score_deciles, [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(counted.views_rejected, BTreeMap::from([("blank".to_owned(), 1)]));

    store.reopen("WRI-0001").unwrap();
    close_as(&store, 1, Some(Answer::Uncertain), Some(0.45));
    let counted = today(&store);
    assert_eq!((counted.normal, counted.uncertain, counted.abnormal), (0, 1, 1));
    assert_eq!(counted.score_deciles, [0, 0, 0, 0, 1, 0, 0, 0, 0, 1]);
    drop(store);
    assert_eq!(today(&open(&dir)), counted);
}

/// What an older version has recorded is counted as this one counts it.
#[test]
fn an_older_file_is_counted_when_it_becomes_a_current_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    for index in 0..3u8 {
        accept(&store, &origin(index), "x", &[index]);
        finish_next(&store, index < 2).unwrap();
    }
    close_as(&store, 1, Some(Answer::Uncertain), Some(0.5));
    close_as(&store, 2, Some(Answer::Abnormal), Some(0.95));
    close_as(&store, 3, None, None);
    let counted = today(&store);
    let lanes = |store: &Store| {
        let lane = |lane| store.unsent_in(lane, 0, 10).unwrap();
        (lane(Lane::Abnormal), lane(Lane::Others))
    };
    let before = lanes(&store);
    store
        .connection()
        .execute_batch(
            "DROP TABLE daily; DROP TABLE tombstones; DROP INDEX outbox_lanes;
             ALTER TABLE outbox DROP COLUMN abnormal; PRAGMA user_version = 4;",
        )
        .unwrap();
    drop(store);
    let store = open(&dir);
    assert_eq!(today(&store), counted);
    assert_eq!(lanes(&store), before);
}
