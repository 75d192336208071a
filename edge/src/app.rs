//! The service as a whole: the only file that knows every stage. Build, drain with a deadline.
//!
//! ```text
//! a thread per source ──accept──▶ store ◀──score── worker threads (one per core)
//! desk (frame grabber) ──────────▶  ▲  ◀──close── keeper thread ──▶ systemd
//!                                   ├──── drain outbox, show ──── publish thread (MQTT, page, local API)
//!                                   └──── execute commands ────── control thread
//! ```

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use contract::bundle::Purpose;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::capture::dicom::Dicom;
use crate::capture::replay::Replay;
use crate::capture::spool::Spool;
use crate::capture::v4l2::{CaptureError, V4l2Source};
use crate::capture::{Camera, Source};
use crate::clock::boot_time;
use crate::config::Config;
use crate::control::{self, Control};
use crate::desk::Desk;
use crate::exit::Exit;
use crate::health::{self, Health, Trouble};
use crate::inference::{Bundle, BundleError, Model, ModelError};
use crate::intake::Intake;
use crate::keeper::{Keeper, LastReport};
use crate::outlook::Outlook;
use crate::publish::{self, Broker, Mailbox, Setup, SpawnError};
use crate::scoring::Scoring;
use crate::slots::{Slots, SlotsError};
use crate::station::Station;
use crate::store::{Store, StoreError};
use crate::wake::{Restart, Stop, Wake};
use crate::web::{About, Server, Sources};

