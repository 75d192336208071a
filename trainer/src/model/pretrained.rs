//! Weights learned on other pictures, such as ImageNet, from a file that the user has.
//!
//! Read are PyTorch's own files (`.pth`: the ZIP archive of PyTorch 1.6 and later, and the pickle stream
//! before it) and `.safetensors`; which one it is shows in the content. Names are torchvision's, also as
//! they were in its published files, `denselayer1.norm.1.weight` for `denselayer1.norm1.weight`, and also
//! under a common prefix such as `module.` or `state_dict.`. A head for other classes is left out, so that
//! the single output starts anew.

use std::path::Path;

use pytorch_reader::{DType, PytorchReader};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use super::densenet::DenseNet;
use super::weights::{Tensors, load_weights, read_tensors};
use super::widths::Widths;
use crate::exit::Fault;
use crate::run::files::read;

/// Where such a file comes from, in words for people who have none.
pub const WHERE_FROM: &str = "\
ImageNet weights for DenseNet169 are the file densenet169-b2777c0a.pth (57 MB) that torchvision publishes at \
https://download.pytorch.org/models/densenet169-b2777c0a.pth. Neither the file nor a licence for it comes with this program: \
torchvision's code is under the BSD 3-Clause licence, and its README says that pre-trained models may have \
terms of their own, derived from the data set they were trained on (ImageNet's: non-commercial research and \
education); whether your use is allowed is for you to find out";

const HEAD: [&str; 2] = ["classifier.weight", "classifier.bias"];
/// Prefixes that training scripts put before every name.
const PREFIXES: [&str; 4] = ["state_dict.", "model.", "module.", "densenet169."];
/// Names in a message before "and N more".
const NAMED: usize = 3;

/// Weights from a file, by torchvision's names, f32.
#[derive(Debug)]
pub struct Pretrained {
    /// By name; without the head when that is not one output.
    pub tensors: Tensors,
    /// Which file they are from.
    pub record: Record,
}

/// Which weights a run started from: `weights.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The file's name.
    pub file: String,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Tensors taken from it.
    pub tensors: usize,
    /// Outputs of the head that was left out; 0 when it was taken over or there was none.
    pub head_dropped: i64,
}

impl Pretrained {
    /// Reads a file and checks that it fits a network of these widths.
    ///
    /// # Errors
    /// [`Fault::BadData`] when the file is damaged, of no known kind, or of another architecture, with the
    /// names that are missing or too many; [`Fault::InputMissing`] or [`Fault::Io`] when it cannot be read.
    pub fn read(path: &Path, widths: &Widths) -> Result<Self, Fault> {
        if !path.is_file() {
            let path = path.display();
            return Err(Fault::InputMissing(format!("{path} is not there, or no file. {WHERE_FROM}")));
        }
        let bytes = read(path)?;
        let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let broken = |reason: String| Fault::BadData(format!("{}: {reason}", path.display()));
        check_name(&file, &sha256).map_err(broken)?;
        let raw = if bytes.get(8) == Some(&b'{') {
            read_tensors(&bytes).map_err(|error| broken(error.to_string()))?.0
        } else {
            read_pytorch(path).map_err(broken)?
        };
        let mut tensors = named_as_ours(raw).map_err(broken)?;
        let head_dropped = drop_other_head(&mut tensors);
        let record = Record { file, sha256, bytes: bytes.len() as u64, tensors: tensors.len(), head_dropped };
        let store = VarStore::new(Device::Cpu);
        DenseNet::new(&store.root(), widths);
        load_pretrained(&store, &tensors).map_err(broken)?;
        Ok(Self { tensors, record })
    }
}

