//! Completions for shells, and manual pages.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use clap::error::ErrorKind;
use clap_complete::Shell;
use clap_mangen::Man;

use super::exit::Exit;

/// Prints completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard completions bash > ~/.local/share/bash-completion/completions/bedrock-key-guard
  bedrock-key-guard completions zsh > ~/.zfunc/_bedrock-key-guard
      with `fpath+=~/.zfunc` before `compinit` in ~/.zshrc
  bedrock-key-guard completions fish > ~/.config/fish/completions/bedrock-key-guard.fish

Exit codes:
  0 printed   2 usage")]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(), "bedrock-key-guard", &mut text);
        io::stdout().write_all(&text)?;
        Ok(Exit::Done.into())
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

    /// Write the page of each command into this directory, which exists
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    output: Option<PathBuf>,
}

impl ManualPage {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut all = super::command();
        if let Some(directory) = self.output {
            clap_mangen::generate_to(all, &directory)
                .with_context(|| format!("{}: could not write the pages there", directory.display()))?;
            return Ok(Exit::Done.into());
        }
        all.build();
        let mut command = &all;
        for name in &self.command {
            let Some(found) = command.find_subcommand(name) else {
                let says =
                    format!("`{}` has no command {name:?}", command.get_bin_name().unwrap_or_default());
                super::command().error(ErrorKind::InvalidSubcommand, says).exit();
            };
            command = found;
        }
        let mut text = Vec::new();
        Man::new(command.clone()).render(&mut text)?;
        io::stdout().write_all(&text)?;
        Ok(Exit::Done.into())
    }
}
