//! The recipes that a run can be made by, and the order in which settings win over one another.

use std::fmt;
use std::str::FromStr;

use contract::preprocess::Aspect;
use serde::{Deserialize, Serialize};

use super::config::{Config, Init, LossWeights, Precision};

/// A recipe: Adam at 1e-4, batch 8, the learning rate divided by 10 on a plateau of the validation loss, from
/// ImageNet weights, every image normalised with ImageNet's statistics and augmented by rotation and lateral
/// inversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// That of MURA's authors (arXiv 1712.06957): 320 px, stretched, each class weighted within its study
    /// type, the weights of the five epochs of lowest validation loss kept.
    Paper,
    /// 224 px, stretched, all images weighing the same, dropout 0.1 before the output.
    Classic,
}

impl Preset {
    const ALL: [Preset; 2] = [Preset::Paper, Preset::Classic];

    /// The name in `--preset` and `train.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Preset::Paper => "paper",
            Preset::Classic => "classic",
        }
    }

    /// All settings of the recipe.
    pub fn config(self) -> Config {
        let common = Config {
            preset: Some(self),
            aspect: Aspect::Squash,
            init: Init::Weights,
            precision: Precision::Auto,
            batch: 8,
            ..Config::default()
        };
        match self {
            Preset::Paper => Config { size_px: 320, loss: LossWeights::PerType, keep_best: 5, ..common },
            Preset::Classic => Config { size_px: 224, loss: LossWeights::Plain, dropout: 0.1, ..common },
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|preset| preset.as_str() == s)
            .ok_or_else(|| format!("`{s}` is not a preset: expected paper or classic"))
    }
}

impl Config {
    /// The settings of a file over those of a preset over the defaults. Without `preset`, the one that the
    /// file names holds.
    ///
    /// # Errors
    /// Where the file is not TOML, or has an unknown or misspelt setting.
    pub fn layered(preset: Option<Preset>, file: &str) -> Result<Config, String> {
        let mut over: toml::Table = file.parse().map_err(|error: toml::de::Error| error.to_string())?;
        let preset = preset.or(preset_of(file)?);
        let base = preset.map_or_else(Config::default, Preset::config);
        over.remove("preset");
        let mut all = toml::Table::try_from(&base).map_err(|error| error.to_string())?;
        lay_over(&mut all, over);
        all.try_into().map_err(|error: toml::de::Error| error.to_string())
    }
}

/// The preset that a file names.
fn preset_of(file: &str) -> Result<Option<Preset>, String> {
    /// Of the whole file, only this.
    #[derive(Deserialize)]
    struct Named {
        preset: Option<Preset>,
    }
    Ok(toml::from_str::<Named>(file).map_err(|error| error.to_string())?.preset)
}

/// Puts the values of `over` into `all`, table by table. A table of another `kind` replaces the whole table:
/// what belongs to one schedule means nothing to another.
fn lay_over(all: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (all.get_mut(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new))
                if new.get("kind").is_none_or(|kind| old.get("kind") == Some(kind)) =>
            {
                lay_over(old, new);
            }
            (_, value) => {
                all.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{AdamConfig, Schedule};

    #[test]
    fn presets_are_the_two_published_recipes() {
        for preset in Preset::ALL {
            let config = preset.config();
            config.check().unwrap();
            assert_eq!(preset.to_string().parse(), Ok(preset));
            assert_eq!((config.batch, config.adam.lr), (8, 1e-4));
            assert!(matches!(config.schedule, Schedule::Plateau { factor: 0.1, .. }));
            assert_eq!(config.spec().mean, contract::preprocess::IMAGENET_MEAN);
            assert_eq!(config.spec().std, contract::preprocess::IMAGENET_STD);
        }
        let paper = Preset::Paper.config();
        assert_eq!(
            (paper.size_px, paper.loss, paper.keep_best, paper.dropout),
            (320, LossWeights::PerType, 5, 0.0)
        );
        let classic = Preset::Classic.config();
        assert_eq!(
            (classic.size_px, classic.loss, classic.keep_best, classic.dropout),
            (224, LossWeights::Plain, 0, 0.1)
        );
    }

    #[test]
    fn a_file_wins_over_the_preset_and_the_preset_over_the_defaults() {
        let file = "size_px = 256\n[adam]\nlr = 0.01\n[schedule]\npatience_epochs = 4";
        let config = Config::layered(Some(Preset::Classic), file).unwrap();
        let expected = Config {
            size_px: 256,
            adam: AdamConfig { lr: 0.01, ..AdamConfig::default() },
            schedule: Schedule::Plateau { factor: 0.1, patience_epochs: 4 },
            ..Preset::Classic.config()
        };
        assert_eq!(config, expected);
        assert_eq!(Config::layered(None, "").unwrap(), Config::default());
        // What a run saved gives the same run again, and an option still wins over the preset in it.
        let saved = toml::to_string(&config).unwrap();
        assert_eq!(Config::layered(None, &saved).unwrap(), config);
        assert_eq!(Config::layered(Some(Preset::Paper), &saved).unwrap().preset, Some(Preset::Paper));
        let cosine =
            Config::layered(Some(Preset::Paper), "[schedule]\nkind = \"cosine\"\nwarmup_steps = 5").unwrap();
        assert_eq!(cosine.schedule, Schedule::Cosine { warmup_steps: 5 });
    }

    #[test]
    fn misspelt_settings_are_named() {
        for (file, word) in [
            ("epoch = 3", "epoch"),
            ("[adam]\nlearning_rate = 1", "learning_rate"),
            ("preset = \"best\"", "paper"),
            ("[schedule]\npatience = 1", "patience"),
            ("size_px = \"big\"", "size_px"),
            ("size_px = ", ""),
        ] {
            let error = Config::layered(None, file).unwrap_err();
            assert!(error.contains(word), "{file}: {error}");
        }
    }
}
