//! Writing a bundle directory so that it is there whole or not at all, and reading one back with every
//! hash checked.
//!
//! Everything is written and synced in a temporary directory beside the target, which is then renamed into
//! place. A bundle that was there before is moved aside first and removed last.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use contract::bundle::{
    BundleManifest, Calibration, CrossFit, FORMAT, FileFacts, GoldenPair, MANIFEST_FILE, MODEL_CARD_FILE,
    MODEL_FILE, ManifestError, OperatingPointTable, Purpose, Tolerance, TrainingFacts,
};
use contract::preprocess::PreprocessSpec;
use contract::study::StudyType;
use sha2::{Digest, Sha256};

/// Why a bundle could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// There is no bundle at that place.
    #[error("{} is not there: expected a bundle directory with {MANIFEST_FILE}, as `trainer export` writes it", .0.display())]
    Missing(PathBuf),
    /// A file that the manifest lists is not there.
    #[error(
        "the bundle is incomplete: `{0}` is listed in its manifest but not there; copy or export it again"
    )]
    FileMissing(String),
    /// A file differs from what the manifest says.
    #[error("the bundle is damaged: `{0}` differs from what its manifest says; copy or export it again")]
    FileChanged(String),
    /// The manifest is not usable.
    #[error("the bundle is not usable: {0}")]
    Manifest(#[from] ManifestError),
    /// The target of an export holds something else.
    #[error("{} exists and is not a bundle: choose another --out or remove it", .0.display())]
    Occupied(PathBuf),
    /// Reading or writing failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, to which file.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// What a bundle is made of.
#[derive(Clone, Debug)]
pub struct Contents {
    /// The model's name, for people.
    pub name: String,
    /// The model's version.
    pub version: u32,
    /// What the bundle may be used for.
    pub purpose: Purpose,
    /// How a radiograph becomes the model's input.
    pub input: PreprocessSpec,
    /// How a logit becomes a probability.
    pub calibration: Calibration,
    /// The thresholds between the answers.
    pub operating_points: OperatingPointTable,
    /// The study types the model is meant for.
    pub study_types: BTreeSet<StudyType>,
    /// Where the weights come from.
    pub training: TrainingFacts,
    /// Intended use, in words.
    pub intended_use: String,
    /// The ONNX file.
    pub model: Vec<u8>,
    /// PNG files with their expected logits.
    pub golden: Vec<Golden>,
    /// What calibration and points achieve on patients that they were not found on.
    pub cross_fit: Option<CrossFit>,
    /// `model-card.md`; none when empty.
    pub model_card: String,
}

/// A golden image: the bytes of an 8-bit grey PNG and the logit that libtorch gives for them.
#[derive(Clone, Debug, PartialEq)]
pub struct Golden {
    /// The file.
    pub png: Vec<u8>,
    /// The logit.
    pub logit: f64,
}

/// A bundle that was read back, all hashes verified.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The manifest.
    pub manifest: BundleManifest,
    /// Every other file by its name in the bundle.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Bundle {
    /// Reads a bundle and checks its manifest and the size and hash of every file.
    ///
    /// # Errors
    /// When it is missing, incomplete, damaged, or its manifest is not usable.
    pub fn load(directory: &Path) -> Result<Self, BundleError> {
        let path = directory.join(MANIFEST_FILE);
        if !path.is_file() {
            return Err(BundleError::Missing(directory.to_owned()));
        }
        let manifest = BundleManifest::parse(&fs::read(&path).map_err(io_error("reading", &path))?)?;
        let mut files = BTreeMap::new();
        for (name, facts) in &manifest.files {
            let path = directory.join(name);
            let size = match fs::metadata(&path) {
                Ok(metadata) => metadata.len(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(BundleError::FileMissing(name.clone()));
                }
                Err(error) => return Err(io_error("reading", &path)(error)),
            };
            // The size first: it bounds what is read.
            if size != facts.size_bytes {
                return Err(BundleError::FileChanged(name.clone()));
            }
            let bytes = fs::read(&path).map_err(io_error("reading", &path))?;
            if !sha256(&bytes).eq_ignore_ascii_case(&facts.sha256) {
                return Err(BundleError::FileChanged(name.clone()));
            }
            files.insert(name.clone(), bytes);
        }
        Ok(Self { manifest, files })
    }

    /// The ONNX file.
    pub fn model(&self) -> &[u8] {
        // `BundleManifest::parse` refuses a manifest that does not list it.
        self.files.get(MODEL_FILE).map_or(&[], Vec::as_slice)
    }
}

