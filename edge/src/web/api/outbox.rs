//! Results on their way out: seen, retried, carried away by hand.

use std::io;

use axum::Json;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::extract::rejection::JsonRejection;
use axum::http::header;
use axum::response::IntoResponse;
use futures_util::stream;

use super::types::{Delivered, Outbox, Removed, Revived};
use crate::export;
use crate::web::problem::Problem;
use crate::web::{Sources, blocking};

/// Most rows shown; the numbers beside them count all.
const ROWS_MAX: usize = 10_000;

pub(super) async fn list(Shared(sources): Shared<Sources>) -> Result<Json<Outbox>, Problem> {
    let store = sources.store;
    Ok(Json(Outbox {
        rows: store.outbox_rows(0, ROWS_MAX)?,
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
