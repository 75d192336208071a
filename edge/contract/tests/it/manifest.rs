//! What a bundle's manifest must be, and what each wrong one is told.

use contract::bundle::{BundleManifest, ManifestError, PointSource, WithheldReason, within_tolerance};
use contract::study::{Answer, StudyType};
use serde_json::{Value, json};

pub(crate) fn example() -> Value {
    let hash = "0123456789abcdef".repeat(4);
    json!({
        "format": 1,
        "name": "demo",
        "version": 3,
        "purpose": "demo",
        "created": "2026-02-03T04:05:06Z",
        "files": {
            "model.onnx": { "sha256": hash, "size_bytes": 1234 },
            "golden/0.png": { "sha256": hash, "size_bytes": 99 },
        },
        "input": {
            "width_px": 320, "height_px": 320, "aspect": "letterbox", "window_low": 0.005, "window_high": 0.005,
            "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
        },
        "calibration": { "temperature": 1.5 },
        "operating_points": {
            "pooled": { "rule_out": 0.2, "rule_in": 0.8, "decision": 0.5 },
            "per_type": { "XR_WRIST": { "rule_out": 0.3, "rule_in": 0.6, "decision": 0.4, "crossed": false } },
        },
        "study_types": ["XR_WRIST", "XR_HAND"],
        "golden": [{ "image": "golden/0.png", "logit": 0.25 }],
        "tolerance": { "f32": 0.001, "f16": 0.01 },
        "training": {
            "architecture": "DenseNet169", "dataset": "phantoms (synthetic)", "train_images": 10, "valid_studies": 4,
            "parameters": 1000, "macs": 2000, "macs_share": 0.3, "valid_auroc": 0.9, "valid_kappa": null,
            "trainer_version": "0.1.0",
        },
        "intended_use": "Shows that the software works.",
    })
}

fn parse(manifest: &Value) -> Result<BundleManifest, ManifestError> {
    BundleManifest::parse(manifest.to_string().as_bytes())
}

/// The example with one value replaced; the path is a JSON pointer.
fn with(pointer: &str, value: Value) -> Value {
    let mut manifest = example();
    *manifest.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
    manifest
}

#[test]
fn a_manifest_reads_and_writes_back() {
    let manifest = parse(&example()).unwrap();
    let written = serde_json::to_vec(&manifest).unwrap();
    assert_eq!(BundleManifest::parse(&written).unwrap(), manifest);
}

#[test]
fn what_was_achieved_is_optional_and_read_back() {
    let counts = json!({ "normal": 1, "uncertain": 2, "abnormal": 7 });
    let achieved = json!({
        "studies": 20, "abnormal": counts, "normal": counts,
        "rule_out_sensitivity": 0.9, "rule_out_sensitivity_ci95": [0.8, 1.0],
        "rule_in_specificity": 0.3, "rule_in_specificity_ci95": null,
        "uncertain_share": 0.2, "decision_kappa": null, "decision_kappa_ci95": null,
    });
    let mut manifest = example();
    manifest["cross_fit"] = json!({
        "rule_out_sensitivity_target": 0.95, "rule_in_specificity_target": 0.95, "folds": 5, "patients": 18,
        "pooled": achieved, "per_type": { "XR_WRIST": achieved }, "caveat": "optimistic",
    });
    let read = parse(&manifest).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap()["cross_fit"], manifest["cross_fit"]);
    assert_eq!(read.cross_fit.and_then(|c| c.pooled).map(|a| a.normal.total()), Some(10));
    // A bundle made before this was measured.
    assert_eq!(parse(&example()).unwrap().cross_fit, None);
    assert!(serde_json::to_value(parse(&example()).unwrap()).unwrap().get("cross_fit").is_none());
}

#[test]
fn what_is_not_a_manifest_is_malformed() {
    for bytes in [&b""[..], b"{", b"[]", b"{\"format\": \"one\"}"] {
        assert!(matches!(BundleManifest::parse(bytes), Err(ManifestError::Malformed(_))));
    }
    let mut unknown = example();
    unknown["colour"] = json!("grey");
    let error = parse(&unknown).unwrap_err();
    assert!(matches!(error, ManifestError::Malformed(_)) && error.to_string().contains("colour"), "{error}");
    let mut missing = example();
    missing.as_object_mut().unwrap().remove("golden");
    assert!(parse(&missing).unwrap_err().to_string().contains("golden"));
    for (pointer, value) in [
        ("/purpose", json!("clinical use")),
        ("/study_types", json!(["WRIST"])),
        ("/input/aspect", json!("crop")),
        ("/calibration/temperature", json!("warm")),
    ] {
        assert!(matches!(parse(&with(pointer, value)), Err(ManifestError::Malformed(_))), "{pointer}");
    }
}

