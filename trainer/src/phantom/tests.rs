//! What holds for the phantoms as a whole.

use std::collections::{HashMap, HashSet};

use contract::study::MURA_TYPES;

use super::*;
use crate::dataset::{Index, Split};

fn options(studies: usize, size_px: u32, hard: bool) -> Options {
    let study_types = MURA_TYPES.map(str::to_owned).to_vec();
    Options { studies, seed: 11, size_px, hard, study_types, findings: FindingKind::ALL.to_vec() }
}

fn files(root: &Path) -> HashMap<String, Vec<u8>> {
    let walk =
        walkdir::WalkDir::new(root).into_iter().map(Result::unwrap).filter(|e| e.file_type().is_file());
    walk.map(|e| {
        (e.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned(), fs::read(e.path()).unwrap())
    })
    .collect()
}

#[test]
fn a_plan_keeps_patients_apart_and_labels_balanced() {
    let planned = plan(&options(400, 64, false));
    assert_eq!(planned.len(), 400);
    let of = |split| planned.iter().filter(move |s| s.split == split);
    assert!((78..=82).contains(&of(Split::Valid).count()), "{}", of(Split::Valid).count());
    let patients = |split| of(split).map(|s| s.patient).collect::<HashSet<_>>();
    assert!(patients(Split::Train).is_disjoint(&patients(Split::Valid)));
    assert!(planned.iter().filter(|s| s.of_patient == 2).count() > 30);
    for split in Split::ALL {
        let abnormal = of(split).filter(|s| s.finding.is_some()).count() as f64 / of(split).count() as f64;
        assert!((0.42..=0.48).contains(&abnormal), "{split}: {abnormal}");
        for study_type in MURA_TYPES {
            assert!(of(split).any(|s| s.study_type == study_type), "{split} {study_type}");
        }
    }
    for kind in FindingKind::ALL {
        assert!(planned.iter().filter(|s| s.finding == Some(kind)).count() >= 30, "{kind:?}");
    }
    // Even a handful of studies has both splits.
    assert!(plan(&options(8, 64, false)).iter().any(|s| s.split == Split::Valid));
}

#[test]
fn what_is_written_is_a_data_set_and_follows_from_the_seed_alone() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options = options(14, 64, true);
    let drawn = synth(one.path(), &options, |_| ()).unwrap();
    synth(two.path(), &options, |_| ()).unwrap();
    assert!(files(one.path()) == files(two.path()), "the same seed gives the same files");

    let index = Index::scan(one.path()).unwrap();
    assert!(index.skipped.is_empty(), "{:?}", index.skipped);
    assert_eq!(index.train.len() + index.valid.len(), 14);
    let images: usize = index.train.iter().chain(&index.valid).map(|s| s.images.len()).sum();
    assert_eq!(images, drawn.images);

    let mut truth = csv::Reader::from_path(one.path().join("truth.csv")).unwrap();
    let mut rows = 0;
    for row in truth.records().map(Result::unwrap) {
        assert!(one.path().join(&row[0]).is_file() && row[0].starts_with(&row[1]));
        assert_eq!(&row[2] == "1", row[1].ends_with("_positive"));
        let corners = (5..9).filter_map(|i| row[i].parse::<u32>().ok()).collect::<Vec<_>>();
        assert_eq!(corners.len(), if &row[2] == "1" { 4 } else { 0 }, "{row:?}");
        rows += 1;
    }
    assert_eq!(rows, images);
    assert!(matches!(synth(one.path(), &options, |_| ()), Err(Error::NotEmpty(_))));
}

#[test]
fn an_abnormal_study_differs_from_its_normal_twin_only_at_the_finding() {
    for hard in [false, true] {
        let options = options(40, 96, hard);
        for study in plan(&options).iter().filter(|study| study.finding.is_some()) {
            let twin = Planned { finding: None, ..study.clone() };
            for (ill, healthy) in draw_study(study, &options).iter().zip(draw_study(&twin, &options)) {
                let [left, top, right, bottom] =
                    ill.site.unwrap_or_else(|| panic!("{study:?} shows nothing"));
                for (i, (a, b)) in ill.grey.iter().zip(&healthy.grey).enumerate() {
                    let (x, y) = (i % ill.width_px as usize, i / ill.width_px as usize);
                    let inside = (left..right).contains(&x) && (top..bottom).contains(&y);
                    assert!(inside || (a - b).abs() < 2.0 / 255.0, "{study:?} differs at {x}, {y}");
                }
            }
        }
    }
}
#[test]
fn findings_are_plain_to_see_when_easy_and_most_are_seen_when_hard() {
    for (hard, least) in [(false, render::PLAIN), (true, render::SUBTLE)] {
        let options = options(70, 128, hard);
        let (mut views, mut missed) = (0, 0);
        for study in plan(&options).iter().filter(|study| study.finding.is_some()) {
            let twin = Planned { finding: None, ..study.clone() };
            for (ill, healthy) in draw_study(study, &options).iter().zip(draw_study(&twin, &options)) {
                let apart = ill.grey.iter().zip(&healthy.grey).map(|(a, b)| (a - b).abs());
                views += 1;
                missed += usize::from(apart.filter(|d| *d > least).count() < 10);
            }
        }
        let allowed = if hard { views / 10 } else { 0 };
        assert!(views > 50 && missed <= allowed, "hard {hard}: {missed} of {views} views show too little");
    }
}
