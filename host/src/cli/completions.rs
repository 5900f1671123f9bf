//! `bantam completions`.

use clap::Args;
use clap_complete::Shell;

use crate::error::Error;

/// Print a completion script for a shell
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  bantam completions bash > ~/.local/share/bash-completion/completions/bantam
  bantam completions zsh > ~/.zfunc/_bantam
  bantam completions fish > ~/.config/fish/completions/bantam.fish")]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(super) fn completions(args: &CompletionsArgs) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "bantam", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script).map_err(Error::stdout)
}
