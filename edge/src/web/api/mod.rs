//! The local API, under `/api/v1`: one table of routes, from which both the server and its OpenAPI description are made.

mod events;
mod metrics;
mod openapi;
mod outbox;
mod picture;
mod station;
mod studies;
pub mod types;

use axum::Router;
use axum::extract::rejection::{BytesRejection, JsonRejection, QueryRejection};
use axum::http::StatusCode;
use axum::routing::{MethodRouter, delete, get, post};

use super::Sources;
use super::problem::Problem;
use openapi::{Answer, Body, Route};
use types::{
    Capture, Carried, Carry, Delivered, OpenStudy, Outbox, Overrule, Removed, Revived, Station, Sticks,
    Studies, Study, Taken,
};

pub use openapi::description;

/// Where the API begins.
pub const PREFIX: &str = "/api/v1";

/// All of it.
fn routes() -> Vec<(Route, MethodRouter<Sources>)> {
    let route = |method, path, summary| Route { method, path, summary, ..Route::default() };
    vec![
        (
            route("get", "/station", "How the station is").answers(200, Answer::of::<Station>()),
            get(station::station),
        ),
        (
            route("get", "/settings", "The configuration it runs with")
                .answers(200, Answer::of::<serde_json::Value>()),
            get(station::settings),
        ),
        (
            route("get", "/events", "What changes: `station`, `study` and `removed`, as they do")
                .answers(200, Answer::Media("text/event-stream")),
            get(events::events),
        ),
        (
            route("get", "/studies", "Studies, the newest first")
                .query(&[
                    ("query", "part of a number, reference or study type"),
                    ("open", "only open ones (true) or closed ones (false)"),
                    ("before", "what the answer before called `next`"),
                    ("limit", "how many at most, 1 to 200; 50 where it is left out"),
                ])
                .answers(200, Answer::of::<Studies>()),
            get(studies::list),
        ),
        (
            route("post", "/studies", "Open a study")
                .takes(Body::of::<OpenStudy>())
                .answers(201, Answer::of::<Study>()),
            post(studies::open),
        ),
        (
            route("get", "/studies/{number}", "One study").answers(200, Answer::of::<Study>()),
            get(studies::show),
        ),
        (
            route("delete", "/studies/{number}", "Purge a closed study, or discard one without views")
                .query(&[("unsent", "true: even when its result has not been sent")])
                .answers(204, Answer::Nothing),
            delete(studies::purge),
        ),
        (
            route("post", "/studies/{number}/capture", "Take a radiograph with the station's camera")
                .takes(Body::of::<Capture>())
                .answers(201, Answer::of::<Taken>()),
            post(studies::capture),
        ),
        (
            route("post", "/studies/{number}/images", "Add an image file")
                .query(&[("replaces", "the image that it replaces")])
                .takes(Body::Bytes)
                .answers(201, Answer::of::<Taken>()),
            post(studies::add_image),
        ),
        (
            route("post", "/studies/{number}/close", "Close a study, once its images are scored")
                .answers(200, Answer::of::<Study>()),
            post(studies::close),
        ),
        (
            route("post", "/studies/{number}/reopen", "Open a closed study again")
                .answers(200, Answer::of::<Study>()),
            post(studies::reopen),
        ),
        (
            route("post", "/images/{image_id}/drop", "Drop an image from its study")
                .answers(200, Answer::of::<Study>()),
            post(studies::drop_image),
        ),
        (
            route(
                "post",
                "/images/{image_id}/overrule",
                "Have an image scored that the acquisition gate rejected",
            )
            .takes(Body::of::<Overrule>())
            .answers(200, Answer::of::<Study>()),
            post(studies::overrule),
        ),
        (
            route("get", "/images/{image_id}/picture", "An image as it is displayed, 8 bit grey")
                .query(&[("max_px", "its longer side at most, 64 to 4096; 1024 where it is left out")])
                .answers(200, Answer::Media("image/png")),
            get(picture::picture),
        ),
        (
            route("get", "/preview", "What the camera sees now").answers(200, Answer::Media("image/png")),
            get(picture::preview),
        ),
        (
            route("get", "/outbox", "Results not yet acknowledged, the oldest first")
                .query(&[
                    ("after", "only those after this place in the sequence"),
                    ("limit", "how many at most, 1 to 10000, which it is where it is left out"),
                ])
                .answers(200, Answer::of::<Outbox>()),
            get(outbox::list),
        ),
        (
            route("post", "/outbox/retry", "Send results again that the broker refused for good")
                .answers(200, Answer::of::<Revived>()),
            post(outbox::retry),
        ),
        (
            route("get", "/outbox/export", "Each unacknowledged result as it is published, a line each")
                .answers(200, Answer::Media("application/x-ndjson")),
            get(outbox::export),
        ),
        (
            route("get", "/outbox/sticks", "USB sticks and the like that are mounted")
                .answers(200, Answer::of::<Sticks>()),
            get(outbox::sticks),
        ),
        (
            route("post", "/outbox/carry", "Write each unacknowledged result to a stick, and compare")
                .takes(Body::of::<Carry>())
                .answers(200, Answer::of::<Carried>()),
            post(outbox::carry),
        ),
        (
            route("post", "/outbox/delivered", "Take results for acknowledged that were carried by hand")
                .takes(Body::of::<Delivered>())
                .answers(200, Answer::of::<Removed>()),
            post(outbox::delivered),
        ),
        (
            route("get", "/openapi.json", "This description").answers(200, Answer::of::<serde_json::Value>()),
            get(station::openapi),
        ),
    ]
}

/// Where Prometheus asks, outside of [`PREFIX`] as is its custom.
pub(super) const METRICS: &str = "/metrics";

/// Serves the API.
pub(super) fn router() -> Router<Sources> {
    routes()
        .into_iter()
        .fold(Router::new(), |router, (route, handler)| router.route(route.path, handler))
        .fallback(|| async {
            Problem::new(
                StatusCode::NOT_FOUND,
                "no-such-resource",
                "see /api/v1/openapi.json for what there is",
            )
        })
}

pub(super) use metrics::metrics;

fn not_understood(status: StatusCode, text: String) -> Problem {
    Problem::new(status, "not-understood", text)
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        not_understood(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        not_understood(rejection.status(), rejection.body_text())
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        not_understood(rejection.status(), rejection.body_text())
    }
}
