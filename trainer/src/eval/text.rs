//! The report as a table for people.

use std::fmt;

use super::report::{Answers, Measures, Report, Source};

/// A measure's place in a table: its name, value and interval.
type Column = (&'static str, fn(&Measures) -> (Option<f64>, Option<[f64; 2]>));

/// The measures of a group, in two blocks that fit a terminal.
pub(super) const RANKING: [Column; 4] = [
    ("AUROC", |m| (m.auroc, m.auroc_ci95)),
    ("kappa", |m| (m.kappa, m.kappa_ci95)),
    ("kappa at decision", |m| (m.decision_kappa, m.decision_kappa_ci95)),
    ("F1", |m| (m.f1, m.f1_ci95)),
];
/// See [`RANKING`].
pub(super) const CALLS: [Column; 4] = [
    ("sensitivity", |m| (m.sensitivity, m.sensitivity_ci95)),
    ("specificity", |m| (m.specificity, m.specificity_ci95)),
    ("calibration error", |m| (m.ece, m.ece_ci95)),
    ("Brier", |m| (m.brier, m.brier_ci95)),
];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.source {
            Source::Run => "a run, probabilities not calibrated".to_owned(),
            Source::Ensemble => {
                let members = self.studies.first().and_then(|study| study.views.first());
                let count = members.map_or(0, |view| view.member_logits.len());
                format!("an ensemble of {count} networks, probabilities not calibrated")
            }
            Source::Bundle => "a bundle's ONNX file, probabilities calibrated".to_owned(),
        };
        let phantoms = if self.about.phantoms { " of drawn phantoms" } else { "" };
        writeln!(
            f,
            "{} split{phantoms}; {source}; threshold {}; [95 % interval over patients]",
            self.split, self.threshold
        )?;
        self.block(f, &RANKING)?;
        self.block(f, &CALLS)?;
        for (name, m) in [("studies", &self.study), ("images", &self.image)] {
            if let Some(note) = &m.note {
                writeln!(f, "{name}: {note}")?;
            }
        }
        writeln!(f, "decision: {}", self.decision.note)?;
        self.findings(f)?;
        if let Some(Answers { positives, negatives }) = self.study.answers {
            for (label, [normal, uncertain, abnormal]) in [("abnormal", positives), ("normal", negatives)] {
                writeln!(
                    f,
                    "{label} studies answered: {normal} normal, {uncertain} uncertain, {abnormal} abnormal"
                )?;
            }
        }
        write!(f, "{} images could not be read", self.unreadable.len())
    }
}

impl Report {
    /// The groups in the order of every table; the image level last.
    pub(super) fn groups(&self) -> impl Iterator<Item = (&str, &Measures)> {
        [("studies", &self.study)]
            .into_iter()
            .chain(self.per_type.iter().map(|(study_type, measures)| (study_type.as_str(), measures)))
            .chain([("images", &self.image)])
    }

    fn block(&self, f: &mut fmt::Formatter<'_>, columns: &[Column]) -> fmt::Result {
        let mut head = format!("{:<14} {:>6} {:>8}  ", "", "n", "abnormal");
        head.extend(columns.iter().map(|(name, _)| format!("{name:<23}")));
        writeln!(f, "{}", head.trim_end())?;
        for (name, m) in self.groups() {
            let mut line = format!("{name:<14} {:>6} {:>8}  ", m.n, m.positives);
            for (_, of) in columns {
                let (value, interval) = of(m);
                line.push_str(&format!("{:<23}", cell(value, interval)));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }

    fn findings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(found) = &self.per_finding else { return Ok(()) };
        writeln!(
            f,
            "{:<14} {:>6} {:>8}  {:<23}{:<23}sensitivity at decision",
            "finding", "n", "normal", "AUROC", "sensitivity"
        )?;
        for (finding, m) in &found.measures {
            let line = format!(
                "{:<14} {:>6} {:>8}  {:<23}{:<23}{}",
                finding.as_str(),
                m.n,
                m.normal,
                cell(m.auroc, m.auroc_ci95),
                cell(m.sensitivity, m.sensitivity_ci95),
                cell(m.decision_sensitivity, m.decision_sensitivity_ci95)
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        writeln!(
            f,
            "findings from {}; it names none for {} abnormal studies",
            found.source, found.abnormal_without
        )
    }
}

/// A value with its interval; a dash where there is none.
pub(super) fn cell(value: Option<f64>, interval: Option<[f64; 2]>) -> String {
    match (value, interval) {
        (Some(value), Some([low, high])) => format!("{value:.3} [{low:.3} {high:.3}]"),
        (Some(value), None) => format!("{value:.3}"),
        (None, _) => "-".to_owned(),
    }
}
