//! The report as one self-contained page.

use maud::{Markup, html};

use super::paper::{HIDDEN_TEST, HIDDEN_TEST_KAPPA, HIDDEN_TEST_STUDIES, VALID_KAPPA, VALID_SIZE};
use super::pictures::Pictures;
use super::report::{Measures, Report, Source};
use super::text::{self, CALLS, RANKING};
use crate::page::{chart, page as whole_page, table};

/// Unreadable images that the page lists by name; the JSON has all.
const UNREADABLE_SHOWN: usize = 20;

/// The page of a report with its pictures.
pub fn page(report: &Report, pictures: &Pictures) -> String {
    let title = match report.source {
        Source::Run => "Evaluation of a run",
        Source::Ensemble => "Evaluation of an ensemble",
        Source::Bundle => "Evaluation of a bundle",
    };
    let set = if report.about.phantoms { "drawn phantoms" } else { "radiographs" };
    let lead = format!("{} on the {} split of {} ({set})", members(report), report.split, report.about.data);
    let body = html! {
        p.caution { (caution(report)) }
        h2 { "What was measured" }
        (facts(report))
        h2 { "Studies" }
        p { "A study's probability is the mean over its views. Intervals in brackets are 95 % bootstrap intervals over \
             patients (" (report.resamples) " resamples); a dash is a measure that this split does not define." }
        (measures("", [("all studies", &report.study)].into_iter()))
        @if let Some(note) = &report.study.note { p { (note) "." } }
        p { "Decision points: " (report.decision.note) "." }
        @if report.study.answers.is_some() { (answers(report)) }
        div.figures {
            (chart(&pictures.roc, "How well the probabilities rank studies, over all thresholds."))
            (chart(&pictures.precision_recall, "Precision depends on the share of abnormal studies in this split."))
            (chart(&pictures.reliability, "Points on the diagonal are probabilities that mean what they say; below: studies per bin."))
            (chart(&pictures.confusion, "Percentages are shares of a row: of the normal and of the abnormal studies."))
        }
        h2 { "Study types" }
        (measures("study type", report.per_type.iter().map(|(name, m)| (name.as_str(), m))))
        (findings(report))
        h2 { "Images (image level)" }
        p { "Each view judged by itself, with its study's label. Not comparable with any study-level number above or \
             below: a view need not show what its study is called abnormal for." }
        (measures("", [("single images", &report.image)].into_iter()))
        h2 { "Beside published results on MURA" }
        (published(report))
        h2 { "Images that could not be read" }
        (unreadable(report))
        h2 { "How it was measured" }
        (definitions(report))
        h2 { "References" }
        (references())
    };
    whole_page(title, &lead, &body)
}

fn members(report: &Report) -> String {
    report.about.members.join(", ")
}

fn caution(report: &Report) -> &'static str {
    if report.about.phantoms {
        "Measured on drawn phantoms, not on radiographs of people: these numbers show that the software works and \
         say nothing about patients. Decision support only; no clinical result."
    } else {
        "Measured on one data set, on the split named here; nothing here is a clinical result. Decision support only."
    }
}

fn facts(report: &Report) -> Markup {
    let source = match report.source {
        Source::Run => "run; probabilities are sigmoids of the network's output, not calibrated",
        Source::Ensemble => {
            "ensemble; an image's probability is the mean of its members' sigmoids, not calibrated"
        }
        Source::Bundle => "bundle; the ONNX file itself, with the manifest's calibration",
    };
    let (studies, images) = (&report.study, &report.image);
    let abnormal = |m: &Measures| format!("{} ({} abnormal)", m.n, m.positives);
    let kind = if report.about.phantoms {
        "drawn phantoms (truth.csv lies in the data set)"
    } else {
        "radiographs in the MURA layout; trainer does not know their origin"
    };
    let rows = [
        ("Kind", source.to_owned()),
        ("Networks", members(report)),
        ("Trained on", report.about.trained_on.clone()),
        ("Data set", format!("{}, {} split", report.about.data, report.split)),
        ("Kind of data", kind.to_owned()),
        ("Studies", abnormal(studies)),
        ("Images", format!("{}, {} more could not be read", abnormal(images), report.unreadable.len())),
    ];
    html! {
        table { tbody { @for (name, value) in rows { @if !value.is_empty() {
            tr { th scope="row" { (name) } td style="text-align:left" { (value) } }
        } } } }
    }
}

