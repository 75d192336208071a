//! The station itself.

use axum::Json;
use axum::extract::State as Shared;
use serde_json::Value;

use super::types::Station;
use crate::web::Sources;

pub(super) async fn station(Shared(sources): Shared<Sources>) -> Json<Station> {
    Json(Station::read(&sources))
}

pub(super) async fn settings(Shared(sources): Shared<Sources>) -> Json<Value> {
    Json(sources.about.settings.clone())
}

pub(super) async fn openapi() -> Json<Value> {
    Json(super::description())
}
