//! One file per command of the command line.

pub mod bench;
mod common;
pub mod completions;
pub mod config_check;
#[cfg(feature = "demo")]
pub mod demo;
pub mod doctor;
pub mod infer;
pub mod model;
pub mod outbox;
pub mod run;
pub mod study;
pub mod support_bundle;
pub mod watch;
pub mod web;
