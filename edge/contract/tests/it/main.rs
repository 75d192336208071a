//! Tests of what the crate promises, in one binary because linking is slow on the machines that build it.

mod dcmtk;
mod dicom;
mod manifest;
mod payloads;
mod preprocess;
mod raster;
mod real;
mod support;
