//! What became of the studies, counted by day (UTC), for the last [`DAYS`] days.
//!
//! A study counts once, by its newest revision, on the day that one was closed: the counts of the revision before are taken
//! back in the same transaction. A study that is purged or forgotten stays counted.

use std::collections::BTreeMap;

use contract::result::{DAYS, DayCounters, Outcome, StudyResult};
use contract::study::Answer;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rusqlite::{Connection, params};

use super::error::Doing;
use super::{Store, StoreError};

const ANSWER: &str = "answer/";
const OUTCOME: &str = "outcome/";
const WITHHELD: &str = "withheld";
const VIEW: &str = "view/";
const SCORE: &str = "score/";

impl Store {
    /// The counters of the last [`DAYS`] days, today's last.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn days(&self) -> Result<Vec<DayCounters>, StoreError> {
        const DOING: &str = "read the daily counters";
        let today = day_of(self.now());
        let mut days: BTreeMap<String, DayCounters> = BTreeMap::new();
        for age in (0..DAYS).rev() {
            let day = before(today, age);
            days.insert(day.to_string(), DayCounters::new(day));
        }
        let connection = self.connection();
        let mut statement =
            connection.prepare_cached("SELECT day, counter, count FROM daily").doing(DOING)?;
        let mut rows = statement.query([]).doing(DOING)?;
        while let Some(row) = rows.next().doing(DOING)? {
            let day: String = row.get(0).doing(DOING)?;
            let counter: String = row.get(1).doing(DOING)?;
            if let Some(counters) = days.get_mut(&day) {
                set(counters, &counter, row.get(2).doing(DOING)?);
            }
        }
        Ok(days.into_values().collect())
    }
}

/// Counts a study's new revision in place of the one before.
pub(super) fn count(
    tx: &Connection,
    before_it: Option<&StudyResult>,
    result: &StudyResult,
) -> rusqlite::Result<()> {
    if let Some(old) = before_it {
        add(tx, old, -1)?;
    }
    add(tx, result, 1)?;
    if let Some(closed_at) = result.study.closed_at {
        let oldest = before(day_of(closed_at), DAYS - 1).to_string();
        tx.prepare_cached("DELETE FROM daily WHERE day < ?1")?.execute([oldest])?;
    }
    Ok(())
}

fn add(tx: &Connection, result: &StudyResult, by: i64) -> rusqlite::Result<()> {
    let Some(closed_at) = result.study.closed_at else { return Ok(()) };
    let day = day_of(closed_at).to_string();
    // A day that is not counted any more has nothing to take back.
    let mut statement = tx.prepare_cached(if by < 0 {
        "UPDATE daily SET count = max(count + ?3, 0) WHERE day = ?1 AND counter = ?2"
    } else {
        "INSERT INTO daily VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET count = count + ?3"
    })?;
    for counter in counters(result) {
        statement.execute(params![day, counter, by])?;
    }
    Ok(())
}

/// The counters that a result raises by one each.
fn counters(result: &StudyResult) -> Vec<String> {
    let mut raised = Vec::new();
    match (result.outcome, result.answer) {
        (Outcome::Scored, Some(answer)) => raised.push(format!("{ANSWER}{}", word(&answer))),
        (outcome, _) => raised.push(format!("{OUTCOME}{}", word(&outcome))),
    }
    if result.answer_withheld.is_some() {
        raised.push(WITHHELD.to_owned());
    }
    if let Some(probability) = result.study.probability {
        // Ten classes of equal width; the last one holds 1.0 too.
        let decile = (probability * 10.0).clamp(0.0, 9.0) as usize;
        raised.push(format!("{SCORE}{decile}"));
    }
    let refused = result.views.iter().filter_map(|view| view.rejected.as_ref());
    raised.extend(refused.map(|rejection| format!("{VIEW}{}", word(&rejection.reason))));
    raised
}

/// A code as it stands in payloads.
fn word(code: &impl serde::Serialize) -> String {
    match serde_json::to_value(code) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

fn set(day: &mut DayCounters, counter: &str, count: u64) {
    if let Some(answer) = counter.strip_prefix(ANSWER) {
        for (code, field) in [
            (Answer::Normal, &mut day.normal),
            (Answer::Uncertain, &mut day.uncertain),
            (Answer::Abnormal, &mut day.abnormal),
        ] {
            if word(&code) == answer {
                *field = count;
            }
        }
    } else if let Some(outcome) = counter.strip_prefix(OUTCOME) {
        for (code, field) in [(Outcome::Rejected, &mut day.rejected), (Outcome::Failed, &mut day.failed)] {
            if word(&code) == outcome {
                *field = count;
            }
        }
    } else if counter == WITHHELD {
        day.withheld = count;
    } else if let Some(reason) = counter.strip_prefix(VIEW) {
        if count > 0 {
            day.views_rejected.insert(reason.to_owned(), count);
        }
    } else if let Some(field) = counter
        .strip_prefix(SCORE)
        .and_then(|decile| decile.parse::<usize>().ok())
        .and_then(|decile| day.score_deciles.get_mut(decile))
    {
        *field = count;
    }
}

fn day_of(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

fn before(day: Date, days: i64) -> Date {
    day.saturating_sub(days.days())
}
