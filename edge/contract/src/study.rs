//! Study types, study scores and the three answers.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The seven study types of MURA (arXiv 1712.06957).
pub const MURA_TYPES: [&str; 7] =
    ["XR_ELBOW", "XR_FINGER", "XR_FOREARM", "XR_HAND", "XR_HUMERUS", "XR_SHOULDER", "XR_WRIST"];

/// A study type in MURA's spelling: `XR_` and then upper-case letters, digits or underscores.
///
/// MURA's seven are known; any other joint is a valid type too (a bundle says which ones it is meant for).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct StudyType(#[schemars(regex(pattern = r"^XR_[A-Z0-9_]{1,32}$"))] String);

/// Why a string is not a study type.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not a study type: expected XR_ and then upper-case letters, digits or underscores, such as XR_WRIST"
)]
pub struct InvalidStudyType(String);

impl StudyType {
    /// The type's name, such as `XR_WRIST`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the type is one of MURA's seven.
    pub fn is_mura(&self) -> bool {
        MURA_TYPES.contains(&self.as_str())
    }

    /// The study type of a DICOM Body Part Examined (0018,0015) value, by the defined terms of
    /// PS3.16 Annex L; `None` when the body part is not musculoskeletal or not known.
    pub fn from_body_part(body_part: &str) -> Option<Self> {
        let name = match body_part.trim().to_ascii_uppercase().replace([' ', '_'], "").as_str() {
            "ELBOW" => "XR_ELBOW",
            "FINGER" | "THUMB" => "XR_FINGER",
            "FOREARM" => "XR_FOREARM",
            "HAND" => "XR_HAND",
            "HUMERUS" | "ARM" | "UPPERARM" => "XR_HUMERUS",
            "SHOULDER" | "CLAVICLE" | "SCAPULA" => "XR_SHOULDER",
            "WRIST" | "WRISTJOINT" => "XR_WRIST",
            "ANKLE" => "XR_ANKLE",
            "FOOT" | "TOE" | "CALCANEUS" => "XR_FOOT",
            "TIBIA" | "FIBULA" | "TIBIAFIBULA" | "TIBFIB" | "LEG" | "LOWERLEG" => "XR_LEG",
            "KNEE" | "PATELLA" => "XR_KNEE",
            "FEMUR" | "THIGH" | "UPPERLEG" => "XR_FEMUR",
            "HIP" => "XR_HIP",
            "PELVIS" => "XR_PELVIS",
            _ => return None,
        };
        Some(Self(name.to_owned()))
    }
}

impl FromStr for StudyType {
    type Err = InvalidStudyType;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let valid = s.strip_prefix("XR_").is_some_and(|rest| {
            (1..=32).contains(&rest.len())
                && rest.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        });
        if valid { Ok(Self(s.to_owned())) } else { Err(InvalidStudyType(s.to_owned())) }
    }
}

impl TryFrom<String> for StudyType {
    type Error = InvalidStudyType;

    fn try_from(s: String) -> Result<Self, Self::Error> {
        s.parse()
    }
}

impl From<StudyType> for String {
    fn from(t: StudyType) -> Self {
        t.0
    }
}

impl fmt::Display for StudyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The logistic function.
pub fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

/// A study's probability of abnormality: the arithmetic mean over its views, as in arXiv 1712.06957
/// section 3. `None` for a study without a scored view.
pub fn study_score(view_probabilities: &[f64]) -> Option<f64> {
    if view_probabilities.is_empty() {
        return None;
    }
    Some(view_probabilities.iter().sum::<f64>() / view_probabilities.len() as f64)
}

/// What the station says of a study.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Below the rule-out point.
    Normal,
    /// Between the two points, or withheld: the result's `answer_withheld` says which.
    Uncertain,
    /// At or above the rule-in point.
    Abnormal,
}

/// The thresholds of one study type, on the study's probability.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperatingPoints {
    /// Below this probability a study is `normal`.
    pub rule_out: f64,
    /// From this probability on a study is `abnormal`. Never below `rule_out`.
    pub rule_in: f64,
    /// The single threshold at which kappa is reported beside 0.5.
    pub decision: f64,
    /// Whether the points found on the data had crossed and were both set to their midpoint.
    #[serde(default)]
    pub crossed: bool,
}

impl OperatingPoints {
    /// Two thresholds as found on data; points that cross become their midpoint, and that is recorded.
    pub fn new(rule_out: f64, rule_in: f64, decision: f64) -> Self {
        if rule_out <= rule_in {
            return Self { rule_out, rule_in, decision, crossed: false };
        }
        let middle = f64::midpoint(rule_out, rule_in);
        Self { rule_out: middle, rule_in: middle, decision, crossed: true }
    }

    /// The answer for a study's probability.
    pub fn answer(&self, probability: f64) -> Answer {
        if probability >= self.rule_in {
            Answer::Abnormal
        } else if probability < self.rule_out {
            Answer::Normal
        } else {
            Answer::Uncertain
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn study_types_are_checked() {
        assert!("XR_WRIST".parse::<StudyType>().is_ok_and(|t| t.is_mura()));
        assert!("XR_KNEE_2".parse::<StudyType>().is_ok_and(|t| !t.is_mura()));
        for bad in ["", "XR_", "wrist", "XR_wrist", "XR_A/B", "XR_ÄRM", "CT_WRIST"] {
            assert!(bad.parse::<StudyType>().is_err(), "{bad}");
        }
    }

    #[test]
    fn body_parts_become_study_types() {
        assert_eq!(StudyType::from_body_part(" wrist ").map(String::from), Some("XR_WRIST".into()));
        assert_eq!(StudyType::from_body_part("TIBIA_FIBULA").map(String::from), Some("XR_LEG".into()));
        assert_eq!(StudyType::from_body_part("CHEST"), None);
    }

    #[test]
    fn study_score_is_the_arithmetic_mean() {
        assert_eq!(study_score(&[]), None);
        assert_eq!(study_score(&[0.25, 0.75, 0.5]), Some(0.5));
    }

    #[test]
    fn points_answer_on_their_boundaries() {
        let points = OperatingPoints::new(0.3, 0.7, 0.5);
        assert_eq!(points.answer(0.299), Answer::Normal);
        assert_eq!(points.answer(0.3), Answer::Uncertain);
        assert_eq!(points.answer(0.7), Answer::Abnormal);
    }

    #[test]
    fn crossed_points_meet_in_the_middle() {
        let points = OperatingPoints::new(0.75, 0.25, 0.5);
        assert!(points.crossed);
        assert_eq!((points.rule_out, points.rule_in), (0.5, 0.5));
        assert_eq!(points.answer(0.5), Answer::Abnormal);
        assert_eq!(points.answer(0.49), Answer::Normal);
    }
}
