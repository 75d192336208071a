//! What a trained network says of radiographs that belong to no data set.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use contract::bundle::{BundleManifest, Calibration};
use contract::preprocess::{PreprocessSpec, to_plane};
use contract::radiograph::{DicomFacts, Limits, Radiograph, decode};
use contract::result::ActivationMap;
use contract::study::StudyType;
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor, no_grad};
use walkdir::WalkDir;

use crate::dataset::{image_extension, natural_order};
use crate::eval::inputs;
use crate::exit::Fault;
use crate::export::interpret::Interpreter;
use crate::model::DenseNet;
use crate::run::Run;

/// A network with what turns a radiograph into its input and its output into a probability.
#[derive(Debug)]
pub struct Predictor {
    network: Network,
    spec: PreprocessSpec,
    manifest: Option<BundleManifest>,
}

#[derive(Debug)]
enum Network {
    /// A run's best network. The store owns its variables.
    Run { _store: VarStore, net: DenseNet, device: Device },
    /// A bundle's ONNX file, run by libtorch.
    File(Interpreter),
}

/// What a network says of one radiograph.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The network's output.
    pub logit: f64,
    /// Probability of abnormality: calibrated with a bundle, the plain sigmoid with a run.
    pub probability: f64,
    /// The class activation map before scaling: its mean is the logit less the classifier's bias.
    pub activation_map: ActivationMap,
}

impl Predictor {
    /// The best network of a run.
    ///
    /// # Errors
    /// As [`Run::load_best`].
    pub fn of_run(run: &Run, device: Device) -> Result<Self, Fault> {
        let (store, net) = run.load_best(device)?;
        let network = Network::Run { _store: store, net, device };
        Ok(Self { network, spec: run.spec.clone(), manifest: None })
    }

    /// The ONNX file of a bundle whose hashes were checked.
    pub fn of_bundle(model: Interpreter, manifest: BundleManifest) -> Self {
        Self { network: Network::File(model), spec: manifest.input.clone(), manifest: Some(manifest) }
    }

    /// How radiographs become its input.
    pub fn spec(&self) -> &PreprocessSpec {
        &self.spec
    }

    /// The bundle's manifest, of a bundle.
    pub fn manifest(&self) -> Option<&BundleManifest> {
        self.manifest.as_ref()
    }

    /// How its logits become probabilities.
    pub fn calibration(&self) -> Calibration {
        self.manifest.as_ref().map_or(Calibration { temperature: 1.0 }, |manifest| manifest.calibration)
    }

    /// Scores one radiograph.
    ///
    /// # Errors
    /// [`Fault::BadData`] when it cannot be resized, libtorch fails, or the network gives a value that is not finite.
    pub fn predict(&self, radiograph: &Radiograph) -> Result<Prediction, Fault> {
        let failed = |error: &dyn std::fmt::Display| Fault::BadData(format!("running the network: {error}"));
        let plane = to_plane(radiograph, &self.spec).map_err(|error| Fault::BadData(error.to_string()))?;
        let input = inputs(std::iter::once(plane.samples.as_slice()), &self.spec);
        let (logit, map) = match &self.network {
            Network::Run { net, device, .. } => no_grad(|| {
                let out = net.forward_t(&input.to_device(*device), false);
                (out.logit, net.activation_map(&out.features))
            }),
            Network::File(model) => {
                let out = model.run(&input).map_err(|error| failed(&error))?;
                (out.logit, out.activation_map)
            }
        };
        let logit = values(&logit).map_err(|error| failed(&error))?.first().copied().unwrap_or(f64::NAN);
        let shape = map.size();
        let cells = values(&map).map_err(|error| failed(&error))?;
        if !logit.is_finite() || cells.iter().any(|cell| !cell.is_finite()) {
            return Err(Fault::BadData(
                "the network gives a value that is not a finite number: its weights are broken, train it again"
                    .to_owned(),
            ));
        }
        let activation_map = ActivationMap {
            width: shape[2] as u32,
            height: shape[1] as u32,
            values: cells.into_iter().map(|cell| cell as f32).collect(),
        };
        Ok(Prediction { logit, probability: self.calibration().probability(logit), activation_map })
    }
}

fn values(tensor: &Tensor) -> Result<Vec<f64>, tch::TchError> {
    Vec::<f64>::try_from(tensor.to_device(Device::Cpu).to_kind(Kind::Double).flatten(0, -1))
}

