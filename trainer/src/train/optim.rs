//! Adam over one flat buffer.
//!
//! All trainable variables are moved into one tensor, and their gradients into another, so that a step is a
//! few operations over large slices instead of a few over each of 500 variables, and the moments are two
//! tensors that a checkpoint saves as they are.

use tch::nn::VarStore;
use tch::{Device, Kind, TchError, Tensor, no_grad};

use super::config::AdamConfig;

/// Variables start at multiples of this many values (256 bytes), as vector loads like it.
const ALIGNMENT: usize = 64;
/// Values per operation on the CPU, so that all operands of a slice stay in the caches.
const CPU_SLICE: i64 = 1 << 17;

/// Adam's state over the trainable variables of a store, in the order of their names.
#[derive(Debug)]
pub struct Adam {
    config: AdamConfig,
    gradients: Tensor,
    /// First moment, f32, all variables one after another.
    pub moment1: Tensor,
    /// Second moment, of the same layout.
    pub moment2: Tensor,
    /// Steps taken.
    pub steps: u64,
    slices: Vec<[Tensor; 4]>,
}

impl Adam {
    /// Moves the store's trainable variables into one buffer and starts with zero moments.
    ///
    /// # Errors
    /// When libtorch refuses, such as for lack of memory.
    pub fn new(store: &VarStore, config: AdamConfig) -> Result<Self, TchError> {
        let mut variables: Vec<_> =
            store.variables().into_iter().filter(|(_, variable)| variable.requires_grad()).collect();
        variables.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut offsets = Vec::new();
        let mut length = 0;
        for (_, variable) in &variables {
            offsets.push(length as i64);
            length += variable.numel().next_multiple_of(ALIGNMENT);
        }
        let options = (Kind::Float, store.device());
        let buffer = || Tensor::f_zeros([length as i64], options);
        let (values, gradients, moment1, moment2) = (buffer()?, buffer()?, buffer()?, buffer()?);

        // A first backward pass creates the gradient tensors, which then become parts of the buffer: later
        // passes add to them in place.
        let mut touched = Tensor::f_zeros([], options)?;
        for (_, variable) in &variables {
            touched += variable.f_sum(Kind::Float)? * 0.0;
        }
        touched.f_backward()?;
        no_grad(|| {
            for ((_, variable), &offset) in variables.iter_mut().zip(&offsets) {
                let (count, shape) = (variable.numel() as i64, variable.size());
                let mut place = values.f_narrow(0, offset, count)?.f_view(shape.as_slice())?;
                place.f_copy_(variable)?;
                variable.set_data(&place);
                variable.grad().set_data(&gradients.f_narrow(0, offset, count)?.f_view(shape.as_slice())?);
            }
            Ok::<_, TchError>(())
        })?;

        let slice = if store.device() == Device::Cpu { CPU_SLICE } else { length as i64 };
        let parts = |tensor: &Tensor| tensor.f_split(slice, 0);
        let slices = parts(&values)?
            .into_iter()
            .zip(parts(&gradients)?)
            .zip(parts(&moment1)?.into_iter().zip(parts(&moment2)?))
            .map(|((value, gradient), (first, second))| [value, gradient, first, second])
            .collect();
        Ok(Self { config, gradients, moment1, moment2, steps: 0, slices })
    }

    /// Forgets the gradients; before each backward pass.
    pub fn zero_gradients(&mut self) {
        let _ = self.gradients.zero_();
    }

    /// The gradients of all variables one after another, f32, zero in the gaps between them.
    pub fn gradients(&mut self) -> &mut Tensor {
        &mut self.gradients
    }

    /// One step with learning rate `lr` (algorithm 1 of arXiv 1412.6980).
    pub fn step(&mut self, lr: f64) {
        self.steps += 1;
        let AdamConfig { beta1, beta2, epsilon, .. } = self.config;
        let steps = self.steps as f64;
        let (correction1, correction2) = (1.0 - beta1.powf(steps), 1.0 - beta2.powf(steps));
        no_grad(|| {
            for [value, gradient, first, second] in &mut self.slices {
                let _ = first.lerp_(gradient, 1.0 - beta1);
                let _ = second.lerp_(&gradient.square(), 1.0 - beta2);
                let mut divisor = second.sqrt();
                let _ = divisor.g_mul_scalar_(1.0 / correction2.sqrt());
                let _ = divisor.g_add_scalar_(epsilon);
                let mut change = first.g_div(&divisor);
                let _ = change.g_mul_scalar_(-lr / correction1);
                let _ = value.g_add_(&change);
            }
        });
    }

    /// Copies saved moments back.
    ///
    /// # Errors
    /// When their length is not that of this store's variables.
    pub fn restore(&mut self, moment1: &Tensor, moment2: &Tensor, steps: u64) -> Result<(), TchError> {
        self.steps = steps;
        no_grad(|| {
            self.moment1.f_copy_(moment1)?;
            self.moment2.f_copy_(moment2)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_the_algorithm() {
        let store = VarStore::new(Device::Cpu);
        let a = store.root().var_copy("a", &Tensor::from_slice(&[1.0f32, -2.0, 3.0]));
        let b = store.root().var_copy("b", &Tensor::from_slice(&[0.5f32]));
        let config = AdamConfig { lr: 0.1, ..AdamConfig::default() };
        let mut adam = Adam::new(&store, config).unwrap();
        let mut expected = [1.0f64, -2.0, 3.0, 0.5];
        let (mut m, mut v) = ([0.0; 4], [0.0; 4]);
        for step in 1..=5 {
            adam.zero_gradients();
            (a.square().sum(Kind::Float) + &b * 3.0).sum(Kind::Float).backward();
            adam.step(0.1);
            for i in 0..4 {
                let g = if i < 3 { 2.0 * expected[i] } else { 3.0 };
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let (m_hat, v_hat) = (m[i] / (1.0 - 0.9f64.powi(step)), v[i] / (1.0 - 0.999f64.powi(step)));
                expected[i] -= 0.1 * m_hat / (v_hat.sqrt() + 1e-8);
            }
        }
        for (i, expected) in expected.iter().enumerate() {
            let found = if i < 3 { a.double_value(&[i as i64]) } else { b.double_value(&[0]) };
            assert!((found - expected).abs() < 1e-5, "{i}: {found} {expected}");
        }
    }
}
