//! The stations.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use contract::result::ActivationMap;
use contract::study::StudyType;
use e2e::authority::Authority;
use edge::health::Health;
use edge::inference::{Bundle, Execution, Model, ViewScore, compose, scored_view};
use edge::publish::{self, Broker, Handle, MqttConfig, Setup, Waker};
use edge::station::Station;
use edge::store::{Grouping, LimitsConfig, NewImage, Origin, SourceFacts, Store};

/// Threads that let studies end; each has its share of the stations.
const PRODUCERS: usize = 4;
const STOP_MAX: Duration = Duration::from_secs(30);

/// The bundle's model, which all stations share: it says what they are, and scores nothing.
pub(crate) fn model() -> anyhow::Result<Model> {
    Ok(Model::load(&Bundle::load(&e2e::demo_bundle())?, Execution::default())?)
}

/// Stations that run.
pub(crate) struct Crowd {
    members: Vec<Member>,
    model: Model,
    made: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
    producers: Vec<JoinHandle<anyhow::Result<()>>>,
}

struct Member {
    store: Store,
    handle: Handle,
}

impl Crowd {
    /// Starts a station of each name, its state below `folder`, at the broker on a port of this machine.
    pub(crate) fn start(
        names: &[String],
        folder: &Path,
        model: Model,
        authority: &Authority,
        port: u16,
    ) -> anyhow::Result<Self> {
        let start = |name: &String| -> anyhow::Result<Member> {
            let identity = authority.station(name)?;
            let store = Store::open(&folder.join(name), LimitsConfig::default())?;
            let facts = Station {
                name: name.clone(),
                store: store.clone(),
                model: model.clone(),
                health: Arc::new(Health::default()),
                camera: None,
                started: Instant::now(),
            };
            let config = MqttConfig {
                port,
                ca_file: Some(identity.ca),
                cert_file: Some(identity.cert),
                key_file: Some(identity.key),
                ..MqttConfig::default()
            };
            config.check().map_err(anyhow::Error::msg)?;
            let handle = publish::spawn(Setup {
                config,
                station: name.clone(),
                store: store.clone(),
                facts: Arc::new(facts),
                broker: Broker::default(),
                mailbox: Arc::default(),
                page: None,
            })?;
            Ok(Member { store, handle })
        };
        let members = names.iter().map(start).collect::<anyhow::Result<_>>()?;
        Ok(Self { members, model, made: Arc::default(), stopped: Arc::default(), producers: Vec::new() })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// How many the broker has let in.
    pub(crate) fn connected(&self) -> usize {
        self.members.iter().filter(|member| member.handle.state().connected).count()
    }

    /// Whether it has let all of them in.
    pub(crate) fn all_connected(&self) -> bool {
        self.connected() == self.len()
    }

    /// Results that no broker has acknowledged yet.
    pub(crate) fn unsent(&self) -> anyhow::Result<u64> {
        let mut unsent = 0;
        for member in &self.members {
            unsent += member.store.depth()?;
        }
        Ok(unsent)
    }

    /// Results made so far.
    pub(crate) fn made(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }

    /// Lets studies end from now on, at random times.
    pub(crate) fn produce(&mut self, results_per_minute: f64) -> anyhow::Result<()> {
        let pause = Pause { mean: Duration::from_secs_f64(60.0 / results_per_minute) };
        for share in self.members.chunks(self.members.len().div_ceil(PRODUCERS)) {
            let stations: Vec<(Store, Waker)> =
                share.iter().map(|member| (member.store.clone(), member.handle.waker())).collect();
            let (model, made, stopped) = (self.model.clone(), self.made.clone(), self.stopped.clone());
            let work = move || produce(&stations, &model, &made, &stopped, pause);
            self.producers.push(thread::Builder::new().name("producer".to_owned()).spawn(work)?);
        }
        Ok(())
    }

    /// Ends that.
    pub(crate) fn finish_producing(&mut self) -> anyhow::Result<()> {
        self.stopped.store(true, Ordering::SeqCst);
        for producer in self.producers.drain(..) {
            producer.join().map_err(|_| anyhow::anyhow!("a producer panicked"))??;
        }
        Ok(())
    }

    /// Stops them, many at a time.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        let leaving: Vec<_> = self
            .members
            .into_iter()
            .map(|member| thread::spawn(move || member.handle.join(STOP_MAX)))
            .collect();
        let late =
            leaving.into_iter().filter_map(|thread| thread.join().ok()).filter(|in_time| !in_time).count();
        anyhow::ensure!(late == 0, "{late} stations did not stop within {} s", STOP_MAX.as_secs());
        Ok(())
    }
}

