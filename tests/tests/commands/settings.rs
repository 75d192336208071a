//! Operating points: set within limits, used by what is closed later, kept over a restart, returned.

use anyhow::Context;
use contract::bundle::{BundleManifest, MANIFEST_FILE, PointSource};
use contract::command::{CommandOutcome, CommandReason};
use contract::study::StudyType;
use serde_json::{Value, json};

use crate::centre::{Centre, DONE};

#[test]
fn operating_points_are_set_kept_and_returned() -> anyhow::Result<()> {
    let manifest = BundleManifest::parse(&std::fs::read(e2e::demo_bundle().join(MANIFEST_FILE))?)?;
    let wrist: StudyType = "XR_WRIST".parse()?;
    let (own, source) = manifest.operating_points.for_type(&wrist);

    let centre = Centre::new()?;
    let mut station = centre.station(&["set_operating_points"])?;
    station.start()?;
    let before = centre.result_of(&station, 1)?;
    let used = before.operating_points.clone().context("operating points")?;
    assert_eq!((used.rule_out, used.source, used.set_by), (own.rule_out, source, None));
    let set = |rule_out: f64, rule_in: f64| -> Value {
        json!({
            "name": "set_operating_points", "bundle_sha256": before.model.bundle_sha256,
            "per_type": { "XR_WRIST": { "rule_out": rule_out, "rule_in": rule_in } },
        })
    };

    let rule_out = (own.rule_out - 0.1).max(0.0);
    assert_eq!(centre.ask("wrist-1", &set(rule_out, own.rule_in), &station)?, DONE);
    let too_far = centre.ask("wrist-2", &set(own.rule_out, own.rule_in + 0.2), &station)?;
    assert_eq!(too_far, (CommandOutcome::Refused, Some(CommandReason::OutsideLimits)));
    for number in 2..4 {
        let used = centre.result_of(&station, number)?.operating_points.context("operating points")?;
        assert_eq!((used.rule_out, used.rule_in), (rule_out, own.rule_in));
        assert_eq!((used.source, used.set_by.as_deref()), (PointSource::StudyType, Some("wrist-1")));
        assert!(station.stop()?.success());
        station.start()?;
    }
    station.wait_for_line("operating points are in force that command wrist-1 has set", crate::LONG)?;

    centre.wait_until_subscribed(&station)?;
    let back = json!({ "name": "set_operating_points", "bundle_sha256": before.model.bundle_sha256 });
    assert_eq!(centre.ask("wrist-3", &back, &station)?, DONE);
    let used = centre.result_of(&station, 4)?.operating_points.context("operating points")?;
    assert_eq!((used.rule_out, used.source, used.set_by), (own.rule_out, source, None));
    assert!(station.stop()?.success());
    Ok(())
}