/// Writes a bundle to `out`, in place of a bundle that is there already.
///
/// # Errors
/// When `out` exists and is neither empty nor a bundle, the contents make no valid manifest, or a file cannot
/// be written.
pub fn write(out: &Path, contents: Contents) -> Result<BundleManifest, BundleError> {
    check_target(out)?;
    let mut files = BTreeMap::from([(MODEL_FILE.to_owned(), contents.model)]);
    if !contents.model_card.is_empty() {
        files.insert(MODEL_CARD_FILE.to_owned(), contents.model_card.into_bytes());
    }
    let mut golden = Vec::new();
    for (number, Golden { png, logit }) in contents.golden.into_iter().enumerate() {
        let image = format!("golden/{number}.png");
        files.insert(image.clone(), png);
        golden.push(GoldenPair { image, logit });
    }
    let facts = |bytes: &Vec<u8>| FileFacts { sha256: sha256(bytes), size_bytes: bytes.len() as u64 };
    let manifest = BundleManifest {
        format: FORMAT,
        name: contents.name,
        version: contents.version,
        // The halves are released together: what reads this version's manifests is this version of the station, or a later one.
        edge_version_min: Some(env!("CARGO_PKG_VERSION").to_owned()),
        purpose: contents.purpose,
        created: format!("{:.0}", jiff::Timestamp::now()),
        files: files.iter().map(|(name, bytes)| (name.clone(), facts(bytes))).collect(),
        input: contents.input,
        calibration: contents.calibration,
        operating_points: contents.operating_points,
        study_types: contents.study_types,
        golden,
        tolerance: Tolerance::default(),
        training: contents.training,
        intended_use: contents.intended_use,
        cross_fit: contents.cross_fit,
    };
    let mut json = serde_json::to_vec_pretty(&manifest).map_err(ManifestError::from)?;
    json.push(b'\n');
    BundleManifest::parse(&json)?;
    files.insert(MANIFEST_FILE.to_owned(), json);
    place(out, &files)?;
    Ok(manifest)
}

/// Refuses a target that holds something else than a bundle; an empty directory or nothing is fine.
///
/// # Errors
/// [`BundleError::Occupied`], or [`BundleError::Io`] when the directory cannot be read.
pub fn check_target(out: &Path) -> Result<(), BundleError> {
    let mut entries = match fs::read_dir(out) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(BundleError::Occupied(out.to_owned()));
        }
        Err(error) => return Err(io_error("reading", out)(error)),
    };
    if entries.next().is_none() || out.join(MANIFEST_FILE).is_file() {
        return Ok(());
    }
    Err(BundleError::Occupied(out.to_owned()))
}

/// Writes and syncs the files beside `out` and renames them into place.
fn place(out: &Path, files: &BTreeMap<String, Vec<u8>>) -> Result<(), BundleError> {
    let parent = match out.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(io_error("creating", parent))?;
    let temporary = || {
        tempfile::Builder::new()
            .prefix(".bundle-")
            .permissions(Permissions::from_mode(0o755))
            .tempdir_in(parent)
            .map_err(io_error("creating a directory in", parent))
    };
    let fresh = temporary()?;
    let mut directories = BTreeSet::from([fresh.path().to_owned()]);
    for (name, bytes) in files {
        let path = fresh.path().join(name);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(io_error("creating", directory))?;
            directories.insert(directory.to_owned());
        }
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        written.map_err(io_error("writing", &path))?;
    }
    for directory in &directories {
        sync(directory)?;
    }
    // The old bundle moves into a directory that is removed when this returns, after the rename.
    let aside = temporary()?;
    let old = aside.path().join("old");
    let had_old = out.exists();
    if had_old {
        fs::rename(out, &old).map_err(io_error("moving aside", out))?;
    }
    if let Err(error) = fs::rename(fresh.path(), out) {
        if had_old {
            fs::rename(&old, out).map_err(io_error("putting back", out))?;
        }
        return Err(io_error("renaming into place", out)(error));
    }
    sync(parent)
}

