//! JSON Schemas of everything that leaves a process, generated from the types.

use schemars::Schema;

/// The committed schemas, by file name under `edge/contract/schemas`.
pub fn all() -> Vec<(&'static str, Schema)> {
    vec![
        ("bundle-manifest.json", schemars::schema_for!(crate::bundle::BundleManifest)),
        ("result.json", schemars::schema_for!(crate::result::StudyResult)),
        ("tombstone.json", schemars::schema_for!(crate::result::Tombstone)),
        ("status.json", schemars::schema_for!(crate::result::StationStatus)),
        ("birth.json", schemars::schema_for!(crate::result::StationBirth)),
        ("health.json", schemars::schema_for!(crate::result::StationHealth)),
        ("command.json", schemars::schema_for!(crate::command::SignedCommand)),
        ("command-body.json", schemars::schema_for!(crate::command::CommandBody)),
        ("command-ack.json", schemars::schema_for!(crate::command::CommandAck)),
    ]
}
