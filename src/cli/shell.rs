//! Completions for shells, and manual pages.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::error::ErrorKind;
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use super::exit::Exit;
use super::messages::shown;
use super::output::stdout;

const PROGRAM: &str = "bedrock-key-guard";
const VERSION: &str = concat!("bedrock-key-guard ", env!("CARGO_PKG_VERSION"));

/// Prints completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard completions bash > ~/.local/share/bash-completion/completions/bedrock-key-guard
  bedrock-key-guard completions zsh > ~/.zfunc/_bedrock-key-guard
      with `fpath+=~/.zfunc` before `compinit` in ~/.zshrc
  bedrock-key-guard completions fish > ~/.config/fish/completions/bedrock-key-guard.fish

Exit codes:
  0 printed   1 could not be written   2 usage")]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(), PROGRAM, &mut text);
        print(&text)
    }
}

/// Prints the manual page of a command, or writes all of them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard man | man -l -
  bedrock-key-guard man policy push | man -l -
  bedrock-key-guard man --output ~/.local/share/man/man1

Exit codes:
  0 done   1 could not be written   2 usage")]
pub struct ManualPage {
    /// The command, such as `policy push` [default: the page of the whole program]
    command: Vec<String>,

    /// Write the page of each command into this directory, created if need be
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    output: Option<PathBuf>,
}

impl ManualPage {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut all = super::command().disable_help_subcommand(true);
        all.build();
        if let Some(directory) = self.output {
            std::fs::create_dir_all(&directory)
                .and_then(|()| write_pages(&all, &directory))
                .with_context(|| format!("{}: could not write the pages there", shown(&directory)))?;
            return Ok(Exit::Done.into());
        }
        let mut command = &all;
        for name in &self.command {
            let Some(found) = command.find_subcommand(name) else {
                let says = format!("`{}` has no command {name:?}", command.get_bin_name().unwrap_or(PROGRAM));
                super::command().error(ErrorKind::InvalidSubcommand, says).exit();
            };
            command = found;
        }
        let mut text = Vec::new();
        page(command).render(&mut text)?;
        print(&text)
    }
}

/// The page of a command. Its header names the program at both sides, and the command in the middle: whole names at both sides do
/// not fit into 80 columns.
fn page(command: &Command) -> Man {
    // Roff leaves out what is empty, and takes the next field for it: so no date is two quotes.
    let page = Man::new(command.clone()).title(PROGRAM).date("\"\"").source(VERSION);
    match command.get_bin_name().and_then(|name| name.strip_prefix(PROGRAM)) {
        Some(name) if !name.is_empty() => page.manual(name.trim_start()),
        Some(_) | None => page,
    }
}

fn write_pages(command: &Command, directory: &Path) -> io::Result<()> {
    page(command).generate_to(directory)?;
    command.get_subcommands().try_for_each(|command| write_pages(command, directory))
}

fn print(text: &[u8]) -> anyhow::Result<ExitCode> {
    let mut out = stdout();
    out.write_all(text).and_then(|()| out.flush()).context("could not write to stdout")?;
    Ok(Exit::Done.into())
}
