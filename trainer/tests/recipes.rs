//! `trainer train` and `trainer bench step`, the binary itself: recipes, given weights, records, bad input.

#![allow(clippy::unwrap_used)] // Helpers of tests, outside of what clippy counts as one.

mod python;
mod small;

use std::fs;
use std::path::Path;
use std::process::Command;

use python::python;
use serde_json::{Value, json};
use small::{content, data_and_settings, fails, succeeds, text};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};
use trainer::model::{DenseNet, Pretrained, Widths};

/// Writes a file as `torch.save` does, with stubs in place of torch's classes, which only lend their names.
/// Reads `{path, zip, tensors: [[name, shape], …]}`; element j of tensor i is ((31 i + j) mod 97) / 97.
const TORCH_SAVE: &str = r#"
import collections, io, json, pickle, struct, sys, types, zipfile
import numpy as np

torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
class FloatStorage: pass
FloatStorage.__module__ = "torch"
def _rebuild_tensor_v2(): pass
_rebuild_tensor_v2.__module__ = "torch._utils"
torch.FloatStorage, utils._rebuild_tensor_v2, torch._utils = FloatStorage, _rebuild_tensor_v2, utils
sys.modules.update({"torch": torch, "torch._utils": utils})

class Storage:
    def __init__(self, key, values): self.key, self.values = key, values
class Tensor:
    def __init__(self, key, shape, values): self.storage, self.shape = Storage(key, values), shape
    def __reduce__(self):
        strides, step = [], 1
        for side in reversed(self.shape):
            strides.insert(0, step); step *= side
        return utils._rebuild_tensor_v2, (self.storage, 0, tuple(self.shape), tuple(strides), False, collections.OrderedDict())
class Pickler(pickle.Pickler):
    def persistent_id(self, thing):
        if isinstance(thing, Storage):
            view = () if asked["zip"] else (None,)
            return ("storage", FloatStorage, thing.key, "cpu", len(thing.values)) + view

asked = json.load(sys.stdin)
state = collections.OrderedDict()
for i, (name, shape) in enumerate(asked["tensors"]):
    values = ((31 * i + np.arange(int(np.prod(shape)))) % 97 / 97).astype("<f4")
    state[name] = Tensor(str(i), shape, values)
out = io.BytesIO()
Pickler(out, 2).dump(state)
if asked["zip"]:
    with zipfile.ZipFile(asked["path"], "w") as archive:
        archive.writestr("archive/data.pkl", out.getvalue())
        archive.writestr("archive/byteorder", "little")
        for tensor in state.values():
            archive.writestr("archive/data/" + tensor.storage.key, tensor.storage.values.tobytes())
        archive.writestr("archive/version", "3\n")
