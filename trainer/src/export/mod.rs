//! From a trained run to the bundle that a station runs.

pub mod bundle;
pub mod calibrate;
pub mod interpret;
pub mod onnx;
pub mod onnx_proto;
