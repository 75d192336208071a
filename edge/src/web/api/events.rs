//! What changes, as server-sent events: the page shows the station without asking again and again.
//!
//! Each connection remembers what it was told and looks at the store when something was committed, so that a slow
//! reader misses steps in between but never the newest state.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::Stream;
use futures_util::stream::{self, StreamExt};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::types::{Station, Study};
use crate::web::Sources;
use crate::web::problem::Problem;

/// How often the store is asked whether something was committed.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How many looks pass between two of the station itself.
const STATION_EVERY: u32 = 5;
/// Studies that are followed: the newest.
const FOLLOWED: usize = 50;

pub(super) async fn events(
    Shared(sources): Shared<Sources>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let Ok(listener) = sources.listeners.clone().try_acquire_owned() else {
        let detail = "too many pages are open at once; close one";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-listeners", detail));
    };
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let told = Told {
        sources,
        ticks,
        looks: 0,
        changes: None,
        station: String::new(),
        studies: BTreeMap::new(),
        _listener: listener,
    };
    let looks = stream::unfold(told, |mut told| async move {
        told.ticks.tick().await;
        let news = told.news();
        Some((stream::iter(news.into_iter().map(Ok)), told))
    });
    Ok(Sse::new(looks.flatten()).keep_alive(KeepAlive::default()))
}

/// What one listener was told.
struct Told {
    sources: Sources,
    ticks: Interval,
    looks: u32,
    changes: Option<u64>,
    station: String,
    /// By number, as JSON.
    studies: BTreeMap<String, String>,
    _listener: OwnedSemaphorePermit,
}

#[derive(Serialize)]
struct Removed<'a> {
    number: &'a str,
}

impl Told {
    fn news(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        if self.looks.is_multiple_of(STATION_EVERY) {
            let mut station = Station::read(&self.sources);
            let now = station.now;
            // The time alone is no news.
            station.now = jiff::Timestamp::UNIX_EPOCH;
            let known = json(&station);
            if known != self.station {
                self.station = known;
                station.now = now;
                events.push(Event::default().event("station").data(json(&station)));
            }
        }
        self.looks = self.looks.wrapping_add(1);
        let changes = self.sources.store.changes();
        if self.changes != Some(changes) {
            match self.sources.store.newest_studies(FOLLOWED) {
                Ok(rows) => {
                    let studies: Vec<Study> = rows.into_iter().map(Study::from).collect();
                    self.changes = Some(changes);
                    self.studies_news(&studies, &mut events);
                }
                Err(error) => log::debug!("a page is not told of changes: {error}"),
            }
        }
        events
    }

    fn studies_news(&mut self, studies: &[Study], events: &mut Vec<Event>) {
        let now: BTreeMap<String, String> =
            studies.iter().map(|study| (study.number.clone(), json(study))).collect();
        // Oldest first, so that a page that puts each on top has them in order.
        for study in studies.iter().rev() {
            let text = &now[&study.number];
            if self.studies.get(&study.number) != Some(text) {
                events.push(Event::default().event("study").data(text));
            }
        }
        for number in self.studies.keys().filter(|number| !now.contains_key(*number)) {
            // One that is only older now is still there.
            if matches!(self.sources.store.study(number), Ok(None)) {
                events.push(Event::default().event("removed").data(json(&Removed { number })));
            }
        }
        self.studies = now;
    }
}

/// The API's types are plain data with string keys, which always serialise.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
