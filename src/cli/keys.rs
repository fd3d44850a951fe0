//! `muster keys`: what seals the keys at rest.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::folder::Folder;
use super::{Failure, key, say};
use crate::base::{Error, Secret};
use crate::engine::clock::Clock;
use crate::server::NewKek;
use crate::server::config::KekSource;

/// `muster keys`.
#[derive(Subcommand)]
pub(super) enum Keys {
    /// Seals all keys with a new key-encryption key; the server may run meanwhile.
    Rotate(Rotate),
}

/// `muster keys rotate`.
#[derive(Args)]
pub(super) struct Rotate {
    #[command(flatten)]
    folder: Folder,
    /// What the new key comes from; without it as the configuration says.
    #[arg(long, value_enum, value_name = "KIND")]
    to: Option<Kind>,
    /// File whose first line is the new passphrase; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    new_passphrase: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// The file `kek` in the data folder.
    File,
    /// A passphrase.
    Passphrase,
    /// The systemd credential `muster.kek`.
    Systemd,
}

/// Changes the key.
pub(super) fn keys(role: &Keys) -> Result<(), Failure> {
    let Keys::Rotate(arguments) = role;
    let configured = match arguments.folder.configuration()?.keys.kek {
        KekSource::File => Kind::File,
        KekSource::Passphrase => Kind::Passphrase,
        KekSource::Systemd => Kind::Systemd,
    };
    let kind = arguments.to.unwrap_or(configured);
    let new = match (kind, &arguments.new_passphrase) {
        (Kind::File, None) => NewKek::File,
        (Kind::Systemd, None) => NewKek::Credential,
        (Kind::Passphrase, Some(path)) => {
            let text = key::read(path)?;
            NewKek::Passphrase(Secret::new(text.expose().lines().next().unwrap_or_default().to_owned()))
        }
        (Kind::Passphrase, None) => {
            return Err(Error::invalid("the new passphrase is not given")
                .hint("name its file with `--new-passphrase FILE`, or `-` for standard input")
                .into());
        }
        (_, Some(_)) => {
            return Err(Error::invalid("`--new-passphrase` is for `--to passphrase`").into());
        }
    };
    arguments.folder.access(&Clock::system())?.rotate_kek(&new)?;
    say("All keys are sealed with the new key-encryption key; the old one opens nothing more here.");
    match kind {
        Kind::File => say(
            "It is the file `kek` in the data folder. Older copies of the folder open with the older file.",
        ),
        Kind::Passphrase => say("Put the new passphrase where the server reads it before it starts again."),
        Kind::Systemd => say("Keep the credential as it is now."),
    }
    if kind != configured {
        say("Change `[keys] kek` in the configuration before the server starts again.");
    }
    Ok(())
}
