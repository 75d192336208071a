//! `edge bench` measures what it says, with the demo bundle.

use std::path::Path;
use std::process::{Command, Output};

use e2e::{bin, repository};
use serde_json::Value;

#[test]
fn a_machine_is_measured_with_a_bundle() -> anyhow::Result<()> {
    let mut bench = Command::new(bin::edge()?);
    bench.args(["bench", "--json", "--runs", "2", "--threads", "2", "--bundle"]);
    let said: Value = serde_json::from_str(&bin::succeed(bench.arg(repository().join("edge/demo/bundle")))?)?;
    let median = |what: &str| said[what]["median_ms"].as_f64().unwrap_or(f64::NAN);
    let (view, four) = (median("inference"), median("inference_of_four"));
    assert!(view > 0.0 && median("decode") > 0.0 && median("preprocess") > 0.0, "{said:#}");
    // Two threads halve the time of four views at best.
    assert!(four > 1.2 * view && median("study") > four / 2.0, "{said:#}");
    assert!(said["peak_memory_bytes"].as_u64() > Some(20 << 20), "{said:#}");
    assert!(said["ready_ms"].as_f64() > Some(view), "{said:#}");
    Ok(())
}

#[test]
fn the_network_alone_is_measured_in_other_ways_and_with_an_image_of_ones_own() -> anyhow::Result<()> {
    let bundle = repository().join("edge/demo/bundle");
    let bench = |way: &str, image: &Path| -> anyhow::Result<Output> {
        let mut bench = Command::new(bin::edge()?);
        bench.args(["bench", "--json", "--runs=1", "--network-only", way, "--bundle"]);
        bin::output(bench.arg(&bundle).arg("--image").arg(image))
    };
    for way in ["--plain", "--precision=f16"] {
        let said: Value = serde_json::from_slice(&bench(way, &bundle.join("golden/1.png"))?.stdout)?;
        assert!(said["inference"]["median_ms"].as_f64() > Some(0.0) && said["study"].is_null(), "{said:#}");
        // No x86-64 processor computes with f16 here.
        assert!(said["precision"] == "f32" || !cfg!(target_arch = "x86_64"), "{said:#}");
    }
    for (image, code) in [(repository().join("README.md"), 65), (bundle.join("golden/absent.png"), 66)] {
        assert_eq!(bench("--plain", &image)?.status.code(), Some(code), "{}", image.display());
    }
    Ok(())
}

#[test]
fn without_a_bundle_nothing_is_measured() -> anyhow::Result<()> {
    let out = bin::output(Command::new(bin::edge()?).args(["bench", "--bundle", "/nonexistent"]))?;
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(65), "{said}");
    assert!(said.contains("/nonexistent/manifest.json"), "{said}");
    Ok(())
}