/// A radiograph from a file.
///
/// # Errors
/// Why it cannot be read, in words that do not name the file.
pub fn read_radiograph(path: &Path) -> Result<(Radiograph, Option<DicomFacts>), String> {
    let limits = Limits::default();
    let mut bytes = Vec::new();
    // One byte more than allowed is enough to be refused.
    File::open(path)
        .and_then(|file| file.take(limits.file_max_bytes + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("the file cannot be read: {error}"))?;
    let decoded = decode(&bytes, &limits).map_err(|error| error.to_string())?;
    Ok((decoded.radiograph, decoded.dicom))
}

/// One study of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The file or folder.
    pub path: PathBuf,
    /// Its radiographs, by name.
    pub files: Vec<PathBuf>,
}

/// The studies that a path names: a file is a study of one view; of a folder, every folder in it (itself too) that
/// holds images directly is a study. Images are files with a usual ending, and those without any (as DICOM often
/// comes); hidden files are left out.
///
/// # Errors
/// [`Fault::InputMissing`] when there is nothing at the path, [`Fault::BadData`] when a folder holds no image,
/// [`Fault::Io`] when it cannot be listed.
pub fn gather(path: &Path) -> Result<Vec<Input>, Fault> {
    let listing = |source| Fault::Io { doing: format!("reading {}", path.display()), source };
    let facts = match fs::metadata(path) {
        Ok(facts) => facts,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Fault::InputMissing(format!("{} is not there: check the path", path.display())));
        }
        Err(error) => return Err(listing(error)),
    };
    if !facts.is_dir() {
        return Ok(vec![Input { path: path.to_owned(), files: vec![path.to_owned()] }]);
    }
    let hidden = |name: &OsStr| name.to_string_lossy().starts_with('.') || name == "__MACOSX";
    let mut studies: Vec<Input> = Vec::new();
    let walk = WalkDir::new(path)
        .sort_by(|a, b| natural_order(&a.file_name().to_string_lossy(), &b.file_name().to_string_lossy()));
    for entry in walk.into_iter().filter_entry(|entry| entry.depth() == 0 || !hidden(entry.file_name())) {
        let entry = entry.map_err(|error| listing(error.into()))?;
        let file = entry.path();
        if entry.file_type().is_dir() {
            studies.push(Input { path: file.to_owned(), files: Vec::new() });
        } else if file.is_file() && (file.extension().is_none() || image_extension(file)) {
            let study = studies.iter_mut().rfind(|study| Some(study.path.as_path()) == file.parent());
            study.into_iter().for_each(|study| study.files.push(file.to_owned()));
        }
    }
    studies.retain(|study| !study.files.is_empty());
    if studies.is_empty() {
        return Err(Fault::BadData(format!(
            "{} holds no image: PNG, JPEG, TIFF, PNM and DICOM are read",
            path.display()
        )));
    }
    Ok(studies)
}

/// The study type that a path names, as MURA's folders do (`…/XR_WRIST/…`), else the one that a DICOM header names.
pub fn study_type(path: &Path, dicom: Option<&DicomFacts>) -> Option<StudyType> {
    let of_path = path.components().rev().find_map(|part| part.as_os_str().to_str()?.parse().ok());
    of_path.or_else(|| StudyType::from_body_part(dicom?.body_part.as_deref()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_as_many_studies_as_it_has_folders_with_images() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in [
            "XR_HAND/a/image10.png",
            "XR_HAND/a/image2.png",
            "XR_HAND/a/.hidden.png",
            "XR_HAND/a/notes.txt",
            "b/scan",
            "b/deep/x.dcm",
            "__MACOSX/a.png",
            "top.jpg",
        ] {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"x").unwrap();
        }
        let found = gather(root).unwrap();
        let name = |path: &Path| path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        let mut found: Vec<(String, Vec<String>)> =
            found.iter().map(|s| (name(&s.path), s.files.iter().map(|f| name(f)).collect())).collect();
        found.sort();
        let files = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            found,
            [
                (String::new(), files(&["top.jpg"])),
                ("XR_HAND/a".into(), files(&["XR_HAND/a/image2.png", "XR_HAND/a/image10.png"])),
                ("b".into(), files(&["b/scan"])),
                ("b/deep".into(), files(&["b/deep/x.dcm"])),
            ]
        );
        assert_eq!(gather(&root.join("top.jpg")).unwrap()[0].files, [root.join("top.jpg")]);
        assert!(matches!(gather(&root.join("none")), Err(Fault::InputMissing(_))));
        fs::create_dir(root.join("empty")).unwrap();
        assert!(matches!(gather(&root.join("empty")), Err(Fault::BadData(_))));
        assert_eq!(study_type(&root.join("XR_HAND/a"), None).unwrap().as_str(), "XR_HAND");
        assert_eq!(study_type(Path::new("b"), None), None);
    }
}
