//! `muster admin`: ways back in for who holds the machine.

use clap::{Args, Subcommand};
use serde_json::json;

use super::folder::Folder;
use super::{Failure, say};
use crate::engine::clock::Clock;

/// `muster admin`.
#[derive(Subcommand)]
pub(super) enum Admin {
    /// Prints a one-time link that sets a new password, for somebody who cannot come in any more; who was shut out may
    /// come in again.
    Recover(Recover),
}

/// `muster admin recover`.
#[derive(Args)]
pub(super) struct Recover {
    #[command(flatten)]
    folder: Folder,
    /// What they sign in with; the first active owner when it is left out.
    login: Option<String>,
    /// Removes their passkeys, app and recovery codes too, which are lost, and ends their sessions.
    #[arg(long)]
    remove_factors: bool,
}

/// Makes the link, of a running or a stopped server; the audit trail says who asked.
pub(super) fn admin(role: &Admin) -> Result<(), Failure> {
    let Admin::Recover(asked) = role;
    let input = json!({ "login": asked.login, "remove_factors": asked.remove_factors });
    let answer = asked.folder.access(&Clock::system())?.call("identity.recover", input)?;
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    // A stopped server has no port yet; it will have the configured one.
    let port = asked.folder.configuration()?.http.address.port();
    say(&text("link").replace(":0/login", &format!(":{port}/login")));
    say("");
    say(&format!(
        "It sets a new password for `{}`: once, and within 24 hours. Whoever has it can come in.",
        text("login")
    ));
    match (answer["removed"].as_u64().unwrap_or_default(), answer["asks_factor"].as_bool()) {
        (0, Some(true)) => say(
            "It still asks for their second factor. If that is lost too, repeat this with `--remove-factors`.",
        ),
        (0, _) => {}
        (n, _) => say(&format!("Second factors that were removed: {n}. Their sessions have ended.")),
    }
    Ok(())
}
