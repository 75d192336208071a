//! What holds for the phantoms as a whole.

use std::collections::{HashMap, HashSet};

use contract::study::MURA_TYPES;

use super::*;
use crate::dataset::{Index, Split};

fn options(studies: usize, size_px: u32, difficulty: Difficulty) -> Options {
    let study_types = MURA_TYPES.map(str::to_owned).to_vec();
    let findings = FindingKind::ALL.to_vec();
    Options {
        studies,
        seed: 11,
        size_px,
        difficulty,
        study_types,
        findings,
        valid_share: VALID_SHARE,
        views_max: VIEWS_MAX,
    }
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
    let planned = plan(&options(400, 64, Difficulty::EASY));
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
    for valid_share in [0.05, 0.5] {
        let planned = plan(&Options { valid_share, ..options(400, 64, Difficulty::EASY) });
        let valid = planned.iter().filter(|s| s.split == Split::Valid).count() as f64 / 400.0;
        assert!((valid - valid_share).abs() <= 0.01, "{valid} of {valid_share}");
    }
    // Even a handful of studies has both splits.
    assert!(plan(&options(8, 64, Difficulty::EASY)).iter().any(|s| s.split == Split::Valid));
}

#[test]
fn what_is_written_is_a_data_set_and_follows_from_the_seed_alone() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options = options(14, 64, Difficulty::HARD);
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
fn a_study_has_no_more_views_than_asked_and_those_are_the_same() {
    let whole = options(40, 64, Difficulty::EASY);
    let one = Options { views_max: 1, ..whole.clone() };
    let normal = plan(&whole).into_iter().filter(|study| study.finding.is_none()).collect::<Vec<_>>();
    assert!(normal.iter().any(|study| draw_study(study, &whole).len() > 1));
    for study in &normal {
        let views = draw_study(study, &one);
        assert_eq!(views.len(), 1);
        assert!(views[0] == draw_study(study, &whole)[0], "{study:?}");
    }
}

#[test]
fn an_abnormal_study_differs_from_its_normal_twin_only_at_the_finding() {
    for difficulty in [Difficulty::EASY, Difficulty::new(0.5).unwrap(), Difficulty::HARD] {
        let options = options(40, 96, difficulty);
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
    for (difficulty, least) in [(Difficulty::EASY, render::PLAIN), (Difficulty::HARD, render::SUBTLE)] {
        let options = options(70, 128, difficulty);
        let (mut views, mut missed) = (0, 0);
        for study in plan(&options).iter().filter(|study| study.finding.is_some()) {
            let twin = Planned { finding: None, ..study.clone() };
            for (ill, healthy) in draw_study(study, &options).iter().zip(draw_study(&twin, &options)) {
                let apart = ill.grey.iter().zip(&healthy.grey).map(|(a, b)| (a - b).abs());
                views += 1;
                missed += usize::from(apart.filter(|d| *d > least).count() < 10);
            }
        }
        let allowed = if difficulty == Difficulty::HARD { views / 10 } else { 0 };
        assert!(views > 50 && missed <= allowed, "{difficulty:?}: {missed} of {views} views show too little");
    }
}
