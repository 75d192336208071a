//! From scored and rejected views to the study's result.

use contract::bundle::BundleManifest;
use contract::command::SetPoints;
use contract::radiograph::RejectReason;
use contract::result::{
    ModelSummary, Outcome, Rejection, StudyResult, StudySummary, UsedPoints, ViewResult, notice,
};
use contract::study::study_score;

use super::ViewScore;

/// A view that was scored.
pub fn scored_view(image_id: Option<String>, score: ViewScore) -> ViewResult {
    ViewResult {
        image_id,
        probability: Some(score.probability),
        logit: Some(score.logit),
        activation_map: Some(score.activation_map),
        rejected: None,
        overruled: Vec::new(),
        inference_ms: Some(score.inference_ms),
    }
}

/// The result of a study from its views: the mean of the scored ones and the answer it gives. Without a
/// scored view the study is `failed` when the model was at fault for any of them, else `rejected`. `set` are operating
/// points that a command has set in place of the bundle's own.
/// `study.probability` is set here, whatever it was.
pub fn compose(
    manifest: &BundleManifest,
    set: Option<&SetPoints>,
    model: &ModelSummary,
    study: StudySummary,
    views: Vec<ViewResult>,
    clock_synchronised: Option<bool>,
) -> StudyResult {
    let scores: Vec<f64> = views.iter().filter_map(|view| view.probability).collect();
    let probability = study_score(&scores);
    let judgement = probability.map(|p| manifest.answer(set, study.study_type.as_ref(), p));
    let (outcome, reason) = match probability {
        Some(_) => (Outcome::Scored, None),
        None => without_score(&views),
    };
    StudyResult {
        delivery: None,
        outcome,
        answer: judgement.as_ref().map(|j| j.answer),
        answer_withheld: judgement.as_ref().and_then(|j| j.withheld),
        reason,
        study: StudySummary { probability, ..study },
        views,
        operating_points: judgement.map(|j| UsedPoints {
            rule_out: j.points.rule_out,
            rule_in: j.points.rule_in,
            source: j.source,
            set_by: j.set_by,
        }),
        model: model.clone(),
        clock_synchronised,
        notice: notice(model.purpose).to_owned(),
    }
}

fn without_score(views: &[ViewResult]) -> (Outcome, Option<String>) {
    let rejections: Vec<&Rejection> = views.iter().filter_map(|view| view.rejected.as_ref()).collect();
    let fault = rejections.iter().find(|rejection| rejection.reason == RejectReason::ModelOutput);
    match (fault, rejections.first()) {
        (Some(fault), _) => (Outcome::Failed, Some(fault.detail.clone())),
        (None, Some(first)) => (Outcome::Rejected, Some(first.detail.clone())),
        (None, None) => (Outcome::Rejected, Some("the study has no view".to_owned())),
    }
}