/// Copies given weights into the store's variables; the head may be missing and then stays as it is. Nothing
/// is copied unless everything fits.
///
/// # Errors
/// A sentence that names what is missing, too much or of another shape.
pub fn load_pretrained(store: &VarStore, tensors: &Tensors) -> Result<(), String> {
    let variables = store.variables();
    let head = |name: &str| HEAD.contains(&name) && !HEAD.iter().all(|name| tensors.contains_key(*name));
    let missing = variables.keys().filter(|name| !tensors.contains_key(*name) && !head(name));
    let unknown = tensors.keys().filter(|name| !variables.contains_key(*name));
    let misshapen = variables.iter().filter_map(|(name, variable)| {
        let tensor = tensors.get(name)?;
        let (found, expected) = (tensor.size(), variable.size());
        (found != expected).then(|| format!("{name} ({found:?}, not {expected:?})"))
    });
    let wrong: Vec<String> = [
        ("missing", some(missing.cloned().collect())),
        ("not part of the network", some(unknown.cloned().collect())),
        ("of another shape", some(misshapen.collect())),
    ]
    .into_iter()
    .filter_map(|(what, names)| Some(format!("{what}: {}", names?)))
    .collect();
    if !wrong.is_empty() {
        return Err(format!(
            "these are not weights of this architecture; tensors {}",
            wrong.join("; tensors ")
        ));
    }
    let mut all: Tensors = tensors.iter().map(|(name, t)| (name.clone(), t.shallow_clone())).collect();
    for (name, variable) in variables {
        all.entry(name).or_insert(variable);
    }
    load_weights(store, &all).map_err(|error| error.to_string())
}

/// The first names, sorted, and how many there are; `None` when there are none.
fn some(mut names: Vec<String>) -> Option<String> {
    names.sort();
    let more = names.len().saturating_sub(NAMED);
    let first = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match more {
        0 if first.is_empty() => None,
        0 => Some(first),
        _ => Some(format!("{first} and {more} more")),
    }
}

/// PyTorch ends the names of published files in the first 8 digits of their SHA-256.
fn check_name(file: &str, sha256: &str) -> Result<(), String> {
    let stem = file.strip_suffix(".pth").unwrap_or_default();
    let Some((_, digits)) = stem.rsplit_once('-') else { return Ok(()) };
    let published =
        digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if published && !sha256.starts_with(digits) {
        return Err(format!(
            "its SHA-256 begins with {}, its name promises {digits}: the download is damaged or incomplete; \
             fetch it again",
            &sha256[..8]
        ));
    }
    Ok(())
}

