//! `muster config check` and `muster config show`.

use std::path::Path;

use super::{Failure, configuration, say};

/// Says that everything is right, or fails with all mistakes.
pub(super) fn check(file: Option<&Path>) -> Result<(), Failure> {
    configuration(file, &[])?;
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
