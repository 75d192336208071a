//! `train.toml`: every setting of a run. Saved with the run, so that a run says how it was made.

use contract::preprocess::{Aspect, MAX_SIDE_PX, PreprocessSpec};
use serde::{Deserialize, Serialize};

use super::distill::DistillConfig;
use super::preset::Preset;
use crate::dataset::loader::LoaderConfig;
use crate::model::{SIDE_MIN_PX, Widths};

/// The settings of a run; what a file leaves out has the default given here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The recipe whose values stand where nothing else was said; only a record in a saved file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// First weights, order and augmentation follow from it. Default 1.
    pub seed: u64,
    /// Side of the square input, at least 64 px. Default 320, as in the paper.
    pub size_px: u32,
    /// What happens to another aspect ratio. Default letterbox.
    pub aspect: Aspect,
    /// Passes over the training images. Default 10.
    pub epochs: u32,
    /// Images per step. Default 8.
    pub batch: usize,
    /// How the classes weigh. Default `per_type`.
    pub loss: LossWeights,
    /// Where the first weights come from. Default random.
    pub init: Init,
    /// What the network computes in. Default `f32`.
    pub precision: Precision,
    /// Share of pooled features zeroed in training, 0 to below 1. Default 0.
    pub dropout: f64,
    /// Steps between checkpoints inside an epoch; each epoch ends with one anyway. Default 500.
    pub checkpoint_every_steps: u64,
    /// A checkpoint is also written when the last one is this old, in seconds. Default 600.
    pub checkpoint_every_s: u64,
    /// Epochs of lowest validation loss whose weights are kept in `best/`, beside `best.safetensors`, which
    /// always is. Default 0.
    pub keep_best: usize,
    /// Steps between two points of the loss in the TensorBoard files. Default 10.
    pub log_every_steps: u64,
    /// The optimiser.
    pub adam: AdamConfig,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// What training does to the images.
    pub augment: AugmentConfig,
    /// How batches are made.
    pub loader: LoaderConfig,
    /// Trained networks to learn from beside the labels. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distill: Option<DistillConfig>,
    /// The network that a run with random or given weights has; a run that starts from another run has that
    /// one's. `widths.json` says what a run has. For tests and experiments.
    pub network: NetworkConfig,
}

/// Where the first weights come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// Random, following from the seed.
    Random,
    /// A file of weights learned on other pictures, such as ImageNet (`--weights`).
    Weights,
    /// The best weights of another run (`--init-from`).
    Run,
}

/// What the network computes in; weights, statistics and the loss are f32 always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Single precision.
    F32,
    /// Half precision where libtorch's autocast thinks it safe, with loss scaling. On CUDA only.
    F16,
    /// `f16` on CUDA, `f32` elsewhere.
    Auto,
}

/// A DenseNet's widths, the same in all layers: DenseNet169 unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// Channels of the first convolution. Default 64.
    pub stem: usize,
    /// Layers of each block. Default 6, 12, 32, 32.
    pub layers: Vec<usize>,
    /// Channels that a layer adds. Default 32.
    pub growth: usize,
    /// Channels inside a layer. Default 128.
    pub bottleneck: usize,
}

/// How the two classes weigh in the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossWeights {
    /// Within each study type, a class weighs as much as the other class is frequent (arXiv 1712.06957).
    PerType,
    /// All images weigh 1.
    Plain,
}

/// Settings of Adam (Kingma and Ba, arXiv 1412.6980).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamConfig {
    /// Learning rate. Default 1e-4.
    pub lr: f64,
    /// Decay of the first moment. Default 0.9.
    pub beta1: f64,
    /// Decay of the second moment. Default 0.999.
    pub beta2: f64,
    /// Added to the root of the second moment. Default 1e-8.
    pub epsilon: f64,
}

/// How the learning rate changes over a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// Multiplied by `factor` after more than `patience_epochs` epochs without a lower validation loss.
    Plateau {
        /// 0 to 1; the paper divides by 10.
        factor: f64,
        /// Epochs without improvement that are borne.
        patience_epochs: u32,
    },
    /// Rises linearly over `warmup_steps`, then falls to zero along a cosine by the last step.
    Cosine {
        /// Steps until the full learning rate.
        warmup_steps: u64,
    },
}

/// What training does to the images before they are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentConfig {
    /// Largest rotation to either side in degrees. Default 30.
    pub rotation_max_deg: f64,
    /// Whether every second image, at random, is mirrored. Default true.
    pub mirror: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            preset: None,
            seed: 1,
            size_px: 320,
            aspect: Aspect::Letterbox,
            epochs: 10,
            batch: 8,
            loss: LossWeights::PerType,
            init: Init::Random,
            precision: Precision::F32,
            dropout: 0.0,
            checkpoint_every_steps: 500,
            checkpoint_every_s: 600,
            keep_best: 0,
            log_every_steps: 10,
            adam: AdamConfig::default(),
            schedule: Schedule::Plateau { factor: 0.1, patience_epochs: 1 },
            augment: AugmentConfig::default(),
            distill: None,
            network: NetworkConfig::default(),
            loader: LoaderConfig::default(),
        }
    }
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self { stem: 64, layers: vec![6, 12, 32, 32], growth: 32, bottleneck: 128 }
    }
}

