//! Tests of what the crate promises, in one binary because linking is slow on the machines that build it.

// clippy.toml allows these in test functions; the helpers beside them are no different.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod asyncapi;
mod dcmtk;
mod dicom;
mod dicom_head;
mod manifest;
mod messages;
mod payloads;
mod preprocess;
mod raster;
mod real;
mod reference;
mod support;
