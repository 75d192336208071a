//! Dealing patients into folds.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;

/// How many folds there are in cross-fitting.
pub const FOLDS: usize = 5;
/// The seed of the folds, so that an evaluation and an export repeat, and agree.
const SEED: u64 = 0x756c_6e61;

/// The fold of each study, of which `studies` gives the patient, the study type and whether it is abnormal. A
/// patient's studies share one. Patients are dealt in turn, those alike (with or without an abnormal study, the first
/// of their study types) after each other, so that folds are alike.
pub fn deal<'a, T: Ord + Copy>(studies: impl Iterator<Item = (&'a str, T, bool)> + Clone) -> Vec<usize> {
    let mut patients: BTreeMap<&str, (bool, T)> = BTreeMap::new();
    for (patient, study_type, abnormal) in studies.clone() {
        let known = patients.entry(patient).or_insert((false, study_type));
        *known = (known.0 | abnormal, known.1.min(study_type));
    }
    let mut order: Vec<(&str, (bool, T))> = patients.into_iter().collect();
    order.shuffle(&mut Pcg64Mcg::seed_from_u64(SEED));
    order.sort_by_key(|&(_, facts)| facts);
    let fold: BTreeMap<&str, usize> =
        order.into_iter().enumerate().map(|(place, (patient, _))| (patient, place % FOLDS)).collect();
    studies.map(|(patient, ..)| fold[patient]).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn folds_share_no_patient_and_resemble_each_other() {
        let names: Vec<String> = (0..100).map(|patient| format!("patient{patient}")).collect();
        let studies: Vec<(&str, u8, bool)> =
            (0..200).map(|s| (names[s / 2].as_str(), (s % 3) as u8, s % 8 == 0)).collect();
        let folds = deal(studies.iter().copied());
        assert!(folds.chunks(2).all(|pair| pair[0] == pair[1]));
        for fold in 0..FOLDS {
            let of_fold = || studies.iter().zip(&folds).filter(move |(_, f)| **f == fold);
            let patients: BTreeSet<&str> = of_fold().map(|(study, _)| study.0).collect();
            assert_eq!(patients.len(), 20);
            assert_eq!(of_fold().filter(|(study, _)| study.2).count(), 5);
        }
    }
}
