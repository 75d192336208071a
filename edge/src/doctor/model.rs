//! The bundle: every hash, and the golden images scored.

use std::time::Instant;

use contract::bundle::Purpose;

use super::{Check, Station};
use crate::config::Config;
use crate::inference::{Bundle, Model};
use crate::slots::Slots;

const BUNDLE: &str = "model.bundle";
const GOLDEN: &str = "model.golden";
const SLOTS: &str = "model.slots";

pub(super) fn checks(station: &Station) -> Vec<Check> {
    let mut checks = bundle(&station.config);
    checks.extend(Slots::of(&station.config).and_then(|slots| slots_check(&slots)));
    checks
}

/// The slot that is not in use; nothing where there never was a bundle.
fn slots_check(slots: &Slots) -> Option<Check> {
    let record = match slots.record() {
        Ok(record) => record,
        Err(error) => {
            return Some(Check::fail(SLOTS, error.to_string(), "see what the disk says: `dmesg`, `df`"));
        }
    };
    let other = record.other();
    let beside = record.bundle(other).map_or("empty".to_owned(), ToString::to_string);
    let found = match record.active() {
        Some((active, bundle)) => {
            format!("slot {active} in use; slot {other}: {beside}; signed by {}", bundle.signed_by)
        }
        None if record.bundle(other).is_none() => return None,
        None => format!("no slot in use; slot {other}: {beside}"),
    };
    if let Some(returned) = record.returned() {
        let found = format!("{found}; returned from {}, because {}", returned.bundle, returned.why);
        let remedy = "the station serves with the bundle before, if there was one; install another one, or `edge model activate` \
                      to try again";
        return Some(Check::warn(SLOTS, found, remedy));
    }
    if record.trial().is_some() {
        return Some(Check::warn(
            SLOTS,
            format!("{found}; on trial until the service is ready with it"),
            "start the service; if it does not become ready, it returns to the one before by itself",
        ));
    }
    Some(Check::ok(SLOTS, found))
}

fn bundle(config: &Config) -> Vec<Check> {
    let dir = match Slots::bundle_dir(config) {
        Ok(dir) => dir,
        Err(error) => {
            let remedy =
                "copy the bundle to the station and install it: `edge model install BUNDLE --activate`";
            return vec![Check::fail(BUNDLE, error.to_string(), remedy)];
        }
    };
    let bundle = match Bundle::load(&dir) {
        Ok(bundle) => bundle,
        Err(error) => {
            let remedy = match config.bundle_dir {
                Some(_) => format!("copy a whole bundle to {} and start the service again", dir.display()),
                None => "go back with `edge model rollback`, or install the bundle again".to_owned(),
            };
            return vec![Check::fail(BUNDLE, error.to_string(), remedy)];
        }
    };
    let summary = bundle.summary();
    let hash = summary.bundle_sha256.get(..12).unwrap_or_default();
    let name = format!("{} version {}, bundle {hash}, every file whole", summary.name, summary.version);
    let first = match (summary.purpose, config.allow_demo_model) {
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
    let execution = config.model.execution();
    let golden = match Model::load(&bundle, execution) {
        Ok(_) => {
            let seconds = began.elapsed().as_secs_f64();
            let found = format!("{pairs} golden images come out as recorded ({seconds:.1} s)");
            match execution == execution.here() {
                true => Check::ok(GOLDEN, found),
                false => Check::warn(
                    GOLDEN,
                    format!(
                        "{found}, in f32: model.precision is f16, which this processor does not compute with"
                    ),
                    "its answers are as exact as they can be, and slower: remove model.precision, or use a board whose \
                     /proc/cpuinfo has asimdhp",
                ),
            }
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