fn sync(directory: &Path) -> Result<(), BundleError> {
    File::open(directory).and_then(|file| file.sync_all()).map_err(io_error("syncing", directory))
}

fn io_error(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> BundleError {
    let doing = format!("{doing} {}", path.display());
    move |source| BundleError::Io { doing, source }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use contract::study::OperatingPoints;

    use super::*;

    fn contents() -> Contents {
        Contents {
            name: "test".into(),
            version: 1,
            purpose: Purpose::Demo,
            input: PreprocessSpec::square(64),
            calibration: Calibration { temperature: 1.5 },
            operating_points: OperatingPointTable {
                pooled: OperatingPoints::new(0.2, 0.8, 0.5),
                per_type: BTreeMap::new(),
            },
            study_types: BTreeSet::from(["XR_WRIST".parse().unwrap()]),
            training: TrainingFacts {
                architecture: "DenseNet".into(),
                dataset: "none".into(),
                train_images: 0,
                valid_studies: 0,
                parameters: 1,
                macs: 1,
                macs_share: 1.0,
                valid_auroc: None,
                valid_kappa: None,
                trainer_version: "0".into(),
            },
            intended_use: "tests".into(),
            model: vec![1, 2, 3],
            golden: vec![Golden { png: vec![4, 5], logit: 0.25 }],
            cross_fit: None,
            model_card: "# A card\n".into(),
        }
    }

    #[test]
    fn what_was_written_is_read_back_and_replaced_whole() {
        let parent = tempfile::tempdir().unwrap();
        let out = parent.path().join("deep/bundle");
        let manifest = write(&out, contents()).unwrap();
        let bundle = Bundle::load(&out).unwrap();
        assert_eq!(bundle.manifest, manifest);
        assert_eq!(bundle.model(), [1, 2, 3]);
        assert_eq!(bundle.files["golden/0.png"], [4, 5]);
        let mode = fs::metadata(&out).unwrap().permissions().mode();
        assert_eq!(mode & 0o555, 0o555, "{mode:o}");

        write(&out, Contents { model: vec![9], golden: contents().golden, ..contents() }).unwrap();
        assert_eq!(Bundle::load(&out).unwrap().model(), [9]);
        let left: Vec<_> =
            fs::read_dir(out.parent().unwrap()).unwrap().flatten().map(|e| e.file_name()).collect();
        assert_eq!(left, ["bundle"], "temporary directories stay behind");
    }

    #[test]
    fn a_flipped_byte_anywhere_is_found() {
        let parent = tempfile::tempdir().unwrap();
        let out = parent.path().join("bundle");
        write(&out, contents()).unwrap();
        for name in ["model.onnx", "golden/0.png", "model-card.md"] {
            let path = out.join(name);
            let good = fs::read(&path).unwrap();
            let mut bad = good.clone();
            bad[1] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert!(matches!(Bundle::load(&out), Err(BundleError::FileChanged(file)) if file == name));
            fs::write(&path, &good[..1]).unwrap();
            assert!(matches!(Bundle::load(&out), Err(BundleError::FileChanged(_))));
            fs::remove_file(&path).unwrap();
            assert!(matches!(Bundle::load(&out), Err(BundleError::FileMissing(file)) if file == name));
            fs::write(&path, &good).unwrap();
        }
        Bundle::load(&out).unwrap();
        fs::write(out.join(MANIFEST_FILE), b"{}").unwrap();
        assert!(matches!(Bundle::load(&out), Err(BundleError::Manifest(_))));
        assert!(matches!(Bundle::load(parent.path()), Err(BundleError::Missing(_))));
    }

    #[test]
    fn nothing_but_a_bundle_is_overwritten_and_no_invalid_one_is_written() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("thesis.txt"), b"years of work").unwrap();
        assert!(matches!(write(parent.path(), contents()), Err(BundleError::Occupied(_))));
        assert!(matches!(
            write(&parent.path().join("thesis.txt"), contents()),
            Err(BundleError::Occupied(_))
        ));

        let out = parent.path().join("bundle");
        let invalid = Contents { calibration: Calibration { temperature: f64::NAN }, ..contents() };
        assert!(write(&out, invalid).is_err());
        assert!(write(&out, Contents { golden: Vec::new(), ..contents() }).is_err());
        assert!(!out.exists());
    }
}
