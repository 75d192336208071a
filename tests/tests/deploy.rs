//! What is installed beside the binary is right for the binary.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use e2e::{bin, repository};

fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(repository().join(path)).with_context(|| path.to_owned())
}

/// `edge config check`: its exit code and what it complained about.
fn check(config: &Path) -> anyhow::Result<(Option<i32>, String)> {
    let output = bin::output(Command::new(bin::edge()?).args(["config", "check"]).arg(config))?;
    Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// The shipped configuration with every `#key = value` and `#[section]` line set.
fn with_every_key() -> anyhow::Result<String> {
    let lines = read("deploy/config/edge.toml")?;
    let set = |line: &str| {
        let bare = line.strip_prefix('#').filter(|rest| !rest.starts_with(' ') && !rest.is_empty());
        bare.unwrap_or(line).to_owned()
    };
    Ok(lines.lines().map(set).collect::<Vec<_>>().join("\n"))
}

#[test]
fn the_shipped_configuration_is_accepted() -> anyhow::Result<()> {
    assert_eq!(check(&repository().join("deploy/config/edge.toml"))?, (Some(0), String::new()));
    Ok(())
}

#[test]
fn every_key_shown_in_it_exists() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let config = dir.path().join("edge.toml");
    fs::write(&config, with_every_key()?)?;
    assert_eq!(check(&config)?, (Some(0), String::new()));
    Ok(())
}

/// An unknown key makes the parser list the keys it knows: all of them must be shown.
#[test]
fn every_key_that_exists_is_shown_in_it() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let config = dir.path().join("edge.toml");
    let shown = with_every_key()?;
    let mut seen = 0;
    for section in shown.lines().filter(|line| line.starts_with('[')).chain(["station = \"clinic-12\""]) {
        fs::write(&config, shown.replacen(section, &format!("{section}\nnot_a_key = 1"), 1))?;
        let (code, said) = check(&config)?;
        assert_eq!(code, Some(78), "{section}: {said}");
        let known = said.split("expected ").nth(1).with_context(|| format!("{section}: {said}"))?;
        for key in known.split('`').skip(1).step_by(2) {
            let table = [format!("[{key}]"), format!("{}.{key}]", section.trim_end_matches(']'))];
            let assigned = shown
                .lines()
                .any(|line| line.starts_with(&format!("{key} =")) || table.iter().any(|name| name == line));
            assert!(assigned, "deploy/config/edge.toml does not show `{key}` of {section}");
            seen += 1;
        }
    }
    assert!(seen > 40, "only {seen} keys were found");
    Ok(())
}

#[test]
fn both_spellings_of_the_cross_configuration_agree() -> anyhow::Result<()> {
    let lower = read("cross.toml")?;
    assert_eq!(lower, read("Cross.toml")?, "cross 0.2.5 reads Cross.toml only; copy cross.toml over it");
    for named in lower.lines().filter(|line| line.starts_with("dockerfile = ")) {
        let dockerfile = named.split('"').nth(1).context("a file")?;
        assert!(repository().join(dockerfile).is_file(), "cross.toml names {dockerfile}");
    }
    assert!(lower.contains("[target.aarch64-unknown-linux-gnu]"));
    assert!(lower.contains("[target.armv7-unknown-linux-gnueabihf]"));
    Ok(())
}

/// The unit must not start a station again that a restart cannot help, and must let it reach what it needs.
#[test]
fn the_unit_agrees_with_the_binary() -> anyhow::Result<()> {
    let unit = read("deploy/systemd/ulna-edge.service")?;
    let value = |key: &str| -> anyhow::Result<&str> {
        let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.with_context(|| format!("no {key}= in the unit"))
    };
    assert_eq!(value("Type")?, "notify");
    for code in ["65", "78"] {
        let stops = value("RestartPreventExitStatus")?.split(' ').any(|listed| listed == code);
        assert!(stops, "exit code {code} is not mended by starting again");
    }
    assert!(unit.contains("DeviceAllow=char-video4linux"), "the frame grabber");
    assert!(!unit.contains("PrivateDevices=yes"), "it would hide the frame grabber");

    let config = read("deploy/config/edge.toml")?;
    let state = format!("state_dir = \"/var/lib/{}\"", value("StateDirectory")?);
    assert!(config.contains(&state), "{state}");
    let spool = format!("dir = \"{}\"", value("ReadWritePaths")?.trim_start_matches('-'));
    assert!(config.contains(&spool), "{spool}");

    let socket = format!("socket = \"/run/{}/", value("RuntimeDirectory")?);
    assert!(config.contains(&socket), "{socket}");

    let command = value("ExecStart")?;
    let arguments: Vec<&str> = command.split(' ').skip(1).collect();
    assert_eq!(arguments, ["run", "--config", "/etc/ulna/edge.toml"]);
    let help = bin::succeed(Command::new(bin::edge()?).args(["run", "--help"]))?;
    assert!(help.contains("--config"), "{help}");
    Ok(())
}

