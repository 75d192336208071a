//! Ulna's station: captures radiographs, groups them into studies, scores them on the CPU and publishes the
//! results over MQTT. The `edge` binary is a thin shell around this library.
//!
//! The store is the pipeline: each stage takes rows in one state and moves them to the next in one
//! transaction; threads and channels only wake each other.

pub mod app;
pub mod capture;
pub mod cli;
pub mod client;
pub mod clock;
pub mod commands;
pub mod config;
pub mod control;
#[cfg(feature = "demo")]
pub mod demo_broker;
pub mod desk;
pub mod doctor;
pub mod exit;
pub mod export;
pub mod figures;
mod flood;
pub mod health;
pub mod inference;
pub mod intake;
pub mod keeper;
pub mod logging;
pub mod outlook;
pub mod publish;
pub mod quality;
mod restarts;
pub mod scoring;
pub mod service;
pub mod slots;
pub mod station;
pub mod store;
pub mod study;
mod tls;
pub mod trust;
pub mod wake;
pub mod web;

/// A named place between two durable steps, where a test built with `--features failpoints` may halt the
/// process and kill it. In every other build it is one trace line.
#[allow(dead_code)]
pub(crate) fn transition(name: &'static str) {
    log::trace!(target: "edge::transition", "{name}");
    fail::fail_point!(name);
}
