//! `edge model`: a bundle on a stick, by hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::broker::Broker;
use e2e::collector::Collector;
use e2e::made::study;
use e2e::minisign::Signer;
use e2e::release;
use e2e::station::{Setup, Station};
use serde_json::Value;
use tempfile::TempDir;

use super::{json, run, stderr, stdout, succeed};

const LONG: Duration = Duration::from_secs(60);

/// A station without a bundle, and a stick.
struct Bench {
    broker: Broker,
    station: Station,
    signer: Signer,
    stick: TempDir,
}

impl Bench {
    fn new(more: &str) -> anyhow::Result<Self> {
        let (broker, signer) = (Broker::start()?, Signer::new()?);
        let extra = format!("\n[trust]\nbundle_keys = [\"{}\"]\n{more}", signer.public_key());
        let setup = Setup { bundle: None, extra, ..Setup::new(broker.port()) };
        Ok(Self { station: Station::new(&setup)?, broker, signer, stick: tempfile::tempdir()? })
    }

    /// A bundle on the stick.
    fn bundle(&self, version: u32) -> anyhow::Result<PathBuf> {
        let dir = self.stick.path().join(version.to_string());
        release::write(&dir, version, 1000, &self.signer)?;
        Ok(dir)
    }

    fn install(&self, dir: &Path, more: &[&str]) -> anyhow::Result<String> {
        let words: Vec<&str> = dir.to_str().into_iter().chain(more.iter().copied()).collect();
        succeed("model install", self.station.config(), &words)
    }

    /// Installing must fail with this exit code and say these words.
    fn refused(&self, dir: &Path, code: i32, words: &[&str]) -> anyhow::Result<()> {
        let said = run("model install", self.station.config(), &[&dir.display().to_string()])?;
        let text = stderr(&said);
        assert_eq!(said.status.code(), Some(code), "{text}");
        for word in words {
            assert!(text.contains(word), "`{word}` is not in: {text}");
        }
        Ok(())
    }

    fn list(&self) -> anyhow::Result<Value> {
        json("model list", self.station.config(), &[])
    }

    /// The versions in the slots, and the slot in use.
    fn versions(&self) -> anyhow::Result<(Vec<Option<u64>>, Option<String>)> {
        let listed = self.list()?;
        let slots = listed["slots"].as_array().cloned().unwrap_or_default();
        let in_use = slots.iter().find(|slot| slot["in_use"] == true);
        Ok((
            slots.iter().map(|slot| slot["bundle"]["version"].as_u64()).collect(),
            in_use.and_then(|slot| slot["slot"].as_str().map(str::to_owned)),
        ))
    }
}

#[test]
fn a_bundle_from_a_stick_is_installed_used_and_returned_from() -> anyhow::Result<()> {
    let mut bench = Bench::new("")?;
    // A station as it comes out of its package.
    bench.station.start()?;
    assert_eq!(bench.station.wait_for_exit(LONG)?.code(), Some(65));
    assert!(bench.station.tail().contains("edge model install"), "{}", bench.station.tail());
    let out = run("doctor", bench.station.config(), &[])?;
    assert!(stdout(&out).contains("no model is in use"), "{}", stdout(&out));

    let first = bench.bundle(1)?;
    let said = succeed("model verify", bench.station.config(), &[&first.display().to_string()])?;
    assert!(said.contains("1 golden images come out as recorded") && said.ends_with("ok\n"), "{said}");
    assert_eq!(bench.versions()?, (vec![None, None], None), "looking changes nothing");
    assert!(bench.install(&first, &[])?.contains("edge model activate"));
    assert_eq!(bench.versions()?, (vec![Some(1), None], None));
    let said = succeed("model activate", bench.station.config(), &[])?;
    assert!(said.contains("from the service's next start on"), "{said}");

    let collector = Collector::start(bench.broker.port())?;
    bench.station.start()?;
    let mut taken = 0;
    let mut version = |bench: &Bench| -> anyhow::Result<u32> {
        taken += 1;
        let made = study(bench.stick.path(), "XR_WRIST", &format!("study{taken}"), 1, taken)?;
        bench.station.drop_study(made.study_type, &made.name, &made.files)?;
        let results = collector.wait_for_results(taken as usize, LONG)?;
        Ok(results.last().map_or(0, |result| result.model.version))
    };
    assert_eq!(version(&bench)?, 1);
    // The stick is pulled out in the middle, and put in again.
    let second = bench.bundle(2)?;
    fs::rename(second.join("golden"), bench.stick.path().join("pulled"))?;
    bench.refused(&second, 66, &["golden", "whole bundle"])?;
    fs::rename(bench.stick.path().join("pulled"), second.join("golden"))?;
    let said = bench.install(&second, &["--activate"])?;
    assert!(said.contains("verified, tested, in slot b") && said.ends_with(": in use\n"), "{said}");
    assert_eq!((version(&bench)?, bench.versions()?.1.as_deref()), (2, Some("b")));
    assert!(bench.install(&second, &["--activate"])?.contains("already in use"));

    // Forward and back are two different words.
    let said = run("model activate", bench.station.config(), &[])?;
    assert_eq!(said.status.code(), Some(6), "{}", stderr(&said));
    assert!(stderr(&said).contains("edge model rollback"), "{}", stderr(&said));
    succeed("model rollback", bench.station.config(), &[])?;
    assert_eq!((version(&bench)?, bench.versions()?.1.as_deref()), (1, Some("a")));
    succeed("model activate", bench.station.config(), &[])?;
    assert_eq!(version(&bench)?, 2);
    assert!(bench.station.stop()?.success());
    let text = succeed("model list", bench.station.config(), &[])?;
    assert!(text.contains("b  in use    brightness version 2"), "{text}");
    Ok(())
}

