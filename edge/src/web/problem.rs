//! Errors of the local API, as RFC 9457 says.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::desk;
use crate::intake::AcceptError;
use crate::store::{Refused, StoreError};

/// Why a request was not done: `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// The kind of problem: `urn:ulna:problem:` and a word.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened here and what to do.
    pub detail: String,
}

impl Problem {
    /// A problem of a kind; `word` is such as `study-closed`.
    pub fn new(status: StatusCode, word: &str, detail: impl Into<String>) -> Self {
        let mut title = word.replace('-', " ");
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Self {
            kind: format!("urn:ulna:problem:{word}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let (status, word) = match refused {
            Refused::NoStudy(_) => (StatusCode::NOT_FOUND, "no-such-study"),
            Refused::NoImage => (StatusCode::NOT_FOUND, "no-such-image"),
            Refused::Closed(_) => (StatusCode::CONFLICT, "study-closed"),
            Refused::Open(_) => (StatusCode::CONFLICT, "study-open"),
            Refused::NoViews(_) => (StatusCode::CONFLICT, "study-empty"),
            Refused::Full { .. } => (StatusCode::CONFLICT, "study-full"),
            Refused::Unsent(_) => (StatusCode::CONFLICT, "result-unsent"),
            Refused::NotOverrulable(_) => (StatusCode::CONFLICT, "not-overrulable"),
            Refused::Text { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "not-understood"),
        };
        Self::new(status, word, refused.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        log::warn!("a request was not done: {error}");
        if error.is_disk_full() {
            return Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk-full", error.to_string());
        }
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store-failing", error.to_string())
    }
}

impl From<desk::Error> for Problem {
    fn from(error: desk::Error) -> Self {
        let (status, word) = match error {
            desk::Error::Refused(refused) => return refused.into(),
            desk::Error::Store(error) => return error.into(),
            desk::Error::Accept(AcceptError::DiskFull { .. }) => {
                (StatusCode::INSUFFICIENT_STORAGE, "disk-full")
            }
            desk::Error::Accept(AcceptError::TooLarge(_)) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "image-too-large")
            }
            desk::Error::Accept(_) => (StatusCode::SERVICE_UNAVAILABLE, "not-accepted"),
            desk::Error::NoCamera => (StatusCode::NOT_FOUND, "no-camera"),
            desk::Error::Camera(_) => (StatusCode::SERVICE_UNAVAILABLE, "camera-failing"),
        };
        Self::new(status, word, error.to_string())
    }
}
