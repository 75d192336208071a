//! The bundle: every hash, and the golden images scored.

use std::time::Instant;

use contract::bundle::Purpose;

use super::{Check, Station};
use crate::inference::{Bundle, Model};

const BUNDLE: &str = "model.bundle";
const GOLDEN: &str = "model.golden";

pub(super) fn checks(station: &Station) -> Vec<Check> {
    let dir = &station.config.bundle_dir;
    let bundle = match Bundle::load(dir) {
        Ok(bundle) => bundle,
        Err(error) => {
            let remedy = format!("copy a whole bundle to {} and start the service again", dir.display());
            return vec![Check::fail(BUNDLE, error.to_string(), remedy)];
        }
    };
    let summary = bundle.summary();
    let hash = summary.bundle_sha256.get(..12).unwrap_or_default();
    let name = format!("{} version {}, bundle {hash}, every file whole", summary.name, summary.version);
    let first = match (summary.purpose, station.config.allow_demo_model) {
        (Purpose::ClinicalEvaluation, _) => Check::ok(BUNDLE, name),
        (Purpose::Demo, true) => Check::warn(
            BUNDLE,
            format!("DEMONSTRATION MODEL: {name}"),
            "its answers mean nothing; for patients give the station a bundle for clinical evaluation and remove \
             allow_demo_model",
        ),
        (Purpose::Demo, false) => Check::fail(
            BUNDLE,
            format!("for demonstration only: {name}"),
            "give the station a bundle for clinical evaluation, or set allow_demo_model = true, which marks every \
             result as DEMONSTRATION MODEL",
        ),
    };

    let began = Instant::now();
    let pairs = bundle.manifest.golden.len();
    let golden = match Model::load(&bundle) {
        Ok(_) => {
            let seconds = began.elapsed().as_secs_f64();
            Check::ok(GOLDEN, format!("{pairs} golden images come out as recorded ({seconds:.1} s)"))
        }
        Err(error) => Check::fail(
            GOLDEN,
            error.to_string(),
            "this machine does not compute what the trainer recorded; do not use it: install this version of edge \
             and the bundle again",
        ),
    };
    vec![first, golden]
}
