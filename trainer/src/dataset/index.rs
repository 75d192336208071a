//! Finds the studies of a data set.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contract::preprocess::PreprocessSpec;
use contract::study::StudyType;

use super::{Cache, Error, Planes, Result, Split, Study, natural, read};

/// File name endings that `contract::radiograph` decodes.
const IMAGE_EXTENSIONS: [&str; 9] = ["png", "jpg", "jpeg", "tif", "tiff", "pgm", "ppm", "pnm", "dcm"];
/// Files that file managers leave behind.
const CLUTTER: [&str; 4] = [".DS_Store", "desktop.ini", "Thumbs.db", "__MACOSX"];

/// Whether a file's name ends like that of an image that `contract::radiograph` decodes.
pub(crate) fn image_extension(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
    extension.is_some_and(|e| IMAGE_EXTENSIONS.contains(&e.as_str()))
}

/// The studies of a data set.
#[derive(Clone, Debug)]
pub struct Index {
    /// The data set's directory, or that of a packed cache.
    pub root: PathBuf,
    /// The data set's directory name.
    pub name: String,
    /// Studies for training, by type, patient and number.
    pub train: Vec<Study>,
    /// Studies for validation, in the same order.
    pub valid: Vec<Study>,
    /// What does not fit the layout and was left out: its path relative to the root, and why. The files
    /// that file managers leave behind (`.DS_Store`, `._*`, `desktop.ini`, `Thumbs.db`) are not listed.
    pub skipped: Vec<(String, String)>,
    /// The packed cache that the planes come from, unless they are made of the image files.
    pub(super) cache: Option<Arc<Cache>>,
}

impl Index {
    /// The studies of a data set's directory ([`Self::scan`]) or of a packed cache of one ([`Cache::open`]),
    /// whichever `path` is.
    ///
    /// # Errors
    /// As these two.
    pub fn open(path: &Path) -> Result<Index> {
        if Cache::is_at(path) { Ok(Cache::open(path)?.index()) } else { Index::scan(path) }
    }

    /// Finds the studies under `root`. One of the two splits may be missing. No image is opened.
    ///
    /// # Errors
    /// [`Error::Missing`] without either split, [`Error::NoFiles`] for a packed cache,
    /// [`Error::PatientInBothSplits`], and [`Error::Io`] when a directory cannot be read.
    pub fn scan(root: &Path) -> Result<Index> {
        if Cache::is_at(root) {
            return Err(Error::NoFiles { path: root.to_owned() });
        }
        let mut index = Index::empty(root);
        if !Split::ALL.iter().any(|split| root.join(split.as_str()).is_dir()) {
            return Err(Error::Missing { root: root.to_owned() });
        }
        index.train = index.scan_split(Split::Train)?;
        index.valid = index.scan_split(Split::Valid)?;
        refuse_shared_patients(&index.train, &index.valid)?;
        Ok(index)
    }

    /// Of a directory in which nothing was found yet.
    pub(super) fn empty(root: &Path) -> Index {
        let whole = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        Index {
            root: root.to_owned(),
            name: whole.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            train: Vec::new(),
            valid: Vec::new(),
            skipped: Vec::new(),
            cache: None,
        }
    }

    /// The studies of a split.
    pub fn split(&self, split: Split) -> &[Study] {
        match split {
            Split::Train => &self.train,
            Split::Valid => &self.valid,
        }
    }

    /// How the planes of a packed cache were made; `None` for a data set's directory.
    pub fn packed_spec(&self) -> Option<&PreprocessSpec> {
        self.cache.as_ref().map(|cache| cache.spec())
    }

    /// The planes of some of its studies: decoded from their files, or mapped from the packed cache.
    ///
    /// # Errors
    /// As [`Planes::load`]; from a cache also [`Error::Cache`] when it is of another size or damaged.
    pub fn planes(&self, studies: &[Study], spec: &PreprocessSpec) -> Result<Planes> {
        match &self.cache {
            Some(cache) => cache.planes(studies, spec),
            None => Planes::load(studies, spec),
        }
    }

