//! Commands from the centre, over a real mosquitto, signed by the real minisign, to the real station.

mod bad;
mod centre;
mod models;
mod models_bad;
mod once;
mod recipe;
mod releases;
mod rotation;
mod settings;

use std::time::Duration;

/// Long enough for two cores under load.
const LONG: Duration = Duration::from_secs(60);
