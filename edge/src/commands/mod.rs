//! One file per command of the command line.

pub mod config_check;
pub mod infer;
pub mod run;
