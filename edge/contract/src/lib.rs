//! What Ulna's two halves agree on.
//!
//! The trainer makes a bundle and the station runs it; both must turn the same bytes into the same
//! numbers and speak of the same studies, scores and answers. Everything here is pure: no files, clocks,
//! threads or sockets, neither libtorch nor tract.

pub mod asyncapi;
pub mod bundle;
pub mod command;
pub mod preprocess;
pub mod radiograph;
pub mod result;
pub mod schema;
pub mod study;