#[test]
fn what_may_not_be_installed_is_refused_with_what_to_do() -> anyhow::Result<()> {
    let bench = Bench::new("")?;
    let two = bench.bundle(2)?;
    bench.install(&two, &["--activate"])?;
    let before = bench.list()?;
    let stranger = Signer::new()?;
    let key = Some(&bench.signer);

    let one = bench.bundle(1)?;
    bench.refused(&one, 65, &["its version is 1", "only a higher version"])?;
    let same = bench.bundle(2)?;
    release::change(&same, key, |manifest| manifest.intended_use.push('!'))?;
    bench.refused(&same, 65, &["its version is 2"])?;
    let three = bench.bundle(3)?;
    release::change(&three, Some(&stranger), |_| ())?;
    bench.refused(&three, 65, &["a key that is not trusted here"])?;
    release::change(&three, None, |_| ())?;
    bench.refused(&three, 65, &["not signed", "minisign -S"])?;
    let four = bench.bundle(4)?;
    let manifest = four.join("manifest.json");
    fs::write(&manifest, fs::read_to_string(&manifest)?.replace("brightness", "Brightness"))?;
    bench.refused(&four, 65, &["changed after signing"])?;
    let five = bench.bundle(5)?;
    release::change(&five, key, |manifest| manifest.edge_version_min = Some("99.1.0".to_owned()))?;
    bench.refused(&five, 65, &["needs edge 99.1.0", "update edge"])?;
    let six = bench.bundle(6)?;
    fs::write(six.join("model.onnx"), b"another")?;
    bench.refused(&six, 65, &["model.onnx", "damaged"])?;
    let seven = bench.bundle(7)?;
    release::change(&seven, key, |manifest| manifest.golden[0].logit += 1.0)?;
    bench.refused(&seven, 65, &["fails its self-test", "golden/0.pgm"])?;
    let eight = bench.bundle(8)?;
    release::change(&eight, key, |manifest| manifest.format = 2)?;
    bench.refused(&eight, 65, &["format 2 is not supported"])?;
    bench.refused(&bench.stick.path().join("nothing"), 66, &["manifest.json", "whole bundle"])?;
    let said = run("model install", bench.station.config(), &["https://127.0.0.1:1/b?x=1"])?;
    assert_eq!(said.status.code(), Some(66), "{}", stderr(&said));
    assert_eq!(bench.list()?, before, "nothing of it changed anything");

    // A demonstration's bundle needs leave, and nobody's signature counts where no key is trusted.
    let text = fs::read_to_string(bench.station.config())?;
    fs::write(bench.station.config(), text.replace("allow_demo_model = true", "allow_demo_model = false"))?;
    bench.refused(&bench.bundle(9)?, 65, &["for demonstration only"])?;
    let keys = format!("bundle_keys = [\"{}\"]", bench.signer.public_key());
    fs::write(bench.station.config(), text.replace(&keys, ""))?;
    bench.refused(&bench.bundle(9)?, 65, &["trust.bundle_keys is empty"])?;
    fs::write(bench.station.config(), text.replace("allow_demo", "bundle_dir = \"/b\"\nallow_demo"))?;
    bench.refused(&bench.bundle(9)?, 78, &["remove bundle_dir"])?;
    Ok(())
}

#[test]
fn keys_are_rotated_like_those_of_commands() -> anyhow::Result<()> {
    let bench = Bench::new("")?;
    let next = Signer::new()?;
    let text = fs::read_to_string(bench.station.config())?;
    let old_key = format!("\"{}\"", bench.signer.public_key());
    let new_key = format!("\"{}\"", next.public_key());
    bench.install(&bench.bundle(1)?, &["--activate"])?;
    let dir = bench.stick.path().join("2");
    release::write(&dir, 2, 0, &next)?;
    bench.refused(&dir, 65, &["not trusted here"])?;
    fs::write(bench.station.config(), text.replace(&old_key, &format!("{old_key}, {new_key}")))?;
    bench.install(&dir, &["--activate"])?;
    // The old key is gone: what it signed stays installed, and is not put to use again.
    fs::write(bench.station.config(), text.replace(&old_key, &new_key))?;
    let said = run("model rollback", bench.station.config(), &[])?;
    assert_eq!(said.status.code(), Some(65), "{}", stderr(&said));
    assert!(stderr(&said).contains("not trusted here"), "{}", stderr(&said));
    assert_eq!(bench.versions()?, (vec![Some(1), Some(2)], Some("b".to_owned())));
    Ok(())
}
