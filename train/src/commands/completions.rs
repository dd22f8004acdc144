//! `genesis completions`: shell completions.

use super::{Cli, Common};
use crate::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Prints shell completions
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  genesis completions bash > /etc/bash_completion.d/genesis
  genesis completions zsh > ~/.zfunc/_genesis")]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Runs the command.
///
/// # Errors
/// None.
pub fn run(args: &CompletionsArgs, _common: &Common) -> Result<()> {
    clap_complete::generate(args.shell, &mut Cli::command(), "genesis", &mut std::io::stdout());
    Ok(())
}
