//! What a data set consists of, in numbers: the four distributions that are looked at before training.

use std::collections::{BTreeMap, BTreeSet};

use contract::study::StudyType;

use super::{Index, Split, Study};

/// A count for the training and one for the validation split.
pub type PerSplit = [usize; 2];

/// The numbers of a data set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// For each study type what it has.
    pub types: BTreeMap<StudyType, TypeCount>,
    /// Patients of any type.
    pub patients: PerSplit,
    /// How many patients have this many studies, over all types.
    pub studies_per_patient: BTreeMap<usize, PerSplit>,
    /// How many studies have this many images.
    pub images_per_study: BTreeMap<usize, PerSplit>,
}

/// The numbers of a study type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TypeCount {
    /// Patients with a study of the type.
    pub patients: PerSplit,
    /// Studies called normal.
    pub normal: PerSplit,
    /// Studies called abnormal.
    pub abnormal: PerSplit,
    /// Images.
    pub images: PerSplit,
}

impl Census {
    /// Counts.
    pub fn of(index: &Index) -> Census {
        let mut census = Census::default();
        for (at, split) in Split::ALL.into_iter().enumerate() {
            census.count(at, index.split(split));
        }
        census
    }

    fn count(&mut self, at: usize, studies: &[Study]) {
        let mut by_patient: BTreeMap<&str, usize> = BTreeMap::new();
        let mut of_type = BTreeSet::new();
        for study in studies {
            *by_patient.entry(&study.patient).or_default() += 1;
            let count = self.types.entry(study.study_type.clone()).or_default();
            count.patients[at] += usize::from(of_type.insert((&study.study_type, &study.patient)));
            count.normal[at] += usize::from(!study.abnormal);
            count.abnormal[at] += usize::from(study.abnormal);
            count.images[at] += study.images.len();
            self.images_per_study.entry(study.images.len()).or_default()[at] += 1;
        }
        self.patients[at] = by_patient.len();
        for studies in by_patient.into_values() {
            self.studies_per_patient.entry(studies).or_default()[at] += 1;
        }
    }

    /// Sum over the types.
    pub fn total(&self) -> TypeCount {
        let mut total = TypeCount { patients: self.patients, ..TypeCount::default() };
        for count in self.types.values() {
            for at in 0..Split::ALL.len() {
                total.normal[at] += count.normal[at];
                total.abnormal[at] += count.abnormal[at];
                total.images[at] += count.images[at];
            }
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn study(split: &str, study_type: &str, patient: u32, abnormal: bool, images: usize) -> Study {
        let path = format!("{split}/{study_type}/patient{patient}/study1_x");
        Study {
            study_type: study_type.parse().unwrap(),
            patient: format!("patient{patient}"),
            images: (0..images).map(|image| Path::new(&path).join(image.to_string())).collect(),
            path,
            abnormal,
        }
    }

    #[test]
    fn patients_studies_and_images_are_counted_per_split() {
        let mut index = Index::empty(Path::new("data"));
        index.train = vec![
            study("train", "XR_WRIST", 1, false, 3),
            study("train", "XR_WRIST", 1, true, 1),
            study("train", "XR_HAND", 1, true, 3),
            study("train", "XR_HAND", 2, false, 2),
        ];
        index.valid = vec![study("valid", "XR_HAND", 9, true, 3)];
        let census = Census::of(&index);
        let hand = TypeCount { patients: [2, 1], normal: [1, 0], abnormal: [1, 1], images: [5, 3] };
        let wrist = TypeCount { patients: [1, 0], normal: [1, 0], abnormal: [1, 0], images: [4, 0] };
        assert_eq!(census.types.values().copied().collect::<Vec<_>>(), [hand, wrist]);
        assert_eq!(census.patients, [2, 1]);
        assert_eq!(census.studies_per_patient, BTreeMap::from([(1, [1, 1]), (3, [1, 0])]));
        assert_eq!(census.images_per_study, BTreeMap::from([(1, [1, 0]), (2, [1, 0]), (3, [2, 1])]));
        let total = TypeCount { patients: [2, 1], normal: [2, 0], abnormal: [2, 1], images: [9, 3] };
        assert_eq!(census.total(), total);
    }
}
