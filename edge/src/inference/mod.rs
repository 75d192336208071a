//! From a radiograph to a score, with tract behind our own types.
//!
//! A [`Bundle`] is a verified directory; a [`Model`] is what it runs as, handed out only after every golden
//! pair came out as libtorch had it at export; [`compose`] turns scored views into the published result.

mod bundle;
mod compose;
mod dense;
mod model;

pub use bundle::{Bundle, BundleError, MANIFEST_MAX_BYTES, identity, read_file};
pub use compose::{compose, scored_view};
pub use model::{Execution, Model, ModelError, Precision, ViewScore};