else:
    with open(asked["path"], "wb") as file:
        pickle.dump(0x1950a86a20f9469cfc6c, file, 2)
        pickle.dump(1001, file, 2)
        pickle.dump({"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}, file, 2)
        file.write(out.getvalue())
        keys = sorted(state[name].storage.key for name in state)
        pickle.dump(keys, file, 2)
        by_key = {tensor.storage.key: tensor.storage.values for tensor in state.values()}
        for key in keys:
            file.write(struct.pack("<q", len(by_key[key])) + by_key[key].tobytes())
"#;

/// Reads event files by hand, checksums bit by bit; prints `[[step, tag, value], …]` over all files in order.
const READ_EVENTS: &str = r#"
import json, os, struct, sys

table = []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
    table.append(n)
def masked(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 255]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]; at += 1
        value |= (byte & 127) << shift; shift += 7
        if byte < 128:
            return value, at
def fields(data):
    at, found = 0, []
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0: value, at = varint(data, at)
        elif key & 7 == 1: value, at = struct.unpack_from("<d", data, at)[0], at + 8
        elif key & 7 == 5: value, at = struct.unpack_from("<f", data, at)[0], at + 4
        else:
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
        found.append((key >> 3, value))
    return found

folder, points, versions, starts = sys.stdin.read().strip(), [], 0, []
for name in sorted(os.listdir(folder)):
    data, at = open(os.path.join(folder, name), "rb").read(), 0
    while at < len(data):
        length, check = struct.unpack_from("<QI", data, at)
        assert check == masked(data[at:at + 8]), "length"
        record = data[at + 12:at + 12 + length]
        assert struct.unpack_from("<I", data, at + 12 + length)[0] == masked(record), "record"
        at += 16 + length
        event = dict(fields(record))
        assert event[1] > 1.6e9, "wall time"
        versions += event.get(3) == b"brain.Event:2"
        if 7 in event: starts.append(event.get(2, 0))
        for number, value in fields(event.get(5, b"")):
            value = dict(fields(value))
            points.append([event.get(2, 0), value[1].decode(), value[2]])
print(json.dumps({"points": points, "versions": versions, "starts": starts}))
"#;

fn tiny() -> Widths {
    Widths::uniform(6, &[1, 2], 3, 5)
}

/// Names and shapes of a network's weights with a head of 1000 classes, sorted; under today's names, or as
/// in torchvision's published files.
fn names_and_shapes(widths: &Widths, old_names: bool) -> Vec<(String, Vec<i64>)> {
    let store = VarStore::new(Device::Cpu);
    DenseNet::new(&store.root(), widths);
    let features = store.variables()["classifier.weight"].size()[1];
    let mut tensors: Vec<_> = store
        .variables()
        .into_iter()
        .map(|(name, tensor)| match name.as_str() {
            "classifier.weight" => (name, vec![1000, features]),
            "classifier.bias" => (name, vec![1000]),
            _ => (name, tensor.size()),
        })
        .collect();
    tensors.sort();
    if old_names {
        for (name, _) in tensors.iter_mut().filter(|(name, _)| name.contains("denselayer")) {
            for part in ["norm", "conv"] {
                for number in ["1", "2"] {
                    *name = name.replace(&format!(".{part}{number}."), &format!(".{part}.{number}."));
                }
            }
        }
    }
    tensors
}

fn torch_save(path: &Path, zip: bool, tensors: &[(String, Vec<i64>)]) {
    python(TORCH_SAVE, &json!({ "path": path, "zip": zip, "tensors": tensors }).to_string());
}

#[test]
fn weights_are_read_from_both_of_pytorchs_containers_under_old_and_new_names() {
    let dir = tempfile::tempdir().unwrap();
    let today = names_and_shapes(&tiny(), false);
    for (zip, old_names) in [(true, false), (true, true), (false, true)] {
        let path = dir.path().join(format!("{zip}{old_names}.pth"));
        let written = names_and_shapes(&tiny(), old_names);
        torch_save(&path, zip, &written);
        let pretrained = Pretrained::read(&path, &tiny()).unwrap();
        assert_eq!(pretrained.record.head_dropped, 1000);
        assert_eq!(pretrained.tensors.len(), today.len() - 2);
        for (place, (name, shape)) in today.iter().enumerate().filter(|(_, (n, _))| n.starts_with("features"))
        {
            let count = shape.iter().product::<i64>();
            let values = (Tensor::arange(count, (Kind::Double, Device::Cpu)) + 31.0 * place as f64)
                .remainder(97.0)
                / 97.0;
            assert_eq!(
                pretrained.tensors[name],
                values.to_kind(Kind::Float).view(shape.as_slice()),
                "{name}"
            );
        }
    }
}

#[test]
fn a_file_in_the_form_of_torchvisions_densenet169_fits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("densenet169.pth");
    let widths = Widths::densenet169();
    torch_save(&path, false, &names_and_shapes(&widths, true));
    let pretrained = Pretrained::read(&path, &widths).unwrap();
    assert_eq!((pretrained.record.tensors, pretrained.record.head_dropped), (844, 1000));
}

#[test]
fn a_recipe_starts_from_a_weights_file_or_says_where_there_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let (data, settings) = data_and_settings(dir.path(), 24);
    let (run, weights) = (dir.path().join("run"), dir.path().join("imagenet.pth"));
    let (run_text, weights_text) = (text(&run), text(&weights));
    let line = ["train", "--preset", "paper", "--config", &settings, "--data", &data, "--run", &run_text];
    let line = [&line[..], &["--epochs", "1"]].concat();
    let given = [&line[..], &["--weights", &weights_text]].concat();

    fails(&line, 66, &["--weights", "--from-scratch", "densenet169-b2777c0a.pth", "terms"]);
    fails(&given, 66, &["imagenet.pth is not there"]);
    let mut tensors = names_and_shapes(&tiny(), false);
    let norm5 = tensors.iter().position(|(name, _)| name == "features.norm5.weight").unwrap();
    let lost = tensors.remove(norm5);
    torch_save(&weights, true, &tensors);
    fails(&given, 65, &["missing: features.norm5.weight"]);
    fs::write(&weights, &fs::read(&weights).unwrap()[..1000]).unwrap();
    fails(&given, 65, &["imagenet.pth", "damaged"]);
    assert!(!run.exists());

    tensors.push(lost);
    torch_save(&weights, false, &tensors);
    succeeds(&given);
    let record: Value = serde_json::from_slice(&fs::read(run.join("weights.json")).unwrap()).unwrap();
    assert_eq!((&record["file"], &record["head_dropped"]), (&json!("imagenet.pth"), &json!(1000)));
    assert_eq!(record["sha256"].as_str().unwrap().len(), 64);

    // Everything the run was made by stands in its settings; the file won over the preset, the option over it.
    let saved: toml::Table = fs::read_to_string(run.join("train.toml")).unwrap().parse().unwrap();
    for (key, value) in [("preset", "paper"), ("init", "weights"), ("loss", "per_type"), ("aspect", "squash")]
    {
        assert_eq!(saved[key].as_str(), Some(value), "{key}");
    }
    for (key, value) in [("size_px", 64), ("epochs", 1), ("batch", 4), ("keep_best", 2)] {
        assert_eq!(saved[key].as_integer(), Some(value), "{key}");
    }
    for key in
        ["seed", "precision", "dropout", "checkpoint_every_s", "adam", "schedule", "augment", "network"]
    {
        assert!(saved.contains_key(key), "{key}");
    }
    // The same command line with --resume goes on.
    succeeds(&[&given[..], &["--resume"]].concat());
}

