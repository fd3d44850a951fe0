//! `muster recovery-key`: the key that opens the site's backups.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::folder::Folder;
use super::{Failure, complain, key, say};
use crate::base::Error;
use crate::engine::clock::Clock;

/// `muster recovery-key`.
#[derive(Subcommand)]
pub(super) enum RecoveryKey {
    /// Prints the recovery key; the audit log tells that it was shown.
    Show(Show),
    /// Says whether a key opens this site's newest backup.
    Check(Check),
}

/// `muster recovery-key show`.
#[derive(Args)]
pub(super) struct Show {
    #[command(flatten)]
    folder: Folder,
    /// Prints three shares instead, any two of which are the key.
    #[arg(long)]
    shares: bool,
    /// An older key, by its number.
    #[arg(long, value_name = "N")]
    number: Option<u32>,
}

/// `muster recovery-key check`.
#[derive(Args)]
pub(super) struct Check {
    /// File with the key or with two of its shares; `-` reads standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    folder: Folder,
}

/// Runs the operation where the server is.
pub(super) fn recovery_key(role: &RecoveryKey) -> Result<(), Failure> {
    let clock = Clock::system();
    match role {
        RecoveryKey::Show(show) => {
            let input = json!({ "number": show.number, "shares": show.shares });
            let kit = show.folder.access(&clock)?.call("backups.kit", input)?;
            let row = &kit["key"];
            // What is no key stays out of standard output: `muster recovery-key show > key.txt` gives a file for `age`.
            complain(&format!(
                "Recovery key {} of `{}`, for {}. Keep it away from this machine.",
                row["number"],
                kit["site"].as_str().unwrap_or_default(),
                row["recipient"].as_str().unwrap_or_default()
            ));
            for secret in kit["secrets"].as_array().into_iter().flatten().filter_map(|secret| secret.as_str())
            {
                say(secret);
            }
            Ok(())
        }
        RecoveryKey::Check(check) => {
            let text = key::read(&check.file)?;
            let input = json!({ "text": text.expose() });
            let checked = check.folder.access(&clock)?.call("backups.check_key", input)?;
            let text = checked["text"].as_str().unwrap_or_default();
            match checked["opens"].as_bool() {
                Some(true) => {
                    say(text);
                    Ok(())
                }
                _ => Err(Error::invalid(text.to_owned()).into()),
            }
        }
    }
}
