//! Studies and their images.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use serde::Deserialize;

use super::types::{Capture, OpenStudy, Overrule, Studies, Study, Taken};
use crate::desk::{self, Desk};
use crate::store::{Refused, StudyFilter, StudyRow};
use crate::web::problem::Problem;
use crate::web::{Sources, blocking};

const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    query: Option<String>,
    open: Option<bool>,
    before: Option<i64>,
    limit: Option<usize>,
}

pub(super) async fn list(
    Shared(sources): Shared<Sources>,
    asked: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Studies>, Problem> {
    let Query(asked) = asked?;
    let limit = asked.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
    let query = asked.query.filter(|text| !text.is_empty());
    let filter = StudyFilter { query, open: asked.open, before: asked.before, limit };
    Ok(Json(Studies::new(sources.store.studies(&filter)?, limit)))
}

pub(super) async fn open(
    Shared(sources): Shared<Sources>,
    asked: Result<Json<OpenStudy>, JsonRejection>,
) -> Result<(StatusCode, Json<Study>), Problem> {
    let Json(asked) = asked?;
    let study =
        at_desk(&sources, move |desk| desk.open(&asked.study_type, asked.reference.as_deref())).await?;
    Ok((StatusCode::CREATED, study))
}

pub(super) async fn show(
    Shared(sources): Shared<Sources>,
    Path(number): Path<String>,
) -> Result<Json<Study>, Problem> {
    let found = sources.store.study(&number)?;
    found.map(|row| Json(row.into())).ok_or_else(|| Refused::NoStudy(number).into())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PurgeQuery {
    #[serde(default)]
    unsent: bool,
}

pub(super) async fn purge(
    Shared(sources): Shared<Sources>,
    Path(number): Path<String>,
    asked: Result<Query<PurgeQuery>, QueryRejection>,
) -> Result<StatusCode, Problem> {
    let Query(PurgeQuery { unsent }) = asked?;
    let desk = sources.desk.clone();
    blocking(move || desk.purge(&number, unsent)).await??;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn capture(
    Shared(sources): Shared<Sources>,
    Path(number): Path<String>,
    asked: Result<Json<Capture>, JsonRejection>,
) -> Result<(StatusCode, Json<Taken>), Problem> {
    let Json(Capture { replaces }) = asked?;
    let desk = sources.desk.clone();
    let taken = blocking(move || desk.capture(&number, replaces.as_deref())).await??;
    Ok((StatusCode::CREATED, Json(taken.into())))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AddQuery {
    replaces: Option<String>,
}

pub(super) async fn add_image(
    Shared(sources): Shared<Sources>,
    Path(number): Path<String>,
    asked: Result<Query<AddQuery>, QueryRejection>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Taken>), Problem> {
    let Query(AddQuery { replaces }) = asked?;
    let bytes = bytes?;
    let desk = sources.desk.clone();
    let taken = blocking(move || desk.add(&number, replaces.as_deref(), &bytes)).await??;
    Ok((StatusCode::CREATED, Json(taken.into())))
}

pub(super) async fn close(
    Shared(sources): Shared<Sources>,
    Path(number): Path<String>,
) -> Result<Json<Study>, Problem> {
    at_desk(&sources, move |desk| desk.close(&number)).await
}

pub(super) async fn reopen(
    Shared(sources): Shared<Sources>,
    Path(number): Path<String>,
) -> Result<Json<Study>, Problem> {
    at_desk(&sources, move |desk| desk.reopen(&number)).await
}

pub(super) async fn drop_image(
    Shared(sources): Shared<Sources>,
    Path(image_id): Path<String>,
) -> Result<Json<Study>, Problem> {
    at_desk(&sources, move |desk| desk.drop_image(&image_id)).await
}

pub(super) async fn overrule(
    Shared(sources): Shared<Sources>,
    Path(image_id): Path<String>,
    asked: Result<Json<Overrule>, JsonRejection>,
) -> Result<Json<Study>, Problem> {
    let Json(Overrule { initials }) = asked?;
    at_desk(&sources, move |desk| desk.overrule(&image_id, &initials)).await
}

/// Does something at the desk, beside the runtime's thread, and gives the study as it is then.
async fn at_desk(
    sources: &Sources,
    work: impl FnOnce(&Desk) -> Result<StudyRow, desk::Error> + Send + 'static,
) -> Result<Json<Study>, Problem> {
    let desk = sources.desk.clone();
    let row = blocking(move || work(&desk)).await??;
    Ok(Json(row.into()))
}