#[test]
fn a_run_tells_of_itself_in_curves_event_files_and_its_best_weights() {
    let dir = tempfile::tempdir().unwrap();
    let (data, settings) = data_and_settings(dir.path(), 40);
    let run = dir.path().join("run");
    let run_text = text(&run);
    let line = ["train", "--data", &data, "--run", &run_text, "--config", &settings, "--device", "cpu"];
    succeeds(&line);
    succeeds(&[&line[..], &["--epochs", "5", "--resume"]].concat());

    let events: Value = serde_json::from_str(&python(READ_EVENTS, &text(&run.join("tensorboard")))).unwrap();
    let points = events["points"].as_array().unwrap();
    let of = |tag: &str| -> Vec<(i64, f64)> {
        let tagged = points.iter().filter(|point| point[1] == tag);
        tagged.map(|point| (point[0].as_i64().unwrap(), point[2].as_f64().unwrap())).collect()
    };
    assert_eq!((events["versions"].as_i64(), events["starts"].as_array().map(Vec::len)), (Some(2), Some(2)));
    let mut rows = csv::Reader::from_path(run.join("metrics.csv")).unwrap();
    let rows: Vec<csv::StringRecord> = rows.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 5);
    let number = |row: &csv::StringRecord, column: usize| row[column].parse::<f64>().unwrap();
    for (tag, column) in [
        ("learning_rate", 2),
        ("loss/train_epoch", 3),
        ("loss/valid", 4),
        ("auroc/valid_studies", 5),
        ("kappa/valid_studies", 6),
    ] {
        let expected: Vec<_> = rows.iter().map(|row| (number(row, 1) as i64, number(row, column))).collect();
        let found = of(tag);
        assert_eq!(found.len(), 5, "{tag}");
        for ((step, value), (expected_step, expected)) in found.into_iter().zip(expected) {
            assert_eq!(step, expected_step);
            assert!((value - expected).abs() < 1e-6 * expected.abs().max(1.0), "{tag}: {value} {expected}");
        }
    }
    let steps: Vec<i64> = of("loss/train").iter().map(|(step, _)| *step).collect();
    let last = number(&rows[4], 1) as i64;
    assert_eq!(steps, (1..=last / 2).map(|half| 2 * half).collect::<Vec<_>>());

    let curves = fs::read_to_string(run.join("curves.svg")).unwrap();
    for word in ["Loss", "training", "validation", "AUROC", "kappa", "Learning rate", "epoch"] {
        assert!(curves.contains(word), "{word}");
    }

    let mut losses: Vec<_> = rows.iter().map(|row| (number(row, 4), row[0].to_owned())).collect();
    losses.sort_by(|a, b| a.0.total_cmp(&b.0));
    let best = content(&run.join("best"));
    let mut expected: Vec<_> = losses[..2]
        .iter()
        .map(|(loss, epoch)| format!("epoch-{:03}-loss-{loss:.4}.safetensors", epoch.parse::<u32>().unwrap()))
        .collect();
    expected.sort();
    assert_eq!(best.iter().map(|(path, _)| text(path)).collect::<Vec<_>>(), expected);
    let lowest = format!("epoch-{:03}", losses[0].1.parse::<u32>().unwrap());
    let lowest = best.iter().find(|(path, _)| text(path).starts_with(&lowest)).unwrap();
    assert!(fs::read(run.join("best.safetensors")).unwrap() == lowest.1);
}

