//! The technician's page, and the local API it is made from.
//!
//! The page is one HTML file with its own styles, scripts and text ([`assets`]); nothing comes from outside. The API is
//! described by `/api/v1/openapi.json`, which is made from [`api`]'s own table. `/metrics` is for Prometheus.
//!
//! There are three doors. On loopback nobody is asked who they are; so that no other page in the technician's browser
//! can speak through it, a request must name this host, and one that changes something must come from this page. The
//! command line asks over a unix socket, which only the service's group can open. The network
//! finds a door only where the configuration says so, with TLS and a token: [`lan`].

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Router, middleware};
use contract::preprocess::{Aspect, PreprocessSpec};
use contract::radiograph::Limits;
use tokio::sync::Semaphore;

use crate::desk::Desk;
use crate::publish::{Broker, Facts};
use crate::store::Store;

pub mod api;
mod assets;
pub mod config;
mod guard;
pub mod lan;
mod problem;

use guard::{Network, Rules};

pub use config::WebConfig;
pub use problem::Problem;

/// Pages that may be told of changes at once.
const LISTENERS_MAX: usize = 32;

/// What the page shows and does.
#[derive(Clone)]
pub struct Sources {
    /// What the station says of itself.
    pub facts: Arc<dyn Facts>,
    /// What is known of the broker.
    pub broker: Broker,
    /// Where the studies are.
    pub store: Store,
    /// What the technician can do.
    pub desk: Desk,
    /// What does not change while the service runs.
    pub about: Arc<About>,
    /// Whose turn it is to have a picture made.
    pub pictures: Arc<Semaphore>,
    /// Pages that are told of changes.
    pub listeners: Arc<Semaphore>,
}

/// What does not change while the service runs.
#[derive(Clone, Debug)]
pub struct About {
    /// What the model is meant for.
    pub intended_use: String,
    /// Whether the model's input is stretched or letterboxed.
    pub aspect: Aspect,
    /// The model's input, by which a raw frame is windowed.
    pub input: PreprocessSpec,
    /// What is taken for a radiograph.
    pub limits: Limits,
    /// Most views of one study.
    pub views_max: u32,
    /// Free space below which no image is accepted, in bytes.
    pub disk_free_min_bytes: u64,
    /// Folders on or below which sticks are mounted.
    pub sticks_in: Vec<PathBuf>,
    /// The configuration.
    pub settings: serde_json::Value,
}

impl Sources {
    /// Puts them together.
    pub fn new(facts: Arc<dyn Facts>, broker: Broker, store: Store, desk: Desk, about: About) -> Self {
        Self {
            facts,
            broker,
            store,
            desk,
            about: Arc::new(about),
            pictures: Arc::new(Semaphore::new(1)),
            listeners: Arc::new(Semaphore::new(LISTENERS_MAX)),
        }
    }
}

/// The page, bound to its addresses and not yet served.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    socket: UnixListener,
    lan: Option<lan::Door>,
    sources: Sources,
}

impl Server {
    /// Binds the page's addresses, and the command line's `socket`.
    ///
    /// # Errors
    /// When an address is taken or not this machine's, or the socket, the token or the certificate cannot be made or
    /// used.
    pub fn bind(config: &WebConfig, state_dir: &Path, socket: &Path, sources: Sources) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let socket = bind_socket(socket).map_err(|error| {
            io::Error::new(error.kind(), format!("the socket {} cannot be made: {error}", socket.display()))
        })?;
        let lan = config.lan.as_ref().map(|lan| lan::Door::bind(lan, state_dir)).transpose()?;
        Ok(Self { listener, address, socket, lan, sources })
    }

    /// Where the page is for the network, if it is.
    pub fn lan_address(&self) -> Option<SocketAddr> {
        self.lan.as_ref().map(|door| door.address)
    }

    /// Where the page is; with port 0 in the config, the port that was free.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until it is dropped.
    pub async fn serve(self) {
        let router = router(self.sources);
        let page = async {
            let listener = tokio::net::TcpListener::from_std(self.listener)?;
            axum::serve(listener, guarded(router.clone(), Rules::Local)).await
        };
        let socket = async {
            let listener = tokio::net::UnixListener::from_std(self.socket)?;
            axum::serve(listener, router.clone()).await
        };
        let lan = async {
            let Some(door) = self.lan else { return Ok(()) };
            let network = Network { authorities: door.authorities.clone(), token: door.token.clone() };
            let router = guarded(router.clone(), Rules::Network(Arc::new(network)));
            axum::serve(door.open()?, router).await
        };
        if let Err(error) = tokio::try_join!(page, socket, lan) {
            log::error!("the technician's page has ended: {error}; restart the service");
        }
    }
}

/// Whoever holds the state directory's lock may replace a socket that was left behind.
fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn router(sources: Sources) -> Router {
    // An upload may be as large as an image; the intake names its own limit when it is passed.
    let body_max_bytes = usize::try_from(sources.desk.file_max_bytes()).unwrap_or(usize::MAX);
    Router::new()
        .merge(assets::router())
        .nest(api::PREFIX, api::router())
        .route(api::METRICS, get(api::metrics))
        .layer(DefaultBodyLimit::max(body_max_bytes.saturating_add(1)))
        .with_state(sources)
}

/// The router behind a door.
fn guarded(router: Router, rules: Rules) -> Router {
    let enter = Router::new().route("/enter", get(guard::enter)).with_state(rules.clone());
    router.merge(enter).layer(middleware::from_fn_with_state(rules, guard::check))
}

/// Does something that blocks on a thread of its own, so that the session with the broker goes on.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        log::error!("a request has failed: {error}");
        let detail = "the station could not do that because of a fault of its own; try again, then report it";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "fault", detail)
    })
}
