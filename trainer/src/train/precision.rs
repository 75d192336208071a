//! Half precision on CUDA: the forward pass under libtorch's autocast, the loss scaled up before the backward
//! pass so that small gradients do not become zero in 16 bits, and the gradients scaled down again before the
//! optimiser's step.
//!
//! The scale is the dynamic one of mixed-precision training (Micikevicius et al., arXiv 1710.03740, section
//! 3.2), with PyTorch's constants: halved when a gradient overflows, and that step is left out; doubled after
//! 2000 steps without. It is part of the training state, so that a resumed run goes on with it.

use serde::{Deserialize, Serialize};
use tch::{Device, TchError, Tensor};

use super::config::Precision;
use super::optim::Adam;
use crate::exit::Fault;

const SCALE_START: f64 = 65_536.0;
const SCALE_MAX: f64 = 16_777_216.0;
const GROW_AFTER_STEPS: u32 = 2_000;

/// By how much the loss is multiplied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossScale {
    /// The factor, a power of two.
    pub scale: f64,
    /// Steps without an overflow since it last changed.
    pub good_steps: u32,
    /// Steps left out since the start of the run.
    pub skipped: u64,
}

impl Default for LossScale {
    fn default() -> Self {
        Self { scale: SCALE_START, good_steps: 0, skipped: 0 }
    }
}

impl LossScale {
    /// After a step whose gradients were all finite, or not.
    fn update(&mut self, finite: bool) {
        if !finite {
            self.scale /= 2.0;
            self.good_steps = 0;
            self.skipped += 1;
            return;
        }
        self.good_steps += 1;
        if self.good_steps == GROW_AFTER_STEPS {
            self.scale = (self.scale * 2.0).min(SCALE_MAX);
            self.good_steps = 0;
        }
    }
}

/// Whether to compute in half precision there.
///
/// # Errors
/// [`Fault::BadData`] when it is asked for on a device that has none.
pub fn is_half(precision: Precision, device: Device) -> Result<bool, Fault> {
    match (precision, device) {
        (Precision::F32, _) | (Precision::Auto, Device::Cpu) => Ok(false),
        (Precision::F16 | Precision::Auto, Device::Cuda(_)) => Ok(true),
        (Precision::Auto, _) => Ok(false),
        (Precision::F16, _) => Err(Fault::BadData(
            "precision = \"f16\" needs a CUDA device: use --device cuda, or set precision to \"auto\" or \
             \"f32\" in the settings"
                .to_owned(),
        )),
    }
}

/// Runs a forward pass, in half precision or not.
pub fn forward<T>(half: bool, pass: impl FnOnce() -> T) -> T {
    if half { tch::autocast(true, pass) } else { pass() }
}

/// A step down the gradient of `loss`. With a scale, one that overflows changes nothing but the scale.
///
/// # Errors
/// When libtorch refuses, such as for lack of memory.
pub fn descend(
    loss: &Tensor,
    adam: &mut Adam,
    scale: &mut Option<LossScale>,
    lr: f64,
) -> Result<(), TchError> {
    adam.zero_gradients();
    let Some(scale) = scale else {
        loss.f_backward()?;
        adam.step(lr);
        return Ok(());
    };
    loss.f_mul_scalar(scale.scale)?.f_backward()?;
    let options = (tch::Kind::Float, loss.device());
    let mut found = Tensor::f_zeros([1], options)?;
    let inverse = Tensor::f_full([1], 1.0 / scale.scale, options)?;
    adam.gradients().f_internal_amp_non_finite_check_and_unscale(&mut found, &inverse)?;
    let finite = found.f_double_value(&[0])? == 0.0;
    scale.update(finite);
    if finite {
        adam.step(lr);
    } else {
        log::debug!("a gradient overflowed; step left out, loss scale now {}", scale.scale);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tch::nn::VarStore;

    use super::*;
    use crate::train::AdamConfig;

    #[test]
    fn the_scale_halves_on_overflow_and_doubles_after_a_long_good_run() {
        let mut scale = LossScale::default();
        scale.update(false);
        assert_eq!(scale, LossScale { scale: 32_768.0, good_steps: 0, skipped: 1 });
        for _ in 0..GROW_AFTER_STEPS - 1 {
            scale.update(true);
        }
        assert_eq!((scale.scale, scale.good_steps), (32_768.0, GROW_AFTER_STEPS - 1));
        scale.update(true);
        assert_eq!(scale, LossScale { scale: 65_536.0, good_steps: 0, skipped: 1 });
    }

    #[test]
    fn a_scaled_step_is_the_plain_one_and_an_overflow_is_left_out() {
        let store = || {
            let store = VarStore::new(Device::Cpu);
            let a = store.root().var_copy("a", &Tensor::from_slice(&[1.0f32, -2.0, 0.25]));
            (store, a)
        };
        let loss = |a: &Tensor, factor: f64| (a.square() * factor).sum(tch::Kind::Float);
        let (plain_store, plain) = store();
        let (scaled_store, scaled) = store();
        let mut plain_adam = Adam::new(&plain_store, AdamConfig::default()).unwrap();
        let mut scaled_adam = Adam::new(&scaled_store, AdamConfig::default()).unwrap();
        let mut scale = Some(LossScale::default());
        for _ in 0..3 {
            descend(&loss(&plain, 1.0), &mut plain_adam, &mut None, 0.1).unwrap();
            descend(&loss(&scaled, 1.0), &mut scaled_adam, &mut scale, 0.1).unwrap();
        }
        // A power of two changes no digit.
        assert_eq!(plain, scaled);

        let before = scaled.copy();
        descend(&loss(&scaled, 1e38), &mut scaled_adam, &mut scale, 0.1).unwrap();
        assert_eq!(scaled, before);
        assert_eq!(scale, Some(LossScale { scale: 32_768.0, good_steps: 0, skipped: 1 }));
        assert_eq!(scaled_adam.steps, 3);
        descend(&loss(&plain, 1.0), &mut plain_adam, &mut None, 0.1).unwrap();
        descend(&loss(&scaled, 1.0), &mut scaled_adam, &mut scale, 0.1).unwrap();
        assert_eq!(plain, scaled);
    }

    #[test]
    fn half_precision_is_for_cuda() {
        assert!(!is_half(Precision::Auto, Device::Cpu).unwrap());
        assert!(is_half(Precision::Auto, Device::Cuda(0)).unwrap());
        assert!(is_half(Precision::F16, Device::Cpu).unwrap_err().to_string().contains("CUDA"));
    }
}
