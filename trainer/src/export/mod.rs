//! From a trained run to the bundle that a station runs.

pub mod calibrate;
pub mod onnx_proto;
