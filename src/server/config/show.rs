//! The configuration as text.

use std::fmt::Write as _;

use super::Config;
use super::keys::{KEYS, listed, quoted};

/// A file that gives this configuration; secrets are marked and left out.
pub(super) fn show(config: &Config) -> String {
    let mut out = String::new();
    let mut section = "";
    for key in KEYS {
        if key.section != section {
            section = key.section;
            let gap = if out.is_empty() { "" } else { "\n" };
            let _ = writeln!(out, "{gap}[{section}]");
        }
        if let Some(value) = (key.show)(config) {
            let mark = if value.contains("[secret]") { "# " } else { "" };
            let _ = writeln!(out, "{mark}{} = {value}", key.word);
        }
    }
    if config.agent.commands.is_empty() {
        out.push_str("\n[agent.commands]\n");
    }
    for (name, command) in &config.agent.commands {
        let _ = writeln!(
            out,
            "\n[agent.commands.{name}]\nrun = {}\ndescription = {}\narguments = {}",
            listed(&command.run),
            quoted(&command.description),
            command.arguments
        );
    }
    out
}