    /// Opens every image, on all cores, and leaves out those that cannot be read and the studies in which
    /// none is left. Gives what was left out: each image's path below the data set's root, and why.
    ///
    /// # Errors
    /// [`Error::NoFiles`] for a packed cache.
    pub fn check_images(&mut self) -> Result<Vec<(String, String)>> {
        if self.cache.is_some() {
            return Err(Error::NoFiles { path: self.root.clone() });
        }
        let mut unreadable = Vec::new();
        for studies in [&mut self.train, &mut self.valid] {
            let images: Vec<&PathBuf> = studies.iter().flat_map(|study| &study.images).collect();
            let outcomes = read::on_all_cores(&images, "checking", |image| read::radiograph(image).map(drop));
            let mut outcomes = outcomes.into_iter();
            for study in studies.iter_mut() {
                let mut readable = Vec::with_capacity(study.images.len());
                for (image, outcome) in std::mem::take(&mut study.images).into_iter().zip(&mut outcomes) {
                    match outcome {
                        Ok(()) => readable.push(image),
                        Err(reason) => unreadable.push((study.path_of(&image), reason)),
                    }
                }
                study.images = readable;
            }
            studies.retain(|study| !study.images.is_empty());
        }
        Ok(unreadable)
    }

    /// Says, in a sentence for each, which classes no study of a split has: nothing can be learned or measured
    /// without both.
    pub fn one_sided(&self) -> Vec<String> {
        let mut found = Vec::new();
        for split in Split::ALL {
            let studies = self.split(split);
            for (class, wanted) in [("abnormal (positive)", true), ("normal (negative)", false)] {
                if !studies.iter().any(|study| study.abnormal == wanted) {
                    found.push(format!("the {split} split has no {class} study"));
                    continue;
                }
                let types: BTreeSet<&StudyType> = studies.iter().map(|study| &study.study_type).collect();
                let lacking = |&&study_type: &&&StudyType| {
                    !studies.iter().any(|s| s.study_type == *study_type && s.abnormal == wanted)
                };
                for study_type in types.iter().filter(lacking) {
                    found.push(format!("{study_type} has no {class} study in the {split} split"));
                }
            }
        }
        found
    }

    fn scan_split(&mut self, split: Split) -> Result<Vec<Study>> {
        let mut studies = Vec::new();
        if !self.root.join(split.as_str()).is_dir() {
            return Ok(studies);
        }
        for type_name in self.directories(split.as_str())? {
            let type_path = format!("{split}/{type_name}");
            let study_type = match type_name.parse::<StudyType>() {
                Ok(study_type) => study_type,
                Err(error) => {
                    self.skipped.push((type_path, error.to_string()));
                    continue;
                }
            };
            for patient in self.directories(&type_path)? {
                let patient_path = format!("{type_path}/{patient}");
                for name in self.directories(&patient_path)? {
                    let path = format!("{patient_path}/{name}");
                    let Some(abnormal) = label(&name) else {
                        let reason = "expected a name such as study1_positive or study2_negative";
                        self.skipped.push((path, reason.to_owned()));
                        continue;
                    };
                    let images = self.images(&path)?;
                    if images.is_empty() {
                        self.skipped.push((path, "no image in it".to_owned()));
                        continue;
                    }
                    let (study_type, patient) = (study_type.clone(), patient.clone());
                    studies.push(Study { study_type, patient, path, abnormal, images });
                }
            }
        }
        Ok(studies)
    }

    /// The directories in a directory, sorted; whatever else is there is skipped.
    fn directories(&mut self, path: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for (name, is_directory) in self.entries(path)? {
            if is_directory {
                names.push(name);
            } else {
                self.skipped.push((format!("{path}/{name}"), "expected a directory here".to_owned()));
            }
        }
        Ok(names)
    }

    /// The images in a study's directory, sorted; whatever else is there is skipped.
    fn images(&mut self, path: &str) -> Result<Vec<PathBuf>> {
        let mut images = Vec::new();
        for (name, is_directory) in self.entries(path)? {
            if !is_directory && image_extension(Path::new(&name)) {
                images.push(self.root.join(path).join(name));
            } else {
                let reason = if is_directory { "a directory inside a study" } else { "not an image file" };
                self.skipped.push((format!("{path}/{name}"), reason.to_owned()));
            }
        }
        Ok(images)
    }

    /// Names in a directory, in natural order, and whether each is a directory; symbolic links are followed.
    fn entries(&mut self, path: &str) -> Result<Vec<(String, bool)>> {
        let directory = self.root.join(path);
        let failed =
            |source: io::Error| Error::Io { doing: format!("listing {}", directory.display()), source };
        let mut names = Vec::new();
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                let shown = entry.file_name().to_string_lossy().into_owned();
                self.skipped.push((format!("{path}/{shown}"), "the name is not UTF-8".to_owned()));
                continue;
            };
            if CLUTTER.contains(&name.as_str()) || name.starts_with("._") {
                continue;
            }
            match fs::metadata(entry.path()) {
                Ok(metadata) => names.push((name, metadata.is_dir())),
                Err(error) => self.skipped.push((format!("{path}/{name}"), error.to_string())),
            }
        }
        names.sort_by(|(a, _), (b, _)| natural::compare(a, b));
        Ok(names)
    }
}