/// Time between two results of a station: exponential, as patients come.
#[derive(Clone, Copy)]
struct Pause {
    mean: Duration,
}

impl Pause {
    fn next(self) -> Duration {
        self.mean.mul_f64(-(1.0 - rand::random::<f64>()).ln())
    }
}

fn produce(
    stations: &[(Store, Waker)],
    model: &Model,
    made: &AtomicU64,
    stopped: &AtomicBool,
    pause: Pause,
) -> anyhow::Result<()> {
    /// A stop is noticed within this time.
    const PATIENCE_MAX: Duration = Duration::from_millis(200);
    let now = Instant::now();
    let mut due: BinaryHeap<Reverse<(Instant, usize)>> =
        (0..stations.len()).map(|index| Reverse((now + pause.next(), index))).collect();
    while !stopped.load(Ordering::SeqCst) {
        let Some(Reverse((at, index))) = due.peek().copied() else { break };
        let wait = at.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            thread::sleep(wait.min(PATIENCE_MAX));
            continue;
        }
        due.pop();
        due.push(Reverse((at + pause.next(), index)));
        let (store, waker) = &stations[index];
        end_a_study(store, model)?;
        made.fetch_add(1, Ordering::SeqCst);
        waker.wake();
    }
    Ok(())
}

/// One study of one view, from its image to its outbox row, by the steps that a station takes.
fn end_a_study(store: &Store, model: &Model) -> anyhow::Result<()> {
    let study_type: StudyType = ["XR_WRIST", "XR_ELBOW", "XR_HAND"][rand::random_range(0..3)].parse()?;
    let name = format!("{study_type}/{:016x}", rand::random::<u64>());
    let origin = Origin { name: name.clone(), study_type: Some(study_type), single: true };
    let bytes = name.as_bytes();
    let facts = SourceFacts { path: name.clone(), size_bytes: bytes.len() as u64, modified_ns: 0 };
    let image = NewImage {
        origin: &origin,
        source_name: "1.png",
        extension: "png",
        grouping: Grouping { views_max: 8, reopen_max_ms: 0 },
    };
    store.accept(store.stage(&facts, &mut &*bytes)?, &image)?;
    let claim = store.claim()?.context("the image that was just accepted does not wait")?;
    store.finish(&claim, &scored_view(Some(claim.image_id.clone()), made_up_score()))?;
    let (manifest, summary) = (model.manifest(), model.summary());
    let closed = store
        .close(claim.study, |study, views| compose(manifest, None, summary, study, views, Some(true)))?;
    closed.context("the study could not be closed").map(drop)
}

/// As large in a message as a real one: a map of 10x10 cells.
fn made_up_score() -> ViewScore {
    const SIDE: u32 = 10;
    let logit = rand::random_range(-4.0..4.0_f64);
    let values = (0..SIDE * SIDE).map(|_| (logit + rand::random_range(-1.0..1.0)) as f32).collect();
    ViewScore {
        logit,
        probability: 1.0 / (1.0 + (-logit).exp()),
        activation_map: ActivationMap { width: SIDE, height: SIDE, values },
        inference_ms: 1000.0,
    }
}
