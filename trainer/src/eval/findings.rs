//! What abnormal studies show, from a CSV file, and how well each finding is found.
//!
//! ```text
//! path,fracture,hardware,degenerative,other       one line per study, 1 or 0 (or nothing) in each column;
//!                                                 a column may be missing
//! path,finding                                    one line per study and finding, any number per study;
//!                                                 no finding: nothing or `none`
//! image,study,label,finding,setting,...           truth.csv of phantoms
//! ```
//!
//! `path` is the study's directory below the data set's root, such as
//! `valid/XR_WRIST/patient11185/study1_positive`; what stands before `train/` or `valid/` and a slash at the end
//! are ignored, as in MURA's own lists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::Serialize;

use super::SEED;
use super::score::StudyScore;
use crate::dataset::{Split, TRUTH_FILE};
use crate::exit::Fault;
use crate::metrics::{Panel, RESAMPLES, Scored};
use crate::run::files::io_fault;

const ACCEPTED: &str = "expected `path` and `finding`, or `path` and columns of 0 and 1 named fracture, hardware, \
                        degenerative or other";

/// The kinds of finding that MURA's authors name (arXiv 1712.06957, section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// A broken bone.
    Fracture,
    /// Plates, screws, prostheses.
    Hardware,
    /// Degenerative joint disease.
    Degenerative,
    /// Lesions, subluxations and what else there is.
    Other,
}

impl Finding {
    /// All of them.
    pub const ALL: [Finding; 4] =
        [Finding::Fracture, Finding::Hardware, Finding::Degenerative, Finding::Other];

    /// The name in a findings file.
    pub fn as_str(self) -> &'static str {
        match self {
            Finding::Fracture => "fracture",
            Finding::Hardware => "hardware",
            Finding::Degenerative => "degenerative",
            Finding::Other => "other",
        }
    }

    /// A finding by its name, or by the name that phantoms give it.
    fn named(name: &str) -> Option<Self> {
        match name {
            "fracture_line" | "fracture_step" => Some(Finding::Fracture),
            "narrowed_joint" => Some(Finding::Degenerative),
            "lesion" => Some(Finding::Other),
            name => Self::ALL.into_iter().find(|finding| finding.as_str() == name),
        }
    }
}

/// The findings of studies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The file they come from.
    pub source: String,
    /// By study path. A study without any is in it too when the file names it.
    pub of: BTreeMap<String, BTreeSet<Finding>>,
}

impl Findings {
    /// Reads a findings file; `known` are the paths of the data set's studies, both splits.
    ///
    /// # Errors
    /// [`Fault::BadData`] for an unknown column, finding or study, [`Fault::InputMissing`] or [`Fault::Io`] when
    /// the file cannot be read.
    pub fn read(path: &Path, known: &BTreeSet<&str>) -> Result<Self, Fault> {
        let findings = Self::parse(path)?;
        match findings.of.keys().find(|study| !known.contains(study.as_str())) {
            None => Ok(findings),
            Some(study) => Err(Fault::BadData(format!(
                "{} names the study {study}, which is not in the data set: give paths below its root, such as {}",
                path.display(),
                known.iter().next().unwrap_or(&"valid/XR_WRIST/patient00001/study1_positive")
            ))),
        }
    }

    /// The findings of phantoms, when `data` has their list. Studies that are no longer there are ignored.
    ///
    /// # Errors
    /// As [`Findings::read`].
    pub fn of_phantoms(data: &Path) -> Result<Option<Self>, Fault> {
        let path = data.join(TRUTH_FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let header = fs::read_to_string(&path).map_err(io_fault(format!("reading {}", path.display())))?;
        let header = header.lines().next().unwrap_or_default();
        if !["study", "finding"].iter().all(|column| header.split(',').any(|name| name == *column)) {
            log::warn!("{} has no columns study and finding: no measures per finding", path.display());
            return Ok(None);
        }
        Self::parse(&path).map(Some)
    }

    fn parse(path: &Path) -> Result<Self, Fault> {
        let shown = path.display();
        let text = fs::read(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Fault::InputMissing(format!("there is no findings file {shown}")),
            _ => io_fault(format!("reading the findings file {shown}"))(error),
        })?;
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(&text[..]);
        let broken = |error: csv::Error| Fault::BadData(format!("{shown} is not CSV: {error}"));
        let header = reader.headers().map_err(broken)?.clone();
        let layout = Layout::of(&header).map_err(|error| Fault::BadData(format!("{shown}: {error}")))?;
        let mut findings = Self { source: shown.to_string(), of: BTreeMap::new() };
        for record in reader.records() {
            let record = record.map_err(broken)?;
            let line = record.position().map_or(0, csv::Position::line);
            layout
                .take(&record, &mut findings.of)
                .map_err(|error| Fault::BadData(format!("{shown}, line {line}: {error}")))?;
        }
        Ok(findings)
    }
}