/// Whether a study directory's name says abnormal; `None` when it is not the name of a study.
fn label(name: &str) -> Option<bool> {
    let (number, label) = name.strip_prefix("study")?.split_once('_')?;
    if number.is_empty() || !number.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    match label {
        "positive" => Some(true),
        "negative" => Some(false),
        _ => None,
    }
}

fn refuse_shared_patients(train: &[Study], valid: &[Study]) -> Result<()> {
    let in_train: HashMap<&str, &Study> = train.iter().map(|s| (s.patient.as_str(), s)).collect();
    match valid.iter().find_map(|study| Some((in_train.get(study.patient.as_str())?, study))) {
        None => Ok(()),
        Some((train, valid)) => Err(Error::PatientInBothSplits {
            patient: valid.patient.clone(),
            train: train.path.clone(),
            valid: valid.path.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data_set(files: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
        directory
    }

    #[test]
    fn the_layout_of_mura_is_read() {
        let root = data_set(&[
            "train/XR_WRIST/patient00011/study1_negative/image10.png",
            "train/XR_WRIST/patient00011/study1_negative/image2.png",
            "train/XR_WRIST/patient00011/study2_positive/image1.png",
            "train/XR_KNEE/patient00002/study1_positive/image1.JPG",
            "valid/XR_HAND/patient20000/study1_negative/image1.png",
        ]);
        let index = Index::scan(root.path()).unwrap();
        let paths: Vec<_> = index.train.iter().map(|s| (s.path.as_str(), s.abnormal)).collect();
        let expected = [
            ("train/XR_KNEE/patient00002/study1_positive", true),
            ("train/XR_WRIST/patient00011/study1_negative", false),
            ("train/XR_WRIST/patient00011/study2_positive", true),
        ];
        assert_eq!(paths, expected);
        let images: Vec<_> = index.train[1].images.iter().map(|p| p.file_name().unwrap()).collect();
        assert_eq!(images, ["image2.png", "image10.png"]);
        assert_eq!(index.split(Split::Valid)[0].patient, "patient20000");
        assert_eq!(index.split(Split::Valid)[0].study_type.as_str(), "XR_HAND");
        assert_eq!(index.skipped, []);
    }

    #[test]
    fn clutter_is_ignored_and_odd_files_are_listed() {
        let root = data_set(&[
            "train/.DS_Store",
            "train/XR_WRIST/patient1/study1_negative/image1.png",
            "train/XR_WRIST/patient1/study1_negative/._image1.png",
            "train/XR_WRIST/patient1/study1_negative/desktop.ini",
            "train/XR_WRIST/patient1/study1_negative/notes.txt",
            "train/XR_WRIST/patient1/study2_unsure/image1.png",
            "train/XR_WRIST/patient2/study1_positive/deeper/image1.png",
            "train/XR_WRIST/readme.md",
            "train/wrist/patient3/study1_positive/image1.png",
        ]);
        let index = Index::scan(root.path()).unwrap();
        assert_eq!(index.train.len(), 1);
        assert_eq!(index.train[0].images.len(), 1);
        let mut skipped: Vec<_> = index.skipped.iter().map(|(path, _)| path.as_str()).collect();
        skipped.sort_unstable();
        let expected = [
            "train/XR_WRIST/patient1/study1_negative/notes.txt",
            "train/XR_WRIST/patient1/study2_unsure",
            "train/XR_WRIST/patient2/study1_positive",
            "train/XR_WRIST/patient2/study1_positive/deeper",
            "train/XR_WRIST/readme.md",
            "train/wrist",
        ];
        assert_eq!(skipped, expected);
    }

    #[test]
    fn a_patient_in_both_splits_is_refused() {
        let root = data_set(&[
            "train/XR_WRIST/patient7/study1_negative/image1.png",
            "valid/XR_HAND/patient7/study1_negative/image1.png",
        ]);
        let error = Index::scan(root.path()).unwrap_err();
        assert!(matches!(&error, Error::PatientInBothSplits { patient, .. } if patient == "patient7"));
        assert!(error.to_string().contains("valid/XR_HAND/patient7"), "{error}");
    }

    #[test]
    fn a_directory_without_splits_is_no_data_set() {
        let root = data_set(&["XR_WRIST/patient7/study1_negative/image1.png"]);
        assert!(matches!(Index::scan(root.path()), Err(Error::Missing { .. })));
    }
}
