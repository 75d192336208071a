//! What the centre may have the station do, and by whose signature.

use super::{Check, Station};
use crate::config::Config;

const COMMANDS: &str = "commands";

pub(super) fn checks(station: &Station) -> Vec<Check> {
    vec![judge(&station.config)]
}

fn judge(config: &Config) -> Check {
    let (commands, keys) = (&config.commands, &config.trust.command_keys);
    if commands.allow.is_empty() {
        return Check::ok(COMMANDS, "none allowed");
    }
    let named = commands.allow.iter().map(|name| {
        let unsigned = if commands.unsigned.contains(name) { " (unsigned)" } else { "" };
        format!("{}{unsigned}", name.as_str())
    });
    let named = named.collect::<Vec<_>>().join(", ");
    let ids = keys.iter().map(|key| key.id()).collect::<Vec<_>>().join(", ");
    let keys_found = if ids.is_empty() { "no key".to_owned() } else { format!("keys {ids}") };
    let found = format!("allowed: {named}; {keys_found}");
    match keys.len() {
        0..=2 => Check::ok(COMMANDS, found),
        _ => Check::warn(
            COMMANDS,
            found,
            "a change of keys needs two for a while; remove those from trust.command_keys that nobody signs with any more",
        ),
    }
}
