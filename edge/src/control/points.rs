//! Whether operating points may be set: for the bundle in use, in order, and near enough to the bundle's own.

use contract::bundle::BundleManifest;
use contract::command::{CommandReason, OperatingPointSettings, Thresholds};
use contract::study::OperatingPoints;

use super::judge::Refusal;

/// What decimal fractions such as 0.6 - 0.5 may be off in binary.
const ROUNDING: f64 = 1e-9;

/// Checks settings against a bundle; `shift_max` is how far a point may be moved.
pub(super) fn check(
    settings: &OperatingPointSettings,
    manifest: &BundleManifest,
    bundle_sha256: &str,
    shift_max: f64,
) -> Result<(), Refusal> {
    if settings.bundle_sha256 != bundle_sha256 {
        let detail =
            format!("the bundle in use is {bundle_sha256}; points of another one mean something else");
        return Err(Refusal::new(CommandReason::OtherBundle, detail));
    }
    let table = &manifest.operating_points;
    let outside = |problem: String| Refusal::new(CommandReason::OutsideLimits, problem);
    if let Some(thresholds) = &settings.pooled {
        within("pooled", thresholds, &table.pooled, shift_max).map_err(outside)?;
    }
    for (study_type, thresholds) in &settings.per_type {
        if !manifest.study_types.contains(study_type) {
            return Err(outside(format!("the bundle is not meant for {study_type}")));
        }
        let (own, _) = table.for_type(study_type);
        within(study_type.as_str(), thresholds, &own, shift_max).map_err(outside)?;
    }
    Ok(())
}

fn within(whose: &str, set: &Thresholds, own: &OperatingPoints, shift_max: f64) -> Result<(), String> {
    let Thresholds { rule_out, rule_in } = *set;
    let ordered = 0.0 <= rule_out && rule_out <= rule_in && rule_in <= 1.0;
    if !ordered {
        return Err(format!(
            "{whose}: expected 0 <= rule_out <= rule_in <= 1, found {rule_out} and {rule_in}"
        ));
    }
    for (name, set, own) in [("rule_out", rule_out, own.rule_out), ("rule_in", rule_in, own.rule_in)] {
        if (set - own).abs() > shift_max + ROUNDING {
            return Err(format!(
                "{whose}: {name} {set} is further than {shift_max} from the bundle's {own}; commands.point_shift_max_pct \
                 is the limit"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_stay_in_order_and_near_the_bundles_own() {
        let own = OperatingPoints::new(0.3, 0.6, 0.5);
        let check = |rule_out, rule_in| within("pooled", &Thresholds { rule_out, rule_in }, &own, 0.1);
        assert_eq!(check(0.3, 0.6), Ok(()));
        assert_eq!(check(0.2, 0.7), Ok(()), "the limit itself");
        assert!(check(0.19, 0.6).unwrap_err().contains("rule_out"));
        assert!(check(0.3, 0.71).unwrap_err().contains("rule_in"));
        for (rule_out, rule_in) in [(0.61, 0.6), (-0.1, 0.6), (0.3, 1.1), (f64::NAN, 0.6)] {
            assert!(check(rule_out, rule_in).unwrap_err().contains("expected"), "{rule_out} {rule_in}");
        }
    }
}
