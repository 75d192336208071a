//! From the outbox to the broker: MQTT v5 at QoS 1.
//!
//! The outbox owns every message. A row is marked acknowledged only when its PUBACK says success, several in one commit
//! ([`acks`]); the client's own queues are never trusted, because rumqttc drops them on a reconnect. So on any error the client is
//! thrown away with all it holds, and a new one starts from the outbox again. Delivery is at least once;
//! `(outbox_id, seq)` never changes on a resend.
//!
//! On every CONNACK the station says who it is (`birth`), that it is there (`status`, whose will says
//! `connection_lost`), how it is (`health`) and its newest result (`latest`); then rows follow, few in flight, abnormal
//! results before the others ([`backlog`]). Commands come in by a subscription of the same connection. A row the broker
//! refuses rests and is tried again while the others pass it; the
//! store sets it aside after several permanent refusals, never deleting it.
//!
//! The files of `[mqtt]` are read at every connect. When a certificate in them nears its end and they hold a later one, the
//! session connects anew by itself.
//!
//! One thread with one single-threaded runtime carries the session and the technician's page.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use contract::result::{Presence, StationBirth, StationHealth, Topics};
use tokio::sync::{Notify, watch as signal};

use crate::store::{Store, StoreError};

mod acks;
mod backlog;
mod backoff;
mod broker;
mod certificate;
mod commands;
pub mod config;
mod connection;
mod home_assistant;
mod mailbox;
mod outage;
mod payload;
pub mod probe;
mod refusal;
mod renewal;
mod session;
mod tls;
pub mod watch;
mod window;

pub use broker::{Broker, BrokerState};
pub use certificate::Certificate;
pub use config::MqttConfig;
pub use home_assistant::HomeAssistantConfig;
pub use mailbox::{Answer, Arrived, COMMAND_MAX_BYTES, Mailbox};
pub(crate) use payload::{PayloadError, with_delivery};

use session::Link;

/// What the station says of itself. Called on the session's thread: answers must not take long.
pub trait Facts: Send + Sync + 'static {
    /// What the station is.
    fn birth(&self) -> StationBirth;
    /// How it is.
    fn health(&self) -> StationHealth;
    /// Whether it serves, and the reason in a word.
    fn condition(&self) -> Condition;
    /// Told about once a second while the session gets on with its work, connected or waiting to be.
    fn alive(&self) {}
    /// Told whether a certificate of `[mqtt]` has to be replaced soon.
    fn certificate_ends_soon(&self, _soon: bool) {}
}

/// `online` or `degraded`, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The state.
    pub presence: Presence,
    /// The reason in a word, such as `started` or `disk_full`.
    pub reason: String,
}

/// Something to be served beside the session.
pub type Page = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a session needs.
pub struct Setup {
    /// A checked `[mqtt]`.
    pub config: MqttConfig,
    /// The station's checked name.
    pub station: String,
    /// Where the outbox is.
    pub store: Store,
    /// What the station says of itself.
    pub facts: Arc<dyn Facts>,
    /// Where the broker's state is shown; shared with the page.
    pub broker: Broker,
    /// Where commands come in and their answers go out.
    pub mailbox: Arc<Mailbox>,
    /// What else the thread serves until the session ends: the technician's page, already bound.
    pub page: Option<Page>,
}

/// Why a connection could not even be tried.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetupError {
    #[error("cannot use {key} `{}`: {why}; correct the file, the next attempt reads it again", file.display())]
    File { key: &'static str, file: PathBuf, why: String },
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}

/// Starts the session, and the page when there is one, on a thread of their own.
///
/// # Errors
/// When the thread or its runtime cannot be started, or the outbox cannot be read. A broker that is away is no
/// error: the session keeps trying.
pub fn spawn(setup: Setup) -> Result<Handle, SpawnError> {
    let outbox_id = setup.store.outbox_id()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let wake = Arc::new(Notify::new());
    let (stop, stopped) = signal::channel(None);
    let (done, finished) = mpsc::channel();
    let broker = setup.broker.clone();
    let link = Link {
        topics: Topics::new(&setup.station),
        config: setup.config,
        station: setup.station,
        outbox_id,
        store: setup.store,
        facts: setup.facts,
        broker: setup.broker,
        mailbox: setup.mailbox,
        wake: Arc::clone(&wake),
        stop: stopped,
    };
    let page = setup.page;
    thread::Builder::new().name("publish".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let page = page.map(tokio::spawn);
            session::run(link).await;
            if let Some(page) = page {
                page.abort();
            }
        });
        // A name lookup may hang for a minute; nobody waits for its answer any more.
        runtime.shutdown_background();
        let _ = done.send(());
    })?;
    Ok(Handle { wake: Waker(wake), stop, finished, broker })
}

/// Why the session could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// No thread, or no runtime on it.
    #[error("cannot start the publishing thread: {0}")]
    Thread(#[from] io::Error),
    /// The outbox.
    #[error("cannot read the outbox: {0}")]
    Store(#[from] StoreError),
}

/// Tells the session that the outbox has a new row, or the mailbox an answer.
#[derive(Clone, Debug, Default)]
pub struct Waker(Arc<Notify>);

impl Waker {
    /// Never blocks. Rows are found within about a second even when nobody calls this.
    pub fn wake(&self) {
        self.0.notify_one();
    }
}

/// The running session.
#[derive(Debug)]
pub struct Handle {
    wake: Waker,
    stop: signal::Sender<Option<Instant>>,
    finished: mpsc::Receiver<()>,
    broker: Broker,
}

impl Handle {
    /// A waker, to be given to whoever fills the outbox.
    pub fn waker(&self) -> Waker {
        self.wake.clone()
    }

    /// Tells the session that the outbox has a new row.
    pub fn wake(&self) {
        self.wake.wake();
    }

    /// What is known of the broker.
    pub fn state(&self) -> BrokerState {
        self.broker.state()
    }

    /// Says `offline`, reason `clean_stop`, and disconnects; gives up after `deadline`. Returns whether the
    /// thread has ended. Rows not yet acknowledged stay in the outbox.
    pub fn join(self, deadline: Duration) -> bool {
        self.stop.send_replace(Some(Instant::now() + deadline));
        // A little more than the session allows itself, so that its own end is seen.
        self.finished.recv_timeout(deadline + Duration::from_millis(500)).is_ok()
    }
}
