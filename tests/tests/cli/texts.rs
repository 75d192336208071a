//! What is said of the command line agrees with it: help, man pages, completions, README.

use std::fs;
use std::process::Command;

use anyhow::Context;
use e2e::{bin, repository, sorted_entries};

fn say(arguments: &str) -> anyhow::Result<String> {
    bin::succeed(Command::new(bin::edge()?).args(arguments.split(' ')))
}

/// The commands below one, as its help lists them.
fn commands(of: &str) -> anyhow::Result<Vec<String>> {
    let help = say(format!("{of} --help").trim())?;
    let Some(list) = help.split("\nCommands:\n").nth(1) else { return Ok(Vec::new()) };
    let listed = list.lines().take_while(|line| line.starts_with("  "));
    let names =
        listed.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    Ok(names.filter(|name| *name != "help").map(|name| format!("{of} {name}").trim().to_owned()).collect())
}

/// Every command and every command below it.
fn all_commands() -> anyhow::Result<Vec<String>> {
    let mut all = commands("")?;
    for command in all.clone() {
        all.extend(commands(&command)?);
    }
    anyhow::ensure!(all.len() > 15, "only {all:?}");
    Ok(all)
}

#[test]
fn every_command_has_help_that_fits_and_a_man_page() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let out = dir.path().join("man1");
    say(&format!("man --out {}", out.display()))?;
    let pages: Vec<String> = sorted_entries(&out)?.iter().map(|path| e2e::name(path)).collect();
    for command in all_commands()? {
        let help = bin::succeed(
            Command::new(bin::edge()?).args(command.split(' ')).arg("--help").env("COLUMNS", "80"),
        )?;
        assert!(help.contains("Usage: edge "), "{command}: {help}");
        let long: Vec<&str> = help.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(long.is_empty(), "`edge {command} --help` has long lines: {long:#?}");
        let page = format!("edge-{}.1", command.replace(' ', "-"));
        assert!(pages.contains(&page), "no {page} in {pages:?}");
    }
    for command in ["bench", "doctor", "watch", "outbox", "study", "support-bundle", "completions", "man"] {
        assert!(say(&format!("{command} --help"))?.contains("Example"), "{command}");
    }
    Ok(())
}

#[test]
fn completions_know_every_command() -> anyhow::Result<()> {
    for shell in ["bash", "zsh", "fish"] {
        let script = say(&format!("completions {shell}"))?;
        for command in commands("")? {
            assert!(script.contains(&command), "{shell} does not know {command}");
        }
    }
    // A shell takes the script as it is.
    let script = say("completions bash")?;
    bin::succeed(Command::new("bash").args(["-n", "-c", &script]))?;
    Ok(())
}

/// Lines of the README's code blocks that call `edge`: each command and option of theirs must exist.
#[test]
fn the_readme_gives_commands_and_options_that_exist() -> anyhow::Result<()> {
    let readme = fs::read_to_string(repository().join("README.md"))?;
    let all = all_commands()?;
    let mut seen = 0;
    for line in readme.lines().filter_map(|line| line.strip_prefix("edge ")) {
        let line = line.split(" #").next().unwrap_or_default();
        let command = all
            .iter()
            .filter(|command| line == command.as_str() || line.starts_with(&format!("{command} ")))
            .max_by_key(|command| command.len())
            .with_context(|| format!("README.md: there is no `edge {line}`"))?;
        let help = say(&format!("{command} --help"))?;
        for option in line.split_whitespace().filter(|word| word.starts_with("--")) {
            let known = help.split_whitespace().any(|word| word.trim_end_matches(',') == option);
            assert!(known, "README.md gives `edge {command}` the option {option}");
        }
        seen += 1;
    }
    assert!(seen >= 10, "only {seen} lines of README.md call edge");
    Ok(())
}
