//! Trains DenseNet169 on radiographs in the MURA layout, evaluates it per study, prunes it so that its
//! tensors shrink, and exports a bundle for the station.

pub mod cam;
pub mod cli;
pub mod commands;
pub mod dataset;
pub mod device;
pub mod diagram;
pub mod eval;
pub mod exit;
pub mod export;
pub mod figure;
pub mod logging;
pub mod metrics;
pub mod model;
pub mod page;
pub mod phantom;
pub mod predict;
pub mod progress;
pub mod prune;
pub mod run;
pub mod train;
