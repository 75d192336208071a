//! Bundles that verify and load, and whose model sees nothing but brightness: its map is the mean of the normalised
//! input, patch by patch, its logit the mean of the map, or that mean's square root, which is NaN for dark images. The
//! ONNX file is written field by field (onnx.proto, opset 17).

use std::fs;
use std::path::Path;

use contract::bundle::{BundleManifest, FileFacts, GoldenPair, MANIFEST_FILE, MODEL_FILE};
use contract::preprocess::{Aspect, PreprocessSpec, normalise, to_plane};
use contract::radiograph::{Limits, decode};
use sha2::{Digest, Sha256};

const SIDE_PX: u32 = 64;
/// Side of a patch, which is one value of the map.
const PATCH_PX: u64 = 16;
const GOLDEN: &str = "golden/0.pgm";

/// Writes a bundle whose model takes the square root to a folder; what a manifest needs beside the model is taken from
/// another bundle. `golden_is_dark` makes its own self-test fail with NaN.
///
/// # Errors
/// When the other manifest cannot be read or a file cannot be written.
pub fn write(dir: &Path, other: &Path, golden_is_dark: bool) -> anyhow::Result<()> {
    let golden = if golden_is_dark { dark(0) } else { bright(0) };
    save(dir, other, golden, PreprocessSpec::square(SIDE_PX), "Sqrt", |mean| {
        anyhow::ensure!((mean < 0.0) == golden_is_dark, "the golden image's mean is {mean}");
        Ok(mean.abs().sqrt())
    })
}

/// Writes a bundle whose model answers for every image, and is given it letterboxed or squashed.
///
/// # Errors
/// As [`write`].
pub fn write_mean(dir: &Path, other: &Path, aspect: Aspect) -> anyhow::Result<()> {
    let input = PreprocessSpec { aspect, ..PreprocessSpec::square(4 * SIDE_PX) };
    save(dir, other, bright(0), input, "Identity", Ok)
}

/// `last` is the operator between the input's mean and the logit, `logit` what it should give.
fn save(
    dir: &Path,
    other: &Path,
    golden: Vec<u8>,
    spec: PreprocessSpec,
    last: &str,
    logit: impl FnOnce(f64) -> anyhow::Result<f64>,
) -> anyhow::Result<()> {
    let mut manifest = BundleManifest::parse(&fs::read(other.join(MANIFEST_FILE))?)?;
    manifest.name = "brightness".to_owned();
    manifest.input = spec;
    let decoded = decode(&golden, &Limits::default())?.radiograph;
    let input = normalise(&to_plane(&decoded, &manifest.input)?, &manifest.input);
    let mean = input.iter().map(|value| f64::from(*value)).sum::<f64>() / input.len() as f64;
    manifest.golden = vec![GoldenPair { image: GOLDEN.to_owned(), logit: logit(mean)? }];

    fs::create_dir_all(dir.join("golden"))?;
    manifest.files.clear();
    for (name, bytes) in [(MODEL_FILE, model(manifest.input.width_px, last)), (GOLDEN, golden)] {
        fs::write(dir.join(name), &bytes)?;
        manifest.files.insert(name.to_owned(), facts(&bytes));
    }
    fs::write(dir.join(MANIFEST_FILE), serde_json::to_vec_pretty(&manifest)?)?;
    Ok(())
}

/// What a manifest says of a file.
pub(crate) fn facts(bytes: &[u8]) -> FileFacts {
    FileFacts { sha256: sha256(bytes), size_bytes: bytes.len() as u64 }
}

/// SHA-256 in lower-case hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A PGM image for which the model answers NaN.
pub fn dark(seed: u8) -> Vec<u8> {
    ramp(0, seed)
}

/// A PGM image for which it answers a number.
pub fn bright(seed: u8) -> Vec<u8> {
    ramp(150, seed)
}

fn ramp(from: u8, seed: u8) -> Vec<u8> {
    let mut bytes = format!("P5\n{SIDE_PX} {SIDE_PX}\n255\n").into_bytes();
    bytes.extend((0..SIDE_PX * SIDE_PX).map(|index| from + seed % 16 + (index % SIDE_PX) as u8));
    bytes
}

fn model(side_px: u32, last: &str) -> Vec<u8> {
    let side = u64::from(side_px);
    let nodes = [
        node(
            "AveragePool",
            "radiograph",
            "pooled",
            &[ints("kernel_shape", &[PATCH_PX; 2]), ints("strides", &[PATCH_PX; 2])],
        ),
        node("ReduceMean", "pooled", "activation_map", &[ints("axes", &[1]), int("keepdims", 0)]),
        node("ReduceMean", "activation_map", "mean", &[ints("axes", &[2]), int("keepdims", 0)]),
        node("ReduceMean", "mean", "whole", &[ints("axes", &[1]), int("keepdims", 1)]),
        node(last, "whole", "logit", &[]),
    ];
    let mut graph: Vec<u8> = nodes.iter().flat_map(|node| message(1, node)).collect();
    graph.extend(message(2, b"brightness"));
    graph.extend(message(11, &value("radiograph", &[1, 3, side, side])));
    graph.extend(message(12, &value("logit", &[1, 1])));
    graph.extend(message(12, &value("activation_map", &[1, side / PATCH_PX, side / PATCH_PX])));
    let opset = number(2, 17);
    [number(1, 8), message(7, &graph), message(8, &opset)].concat()
}

/// NodeProto: input = 1, output = 2, op_type = 4, attribute = 5.
fn node(op: &str, input: &str, output: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = [message(1, input.as_bytes()), message(2, output.as_bytes())].concat();
    bytes.extend(message(4, op.as_bytes()));
    bytes.extend(attributes.iter().flat_map(|attribute| message(5, attribute)));
    bytes
}

/// AttributeProto: name = 1, i = 3, ints = 8, type = 20 (INT = 2, INTS = 7).
fn int(name: &str, value: u64) -> Vec<u8> {
    [message(1, name.as_bytes()), number(3, value), number(20, 2)].concat()
}

fn ints(name: &str, values: &[u64]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|value| number(8, *value)).collect();
    [message(1, name.as_bytes()), values, number(20, 7)].concat()
}

/// ValueInfoProto: name = 1, type = 2; TypeProto.tensor_type = 1; Tensor: elem_type = 1 (FLOAT = 1), shape = 2;
/// TensorShapeProto.dim = 1; Dimension.dim_value = 1.
fn value(name: &str, shape: &[u64]) -> Vec<u8> {
    let dims: Vec<u8> = shape.iter().flat_map(|dim| message(1, &number(1, *dim))).collect();
    let tensor = [number(1, 1), message(2, &dims)].concat();
    [message(1, name.as_bytes()), message(2, &message(1, &tensor))].concat()
}

/// A length-delimited field.
fn message(field: u64, bytes: &[u8]) -> Vec<u8> {
    let mut encoded = varint(field << 3 | 2);
    encoded.extend(varint(bytes.len() as u64));
    encoded.extend(bytes);
    encoded
}

/// A varint field.
fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
