//! The page and the local API of a whole station with the demo bundle, asked over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests, outside of what clippy counts as one.

mod desk;
mod doors;
mod metrics;
mod station;
