//! Learning from a trained network, or an ensemble of them, beside the labels (Hinton et al., arXiv 1503.02531).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tch::nn::VarStore;
use tch::{Device, Kind, Reduction, Tensor, no_grad};

use super::precision::forward;
use crate::exit::Fault;
use crate::model::DenseNet;
use crate::run::Run;

/// How much the student listens to its teachers, and to whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillConfig {
    /// Runs whose best networks teach; the mean of their probabilities is the target.
    pub teachers: Vec<PathBuf>,
    /// Share of the loss that is the teachers', above 0, at most 1; the labels have the rest.
    #[serde(default = "default_weight")]
    pub weight: f64,
    /// Logits are divided by it on both sides before the sigmoid, so that the target says more than yes or no.
    #[serde(default = "default_temperature")]
    pub temperature: f64,
}

fn default_weight() -> f64 {
    DistillConfig::WEIGHT
}

fn default_temperature() -> f64 {
    DistillConfig::TEMPERATURE
}

impl DistillConfig {
    /// Half the loss.
    pub const WEIGHT: f64 = 0.5;
    /// What the paper found to work for few classes.
    pub const TEMPERATURE: f64 = 2.0;

    /// Says what about the values cannot be right.
    ///
    /// # Errors
    /// One sentence with the setting's name, its value and the range.
    pub fn check(&self) -> Result<(), String> {
        if self.teachers.is_empty() {
            return Err("distill.teachers is empty, expected one or more runs".to_owned());
        }
        if !(self.weight > 0.0 && self.weight <= 1.0) {
            return Err(format!("distill.weight is {}, expected above 0, at most 1", self.weight));
        }
        if !(self.temperature >= 1.0 && self.temperature <= 100.0) {
            return Err(format!("distill.temperature is {}, expected 1 to 100", self.temperature));
        }
        Ok(())
    }
}

/// Trained networks that give targets.
pub(super) struct Teachers {
    networks: Vec<(VarStore, DenseNet)>,
    half: bool,
    weight: f64,
    temperature: f64,
}

impl Teachers {
    /// Loads the best network of each run; with `half` they compute as the student does.
    pub(super) fn load(config: &DistillConfig, device: Device, half: bool) -> Result<Self, Fault> {
        let networks = config
            .teachers
            .iter()
            .map(|dir| Run::open(dir)?.load_best(device))
            .collect::<Result<Vec<_>, Fault>>()?;
        Ok(Self { networks, half, weight: config.weight, temperature: config.temperature })
    }

    /// The mixed loss of a batch: `input` f32 `[B, 3, H, W]`, the student's `logit` f32 `[B]` for it, and the
    /// loss against the labels.
    pub(super) fn mix(&self, input: &Tensor, logit: &Tensor, labels: &Tensor) -> Tensor {
        let target = no_grad(|| {
            let sum = self
                .networks
                .iter()
                .map(|(_, net)| forward(self.half, || net.forward_t(input, false)).logit.to_kind(Kind::Float))
                .map(|logit| (logit / self.temperature).sigmoid())
                .reduce(|sum, probability| sum + probability);
            sum.map(|sum| sum / self.networks.len() as f64)
        });
        let Some(target) = target else { return labels.shallow_clone() };
        let softened = logit / self.temperature;
        let soft = softened.binary_cross_entropy_with_logits(
            &target,
            None::<&Tensor>,
            None::<&Tensor>,
            Reduction::Mean,
        );
        // The square keeps the size of its gradient when the temperature changes (section 2 of the paper).
        soft * (self.weight * self.temperature * self.temperature) + labels * (1.0 - self.weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Widths;

    #[test]
    fn a_student_that_agrees_with_its_teacher_has_no_gradient() {
        tch::manual_seed(9);
        let store = VarStore::new(Device::Cpu);
        let net = DenseNet::new(&store.root(), &Widths::uniform(6, &[1, 1], 3, 5));
        let input = Tensor::randn([2, 3, 64, 64], (Kind::Float, Device::Cpu));
        let teacher_logit = no_grad(|| net.forward_t(&input, false).logit);
        let teachers = Teachers { networks: vec![(store, net)], half: false, weight: 1.0, temperature: 3.0 };

        let agreed = teacher_logit.copy().set_requires_grad(true);
        teachers.mix(&input, &agreed, &Tensor::from(7.0f32)).backward();
        assert!(agreed.grad().abs().max().double_value(&[]) < 1e-6);

        let apart = (teacher_logit + 1.0).detach().set_requires_grad(true);
        let loss = teachers.mix(&input, &apart, &Tensor::from(7.0f32));
        loss.backward();
        // Too high a logit is pulled down; with weight 1 the labels' loss has no part in it.
        assert!(apart.grad().min().double_value(&[]) > 0.0);
        assert!(loss.double_value(&[]) < 7.0);
    }

    #[test]
    fn impossible_settings_are_named() {
        let good = DistillConfig { teachers: vec!["run".into()], weight: 0.5, temperature: 2.0 };
        assert!(good.check().is_ok());
        assert!(DistillConfig { teachers: Vec::new(), ..good.clone() }.check().is_err());
        let bad = DistillConfig { weight: f64::NAN, ..good.clone() };
        assert!(bad.check().is_err_and(|e| e.contains("distill.weight")));
        assert!(DistillConfig { temperature: 0.5, ..good }.check().is_err());
    }
}
