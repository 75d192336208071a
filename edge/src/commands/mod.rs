//! One file per command of the command line.

pub mod config_check;
#[cfg(feature = "demo")]
pub mod demo;
pub mod infer;
pub mod run;
pub mod web;
