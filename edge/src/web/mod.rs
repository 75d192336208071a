//! The technician's page.

pub mod config;

pub use config::WebConfig;