impl NetworkConfig {
    /// The widths of every layer.
    pub fn widths(&self) -> Widths {
        Widths::uniform(self.stem, &self.layers, self.growth, self.bottleneck)
    }

    fn check(&self) -> Result<(), String> {
        let Self { stem, layers, growth, bottleneck } = self;
        let sizes = [*stem, *growth, *bottleneck];
        if sizes.iter().any(|size| !(1..=1024).contains(size)) {
            return Err(format!("network: stem, growth and bottleneck are {sizes:?}, expected 1 to 1024"));
        }
        if !(1..=4).contains(&layers.len()) || layers.iter().any(|n| !(1..=128).contains(n)) {
            return Err(format!(
                "network.layers is {layers:?}, expected one to four blocks of 1 to 128 layers"
            ));
        }
        self.widths().check().map_err(|error| format!("network: {error}"))
    }
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self { lr: 1e-4, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

impl Default for AugmentConfig {
    fn default() -> Self {
        Self { rotation_max_deg: 30.0, mirror: true }
    }
}

impl Config {
    /// How radiographs become this run's inputs.
    pub fn spec(&self) -> PreprocessSpec {
        PreprocessSpec { aspect: self.aspect, ..PreprocessSpec::square(self.size_px) }
    }

    /// Says what about the values cannot be right.
    ///
    /// # Errors
    /// One sentence with the setting's name, its value and the range.
    pub fn check(&self) -> Result<(), String> {
        let range = |name: &str, value: f64, ok: bool, expected: &str| {
            if ok { Ok(()) } else { Err(format!("{name} is {value}, expected {expected}")) }
        };
        let size = self.size_px;
        let sizes = SIDE_MIN_PX..=MAX_SIDE_PX;
        range("size_px", f64::from(size), sizes.contains(&size), &format!("{SIDE_MIN_PX} to {MAX_SIDE_PX}"))?;
        range("epochs", f64::from(self.epochs), self.epochs > 0, "1 or more")?;
        range("batch", self.batch as f64, (1..=4096).contains(&self.batch), "1 to 4096")?;
        range("dropout", self.dropout, (0.0..1.0).contains(&self.dropout), "0 to below 1")?;
        let every = self.checkpoint_every_steps;
        range("checkpoint_every_steps", every as f64, every > 0, "1 or more")?;
        range(
            "checkpoint_every_s",
            self.checkpoint_every_s as f64,
            self.checkpoint_every_s > 0,
            "1 or more",
        )?;
        range("log_every_steps", self.log_every_steps as f64, self.log_every_steps > 0, "1 or more")?;
        range("keep_best", self.keep_best as f64, self.keep_best <= 1000, "0 to 1000")?;
        self.network.check()?;
        let AdamConfig { lr, beta1, beta2, epsilon } = self.adam;
        range("adam.lr", lr, lr > 0.0 && lr <= 1.0, "above 0, at most 1")?;
        range("adam.beta1", beta1, (0.0..1.0).contains(&beta1), "0 to below 1")?;
        range("adam.beta2", beta2, (0.0..1.0).contains(&beta2), "0 to below 1")?;
        range("adam.epsilon", epsilon, epsilon > 0.0 && epsilon < 1.0, "above 0, below 1")?;
        if let Schedule::Plateau { factor, .. } = self.schedule {
            range("schedule.factor", factor, factor > 0.0 && factor <= 1.0, "above 0, at most 1")?;
        }
        if let Some(distill) = &self.distill {
            distill.check()?;
        }
        let rotation = self.augment.rotation_max_deg;
        range("augment.rotation_max_deg", rotation, (0.0..=180.0).contains(&rotation), "0 to 180")?;
        self.loader.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_config_is_read_back() {
        let config = Config { schedule: Schedule::Cosine { warmup_steps: 7 }, ..Config::default() };
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
        assert_eq!(
            toml::from_str::<Config>("epochs = 3").unwrap(),
            Config { epochs: 3, ..Config::default() }
        );
    }

    #[test]
    fn unknown_and_impossible_settings_are_named() {
        let error = toml::from_str::<Config>("epoch = 3").unwrap_err().to_string();
        assert!(error.contains("epoch"), "{error}");
        assert!(toml::from_str::<Config>("[adam]\nlearning_rate = 1").is_err());
        assert!(
            toml::from_str::<Config>("[schedule]\nkind = \"plateau\"\nfactor = 0.1\npatience = 1").is_err()
        );
        assert!(Config::default().check().is_ok());
        let bad = Config { size_px: 32, ..Config::default() };
        assert!(bad.check().is_err_and(|e| e.contains("size_px is 32")));
        let bad = Config { adam: AdamConfig { lr: f64::NAN, ..AdamConfig::default() }, ..Config::default() };
        assert!(bad.check().is_err_and(|e| e.contains("adam.lr")));
    }
}
