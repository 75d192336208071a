//! Results on their way out: seen, retried, carried away by hand.

use std::io;
use std::path::Path;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use futures_util::stream;
use serde::Deserialize;

use super::types::{Carried, Carry, Delivered, Outbox, Removed, Revived, Sticks};
use crate::export::{self, CarryError, ExportError, mounted};
use crate::web::problem::Problem;
use crate::web::{Sources, blocking};

/// Most rows shown; the numbers beside them count all.
const ROWS_MAX: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    after: Option<u64>,
    limit: Option<usize>,
}

pub(super) async fn list(
    Shared(sources): Shared<Sources>,
    asked: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Outbox>, Problem> {
    let Query(ListQuery { after, limit }) = asked?;
    let store = sources.store;
    Ok(Json(Outbox {
        rows: store
            .outbox_rows(after.unwrap_or(0), limit.map_or(ROWS_MAX, |limit| limit.clamp(1, ROWS_MAX)))?,
        unsent: store.depth()?,
        dead: store.dead_count()?,
    }))
}

pub(super) async fn retry(Shared(sources): Shared<Sources>) -> Result<Json<Revived>, Problem> {
    let revived = blocking(move || sources.store.revive_dead()).await??;
    Ok(Json(Revived { revived }))
}

/// Read a page at a time, as fast as the reader takes them.
pub(super) async fn export(Shared(sources): Shared<Sources>) -> impl IntoResponse {
    let station = sources.facts.birth().station;
    let pages = stream::try_unfold(0, move |after_seq| {
        let (store, station) = (sources.store.clone(), station.clone());
        async move {
            let page = blocking(move || export::page(&store, &station, after_seq)).await;
            let page = page.map_err(|problem| io::Error::other(problem.detail))?.map_err(io::Error::other)?;
            let Some(last) = page.last().map(|result| result.seq) else { return Ok(None) };
            let lines: String = page.into_iter().map(|result| result.json + "\n").collect();
            Ok::<_, io::Error>(Some((lines, last)))
        }
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(pages))
}

pub(super) async fn delivered(
    Shared(sources): Shared<Sources>,
    asked: Result<Json<Delivered>, JsonRejection>,
) -> Result<Json<Removed>, Problem> {
    let Json(Delivered { seqs }) = asked?;
    let removed = blocking(move || sources.store.delivered(&seqs)).await??;
    Ok(Json(Removed { removed }))
}

pub(super) async fn sticks(Shared(sources): Shared<Sources>) -> Result<Json<Sticks>, Problem> {
    Ok(Json(Sticks { sticks: mounted_sticks(&sources).await? }))
}

async fn mounted_sticks(sources: &Sources) -> Result<Vec<mounted::Stick>, Problem> {
    let about = sources.about.clone();
    let found = blocking(move || mounted::sticks(&about.sticks_in)).await?;
    found.map_err(|error| {
        let detail = format!("what is mounted cannot be told: {error}; report it");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "fault", detail)
    })
}

/// Writes only where [`sticks`] says that a stick is.
pub(super) async fn carry(
    Shared(sources): Shared<Sources>,
    asked: Result<Json<Carry>, JsonRejection>,
) -> Result<Json<Carried>, Problem> {
    let Json(Carry { to }) = asked?;
    if !mounted_sticks(&sources).await?.iter().any(|stick| stick.path == Path::new(&to)) {
        let detail = "there is no stick any more; put it in again and wait until it is shown";
        return Err(Problem::new(StatusCode::NOT_FOUND, "no-such-stick", detail));
    }
    let station = sources.facts.birth().station;
    let written = blocking(move || export::carry(&sources.store, &station, Path::new(&to))).await??;
    let Some(written) = written else {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "nothing-waits",
            "every result has been acknowledged",
        ));
    };
    log::info!(results = written.seqs.len(); "results were written to a stick");
    let dir = written.dir.to_string_lossy().into_owned();
    Ok(Json(Carried { dir, seqs: written.seqs, manifest_sha256: written.manifest_sha256 }))
}

impl From<CarryError> for Problem {
    fn from(error: CarryError) -> Self {
        match error {
            CarryError::Export(ExportError::Store(error)) => error.into(),
            CarryError::Export(error) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "fault", error.to_string())
            }
            CarryError::Stick(error) => {
                log::warn!("results could not be written to a stick: {error}");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "stick-failing", error.to_string())
            }
        }
    }
}
