//! `muster config check` and `muster config show`.

use std::path::Path;

use super::{Failure, configuration, say};
use crate::engine::clock::Clock;
use crate::server::certificate;

/// Says that everything is right, or fails with all mistakes.
pub(super) fn check(file: Option<&Path>) -> Result<(), Failure> {
    let config = configuration(file, &[])?;
    if let Some((names, ends)) = certificate::check(&config, &Clock::system())? {
        say(&format!("HTTPS certificate: for {}, until {ends}", names.join(", ")));
        let (other, one) = config.site.hosts.iter().partition::<Vec<_>, _>(|host| !names.contains(host));
        if one.is_empty() && !other.is_empty() {
            say("  it lists none of `site.hosts`; a name with `*.` may still stand for one");
        }
    }
    match file {
        Some(file) => say(&format!("{}: the configuration is right", file.display())),
        None => say("the configuration is right"),
    }
    Ok(())
}

/// Prints what is in force.
pub(super) fn show(file: Option<&Path>) -> Result<(), Failure> {
    say(configuration(file, &[])?.show().trim_end());
    Ok(())
}
