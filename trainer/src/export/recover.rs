//! The widths of an exported network, from the shapes of its constants.

use std::collections::HashMap;

use prost::Message;

use super::interpret::InterpretError;
use super::onnx_proto::ModelProto;
use crate::model::{LayerWidths, Widths};

/// The widths of the network in an ONNX file of this trainer. Layers that were dropped keep their place where a later
/// layer of the block is there, or where the network is a narrowed DenseNet169.
///
/// # Errors
/// When the bytes are no ONNX model, or one whose constants are not named and shaped like this trainer's.
pub fn widths_of(onnx: &[u8]) -> Result<Widths, InterpretError> {
    let graph = ModelProto::decode(onnx)?.graph.unwrap_or_default();
    let outputs: HashMap<&str, usize> = graph
        .initializer
        .iter()
        .filter_map(|tensor| Some((tensor.name.as_str(), usize::try_from(*tensor.dims.first()?).ok()?)))
        .collect();
    let foreign = |what: String| InterpretError::Foreign(what);
    let width = |name: &str| {
        outputs.get(name).copied().ok_or_else(|| foreign(format!("it has no constant `{name}`")))
    };
    let mut transitions = Vec::new();
    while let Ok(channels) = width(&format!("features.transition{}.conv.weight", transitions.len() + 1)) {
        transitions.push(channels);
    }
    let mut blocks = vec![Vec::new(); transitions.len() + 1];
    for name in outputs.keys() {
        let Some((block, layer)) = layer_number(name) else { continue };
        let layers: &mut Vec<LayerWidths> = match block.checked_sub(1).and_then(|block| blocks.get_mut(block))
        {
            Some(layers) if (1..=LAYERS_MAX).contains(&layer) => layers,
            _ => return Err(foreign(format!("`{name}` belongs to no block"))),
        };
        let dropped = LayerWidths { bottleneck: 0, growth: 0 };
        layers.resize(layers.len().max(layer), dropped);
        let growth = width(&name.replace("conv1", "conv2"))?;
        layers[layer - 1] = LayerWidths { bottleneck: width(name)?, growth };
    }
    let full = Widths::densenet169();
    let fits = blocks.len() == full.blocks.len()
        && blocks.iter().zip(&full.blocks).all(|(layers, all)| layers.len() <= all.len());
    if fits {
        for (layers, all) in blocks.iter_mut().zip(&full.blocks) {
            layers.resize(all.len(), LayerWidths { bottleneck: 0, growth: 0 });
        }
    }
    let widths = Widths { stem: width("features.conv0.weight")?, blocks, transitions };
    widths.check().map_err(|error| foreign(error.to_string()))?;
    Ok(widths)
}

/// More layers than any block has, so that a foreign file asks for no memory.
const LAYERS_MAX: usize = 1024;

/// Block and layer of the name of a layer's first convolution, both from 1.
fn layer_number(name: &str) -> Option<(usize, usize)> {
    let rest = name.strip_prefix("features.denseblock")?.strip_suffix(".conv1.weight")?;
    let (block, layer) = rest.split_once(".denselayer")?;
    Some((block.parse().ok()?, layer.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use contract::preprocess::PreprocessSpec;

    use super::*;
    use crate::export::onnx::{self, tests::random_net};

    #[test]
    fn the_widths_that_were_exported_come_back() {
        for seed in 1..5 {
            let (_store, net) = random_net(seed);
            let found = widths_of(&onnx::to_bytes(&net, &PreprocessSpec::square(64)).unwrap()).unwrap();
            assert_eq!((found.stem, &found.transitions), (net.widths.stem, &net.widths.transitions));
            for (found, exported) in found.blocks.iter().zip(&net.widths.blocks) {
                let live = |layers: &[LayerWidths]| -> Vec<(usize, LayerWidths)> {
                    layers.iter().copied().enumerate().filter(|(_, l)| l.is_live()).collect()
                };
                assert_eq!(live(found), live(exported));
            }
            assert_eq!(found.macs(64), net.widths.macs(64));
        }
        assert!(widths_of(b"\x01").is_err() && widths_of(b"").is_err());
    }
}
