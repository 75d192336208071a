//! `edge completions` and `edge man`: what packages install beside the binary, made from the command line itself.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory, Parser};
use clap_complete::Shell;

use super::common::{Failure, finish};
use crate::cli::Cli;
use crate::exit::Exit;

const COMPLETIONS_EXAMPLE: &str = "\
Examples:
  edge completions bash > /usr/share/bash-completion/completions/edge
  edge completions zsh > /usr/local/share/zsh/site-functions/_edge
  edge completions fish > ~/.config/fish/completions/edge.fish";

const MAN_EXAMPLE: &str = "\
Example:
  edge man --out /usr/share/man/man1 && man edge-doctor";

/// Print a shell's completion script
#[derive(Debug, Parser)]
#[command(after_help = COMPLETIONS_EXAMPLE)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Write the man pages, one for each command
#[derive(Debug, Parser)]
#[command(after_help = MAN_EXAMPLE)]
pub struct ManArgs {
    /// Folder for the pages; it is made if it is missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Runs `edge completions`.
pub fn run_completions(args: &CompletionsArgs) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "edge", &mut script);
    let printed = io::stdout().lock().write_all(&script).map_err(Failure::from);
    finish("completions", printed.map(|()| Exit::Ok))
}

/// Runs `edge man`.
pub fn run_man(args: &ManArgs) -> Exit {
    let written = write_pages(&args.out).map_err(|error| {
        let message =
            format!("cannot write to {}: {error}; name a folder that may be written", args.out.display());
        Failure::new(Exit::Io, message)
    });
    finish("man", written.map(|()| Exit::Ok))
}

fn write_pages(out: &Path) -> io::Result<()> {
    fs::create_dir_all(out)?;
    for (name, page) in pages()? {
        fs::write(out.join(name), page)?;
    }
    Ok(())
}

/// File names and contents: `edge.1`, `edge-doctor.1`, `edge-outbox-export.1` and so on.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    collect(&root, &mut pages)?;
    Ok(pages)
}

fn collect(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    let man = clap_mangen::Man::new(command.clone())
        .manual("Ulna")
        .source(format!("edge {}", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render(&mut page)?;
    pages.push((man.get_filename(), page));
    command.get_subcommands().try_for_each(|sub| collect(sub, pages))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(name: &str) -> String {
        let pages = pages().unwrap();
        let names: Vec<&String> = pages.iter().map(|(name, _)| name).collect();
        let found = pages.iter().find(|(page, _)| page == name);
        let (_, bytes) = found.unwrap_or_else(|| panic!("no {name} in {names:?}"));
        String::from_utf8(bytes.clone()).unwrap()
    }

    #[test]
    fn every_command_has_a_page_that_says_what_it_is_for() {
        for (name, page) in pages().unwrap() {
            let text = String::from_utf8(page).unwrap();
            assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{name}: {text}");
        }
        assert!(page("edge.1").contains("edge\\-doctor(1)"), "{}", page("edge.1"));
        let export = page("edge-outbox-export.1");
        assert!(export.contains("\\-\\-delivered"), "{export}");
        assert!(export.contains("\\fBedge outbox export\\fR"), "{export}");
    }

    #[test]
    fn exit_codes_stand_in_the_first_page() {
        assert!(page("edge.1").contains("Exit codes"));
        assert!(page("edge-doctor.1").contains("Exit codes: 0 all is well"));
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