/// How long loading the model may take before systemd loses patience.
pub(crate) const LOAD_MAX: Duration = Duration::from_secs(300);

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The bundle is not usable.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The model is not usable.
    #[error("the bundle's model cannot be used: {0}")]
    Model(#[from] ModelError),
    /// A slot holds another bundle than was installed there.
    #[error(
        "{0} does not hold the bundle that was installed there; go back with `edge model rollback`, or install a bundle with \
         `edge model install`"
    )]
    Another(PathBuf),
    /// A demo bundle where none is allowed.
    #[error(
        "the bundle {0} is for demonstration only; give this station a bundle for clinical evaluation, or set \
         allow_demo_model = true, which marks every result as DEMONSTRATION MODEL"
    )]
    Demo(String),
    /// The slots, or that there is no model at all.
    #[error(transparent)]
    Slots(#[from] SlotsError),
    /// The state directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The page's address.
    #[error(
        "the technician's page cannot be served on {address}: {source}; free that address or change [web]"
    )]
    Page {
        /// What the section says.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The DICOM receiver's address.
    #[error("DICOM cannot be received on {address}: {source}; free that address or change dicom.listen")]
    Dicom {
        /// What `dicom.listen` says.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The frame grabber's section.
    #[error("the frame grabber cannot be used: {0}")]
    Grabber(#[from] CaptureError),
    /// The publishing thread.
    #[error(transparent)]
    Publish(#[from] SpawnError),
    /// A thread.
    #[error("a thread cannot be started: {0}; the system has too few left")]
    Thread(io::Error),
}

impl StartError {
    /// The exit code that says so.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Bundle(_) | Self::Model(_) | Self::Another(_) | Self::Demo(_) => Exit::Bundle,
            Self::Slots(error) => error.exit(),
            Self::Store(_) => Exit::Io,
            Self::Page { .. } | Self::Dicom { .. } => Exit::Unavailable,
            Self::Grabber(_) => Exit::Config,
            Self::Publish(_) | Self::Thread(_) => Exit::Internal,
        }
    }

    /// Whether another bundle might start.
    pub fn is_of_the_bundle(&self) -> bool {
        matches!(self, Self::Bundle(_) | Self::Model(_) | Self::Another(_) | Self::Demo(_))
    }
}

/// The running service.
pub struct App {
    page: SocketAddr,
    lan: Option<SocketAddr>,
    stop: Stop,
    wakes: Wakes,
    mailbox: Arc<Mailbox>,
    publish: publish::Handle,
    ended: Receiver<()>,
}

/// What wakes the stages.
#[derive(Clone)]
struct Wakes {
    workers: Wake,
    keeper: Wake,
}

impl App {
    /// Loads a bundle's model, opens the store and starts every stage. Returns once images can be accepted. The bundle is
    /// named by its folder and, where that is known, its manifest's SHA-256. `restart` is asked for when another one is to
    /// be used.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing is left running.
    pub fn start(
        config: &Config,
        bundle: (&Path, Option<&str>),
        restart: &Restart,
    ) -> Result<Self, StartError> {
        health::say("loading the model");
        health::extend_start(LOAD_MAX);
        let model = load_model(bundle, config)?;
        let store = Store::open(&config.state_dir, config.limits)?;
        let health = Arc::new(Health::default());
        let returned = Slots::of(config).and_then(|slots| slots.record().ok()?.returned().cloned());
        health.set(Trouble::ModelReturned, returned.is_some());
        let wakes = Wakes { workers: Wake::new(config.workers), keeper: Wake::new(1) };
        let intake = intake(config, &store, &health, &wakes);
        let camera = camera(config, &model)?;
        let desk = Desk::new(intake.clone(), camera.clone(), wakes.keeper.clone(), wakes.workers.clone());
        let sources = sources(config, &intake, &health)?;

        let (broker, mailbox) = (Broker::default(), Arc::new(Mailbox::default()));
        let outlook = Outlook::new(Arc::clone(&health), intake.clone(), camera.clone(), broker.clone());
        let started = Instant::now();
        let station = Arc::new(Station {
            name: config.station.clone(),
            store: store.clone(),
            model: model.clone(),
            health: Arc::clone(&health),
            camera,
            started,
        });
        let page = bind_page(config, &station, &broker, desk)?;
        let (address, lan) = (page.address(), page.lan_address());
        let publish = publish::spawn(Setup {
            config: config.mqtt.clone(),
            station: config.station.clone(),
            store: store.clone(),
            facts: station,
            broker,
            mailbox: Arc::clone(&mailbox),
            page: Some(Box::pin(page.serve())),
        })?;

        let stop = Stop::default();
        // Each thread holds a sender; when all are gone, all have ended.
        let (running, ended) = bounded(0);
        let threads = Threads { stop: stop.clone(), running };
        let scoring = Scoring {
            store: store.clone(),
            model: model.clone(),
            limits: config.image.limits(),
            quality: config.quality.clone(),
            health: Arc::clone(&health),
            done: wakes.keeper.clone(),
        };
        for index in 0..config.workers {
            let (scoring, wake) = (scoring.clone(), wakes.workers.clone());
            threads.spawn(format!("worker-{index}"), move |name, stop| scoring.run(name, &wake, stop))?;
        }
        let mut reports = BTreeMap::new();
        for source in sources {
            let (last, keeper) = (LastReport::default(), wakes.keeper.clone());
            reports.insert(source.name(), last.clone());
            threads.spawn(source.name().to_owned(), move |_, stop| watch(source, &last, &keeper, stop))?;
        }
        let mut control = Control::new(control::Setup {
            config: config.clone(),
            store: store.clone(),
            manifest: model.manifest().clone(),
            model: model.summary().clone(),
            mailbox: Arc::clone(&mailbox),
            session: publish.waker(),
            restart: restart.clone(),
            started,
        })?;
        let beats = Arc::clone(&health);
        threads.spawn("control".to_owned(), move |_, stop| control.run(&beats, stop))?;
        let mut keeper = Keeper::new(&config.study, store, model, health, reports, outlook);
        let (wake, waker) = (wakes.keeper.clone(), publish.waker());
        threads.spawn("keeper".to_owned(), move |_, stop| keeper.run(&wake, stop, &|| waker.wake()))?;
        Ok(Self { page: address, lan, stop, wakes, mailbox, publish, ended })
    }

    /// Where the technician's page is.
    pub fn page_address(&self) -> SocketAddr {
        self.page
    }

    /// Where it is for the network, if it is.
    pub fn lan_address(&self) -> Option<SocketAddr> {
        self.lan
    }

    /// Lets every stage finish what it is doing, tells the broker, and says whether all that came to an end
    /// in time. What did not is taken up at the next start.
    pub fn stop(self, deadline: Duration) -> bool {
        let until = Instant::now() + deadline;
        self.stop.stop();
        self.wakes.keeper.wake();
        self.mailbox.wake();
        for _ in 0..self.wakes.workers.threads() {
            self.wakes.workers.wake();
        }
        let left = || until.saturating_duration_since(Instant::now());
        // Nothing is ever sent: the channel ends when the last thread does.
        let stages = matches!(
            self.ended.recv_timeout(left() / 2),
            Err(crossbeam_channel::RecvTimeoutError::Disconnected)
        );
        let session = self.publish.join(left());
        stages && session
    }
}

/// Starts threads that end when told to.
struct Threads {
    stop: Stop,
    running: Sender<()>,
}

impl Threads {
    fn spawn(&self, name: String, work: impl FnOnce(&str, &Stop) + Send + 'static) -> Result<(), StartError> {
        let (stop, running) = (self.stop.clone(), self.running.clone());
        let spawned = thread::Builder::new().name(name.clone()).spawn(move || {
            work(&name, &stop);
            drop(running);
        });
        if spawned.is_err() {
            self.stop.stop();
        }
        spawned.map(drop).map_err(StartError::Thread)
    }
}

fn load_model((bundle_dir, sha256): (&Path, Option<&str>), config: &Config) -> Result<Model, StartError> {
    let bundle = Bundle::load(bundle_dir)?;
    if sha256.is_some_and(|sha256| sha256 != bundle.manifest_sha256) {
        return Err(StartError::Another(bundle_dir.to_owned()));
    }
    let demo = bundle.manifest.purpose == Purpose::Demo;
    if demo && !config.allow_demo_model {
        return Err(StartError::Demo(bundle_dir.display().to_string()));
    }
    let execution = config.model.execution();
    let model = Model::load(&bundle, execution)?;
    if execution != execution.here() {
        log::warn!(
            "model.precision is f16, but this processor does not compute with it: f32 instead, as exact and slower"
        );
    }
    let summary = model.summary();
    log::info!(
        "model {} version {} loaded and self-tested, bundle {}",
        summary.name,
        summary.version,
        summary.bundle_sha256.get(..12).unwrap_or_default()
    );
    if demo {
        log::warn!("DEMONSTRATION MODEL: its answers mean nothing");
    }
    Ok(model)
}

fn intake(config: &Config, store: &Store, health: &Arc<Health>, wakes: &Wakes) -> Intake {
    let wakes = wakes.clone();
    let wake = Arc::new(move || {
        wakes.workers.wake();
        wakes.keeper.wake();
    });
    Intake::new(config, store.clone(), Arc::clone(health), wake)
}

fn bind_page(
    config: &Config,
    station: &Arc<Station>,
    broker: &Broker,
    desk: Desk,
) -> Result<Server, StartError> {
    let manifest = station.model.manifest();
    let about = About {
        intended_use: manifest.intended_use.clone(),
        aspect: manifest.input.aspect,
        input: manifest.input.clone(),
        limits: config.image.limits(),
        views_max: config.study.views_max,
        disk_free_min_bytes: config.limits.disk_free_min_mib << 20,
        sticks_in: config.web.sticks_in.clone(),
        settings: config.shown.clone(),
    };
    let facts = Arc::clone(station) as Arc<dyn publish::Facts>;
    let sources = Sources::new(facts, broker.clone(), station.store.clone(), desk, about);
    Server::bind(&config.web, &config.state_dir, &config.socket(), sources).map_err(|source| {
        let lan = config.web.lan.as_ref().map(|lan| format!(" or {}", lan.listen)).unwrap_or_default();
        StartError::Page { address: format!("{}{lan}", config.web.listen), source }
    })
}

/// The sources to which images come by themselves.
fn sources(
    config: &Config,
    intake: &Intake,
    health: &Arc<Health>,
) -> Result<Vec<Box<dyn Source>>, StartError> {
    let mut sources: Vec<Box<dyn Source>> = Vec::new();
    if let Some(spool) = &config.spool {
        sources.push(Box::new(Spool::new(spool.clone(), intake.clone(), Arc::clone(health))));
    }
    if let Some(dicom) = &config.dicom {
        let bound = Dicom::bind(dicom.clone(), config.image.limits(), intake.clone(), Arc::clone(health));
        let bound = bound.map_err(|source| StartError::Dicom { address: dicom.listen, source })?;
        sources.push(Box::new(bound));
    }
    if let Some(replay) = &config.replay {
        sources.push(Box::new(Replay::new(replay.clone(), intake.clone(), Arc::clone(health))));
    }
    Ok(sources)
}

/// A source's thread.
fn watch(mut source: Box<dyn Source>, last: &LastReport, keeper: &Wake, stop: &Stop) {
    /// A stop is noticed within this time.
    const PATIENCE_MAX: Duration = Duration::from_secs(1);
    while !stop.is_stopped() {
        let report = source.poll(boot_time());
        let until = boot_time() + report.next;
        last.set(report);
        keeper.wake();
        let patience = until.saturating_sub(boot_time()).min(PATIENCE_MAX);
        if !patience.is_zero() {
            source.wait(patience);
        }
    }
}

/// The frame grabber, where there is one.
fn camera(config: &Config, model: &Model) -> Result<Option<Arc<dyn Camera>>, CaptureError> {
    let Some(v4l2) = &config.v4l2 else { return Ok(None) };
    let source = V4l2Source::start(v4l2.clone(), model.manifest().input.clone(), config.image.limits())?;
    Ok(Some(Arc::new(source)))
}
