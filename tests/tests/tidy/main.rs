//! Reads the sources and fails when they break DESIGN.md's "What may know what". Every ban carries its reason.

mod source;

use std::fs;
use std::path::Path;

use e2e::{repository, sorted_entries};
use source::Source;

/// Longest file without its tests, in lines. The aim is 400.
const LINES_MAX: usize = 500;

/// Crates, modules or calls that only some files may name.
struct Ban {
    /// Path prefixes, such as `tch` or `std::fs`.
    names: &'static [&'static str],
    /// Where the ban holds: prefixes of paths from the repository's root.
    within: &'static [&'static str],
    /// Where it does not.
    except: &'static [&'static str],
    why: &'static str,
}

const OUTSIDE: &[&str] =
    &["std::fs", "std::net", "std::io::stdin", "std::process", "std::thread", "std::env", "tokio", "rustix"];
const CLOCKS: &[&str] =
    &["Instant::now", "SystemTime::now", "Timestamp::now", "Zoned::now", "std::time::SystemTime"];
const EVERYWHERE: &[&str] = &["edge/", "trainer/", "tests/src/"];

const BANS: &[Ban] = &[
    Ban {
        names: &["tch", "torch_sys"],
        within: EVERYWHERE,
        except: &["trainer/"],
        why: "a station has no libtorch, and a plain `cargo build` must not need it",
    },
    Ban {
        names: &["tract_onnx", "tract_core", "tract_hir", "tract_data", "tract_linalg", "tract_nnef"],
        within: EVERYWHERE,
        except: &["edge/src/inference/"],
        why: "the inference engine can be exchanged as long as only edge/src/inference knows it",
    },
    Ban {
        names: &["v4l", "v4l2_sys"],
        within: EVERYWHERE,
        except: &["edge/src/capture/v4l2/"],
        why: "the v4l crate panics and keeps broken streams; one file fences that in",
    },
    Ban {
        names: &["dicom_ul"],
        within: EVERYWHERE,
        except: &["edge/src/capture/dicom.rs", "edge/src/capture/dicom/"],
        why: "what a peer sends is only trusted as far as capture/dicom checked it",
    },
    Ban {
        names: &["rumqttc", "rumqttd"],
        within: &["edge/", "trainer/"],
        except: &["edge/src/publish/", "edge/src/demo_broker.rs", "edge/tests/"],
        why: "the client loses queued messages; only publish/, which does not trust it, may hold it",
    },
    Ban {
        names: &["ureq"],
        within: &["edge/", "trainer/"],
        except: &["edge/src/slots/download.rs"],
        why: "a station asks the network for nothing but bundles, whose signature counts and not their server",
    },
    Ban {
        names: &["rusqlite"],
        within: EVERYWHERE,
        except: &["edge/src/store/"],
        why: "one place owns the tables, so that every transition is one transaction",
    },
    Ban {
        names: &["edge", "trainer", "e2e"],
        within: &["edge/contract/"],
        except: &[],
        why: "the contract is what both halves depend on, so it depends on neither",
    },
    Ban {
        names: OUTSIDE,
        within: &["edge/contract/src/"],
        except: &[],
        why: "the contract is pure: no files, threads, sockets or processes",
    },
    Ban {
        names: CLOCKS,
        within: &["edge/contract/src/"],
        except: &[],
        why: "the contract is pure: time comes in as an argument",
    },
    Ban {
        names: OUTSIDE,
        within: &["edge/src/study.rs", "edge/src/study/", "edge/src/quality/"],
        except: &[],
        why: "study and quality do no I/O, so that every case of theirs can be tested",
    },
    Ban {
        names: CLOCKS,
        within: &["edge/src/study.rs", "edge/src/study/", "edge/src/quality/"],
        except: &[],
        why: "study and quality read no clock: time comes in as an argument",
    },
    Ban {
        names: &["trainer", "e2e"],
        within: &["edge/"],
        except: &[],
        why: "the halves meet in a bundle directory only",
    },
    Ban {
        names: &["edge", "e2e"],
        within: &["trainer/"],
        except: &[],
        why: "the halves meet in a bundle directory only",
    },
];

/// Every Rust file of the repository's own: `(path from the root, source)`.
fn sources() -> anyhow::Result<Vec<(String, Source)>> {
    let mut found = Vec::new();
    for folder in ["edge", "trainer", "tests"] {
        collect(&repository().join(folder), &mut found)?;
    }
    anyhow::ensure!(found.len() > 20, "only {} source files found: is this the repository?", found.len());
    Ok(found)
}

fn collect(dir: &Path, found: &mut Vec<(String, Source)>) -> anyhow::Result<()> {
    for path in sorted_entries(dir)? {
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(repository())?.to_string_lossy().into_owned();
            found.push((name, Source::parse(&fs::read_to_string(&path)?)));
        }
    }
    Ok(())
}

fn starts_with_any(path: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| path.starts_with(prefix))
}

/// What a file names although it may not.
fn violations(path: &str, source: &Source) -> Vec<String> {
    let applies = |ban: &&Ban| starts_with_any(path, ban.within) && !starts_with_any(path, ban.except);
    BANS.iter()
        .filter(applies)
        .flat_map(|ban| ban.names.iter().map(move |name| (name, ban.why)))
        .filter_map(|(name, why)| {
            let line = source.line_naming(name)?;
            Some(format!("{path}:{line} names `{name}`: {why}"))
        })
        .collect()
}