fn measures<'a>(head: &str, groups: impl Iterator<Item = (&'a str, &'a Measures)>) -> Markup {
    let columns = RANKING.iter().chain(&CALLS);
    let names: Vec<&str> =
        [head, "n", "abnormal"].into_iter().chain(columns.clone().map(|(name, _)| *name)).collect();
    let rows: Vec<Vec<String>> = groups
        .map(|(name, m)| {
            let cells = columns.clone().map(|(_, of)| {
                let (value, interval) = of(m);
                cell(value, interval)
            });
            [name.to_owned(), m.n.to_string(), m.positives.to_string()].into_iter().chain(cells).collect()
        })
        .collect();
    html! { div style="overflow-x:auto" { (table(&names, &rows)) } }
}

fn answers(report: &Report) -> Markup {
    let Some(answers) = report.study.answers else { return html! {} };
    let row = |name: &str, counts: [usize; 3]| {
        [name.to_owned()].into_iter().chain(counts.iter().map(ToString::to_string)).collect()
    };
    html! {
        p { "What a station with this bundle would answer:" }
        (table(&["", "normal", "uncertain", "abnormal"],
            &[row("normal studies", answers.negatives), row("abnormal studies", answers.positives)]))
    }
}

fn findings(report: &Report) -> Markup {
    let Some(found) = &report.per_finding else {
        return html! {
            h2 { "Findings" }
            p { "Not known for this data set: give a findings file with --findings." }
        };
    };
    let rows: Vec<Vec<String>> = found
        .measures
        .iter()
        .map(|(finding, m)| {
            vec![
                finding.as_str().to_owned(),
                m.n.to_string(),
                m.normal.to_string(),
                cell(m.auroc, m.auroc_ci95),
                cell(m.sensitivity, m.sensitivity_ci95),
                cell(m.decision_sensitivity, m.decision_sensitivity_ci95),
            ]
        })
        .collect();
    html! {
        h2 { "Findings" }
        p { "Abnormal studies with a finding, against all normal studies. From " (found.source) "; it names no finding for "
            (found.abnormal_without) " abnormal studies, and one for " (found.normal_with) " normal ones, which count as \
             normal. A study with several findings is in several rows." }
        (table(&["finding", "studies with it", "normal studies", "AUROC", "sensitivity", "sensitivity at decision"], &rows))
    }
}

fn published(report: &Report) -> Markup {
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
    let m = &report.study;
    let this = vec![
        "This evaluation".to_owned(),
        format!("{} split of {}{}", report.split, report.about.data, phantoms(report)),
        number(m.auroc),
        cell(m.kappa, m.kappa_ci95),
        number(m.sensitivity),
        number(m.specificity),
    ];
    let hidden = HIDDEN_TEST.iter().map(|p| {
        let set = format!("MURA's hidden test set, {HIDDEN_TEST_STUDIES} studies");
        let kappa = format!("{:.3}", p.kappa);
        vec![p.who.to_owned(), set, number(p.auroc), kappa, number(p.sensitivity), number(p.specificity)]
    });
    let rows: Vec<Vec<String>> = std::iter::once(this).chain(hidden).collect();
    let types: Vec<Vec<String>> = HIDDEN_TEST_KAPPA
        .iter()
        .map(|&(name, kappa)| {
            let own = report.per_type.iter().find(|(study_type, _)| study_type.as_str() == name);
            let own = own.map_or("-".to_owned(), |(_, m)| cell(m.kappa, m.kappa_ci95));
            vec![name.to_owned(), own, format!("{kappa:.3}")]
        })
        .collect();
    let valid: Vec<Vec<String>> =
        VALID_KAPPA.iter().map(|&(who, kappa)| vec![who.to_owned(), format!("{kappa:.3}")]).collect();
    html! {
        p.caution { "Context, not a comparison: the paper's model and its three radiologists were measured on MURA's hidden \
            test set, against the majority vote of three other radiologists [1]. Nobody outside can measure on it." }
        (table(&["", "measured on", "AUROC", "kappa", "sensitivity", "specificity"], &rows))
        p { "Kappa by study type:" }
        (table(&["study type", "this evaluation, at 0.5", "the paper's model, hidden test set"], &types))
        p { "Kappa over studies that public implementations report on MURA's validation split. " (comparable(report)) }
        (table(&["", "kappa, MURA valid"], &valid))
    }
}