#[test]
fn what_cannot_be_trained_is_refused_and_the_run_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (data, settings) = data_and_settings(dir.path(), 24);
    let run = dir.path().join("run");
    let run_text = text(&run);
    let line = ["train", "--data", &data, "--run", &run_text, "--config", &settings];
    let with = |rest: &[&'static str]| [&line[..], rest].concat();
    fails(&with(&["--device", "cuda:7"]), 66, &["cuda:7 is not available", "--device cpu"]);
    fails(&with(&["--preset", "best"]), 2, &["expected paper or classic"]);
    fails(&with(&["--weights", "a.pth", "--from-scratch"]), 2, &["cannot be used with"]);
    let bad = dir.path().join("bad.toml");
    let bad_text = text(&bad);
    for (wrong, words) in [
        ("[network]\nlayers = [0]", vec!["network.layers"]),
        ("precision = \"f16\"", vec!["f16", "CUDA"]),
        ("keepbest = 3", vec!["bad.toml", "keepbest"]),
        ("init = \"run\"", vec!["--init-from"]),
    ] {
        fs::write(&bad, wrong).unwrap();
        let line = ["train", "--data", &data, "--run", &run_text, "--config", &bad_text, "--device", "cpu"];
        let code = if wrong.starts_with("init") { 66 } else { 65 };
        fails(&line, code, &words);
    }
    let one_sided = dir.path().join("one-sided");
    for label in [
        "train/XR_HAND/patient1/study1_positive",
        "train/XR_HAND/patient2/study1_negative",
        "valid/XR_HAND/patient3/study1_negative",
    ] {
        fs::create_dir_all(one_sided.join(label)).unwrap();
        image::GrayImage::new(70, 70).save(one_sided.join(label).join("image1.png")).unwrap();
    }
    let one_sided = text(&one_sided);
    let words = ["validation split has no abnormal"];
    fails(&["train", "--data", &one_sided, "--run", &run_text, "--config", &settings], 65, &words);
    assert!(!run.exists());

    succeeds(&with(&["--epochs", "1", "--device", "cpu"]));
    // A checkpoint of another architecture, while more epochs are asked for: not even the settings change.
    let widths = fs::read_to_string(run.join("widths.json")).unwrap();
    fs::write(run.join("widths.json"), widths.replace("\"stem\": 6", "\"stem\": 7")).unwrap();
    let before = content(&run);
    fails(&with(&["--epochs", "2", "--resume", "--device", "cpu"]), 65, &["another architecture"]);
    fails(&with(&["--epochs", "2", "--device", "cpu"]), 65, &["already holds a run"]);
    assert!(content(&run) == before);
    fs::write(run.join("widths.json"), widths).unwrap();

    // No room for a checkpoint: the ones before stay, and the run goes on from there later.
    let best = fs::read(run.join("best.safetensors")).unwrap();
    let shell = "ulimit -f 8; trap '' XFSZ; exec \"$0\" \"$@\"";
    let output = Command::new("sh")
        .args(["-c", shell, env!("CARGO_BIN_EXE_trainer")])
        .args(with(&["--epochs", "2", "--resume", "--device", "cpu"]))
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(74), "{message}");
    assert!(message.contains("make room") && message.contains("--resume"), "{message}");
    assert!(fs::read(run.join("best.safetensors")).unwrap() == best);
    let litter = content(&run).into_iter().find(|(path, _)| path.extension().is_some_and(|e| e == "tmp"));
    assert!(litter.is_none(), "{litter:?}");
    let said = succeeds(&with(&["--epochs", "2", "--resume", "--device", "cpu"]));
    assert!(said.contains("trained to the end of epoch 2"), "{said}");
}

#[test]
fn the_speed_of_a_step_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    let settings = dir.path().join("train.toml");
    fs::write(&settings, small::SETTINGS).unwrap();
    let settings = text(&settings);
    let line = ["bench", "step", "--config", &settings, "--device", "cpu", "--seconds", "0.05"];
    let measured: Value = serde_json::from_str(&succeeds(&[&line[..], &["--json"]].concat())).unwrap();
    assert_eq!((&measured["size_px"], &measured["batch"]), (&json!(64), &json!(4)));
    assert_eq!((&measured["device"], &measured["precision"]), (&json!("cpu"), &json!("f32")));
    let (train, score) = (&measured["train_images_per_s"], &measured["inference_images_per_s"]);
    assert!(score.as_f64().unwrap() > train.as_f64().unwrap(), "{measured}");
    let said = succeeds(&line);
    assert!(said.contains("training") && said.contains("images/s"), "{said}");
    fails(&[&line[..], &["--precision", "f16"]].concat(), 65, &["CUDA"]);
    fails(&[&line[..], &["--size", "20"]].concat(), 65, &["size_px is 20"]);
}
