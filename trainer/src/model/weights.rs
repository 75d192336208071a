//! Named tensors to and from safetensors bytes.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, TensorView};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use super::{DenseNet, Widths};

/// Tensors by name.
pub type Tensors = HashMap<String, Tensor>;

/// Why weights could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// Not a safetensors file, or a damaged one.
    #[error("not a readable safetensors file: {0}")]
    Malformed(#[from] safetensors::SafeTensorError),
    /// libtorch refused.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
    /// A tensor the network needs is not there.
    #[error("the tensor `{0}` is missing: these are weights of another architecture")]
    Missing(String),
    /// A tensor has another shape.
    #[error(
        "the tensor `{name}` has shape {found:?}, the network's has {expected:?}: these are weights of another architecture"
    )]
    Shape {
        /// The tensor's name.
        name: String,
        /// Its shape in the file.
        found: Vec<i64>,
        /// Its shape in the network.
        expected: Vec<i64>,
    },
    /// The file has a tensor that the network does not know.
    #[error("the tensor `{0}` is not part of the network: these are weights of another architecture")]
    Unknown(String),
}

/// Serialises f32 and i64 tensors, sorted by name, with text `metadata` in the file's header.
///
/// # Errors
/// When a tensor is of another kind or its data cannot be copied from its device.
pub fn tensors_to_bytes(
    tensors: &[(String, Tensor)],
    metadata: HashMap<String, String>,
) -> Result<Vec<u8>, WeightsError> {
    let mut buffers = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let tensor = tensor.to_device(Device::Cpu).contiguous();
        let kind = tensor.kind();
        let mut bytes = vec![0u8; tensor.numel() * kind.elt_size_in_bytes()];
        tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
        let shape: Vec<usize> = tensor.size().iter().map(|&side| side as usize).collect();
        let dtype = if kind == Kind::Int64 { Dtype::I64 } else { Dtype::F32 };
        buffers.push((name, dtype, shape, bytes));
    }
    let views = buffers
        .iter()
        .map(|(name, dtype, shape, bytes)| Ok((*name, TensorView::new(*dtype, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    Ok(safetensors::serialize(views, Some(metadata))?)
}

/// Reads every tensor of a safetensors file's bytes, on the CPU, and the text metadata of its header.
///
/// # Errors
/// When the bytes are not such a file.
pub fn read_tensors(bytes: &[u8]) -> Result<(Tensors, HashMap<String, String>), WeightsError> {
    let (_, header) = safetensors::SafeTensors::read_metadata(bytes)?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let file = safetensors::SafeTensors::deserialize(bytes)?;
    let mut tensors = HashMap::new();
    for (name, view) in file.tensors() {
        let kind = match view.dtype() {
            Dtype::I64 => Kind::Int64,
            Dtype::F64 => Kind::Double,
            Dtype::F16 => Kind::Half,
            Dtype::BF16 => Kind::BFloat16,
            _ => Kind::Float,
        };
        let shape: Vec<i64> = view.shape().iter().map(|&side| side as i64).collect();
        tensors.insert(name, Tensor::f_from_data_size(view.data(), &shape, kind)?);
    }
    Ok((tensors, metadata))
}

/// Copies `tensors` into the store's variables, on its device. `num_batches_tracked`, which PyTorch adds to
/// every batch normalisation, is ignored. Nothing is copied unless everything fits.
///
/// # Errors
/// When a variable is missing among the tensors, has another shape, or a tensor is left over.
pub fn load_weights(store: &VarStore, tensors: &Tensors) -> Result<(), WeightsError> {
    let variables = store.variables();
    if let Some(name) = tensors
        .keys()
        .filter(|name| !name.ends_with("num_batches_tracked"))
        .find(|name| !variables.contains_key(*name))
    {
        return Err(WeightsError::Unknown(name.clone()));
    }
    for (name, variable) in &variables {
        let tensor = tensors.get(name).ok_or_else(|| WeightsError::Missing(name.clone()))?;
        if tensor.size() != variable.size() {
            let (found, expected) = (tensor.size(), variable.size());
            return Err(WeightsError::Shape { name: name.clone(), found, expected });
        }
    }
    tch::no_grad(|| {
        for (name, mut variable) in variables {
            if let Some(tensor) = tensors.get(&name) {
                variable.f_copy_(tensor)?;
            }
        }
        Ok(())
    })
}

/// A network of `widths` with these weights, all of which must fit, and the store of its variables, on `device`.
///
/// # Errors
/// As [`load_weights`].
pub fn network(
    widths: &Widths,
    tensors: &Tensors,
    device: Device,
) -> Result<(VarStore, DenseNet), WeightsError> {
    let store = VarStore::new(device);
    let net = DenseNet::new(&store.root(), widths);
    load_weights(&store, tensors)?;
    Ok((store, net))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_come_back_bit_for_bit_and_misfits_are_refused() {
        tch::manual_seed(3);
        let widths = Widths::uniform(8, &[2, 1], 4, 8);
        let saved = VarStore::new(Device::Cpu);
        DenseNet::new(&saved.root(), &widths);
        let named: Vec<_> = saved.variables().into_iter().collect();
        let metadata = HashMap::from([("epoch".to_owned(), "3".to_owned())]);
        let bytes = tensors_to_bytes(&named, metadata).unwrap();

        let (tensors, metadata) = read_tensors(&bytes).unwrap();
        assert_eq!(metadata["epoch"], "3");
        let loaded = VarStore::new(Device::Cpu);
        DenseNet::new(&loaded.root(), &widths);
        load_weights(&loaded, &tensors).unwrap();
        let after = loaded.variables();
        for (name, tensor) in saved.variables() {
            assert_eq!(tensor, after[&name], "{name}");
        }

        let other = VarStore::new(Device::Cpu);
        DenseNet::new(&other.root(), &Widths::uniform(8, &[2, 1], 4, 16));
        assert!(matches!(load_weights(&other, &tensors), Err(WeightsError::Shape { .. })));
        let mut short = tensors;
        short.remove("features.norm5.bias");
        assert!(matches!(load_weights(&loaded, &short), Err(WeightsError::Missing(_))));
        assert!(read_tensors(&bytes[..bytes.len() - 1]).is_err());
    }
}
