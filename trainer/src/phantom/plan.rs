//! Which studies there are: patients, splits, types, labels and kinds of finding.

use rand::seq::SliceRandom;

use super::Options;
use super::finding::FindingKind;
use super::random::{Purpose, Stream, chance, stream};
use crate::dataset::Split;

/// A study to be drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Its place in the plan, from 0.
    pub number: usize,
    /// The split that its patient belongs to.
    pub split: Split,
    /// The study type.
    pub study_type: String,
    /// The patient, from 1.
    pub patient: usize,
    /// Which of the patient's studies it is, from 1.
    pub of_patient: usize,
    /// What is wrong; `None` when it is normal.
    pub finding: Option<FindingKind>,
}

impl Planned {
    /// The directory below the data set's root.
    pub fn path(&self) -> String {
        let label = if self.finding.is_some() { "positive" } else { "negative" };
        let Planned { split, study_type, patient, of_patient, .. } = self;
        format!("{split}/{study_type}/patient{patient:05}/study{of_patient}_{label}")
    }
}

/// Plans the studies: types in turn, one patient in six with two studies of the same type, about 45 of 100
/// abnormal.
pub fn plan(options: &Options) -> Vec<Planned> {
    let mut rng = stream(options.seed, Purpose::Plan, 0);
    let (mut labels, mut kinds) = ([Deck::default(), Deck::default()], Deck::default());
    let mut planned: Vec<Planned> = Vec::with_capacity(options.studies);
    let mut valid = 0;
    for patient in 1.. {
        let left = options.studies - planned.len();
        if left == 0 || options.study_types.is_empty() {
            break;
        }
        let studies = if chance(&mut rng, 1.0 / 6.0) { left.min(2) } else { 1 };
        // Keeps the validation split at its share at any length of the list; rounding must not decide.
        let valid_most = options.valid_share * (planned.len() + studies + 3) as f64 + 1e-9;
        let split = if (valid + studies) as f64 <= valid_most { Split::Valid } else { Split::Train };
        valid += if split == Split::Valid { studies } else { 0 };
        for of_patient in 1..=studies {
            // Twenty at a time, so that small data sets have both labels in both splits.
            let deck = &mut labels[usize::from(split == Split::Valid)];
            let abnormal =
                deck.deal(&mut rng, || vec![vec![true, false]; 9].concat().into_iter().chain([false; 2]));
            let finding = abnormal.then(|| kinds.deal(&mut rng, || options.findings.iter().copied()));
            let study_type = options.study_types[(patient - 1) % options.study_types.len()].clone();
            planned.push(Planned { number: planned.len(), split, study_type, patient, of_patient, finding });
        }
    }
    planned
}

/// Cards dealt without return until all are gone: no run of chance leaves a kind out.
#[derive(Debug)]
struct Deck<T>(Vec<T>);

impl<T> Default for Deck<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy> Deck<T> {
    fn deal<I: Iterator<Item = T>>(&mut self, rng: &mut Stream, fresh: impl Fn() -> I) -> T {
        loop {
            if let Some(card) = self.0.pop() {
                return card;
            }
            self.0.extend(fresh());
            self.0.shuffle(rng);
        }
    }
}