fn assert_none(found: &[String]) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn imports_keep_to_their_rooms() -> anyhow::Result<()> {
    let found: Vec<String> = sources()?.iter().flat_map(|(path, source)| violations(path, source)).collect();
    assert_none(&found);
    Ok(())
}

#[test]
fn sql_stays_in_the_store() -> anyhow::Result<()> {
    const STATEMENTS: [&str; 6] =
        ["SELECT ", "INSERT INTO", "INSERT OR", "DELETE FROM", "CREATE TABLE", "PRAGMA "];
    let mut found = Vec::new();
    for (path, source) in sources()? {
        if path.starts_with("edge/src/store/") || path.starts_with("tests/tests/tidy") {
            continue;
        }
        for (line, text) in source.strings() {
            if STATEMENTS.iter().any(|statement| text.contains(statement)) {
                found.push(format!(
                    "{path}:{line} holds SQL: one place owns the tables, so that every transition is one transaction"
                ));
            }
        }
    }
    assert_none(&found);
    Ok(())
}

#[test]
fn files_can_be_read_in_one_sitting() -> anyhow::Result<()> {
    let long = |(path, source): &(String, Source)| {
        let lines = source.lines_without_tests();
        (lines > LINES_MAX).then(|| {
            format!(
                "{path} has {lines} lines without its tests, more than {LINES_MAX}: split it by what it does"
            )
        })
    };
    let found: Vec<String> = sources()?.iter().filter_map(long).collect();
    assert_none(&found);
    Ok(())
}

#[test]
fn manifests_keep_the_halves_apart() -> anyhow::Result<()> {
    const FORBIDDEN: [(&str, &[&str], &str); 4] = [
        (
            "edge/contract/Cargo.toml",
            &["edge", "trainer", "tch", "tract-onnx", "tokio", "rusqlite", "rumqttc"],
            "the contract is pure and depends on neither half",
        ),
        ("edge/Cargo.toml", &["trainer", "tch", "torch-sys"], "a station has no libtorch"),
        (
            "trainer/Cargo.toml",
            &["edge", "tract-onnx", "rumqttc", "rusqlite", "v4l"],
            "the halves meet in a bundle directory only",
        ),
        ("tests/Cargo.toml", &["trainer", "tch", "torch-sys"], "the end-to-end tests build without libtorch"),
    ];
    let mut found = Vec::new();
    for (manifest, crates, why) in FORBIDDEN {
        let text = fs::read_to_string(repository().join(manifest))?;
        for name in crates {
            if text.lines().any(|line| depends_on(line, name)) {
                found.push(format!("{manifest} depends on `{name}`: {why}"));
            }
        }
    }
    let workspace = fs::read_to_string(repository().join("Cargo.toml"))?;
    let defaults = workspace.lines().find(|line| line.starts_with("default-members")).unwrap_or_default();
    if defaults.is_empty() || defaults.contains("trainer") {
        found.push("Cargo.toml: default-members must leave out trainer: it needs libtorch".to_owned());
    }
    assert_none(&found);
    Ok(())
}

/// Whether a manifest's line is a dependency on a crate.
fn depends_on(line: &str, name: &str) -> bool {
    line.strip_prefix(name).is_some_and(|rest| rest.starts_with('.') || rest.trim_start().starts_with('='))
}

#[test]
fn broken_rules_are_found() {
    let broken = [
        ("edge/src/app.rs", "fn f() { tch::no_grad(|| 1); }"),
        ("edge/src/app.rs", "use tract_onnx::prelude::*;"),
        ("edge/src/web/mod.rs", "use std::{fmt, rc::Rc};\nuse {rusqlite::Connection, std::io};"),
        ("edge/src/intake.rs", "pub use v4l::Device as Camera;"),
        ("edge/src/study.rs", "use std::{fmt, fs as files};"),
        ("edge/src/study.rs", "use std::{thread::{self, Thread}};"),
        ("edge/src/quality/mod.rs", "let t = std::time::Instant::now();"),
        ("edge/contract/src/result.rs", "let at = jiff::Timestamp::now();"),
        ("edge/contract/tests/x.rs", "use ::edge::app;"),
        ("edge/src/health.rs", "extern crate rumqttc;"),
        ("trainer/src/eval.rs", "fn f(c: &edge::config::Config) {}"),
    ];
    for (path, text) in broken {
        assert_eq!(violations(path, &Source::parse(text)).len(), 1, "{path}: {text}");
    }
}

#[test]
fn kept_rules_are_not_complained_about() {
    let kept = [
        ("trainer/src/train.rs", "use tch::nn;"),
        ("edge/src/inference/model.rs", "use tract_onnx::prelude::*;"),
        ("edge/src/store/mod.rs", "use rusqlite::Connection;"),
        ("edge/src/study.rs", "use std::time::{Duration, Instant}; use std::fmt; // not std::fs"),
        ("edge/src/study.rs", "/* Instant::now */ let text = \"std::fs and Instant::now\";"),
        ("edge/src/study.rs", "let text = r#\"a \"quoted\" std::fs\"#; let c = '\"'; let l: &'static str;"),
        ("edge/src/app.rs", "let patch::Edge { edge } = self::edge; crate::v4l2::start(match_tch::x());"),
    ];
    for (path, text) in kept {
        assert_none(&violations(path, &Source::parse(text)));
    }
    assert_eq!(Source::parse("fn a() {}\n\n#[cfg(test)]\nmod tests {\n}\n").lines_without_tests(), 2);
}
