//! How far float32 engines are from what the network says in float64, on networks of DenseNet169's depth with random
//! weights: what is left is rounding, and it grows with the largest value of the activation map.

#![allow(clippy::unwrap_used)] // Helpers of tests, outside of what clippy counts as one.

mod python;

use std::fs;

use contract::preprocess::PreprocessSpec;
use python::python;
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor, no_grad};
use trainer::export::{interpret::Interpreter, onnx};
use trainer::model::{DenseNet, LayerWidths, Widths};

/// Of the largest value, or of 1 where that is less. libtorch itself is some 1e-6 off.
const TOLERANCE: f64 = 1e-5;

/// Logits and activation maps, one number after the other.
fn values(logit: &Tensor, map: &Tensor) -> Vec<f64> {
    let all = Tensor::cat(
        &[logit.to_kind(Kind::Double).flatten(0, -1), map.to_kind(Kind::Double).flatten(0, -1)],
        0,
    );
    Vec::<f64>::try_from(all).unwrap()
}

/// What ONNX Runtime says of an exported file, which ONNX's checker accepts.
fn onnx_runtime(model: &[u8], inputs: &Tensor) -> Vec<f64> {
    let dir = tempfile::tempdir().unwrap();
    let (model_file, input_file) = (dir.path().join("model.onnx"), dir.path().join("inputs.f32"));
    fs::write(&model_file, model).unwrap();
    let mut samples = vec![0f32; inputs.numel()];
    inputs.copy_data(&mut samples, inputs.numel());
    fs::write(&input_file, samples.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>()).unwrap();
    let script = "\
import sys, numpy, onnx, onnxruntime
model, inputs = sys.stdin.read().splitlines()
onnx.checker.check_model(model, full_check=True)
session = onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider'])
shape = session.get_inputs()[0].shape
found = [session.run(None, {'radiograph': x}) for x in numpy.fromfile(inputs, '<f4').reshape([-1] + shape)]
for place in (0, 1):
    for outputs in found:
        print('\\n'.join(repr(float(value)) for value in outputs[place].ravel()))
";
    let printed = python(script, &format!("{}\n{}\n", model_file.display(), input_file.display()));
    printed.lines().map(|line| line.parse().unwrap()).collect()
}

/// Draws a network whose normalisations do not fit its activations, as no training would leave them.
fn unfitting(widths: &Widths, seed: i64) -> (VarStore, DenseNet) {
    tch::manual_seed(seed);
    let store = VarStore::new(Device::Cpu);
    let net = DenseNet::new(&store.root(), widths);
    no_grad(|| {
        for _ in 0..3 {
            net.forward_t(&Tensor::randn([4, 3, 96, 96], (Kind::Float, Device::Cpu)), true);
        }
        for (_, mut variable) in store.variables().into_iter().filter(|(_, variable)| variable.dim() == 1) {
            variable.copy_(&(&variable * (variable.rand_like() + 0.5) * 1.5));
        }
    });
    (store, net)
}

#[test]
fn engines_differ_by_rounding_only() {
    let dense = Widths::uniform(16, &[6, 12, 32, 32], 8, 24);
    let mut narrowed = dense.clone();
    for (place, layer) in narrowed.blocks.iter_mut().flatten().enumerate() {
        let dropped = LayerWidths { bottleneck: 0, growth: 0 };
        *layer = if place % 4 == 1 { dropped } else { LayerWidths { bottleneck: 8, growth: 4 + place % 5 } };
    }
    for (seed, widths) in [(1, &dense), (2, &narrowed)] {
        let (mut store, net) = unfitting(widths, seed);
        let input = Tensor::randn([2, 3, 96, 96], (Kind::Float, Device::Cpu));
        let file = onnx::to_bytes(&net, &PreprocessSpec::square(96)).unwrap();
        let run = |input: &Tensor| {
            no_grad(|| {
                let out = net.forward_t(input, false);
                values(&out.logit, &net.activation_map(&out.features))
            })
        };
        let interpreted = Interpreter::new(&file, Device::Cpu).unwrap().run(&input).unwrap();
        let engines = [
            ("libtorch", run(&input)),
            ("libtorch on the file", values(&interpreted.logit, &interpreted.activation_map)),
            ("ONNX Runtime", onnx_runtime(&file, &input)),
        ];
        store.double();
        let exact = run(&input.to_kind(Kind::Double));
        let scale = exact.iter().fold(1f64, |largest, value| largest.max(value.abs()));
        for (engine, found) in engines {
            assert_eq!(found.len(), exact.len(), "{engine}");
            let worst = found.iter().zip(&exact).map(|(f, e)| (f - e).abs()).fold(0.0, f64::max);
            println!("{engine}: {worst:.1e} where values reach {scale:.1}");
            assert!(
                worst <= TOLERANCE * scale,
                "{engine}, seed {seed}: off by {worst} where values reach {scale}"
            );
        }
    }
}
