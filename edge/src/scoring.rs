//! Scoring: one image from waiting to scored or rejected.

use std::any::Any;
use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use contract::radiograph::{self, Limits, Radiograph, RejectReason};
use contract::result::{Rejection, ViewResult};

use crate::health::{Health, Trouble};
use crate::inference::{Model, scored_view};
use crate::quality::{self, Flag, Plate, QualityConfig, RawExposure};
use crate::store::{Claim, Store, StoreError};
use crate::wake::{Stop, Wake};

/// How long one image may take, decoding included, on the slowest board.
const SILENCE_MAX: Duration = Duration::from_secs(180);
const PATIENCE: Duration = Duration::from_secs(1);
/// Earlier plates, the newest, that a new one is compared with.
const PLATES_COMPARED: usize = 500;

/// A worker. Clones share the model's weights; each runs on a thread of its own.
#[derive(Clone)]
pub struct Scoring {
    /// Where images wait.
    pub store: Store,
    /// What scores them.
    pub model: Model,
    /// What counts as a radiograph.
    pub limits: Limits,
    /// From when on a radiograph is flagged.
    pub quality: QualityConfig,
    /// Where progress is told.
    pub health: Arc<Health>,
    /// Woken when an image is done.
    pub done: Wake,
}

impl Scoring {
    /// Works until stopped; `name` is the worker's.
    pub fn run(&self, name: &str, wake: &Wake, stop: &Stop) {
        while !stop.is_stopped() {
            self.health.beat(name, SILENCE_MAX);
            match self.step() {
                Ok(true) => self.done.wake(),
                Ok(false) => wake.wait(PATIENCE),
                Err(error) => {
                    if self.health.set(Trouble::StoreFailing, true) {
                        log::error!("a score cannot be kept: {error}; trying again");
                    }
                    std::thread::sleep(PATIENCE);
                }
            }
        }
    }

    /// Takes the oldest waiting image through to its score or rejection. Says whether there was one.
    ///
    /// # Errors
    /// When the store fails; the image then waits again.
    pub fn step(&self) -> Result<bool, StoreError> {
        let Some(claim) = self.store.claim()? else { return Ok(false) };
        crate::transition("score.begin");
        let (image_id, study_number) = (claim.image_id.as_str(), claim.study_number.as_str());
        let (view, plate) = self.score(&claim)?;
        self.store.finish_with_plate(&claim, &view, plate.map(|plate| plate.to_bytes()))?;
        if self.health.set(Trouble::StoreFailing, false) {
            log::info!("scores can be kept again");
        }
        match (&view.rejected, view.inference_ms) {
            (Some(Rejection { reason, detail, .. }), _) => {
                log::warn!(image_id, study_number; "image {image_id} rejected as {reason:?}: {detail}");
            }
            (None, Some(ms)) => log::info!(image_id, study_number; "image {image_id} scored in {ms:.0} ms"),
            (None, None) => {}
        }
        Ok(true)
    }

    /// The view, and the plate's signature where there is a radiograph.
    fn score(&self, claim: &Claim) -> Result<(ViewResult, Option<Plate>), StoreError> {
        let id = Some(claim.image_id.clone());
        let radiograph = match self.radiograph(&claim.path()) {
            Ok(radiograph) => radiograph,
            Err(rejection) => return Ok((ViewResult::refused(id, rejection), None)),
        };
        let plate = Plate::of(&radiograph);
        let flags = self.flags(claim, &radiograph, &plate)?;
        let stands = flags.iter().any(|flag| !(claim.overruled && flag.overrulable));
        if let Some(rejection) = quality::rejection(&flags).filter(|_| stands) {
            return Ok((ViewResult::refused(id, rejection), Some(plate)));
        }
        let overruled = flags.into_iter().map(|flag| flag.reason).collect();
        let view = match catch(|| self.model.score(&radiograph)) {
            Ok(Ok(score)) => ViewResult { overruled, ..scored_view(id, score) },
            Ok(Err(error)) => {
                ViewResult::refused(id, Rejection::new(RejectReason::ModelOutput, error.to_string()))
            }
            Err(panic) => {
                let detail = format!("the model could not be run ({panic}); report this with the image");
                ViewResult::refused(id, Rejection::new(RejectReason::ModelOutput, detail))
            }
        };
        Ok((view, Some(plate)))
    }

    /// Why it should be taken again, gravest first.
    fn flags(&self, claim: &Claim, radiograph: &Radiograph, plate: &Plate) -> Result<Vec<Flag>, StoreError> {
        let raw = claim.exposure.as_deref().and_then(RawExposure::from_json);
        let mut flags = quality::judge(radiograph, raw.as_ref(), &self.quality);
        let earlier = self.store.plates(claim, PLATES_COMPARED)?;
        let earlier =
            earlier.iter().filter_map(|(number, bytes)| Some((number.clone(), Plate::from_bytes(bytes)?)));
        flags.extend(quality::duplicate(plate, earlier, &self.quality));
        Ok(flags)
    }

    fn radiograph(&self, path: &Path) -> Result<Radiograph, Rejection> {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(self.limits.file_max_bytes + 1).read_to_end(&mut bytes))
            .map_err(|error| {
            let detail = format!("the station's copy of the image cannot be read ({error}); send it again");
            Rejection::new(RejectReason::Corrupt, detail)
        })?;
        let decoded = catch(|| radiograph::decode(&bytes, &self.limits))
            .map_err(|panic| {
                let detail = format!("the decoder gave up on the image ({panic}); export it again");
                Rejection::new(RejectReason::Corrupt, detail)
            })?
            .map_err(|error| Rejection::new(error.reason(), error.to_string()))?;
        Ok(decoded.radiograph)
    }
}

/// A panic in a decoder or the model costs one image, not the service.
fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic: Box<dyn Any + Send>| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no details").to_owned()
    })
}
