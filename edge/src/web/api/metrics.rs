//! How the station is, for Prometheus: OpenMetrics text, made anew for each scrape.

use std::sync::atomic::AtomicU64;

use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use contract::result::{CameraState, DayCounters, Presence, StationBirth, StationHealth};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::publish::{BrokerState, Condition};
use crate::web::problem::Problem;
use crate::web::{Sources, blocking};

const MEDIA: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A label and its value.
type Labels = Vec<(&'static str, String)>;

pub(crate) async fn metrics(Shared(sources): Shared<Sources>) -> Result<impl IntoResponse, Problem> {
    let text = blocking(move || write(&sources)).await?.map_err(|error| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "fault",
            format!("no metrics could be written: {error}"),
        )
    })?;
    Ok(([(header::CONTENT_TYPE, MEDIA)], text))
}

fn write(sources: &Sources) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("ulna");
    let health = sources.facts.health();
    register_station(&mut registry, &sources.facts.birth(), &sources.facts.condition());
    register_delivery(&mut registry, &health, &sources.broker.state());
    register_machine(&mut registry, &health);
    if let Some(today) = health.days.last() {
        register_today(&mut registry, today);
    }
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: f64) {
    registry.register(name, help, float(value));
}

fn gauge_of(registry: &mut Registry, name: &str, help: &str, unit: Unit, value: f64) {
    registry.register_with_unit(name, help, unit, float(value));
}

fn float(value: f64) -> Gauge<f64, AtomicU64> {
    let gauge = Gauge::default();
    gauge.set(value);
    gauge
}

fn counter(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let counter: Counter = Counter::default();
    counter.inc_by(value);
    registry.register(name, help, counter);
}

fn register_station(registry: &mut Registry, birth: &StationBirth, condition: &Condition) {
    let model = &birth.model;
    let labels: Labels = vec![
        ("station", birth.station.clone()),
        ("edge_version", birth.edge_version.clone()),
        ("model", model.name.clone()),
        ("model_version", model.version.to_string()),
        ("bundle_sha256", model.bundle_sha256.clone()),
    ];
    registry.register("station", "What the station is", Info::new(labels));
    let degraded = f64::from(u8::from(condition.presence != Presence::Online));
    let reasons = Family::<Labels, Gauge<f64, AtomicU64>>::default();
    reasons.get_or_create(&vec![("reason", condition.reason.clone())]).set(degraded);
    registry.register("degraded", "1 when something needs attention, and what", reasons);
}

fn register_delivery(registry: &mut Registry, health: &StationHealth, broker: &BrokerState) {
    let connected = f64::from(u8::from(broker.connected));
    gauge(registry, "broker_connected", "1 while the broker has accepted the connection", connected);
    counter(registry, "results_acked", "Results acknowledged since the start", broker.results_acked);
    counter(
        registry,
        "results_refused",
        "Results refused by the broker since the start",
        broker.results_refused,
    );
    gauge(registry, "outbox_results", "Results not yet acknowledged", health.outbox_depth as f64);
    gauge(registry, "outbox_set_aside", "Results the broker refused for good", health.outbox_dead as f64);
    let age_s = health.outbox_oldest_age_s.unwrap_or(0) as f64;
    gauge_of(
        registry,
        "outbox_oldest_age",
        "Age of the oldest result not yet acknowledged",
        Unit::Seconds,
        age_s,
    );
    if let Some(seq) = health.seq_acked_through {
        gauge(registry, "seq_acked_through", "Everything up to this seq was acknowledged", seq as f64);
    }
    gauge(registry, "images_waiting", "Images accepted and not yet scored", health.images_waiting as f64);
}

fn register_machine(registry: &mut Registry, health: &StationHealth) {
    gauge_of(registry, "uptime", "Time since the service started", Unit::Seconds, health.uptime_s as f64);
    let free = health.disk_free_bytes as f64;
    gauge_of(registry, "disk_free", "Free space where the station keeps its state", Unit::Bytes, free);
    if let Some(bytes) = health.disk_total_bytes {
        gauge_of(registry, "disk_size", "Size of that file system", Unit::Bytes, bytes as f64);
    }
    if let Some(bytes) = health.memory_bytes {
        gauge_of(registry, "memory", "Memory that the service holds", Unit::Bytes, bytes as f64);
    }
    if let Some(celsius) = health.temperature_c {
        gauge_of(registry, "temperature", "Temperature of the hottest sensor", Unit::Celsius, celsius);
    }
    if let Some(load) = health.load_1m {
        gauge(registry, "load_1m", "Processes that ran or wanted to, over one minute", load);
    }
    if let Some(synchronised) = health.clock_synchronised {
        let value = f64::from(u8::from(synchronised));
        gauge(registry, "clock_synchronised", "1 when the clock is synchronised", value);
    }
    if let Some(camera) = health.camera {
        let is = |state| f64::from(u8::from(camera == state));
        let present = 1.0 - is(CameraState::Missing);
        gauge(registry, "camera_present", "1 when the frame grabber's device is there", present);
        let help = "1 when the frame grabber gave no radiograph when it was last asked";
        gauge(registry, "camera_failing", help, is(CameraState::Failing));
    }
}

fn register_today(registry: &mut Registry, today: &DayCounters) {
    let studies = Family::<Labels, Gauge<f64, AtomicU64>>::default();
    for (label, count) in [
        ("normal", today.normal),
        ("uncertain", today.uncertain),
        ("abnormal", today.abnormal),
        ("rejected", today.rejected),
        ("failed", today.failed),
    ] {
        studies.get_or_create(&vec![("outcome", label.to_owned())]).set(count as f64);
    }
    registry.register("studies_today", "Studies closed today (UTC), by what came of them", studies);
    let views = Family::<Labels, Gauge<f64, AtomicU64>>::default();
    for (reason, count) in &today.views_rejected {
        views.get_or_create(&vec![("reason", reason.clone())]).set(*count as f64);
    }
    registry.register("views_rejected_today", "Views not scored today (UTC), by reason", views);
}
