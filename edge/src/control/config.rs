//! `[commands]` of the station's configuration.

use std::collections::BTreeSet;

use contract::command::CommandName;
use serde::Deserialize;

use crate::config::within;
use crate::trust::TrustConfig;

/// `[commands]`: what the centre may have the station do. Nothing, unless the configuration says so.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CommandsConfig {
    /// Commands that are executed; every other one is refused.
    pub allow: BTreeSet<CommandName>,
    /// Those of them that need no signature.
    pub unsigned: BTreeSet<CommandName>,
    /// How far a command may move an operating point from the bundle's own, in hundredths of probability.
    pub point_shift_max_pct: u8,
}

impl Default for CommandsConfig {
    fn default() -> Self {
        Self { allow: BTreeSet::new(), unsigned: BTreeSet::new(), point_shift_max_pct: 10 }
    }
}

impl CommandsConfig {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// Says which key is wrong, why, and what to do.
    pub fn check(&self, trust: &TrustConfig) -> Result<(), String> {
        within("commands.point_shift_max_pct", u64::from(self.point_shift_max_pct), 0, 100)?;
        if let Some(name) = self.unsigned.iter().find(|name| name.changes_behaviour()) {
            return Err(format!(
                "commands.unsigned names `{}`, which changes how the station answers and is always signed; remove it",
                name.as_str()
            ));
        }
        if let Some(name) = self.unsigned.difference(&self.allow).next() {
            return Err(format!(
                "commands.unsigned names `{0}`, which commands.allow does not; add `{0}` there or remove it here",
                name.as_str()
            ));
        }
        if trust.command_keys.is_empty()
            && let Some(name) = self.allow.difference(&self.unsigned).next()
        {
            return Err(format!(
                "commands.allow names `{}`, which must be signed, and trust.command_keys is empty; add the public key \
                 of whoever signs commands",
                name.as_str()
            ));
        }
        if self.allow.contains(&CommandName::ModelInstall) && trust.bundle_keys.is_empty() {
            return Err("commands.allow names `model_install`, and trust.bundle_keys is empty, so that no bundle could be \
                        installed; add the public key of whoever signs bundles"
                .to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "RWQRbHeg4P/MczUOcKuUBUe8w08BF6+8CIR/HVCVYj5r9O+37yu9uB1J";
    const OTHER: &str = "RWQka5VQBszukVfOzkDectVjBVuc/M0sBFrnIzF6q73Fd3PSZd+JhCEU";

    fn check(commands: &str, trust: &str) -> Result<(), String> {
        let commands: CommandsConfig = toml::from_str(commands).map_err(|error| error.to_string())?;
        let trust: TrustConfig = toml::from_str(trust).map_err(|error| error.to_string())?;
        commands.check(&trust)
    }

    #[test]
    fn nothing_is_allowed_unless_somebody_says_so() {
        let config: CommandsConfig = toml::from_str("").unwrap();
        assert!(config.allow.is_empty() && config.unsigned.is_empty());
        assert_eq!(check("", ""), Ok(()));
    }

    #[test]
    fn what_must_be_signed_needs_a_key() {
        let key = format!("command_keys = [\"{KEY}\"]");
        assert!(check("allow = [\"ping\"]", "").unwrap_err().contains("trust.command_keys is empty"));
        assert_eq!(check("allow = [\"ping\"]", &key), Ok(()));
        assert_eq!(check("allow = [\"ping\"]\nunsigned = [\"ping\"]", ""), Ok(()));
    }

    #[test]
    fn what_changes_answers_is_always_signed() {
        let both = "allow = [\"set_operating_points\"]\nunsigned = [\"set_operating_points\"]";
        assert!(check(both, "").unwrap_err().contains("always signed"));
        let install = "allow = [\"model_install\"]";
        let keys = |bundles: &str| format!("command_keys = [\"{KEY}\"]\nbundle_keys = [{bundles}]");
        assert!(check(install, &keys("")).unwrap_err().contains("trust.bundle_keys is empty"));
        assert_eq!(check(install, &keys(&format!("\"{OTHER}\""))), Ok(()));
        assert!(check("unsigned = [\"ping\"]", "").unwrap_err().contains("commands.allow does not"));
        assert!(check("allow = [\"reboot\"]", "").unwrap_err().contains("unknown variant `reboot`"));
        assert!(check("point_shift_max_pct = 101", "").unwrap_err().contains("expected 0 to 100"));
    }
}