/// Where what stands in a line.
enum Layout {
    /// One finding per line.
    Lines { path: usize, finding: usize },
    /// One study per line.
    Columns { path: usize, findings: Vec<(usize, Finding)> },
}

impl Layout {
    fn of(header: &csv::StringRecord) -> Result<Self, String> {
        let place =
            |wanted: &str| header.iter().position(|name| name.trim_start_matches('\u{feff}') == wanted);
        if let (Some(_), Some(path), Some(finding)) = (place("image"), place("study"), place("finding")) {
            return Ok(Layout::Lines { path, finding });
        }
        let path = place("path").ok_or_else(|| format!("there is no column `path`: {ACCEPTED}"))?;
        let others: Vec<(usize, &str)> = header.iter().enumerate().filter(|&(i, _)| i != path).collect();
        if let [(finding, "finding")] = others[..] {
            return Ok(Layout::Lines { path, finding });
        }
        let mut findings = Vec::new();
        for (column, name) in others {
            let finding = Finding::ALL.into_iter().find(|finding| finding.as_str() == name);
            let finding =
                finding.ok_or_else(|| format!("there is no such column as `{name}`: {ACCEPTED}"))?;
            if findings.iter().any(|&(_, other)| other == finding) {
                return Err(format!("the column `{name}` is there twice"));
            }
            findings.push((column, finding));
        }
        if findings.is_empty() {
            return Err(format!("there is no column besides `path`: {ACCEPTED}"));
        }
        Ok(Layout::Columns { path, findings })
    }

    fn take(
        &self,
        record: &csv::StringRecord,
        of: &mut BTreeMap<String, BTreeSet<Finding>>,
    ) -> Result<(), String> {
        let cell = |column: usize| record.get(column).unwrap_or_default();
        match self {
            Layout::Lines { path, finding } => {
                let found = of.entry(study_path(cell(*path))?).or_default();
                match cell(*finding) {
                    "" | "none" => {}
                    name => {
                        let named = Finding::named(name).ok_or_else(|| {
                            format!(
                                "there is no such finding as `{name}`: expected {}",
                                Finding::ALL.map(Finding::as_str).join(", ")
                            )
                        })?;
                        found.insert(named);
                    }
                }
            }
            Layout::Columns { path, findings } => {
                let study = study_path(cell(*path))?;
                let mut found = BTreeSet::new();
                for &(column, finding) in findings {
                    match cell(column) {
                        "1" | "true" => drop(found.insert(finding)),
                        "" | "0" | "false" => {}
                        other => return Err(format!("`{other}` in column {finding:?}: expected 0 or 1")),
                    }
                }
                if of.insert(study.clone(), found).is_some() {
                    return Err(format!("the study {study} is there twice"));
                }
            }
        }
        Ok(())
    }
}

/// A study's path from its split on.
fn study_path(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
    let start = parts.iter().rposition(|part| part.parse::<Split>().is_ok());
    start.map(|start| parts[start..].join("/")).ok_or_else(|| {
        format!("`{text}` is not the path of a study: expected one such as valid/XR_WRIST/patient00001/study1_positive")
    })
}

/// Measures of the studies with each finding.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PerFinding {
    /// The file that names the findings.
    pub source: String,
    /// Abnormal studies for which it names none.
    pub abnormal_without: usize,
    /// Normal studies for which it names one all the same; they count as normal.
    pub normal_with: usize,
    /// The measures.
    pub measures: BTreeMap<Finding, FindingMeasures>,
}

/// Measures of the abnormal studies with one finding, against all normal studies. Intervals are 95 % bootstrap
/// intervals over patients.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FindingMeasures {
    /// Abnormal studies with this finding.
    pub n: usize,
    /// Normal studies.
    pub normal: usize,
    /// Share of the studies with this finding at or above the threshold.
    pub sensitivity: Option<f64>,
    /// Its interval.
    pub sensitivity_ci95: Option<[f64; 2]>,
    /// The same at each study's decision point.
    pub decision_sensitivity: Option<f64>,
    /// Its interval.
    pub decision_sensitivity_ci95: Option<[f64; 2]>,
    /// AUROC of the studies with this finding against all normal studies.
    pub auroc: Option<f64>,
    /// Its interval.
    pub auroc_ci95: Option<[f64; 2]>,
    /// Why a measure is null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Measures each finding on scored studies.
