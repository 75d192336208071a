//! The lists of a data set as CSV, one row per study and one per image, as MURA has them.

use std::fs;
use std::path::Path;

use super::{Error, Index, Result, Split, Study};
use crate::run::files::write_atomic;

/// Writes `{train,valid}_studies.csv` (path, count, label, patient, study_type) and
/// `{train,valid}_images.csv` (path, label, patient, study_type) into `directory`, which is created when
/// missing. Paths are relative to the data set's root; a label is 1 for abnormal, 0 for normal.
///
/// # Errors
/// [`Error::Io`] when a file cannot be written.
pub fn write_lists(index: &Index, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)
        .map_err(|source| Error::Io { doing: format!("creating {}", directory.display()), source })?;
    for split in Split::ALL {
        let studies = index.split(split);
        let rows = studies.iter().map(|s| vec![s.path.clone(), s.images.len().to_string()]);
        let rows = rows.zip(studies).map(|(mut row, s)| {
            row.extend(facts(s));
            row
        });
        let header = ["path", "count", "label", "patient", "study_type"];
        write(&directory.join(format!("{split}_studies.csv")), &header, rows)?;

        let rows = studies.iter().flat_map(|s| {
            s.images.iter().map(|image| {
                let name = image.file_name().unwrap_or_default().to_string_lossy();
                let mut row = vec![format!("{}/{name}", s.path)];
                row.extend(facts(s));
                row
            })
        });
        let header = ["path", "label", "patient", "study_type"];
        write(&directory.join(format!("{split}_images.csv")), &header, rows)?;
    }
    Ok(())
}

/// Writes what was left out, and why, as CSV (path, reason).
///
/// # Errors
/// [`Error::Io`] when the file cannot be written.
pub fn write_left_out(path: &Path, entries: &[(String, String)]) -> Result<()> {
    write(path, &["path", "reason"], entries.iter().map(|(path, reason)| vec![path.clone(), reason.clone()]))
}

fn facts(study: &Study) -> [String; 3] {
    [u8::from(study.abnormal).to_string(), study.patient.clone(), study.study_type.to_string()]
}

fn write(path: &Path, header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Result<()> {
    let failed = |source: csv::Error| Error::Io {
        doing: format!("writing {}", path.display()),
        source: source.into(),
    };
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(header).map_err(failed)?;
    for row in rows {
        writer.write_record(row).map_err(failed)?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(error.into_error().into()))?;
    Ok(write_atomic(path, &bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_name_every_study_and_image() {
        let root = tempfile::tempdir().unwrap();
        for (study, images) in
            [("train/XR_WRIST/patient1/study1_positive", 2), ("valid/XR_HAND/patient2/study1_negative", 1)]
        {
            fs::create_dir_all(root.path().join(study)).unwrap();
            for image in 1..=images {
                fs::write(root.path().join(study).join(format!("image{image}.png")), b"").unwrap();
            }
        }
        let out = root.path().join("lists");
        write_lists(&Index::scan(root.path()).unwrap(), &out).unwrap();
        let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
        assert_eq!(
            read("train_studies.csv"),
            "path,count,label,patient,study_type\ntrain/XR_WRIST/patient1/study1_positive,2,1,patient1,XR_WRIST\n"
        );
        assert_eq!(
            read("train_images.csv"),
            "path,label,patient,study_type\n\
             train/XR_WRIST/patient1/study1_positive/image1.png,1,patient1,XR_WRIST\n\
             train/XR_WRIST/patient1/study1_positive/image2.png,1,patient1,XR_WRIST\n"
        );
        assert_eq!(
            read("valid_images.csv"),
            "path,label,patient,study_type\nvalid/XR_HAND/patient2/study1_negative/image1.png,0,patient2,XR_HAND\n"
        );
    }
}