fn phantoms(report: &Report) -> &'static str {
    if report.about.phantoms { ", phantoms" } else { "" }
}

/// Whether the numbers on MURA's validation split can be compared with this evaluation.
fn comparable(report: &Report) -> String {
    let images = report.image.n + report.unreadable.len();
    let (studies, all) = VALID_SIZE;
    if report.about.phantoms {
        return "This evaluation is on phantoms and cannot be compared with them.".to_owned();
    }
    if report.split == "valid" && (report.study.n, images) == VALID_SIZE {
        return format!(
            "This split has their size, {studies} studies with {all} images; where it is MURA's, kappa at 0.5 compares."
        );
    }
    format!(
        "That split has {studies} studies with {all} images; this one has {} with {images}, so it is another and does \
         not compare.",
        report.study.n
    )
}

fn unreadable(report: &Report) -> Markup {
    let more = report.unreadable.len().saturating_sub(UNREADABLE_SHOWN);
    html! {
        p { (report.unreadable.len()) " images could not be read and count nowhere above." }
        @if !report.unreadable.is_empty() {
            ul { @for (path, reason) in report.unreadable.iter().take(UNREADABLE_SHOWN) { li { (path) ": " (reason) } } }
        }
        @if more > 0 { p { "And " (more) " more; evaluation.json lists them all." } }
    }
}

fn definitions(report: &Report) -> Markup {
    html! {
        ul {
            li { "A case is called abnormal when its probability is at or above the threshold: " (report.threshold)
                 ", or the decision point of its study type." }
            li { "Kappa is Cohen's, between these calls and the labels of the data set." }
            li { "Calibration error is the expected calibration error of the probability of abnormality over "
                 (report.ece_bins) " bins of equal width [2]. Resampling adds noise to every bin, so its interval tends to \
                 lie above the value." }
            li { "Brier is the mean squared difference between probability and label. F1 is that of the class abnormal." }
            li { "Intervals are percentiles of a bootstrap that draws patients, with all their studies, with replacement. \
                 They hold the network, and decision points, fixed." }
            li { (chosen(report)) }
        }
    }
}

/// What the networks may have seen of this split.
fn chosen(report: &Report) -> &'static str {
    if report.split == "train" {
        "`trainer train` learns from the train split. Where this is that split, the numbers say how well it was \
         learned by heart, not how good the network is."
    } else {
        "`trainer train` keeps the epochs of the lowest loss on the valid split. Where this is that split, every \
         number here is somewhat optimistic."
    }
}

fn references() -> Markup {
    html! {
        ol {
            li { "P. Rajpurkar, J. Irvin, A. Bagul, et al. MURA: Large Dataset for Abnormality Detection in Musculoskeletal \
                 Radiographs. arXiv:1712.06957." }
            li { "C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger. On Calibration of Modern Neural Networks. arXiv:1706.04599." }
        }
    }
}
/// A value with its interval below it.
fn cell(value: Option<f64>, interval: Option<[f64; 2]>) -> String {
    text::cell(value, interval).replacen(' ', "\n", 1).replace(' ', "\u{a0}")
}