/// The kiosk opens the page where it is by default, as a user who is not the station's.
#[test]
fn the_kiosk_shows_the_stations_page() -> anyhow::Result<()> {
    let unit = read("deploy/kiosk/ulna-kiosk.service")?;
    let config = read("deploy/config/edge.toml")?;
    let listen = config.lines().find_map(|line| line.strip_prefix("#listen = \"127.0.0.1:8460\""));
    assert!(listen.is_some(), "the default address of the page");
    assert!(unit.contains("http://127.0.0.1:8460/"), "{unit}");
    let users = read("deploy/kiosk/ulna-kiosk.sysusers.conf")?;
    assert!(unit.contains("User=ulna-kiosk") && users.contains("u ulna-kiosk "), "{users}");
    // The compositor makes its socket below /run/user, which ProtectHome hides and ProtectSystem closes.
    assert!(!unit.contains("\nProtectHome=") && unit.contains("\nReadWritePaths=/run/user\n"), "{unit}");
    Ok(())
}

/// What `trainer COMMAND --help` says.
fn help(command: &str) -> anyhow::Result<String> {
    bin::succeed(Command::new(bin::trainer()?).args(command.split(' ')).arg("--help"))
}

/// The options named in a text: words that begin with two dashes, up to a `=` or the end of the word.
fn options(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| c.is_whitespace() || c == '`' || c == '=' || c == ')' || c == ',');
    words.filter(|word| word.len() > 2 && word.starts_with("--")).collect()
}

fn assert_known(text: &str, command: &str, source: &str) -> anyhow::Result<usize> {
    let (help, named) = (help(command)?, options(text));
    for option in &named {
        let known = help.split_whitespace().any(|word| word.trim_end_matches(',') == *option);
        assert!(known, "{source} gives `trainer {command}` the option {option}, which it does not have");
    }
    Ok(named.len())
}

#[test]
fn the_trainer_machine_gives_options_that_exist() -> anyhow::Result<()> {
    let job = read("deploy/trainer/ensemble.yaml")?;
    let arguments: Vec<&str> = job.lines().filter(|line| line.trim_start().starts_with("- --")).collect();
    assert!(assert_known(&arguments.join(" "), "train", "ensemble.yaml")? >= 6);

    let machine = read("deploy/trainer/cloud-init.yaml")?;
    let command = machine.split("${TRAINER_IMAGE} train ").nth(1).context("no command that trains")?;
    let command = command.split("$TRAINER_OPTIONS").next().unwrap_or_default();
    let more =
        machine.lines().find(|line| line.contains("TRAINER_OPTIONS=")).context("no TRAINER_OPTIONS")?;
    let more = more.split_once('=').map_or("", |(_, options)| options);
    assert!(assert_known(&format!("{command} {more}"), "train", "cloud-init.yaml")? >= 5);
    Ok(())
}

#[test]
fn the_readme_gives_the_trainer_options_that_exist() -> anyhow::Result<()> {
    let readme = read("README.md")?;
    let mut seen = 0;
    for line in readme.lines().filter_map(|line| line.strip_prefix("trainer ")) {
        let line = line.split(" #").next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let command = match words.next().unwrap_or_default() {
            "bench" => format!("bench {}", words.next().unwrap_or_default()),
            command => command.to_owned(),
        };
        seen += assert_known(line, &command, "README.md")?;
    }
    assert!(seen > 20, "only {seen} options found in README.md");
    Ok(())
}