fn read_pytorch(path: &Path) -> Result<Tensors, String> {
    let reader = PytorchReader::new(path).map_err(|error| {
        format!("neither a safetensors file nor one that PyTorch wrote (.pth), or a damaged one: {error}")
    })?;
    let mut tensors = Tensors::new();
    for (name, tensor) in reader.into_tensors() {
        let kind = match tensor.dtype() {
            DType::F32 => Kind::Float,
            DType::F64 => Kind::Double,
            DType::F16 => Kind::Half,
            DType::BF16 => Kind::BFloat16,
            DType::I64 => Kind::Int64,
            other => return Err(format!("the tensor `{name}` is of type {other:?}, which weights are not")),
        };
        let shape: Vec<i64> = tensor.shape().iter().map(|&side| side as i64).collect();
        let bytes = tensor.read().map_err(|error| error.to_string())?;
        let tensor =
            Tensor::f_from_data_size(&bytes, &shape, kind).map_err(|error| format!("`{name}`: {error}"))?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

/// The tensors under today's names and in f32, without what is only counted.
fn named_as_ours(raw: Tensors) -> Result<Tensors, String> {
    let mut tensors = Tensors::new();
    for (name, tensor) in raw {
        if name.ends_with("num_batches_tracked") {
            continue;
        }
        let mut short = name.as_str();
        while let Some(rest) = PREFIXES.iter().find_map(|prefix| short.strip_prefix(prefix)) {
            short = rest;
        }
        if tensors.insert(today(short), tensor.to_kind(Kind::Float)).is_some() {
            return Err(format!("two tensors are named `{}`", today(short)));
        }
    }
    if tensors.is_empty() {
        return Err(
            "it holds no tensors by name: expected a state_dict of torchvision's DenseNet169".to_owned()
        );
    }
    Ok(tensors)
}

/// `denselayer1.norm.1.weight`, as in torchvision's published files, to `denselayer1.norm1.weight`.
fn today(name: &str) -> String {
    if !name.contains(".denselayer") {
        return name.to_owned();
    }
    ["norm", "conv"].iter().fold(name.to_owned(), |name, part| {
        ["1", "2"].iter().fold(name, |name, number| {
            name.replace(&format!(".{part}.{number}."), &format!(".{part}{number}."))
        })
    })
}

/// Removes a head that is not one output, and says how many it had.
fn drop_other_head(tensors: &mut Tensors) -> i64 {
    let outputs = tensors.get(HEAD[0]).and_then(|weight| weight.size().first().copied()).unwrap_or(0);
    if outputs == 1 {
        return 0;
    }
    for name in HEAD {
        tensors.remove(name);
    }
    outputs
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::fs;

    use super::*;
    use crate::model::tensors_to_bytes;

    fn widths() -> Widths {
        Widths::uniform(6, &[1, 2], 3, 5)
    }

    /// A network's weights with a head of 1000 classes, through `change`, as a file.
    fn saved(dir: &Path, change: impl Fn(String, Tensor) -> Option<(String, Tensor)>) -> std::path::PathBuf {
        let store = VarStore::new(Device::Cpu);
        DenseNet::new(&store.root(), &widths());
        let mut tensors = Vec::new();
        for (name, tensor) in store.variables() {
            let shape: Vec<i64> = match name.as_str() {
                "classifier.weight" => vec![1000, tensor.size()[1]],
                "classifier.bias" => vec![1000],
                _ => tensor.size(),
            };
            let values = Tensor::ones(shape.as_slice(), (Kind::Float, Device::Cpu)) * 0.5;
            tensors.extend(change(name, values));
        }
        let path = dir.join("weights.safetensors");
        fs::write(&path, tensors_to_bytes(&tensors, HashMap::new()).unwrap()).unwrap();
        path
    }

    #[test]
    fn the_head_is_left_out_and_the_rest_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = saved(dir.path(), |name, tensor| Some((format!("module.{name}"), tensor)));
        let pretrained = Pretrained::read(&path, &widths()).unwrap();
        assert_eq!(pretrained.record.head_dropped, 1000);
        assert_eq!(pretrained.record.file, "weights.safetensors");
        assert_eq!(pretrained.record.sha256.len(), 64);
        let store = VarStore::new(Device::Cpu);
        let net = DenseNet::new(&store.root(), &widths());
        let head = net.classifier_weight.copy();
        load_pretrained(&store, &pretrained.tensors).unwrap();
        assert_eq!(net.conv0.weight.min().double_value(&[]), 0.5);
        assert_eq!(net.classifier_weight, head);
    }

    #[test]
    fn missing_odd_and_misshapen_tensors_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let read = |change: &dyn Fn(String, Tensor) -> Option<(String, Tensor)>| {
            Pretrained::read(&saved(dir.path(), change), &widths()).unwrap_err().to_string()
        };
        let error = read(&|name, tensor| (!name.contains("norm5")).then_some((name, tensor)));
        assert!(error.contains("missing: features.norm5.bias") && error.contains("and 1 more"), "{error}");
        let error =
            read(&|name, tensor| Some((name.replace("transition1.conv", "transition1.convolution"), tensor)));
        assert!(error.contains("missing: features.transition1.conv.weight"), "{error}");
        assert!(error.contains("not part of the network: features.transition1.convolution"), "{error}");
        let error = Pretrained::read(
            &saved(dir.path(), |name, tensor| Some((name, tensor))),
            &Widths::uniform(7, &[1, 2], 3, 5),
        );
        let error = error.unwrap_err().to_string();
        assert!(error.contains("[6, 3, 7, 7], not [7, 3, 7, 7]"), "{error}");
    }

    #[test]
    fn what_is_no_weights_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("densenet169-b2777c0a.pth");
        let error = Pretrained::read(&path, &widths()).unwrap_err();
        assert!(matches!(error, Fault::InputMissing(_)));
        assert!(error.to_string().contains("download.pytorch.org"), "{error}");
        fs::write(&path, b"half a download").unwrap();
        let error = Pretrained::read(&path, &widths()).unwrap_err().to_string();
        assert!(error.contains("promises b2777c0a"), "{error}");
        let path = dir.path().join("notes.pth");
        for bytes in [b"half a download".as_slice(), b"", b"PK\x03\x04", b"\x80\x02}q\x00."] {
            fs::write(&path, bytes).unwrap();
            let error = Pretrained::read(&path, &widths()).unwrap_err();
            assert!(matches!(error, Fault::BadData(_)), "{error}");
        }
    }

    #[test]
    fn torchvisions_old_names_become_todays() {
        for (old, new) in [
            (
                "features.denseblock1.denselayer1.norm.1.weight",
                "features.denseblock1.denselayer1.norm1.weight",
            ),
            (
                "features.denseblock4.denselayer32.conv.2.weight",
                "features.denseblock4.denselayer32.conv2.weight",
            ),
            ("features.transition1.norm.weight", "features.transition1.norm.weight"),
            ("features.norm5.bias", "features.norm5.bias"),
        ] {
            assert_eq!(today(old), new);
            assert_eq!(today(new), new);
        }
    }
}
