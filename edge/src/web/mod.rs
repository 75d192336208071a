//! The technician's page, and the local API it is made from.
//!
//! ```text
//! GET  /              the page: one HTML file with its own style, script and text; nothing from outside
//! GET  /api/state     the station and its newest studies, as a [`state::State`]
//! POST /api/capture   {"study_type": "XR_WRIST"}: takes a radiograph from the frame grabber; answers with
//!                     {"study_number": "WRI-0007"} once it is accepted, or {"error": …} when it is not
//! ```
//!
//! It listens on loopback only and asks nobody who they are. So that no other page in the technician's browser
//! can speak through it, a request must name this host, and one that changes something must come from this
//! page. Nothing it shows says whose radiograph it is: studies are named by their number in the register book.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use axum::extract::{DefaultBodyLimit, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use contract::study::StudyType;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::publish::{Broker, Facts};
use crate::store::Store;

pub mod config;
mod guard;
pub mod state;

pub use config::WebConfig;

const BODY_MAX_BYTES: usize = 4096;
/// Studies on the page.
const STUDIES_MAX: usize = 30;

/// What the page shows and does.
#[derive(Clone)]
pub struct Sources {
    /// What the station says of itself.
    pub facts: Arc<dyn Facts>,
    /// What is known of the broker.
    pub broker: Broker,
    /// Where the studies are.
    pub store: Store,
    /// Free space below which no image is accepted, in bytes.
    pub disk_free_min_bytes: u64,
    /// Takes a radiograph on request; none where there is no frame grabber.
    pub capture: Option<Arc<dyn Capture>>,
}

/// A source that takes a radiograph when asked to.
pub trait Capture: Send + Sync + 'static {
    /// Takes one radiograph, as a study of its own, and gives the study's number once it is accepted. Blocks
    /// until then, for seconds.
    ///
    /// # Errors
    /// When the source is still busy with the one before, gives none, or it was not accepted; in words for
    /// the technician.
    fn take(&self, study_type: StudyType) -> Result<String, String>;
}

/// The page, bound to its address and not yet served.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    sources: Sources,
}

impl Server {
    /// Binds the page's address.
    ///
    /// # Errors
    /// When the address is taken or not this machine's.
    pub fn bind(config: &WebConfig, sources: Sources) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, sources })
    }

    /// Where the page is; with port 0 in the config, the port that was free.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until it is dropped.
    pub async fn serve(self) {
        let served = match tokio::net::TcpListener::from_std(self.listener) {
            Ok(listener) => axum::serve(listener, router(self.sources)).await,
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            log::error!("the technician's page has ended: {error}");
        }
    }
}

fn router(sources: Sources) -> Router {
    Router::new()
        .route("/", get(|| asset("text/html; charset=utf-8", include_str!("page.html"))))
        .route("/page.css", get(|| asset("text/css; charset=utf-8", include_str!("page.css"))))
        .route("/page.js", get(|| asset("text/javascript; charset=utf-8", include_str!("page.js"))))
        .route("/text.js", get(|| asset("text/javascript; charset=utf-8", include_str!("text.js"))))
        .route("/api/state", get(api_state))
        .route("/api/capture", post(api_capture))
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .layer(middleware::from_fn(guard::check))
        .with_state(sources)
}

async fn asset(content_type: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, content_type)], text)
}

async fn api_state(Shared(sources): Shared<Sources>) -> Response {
    match state::State::read(&sources, STUDIES_MAX) {
        Ok(state) => Json(state).into_response(),
        Err(error) => {
            log::warn!("the page cannot be filled: {error}");
            refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaptureRequest {
    study_type: StudyType,
}

#[derive(Serialize)]
struct Taken {
    study_number: String,
}

async fn api_capture(Shared(sources): Shared<Sources>, Json(request): Json<CaptureRequest>) -> Response {
    let Some(capture) = sources.capture else {
        return refusal(StatusCode::NOT_FOUND, "this station has no frame grabber; put files into the spool");
    };
    // A thread of its own rather than the runtime's: a stop does not wait for the device.
    let (reply, answer) = oneshot::channel();
    let asked = thread::Builder::new().name("frame".to_owned()).spawn(move || {
        let _ = reply.send(capture.take(request.study_type));
    });
    if let Err(error) = asked {
        return refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the frame grabber cannot be asked: {error}"),
        );
    }
    match answer.await {
        Ok(Ok(study_number)) => (StatusCode::CREATED, Json(Taken { study_number })).into_response(),
        Ok(Err(why)) => refusal(StatusCode::CONFLICT, why),
        Err(_) => {
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "the frame grabber's thread has failed; try again")
        }
    }
}

fn refusal(status: StatusCode, why: impl Into<String>) -> Response {
    #[derive(Serialize)]
    struct Refusal {
        error: String,
    }
    (status, Json(Refusal { error: why.into() })).into_response()
}