#[test]
fn another_format_is_named_before_its_fields_are_looked_at() {
    let error = BundleManifest::parse(br#"{"format": 2, "layers": []}"#).unwrap_err();
    assert!(matches!(error, ManifestError::Format { found: 2 }), "{error}");
}

#[test]
fn values_that_cannot_be_right_are_named() {
    let file = example()["files"]["model.onnx"].clone();
    let renamed =
        |name: &str| with("/files", json!({ "model.onnx": file, "golden/0.png": file, name: file }));
    let points =
        |rule_out: f64, rule_in: f64| json!({ "rule_out": rule_out, "rule_in": rule_in, "decision": 0.5 });
    for (manifest, words) in [
        (renamed("../secret"), "../secret"),
        (renamed("/etc/passwd"), "/etc/passwd"),
        (renamed("golden//1.png"), "golden//1.png"),
        (renamed("a\\..\\b"), "leaves the bundle"),
        (with("/files/model.onnx/sha256", json!("abc")), "64 hexadecimal digits"),
        (with("/files/model.onnx/sha256", json!("g".repeat(64))), "64 hexadecimal digits"),
        (with("/files", json!({ "golden/0.png": file })), "model.onnx"),
        (with("/golden", json!([])), "no golden pair"),
        (with("/golden/0/image", json!("golden/1.png")), "golden/1.png"),
        (with("/calibration/temperature", json!(0.0)), "temperature"),
        (with("/calibration/temperature", json!(-1.0)), "temperature"),
        (with("/operating_points/pooled", points(0.9, 0.1)), "out of order"),
        (with("/operating_points/per_type/XR_WRIST", points(0.9, 0.1)), "out of order"),
        (with("/input/width_px", json!(16)), "input size"),
        (with("/input/height_px", json!(5000)), "input size"),
        (with("/input/window_low", json!(0.5)), "window shares"),
        (with("/input/window_high", json!(-0.1)), "window shares"),
        (with("/input/std", json!([0.2, 0.0, 0.2])), "deviations"),
    ] {
        let error = parse(&manifest).unwrap_err();
        assert!(matches!(error, ManifestError::Invalid(_)), "{words}: {error}");
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
}

#[test]
fn a_bundle_may_need_a_newer_edge() {
    let mut manifest = example();
    assert!(parse(&manifest).unwrap().suits("0.0.1"), "without a word any version does");
    manifest["edge_version_min"] = json!("1.10.2");
    let needs = parse(&manifest).unwrap();
    for (version, suits) in [
        ("1.10.2", true),
        ("1.11.0", true),
        ("2.0.0", true),
        ("1.10.3-rc.1", true),
        ("1.9.9", false),
        ("1.10.1", false),
        ("0.1.0", false),
        ("unknown", false),
    ] {
        assert_eq!(needs.suits(version), suits, "{version}");
    }
    for wrong in ["1", "1.2", "1.2.x", "", "1.2.3.4"] {
        manifest["edge_version_min"] = json!(wrong);
        let error = parse(&manifest).unwrap_err().to_string();
        assert!(error.contains("edge_version_min") && error.contains("such as 1.2.3"), "{error}");
    }
}

#[test]
fn what_vouches_for_the_bundle_is_no_part_of_it() {
    for name in ["manifest.json", "manifest.json.minisig"] {
        let mut manifest = example();
        manifest["files"][name] = manifest["files"]["model.onnx"].clone();
        let error = parse(&manifest).unwrap_err().to_string();
        assert!(error.contains(&format!("`{name}` is listed under files")), "{error}");
    }
}

#[test]
fn answers_use_the_points_of_their_type_and_are_withheld_outside_the_intended_use() {
    let manifest = parse(&example()).unwrap();
    let study_type = |name: &str| name.parse::<StudyType>().unwrap();
    let wrist = manifest.answer(None, Some(&study_type("XR_WRIST")), 0.7);
    assert_eq!(
        (wrist.answer, wrist.source, wrist.withheld),
        (Answer::Abnormal, PointSource::StudyType, None)
    );
    let hand = manifest.answer(None, Some(&study_type("XR_HAND")), 0.7);
    assert_eq!((hand.answer, hand.source), (Answer::Uncertain, PointSource::Pooled));
    let knee = manifest.answer(None, Some(&study_type("XR_KNEE")), 0.99);
    assert_eq!((knee.answer, knee.withheld), (Answer::Uncertain, Some(WithheldReason::NotInIntendedUse)));
    let unknown = manifest.answer(None, None, 0.01);
    assert_eq!(
        (unknown.answer, unknown.withheld),
        (Answer::Uncertain, Some(WithheldReason::StudyTypeUnknown))
    );
}

#[test]
fn drift_is_relative_to_large_logits_and_not_a_number_never_passes() {
    assert!(within_tolerance(0.1, 0.1009, 1e-3));
    assert!(!within_tolerance(0.1, 0.1011, 1e-3));
    assert!(within_tolerance(-10.0, -10.009, 1e-3));
    assert!(!within_tolerance(0.0, f64::NAN, 1e-3) && !within_tolerance(f64::NAN, 0.0, 1e-3));
}