pub(super) fn measure(findings: &Findings, studies: &[StudyScore], threshold: f64) -> PerFinding {
    let empty = BTreeSet::new();
    let of = |study: &StudyScore| findings.of.get(&study.path).unwrap_or(&empty);
    let count = |abnormal: bool, with: bool| {
        studies.iter().filter(|study| study.abnormal == abnormal && of(study).is_empty() != with).count()
    };
    let measures = Finding::ALL.into_iter().map(|finding| {
        let group: Vec<Scored<'_>> = studies
            .iter()
            .filter(|study| !study.abnormal || of(study).contains(&finding))
            .map(StudyScore::scored)
            .collect();
        (finding, of_group(finding, &group, threshold))
    });
    PerFinding {
        source: findings.source.clone(),
        abnormal_without: count(true, false),
        normal_with: count(false, true),
        measures: measures.collect(),
    }
}

fn of_group(finding: Finding, group: &[Scored<'_>], threshold: f64) -> FindingMeasures {
    let n = group.iter().filter(|one| one.case.1).count();
    let normal = group.len() - n;
    let found = Panel::new(group, threshold).estimates(RESAMPLES, SEED);
    let note = match (n, normal) {
        (0, _) => Some(format!("no abnormal study with the finding {}", finding.as_str())),
        (_, 0) => Some("no normal studies: AUROC says nothing".to_owned()),
        _ => None,
    };
    FindingMeasures {
        n,
        normal,
        sensitivity: found.sensitivity.value,
        sensitivity_ci95: found.sensitivity.ci95,
        decision_sensitivity: found.decision_sensitivity.value,
        decision_sensitivity_ci95: found.decision_sensitivity.ci95,
        auroc: found.auroc.value,
        auroc_ci95: found.auroc.ci95,
        note,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STUDY: &str = "valid/XR_HAND/patient1/study1_positive";

    fn read(text: &str) -> Result<Findings, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let known = BTreeSet::from([STUDY, "train/XR_HAND/patient2/study1_negative"]);
        Findings::read(file.path(), &known).map_err(|error| error.to_string())
    }

    #[test]
    fn every_layout_is_read() {
        let both = BTreeSet::from([Finding::Fracture, Finding::Hardware]);
        for text in [
            format!("path,fracture,hardware,other\n{STUDY},1,1,\n"),
            format!("hardware,path,fracture\n1,MURA-v1.1/{STUDY}/,true\n"),
            format!("path,finding\n{STUDY},fracture\n{STUDY}/,hardware\n"),
            format!(
                "image,study,label,finding,setting,x0,y0,x1,y1\n{STUDY}/image1.png,{STUDY},1,fracture_line,easy,1,2,3,4\n\
                 {STUDY}/image2.png,{STUDY},1,hardware,easy,1,2,3,4\n"
            ),
        ] {
            assert_eq!(read(&text).unwrap().of[STUDY], both, "{text}");
        }
        assert_eq!(read(&format!("path,finding\n{STUDY},none\n")).unwrap().of[STUDY], BTreeSet::new());
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (text, words) in [
            (format!("path,fractures\n{STUDY},1\n"), ["fractures", "degenerative"]),
            (format!("study,fracture\n{STUDY},1\n"), ["no column `path`", "finding"]),
            (format!("path\n{STUDY}\n"), ["besides `path`", "finding"]),
            (format!("path,fracture,fracture\n{STUDY},1,0\n"), ["twice", "fracture"]),
            (format!("path,finding\n{STUDY},crack\n"), ["line 2", "crack"]),
            (format!("path,fracture\n{STUDY},yes\n"), ["line 2", "0 or 1"]),
            (format!("path,fracture\n{STUDY},1\n{STUDY},0\n"), ["line 3", "twice"]),
            (format!("path,fracture\n{STUDY},1,0\n"), ["not CSV", "line"]),
            ("path,fracture\nimage1.png,1\n".to_owned(), ["line 2", "image1.png"]),
            ("path,fracture\nvalid/XR_HAND/p/study1_x,1\n".to_owned(), ["not in the data set", "study1_x"]),
        ] {
            let message = read(&text).unwrap_err();
            assert!(words.iter().all(|word| message.contains(word)), "{message}");
        }
        let missing = Findings::read(Path::new("nowhere.csv"), &BTreeSet::new()).unwrap_err();
        assert!(matches!(missing, Fault::InputMissing(_)), "{missing}");
    }
}
