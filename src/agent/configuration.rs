//! What the machine's owner allows the server to do here. The server can ask for nothing else.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::base::{Error, Labels, Result, Span, limits};

/// The agent's own configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Configuration {
    /// Commands that the server may run, by name.
    pub commands: BTreeMap<String, AllowedCommand>,
    /// Labels that are proposed to the server.
    pub labels: Labels,
    /// Whether the journal of systemd is sent.
    pub journal: bool,
    /// Log files that are sent.
    pub log_files: Vec<PathBuf>,
    /// Time between samples, until the server says otherwise.
    pub metrics_every: Span,
    /// Time between heartbeats, until the server says otherwise.
    pub heartbeat_every: Span,
    /// Tasks that run at once; others wait.
    pub tasks_at_once_max: usize,
    /// Bytes of the spool.
    pub spool_bytes_max: u64,
}

/// A command that the server may run.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowedCommand {
    /// Program, by its absolute path, and its arguments. No shell reads them.
    pub argv: Vec<String>,
    /// What it is for, for the operator.
    #[serde(default)]
    pub description: String,
    /// Whether the server may add arguments.
    #[serde(default)]
    pub takes_arguments: bool,
}

impl Default for Configuration {
    fn default() -> Self {
        Configuration {
            commands: BTreeMap::new(),
            labels: Labels::default(),
            journal: false,
            log_files: Vec::new(),
            metrics_every: Span::from_seconds(10),
            heartbeat_every: Span::from_seconds(10),
            tasks_at_once_max: 4,
            spool_bytes_max: 64 * 1024 * 1024,
        }
    }
}

impl Configuration {
    /// Names the first thing that is wrong.
    pub fn check(&self) -> Result<()> {
        self.labels.check()?;
        if self.commands.len() > 256 {
            return Err(Error::invalid("more than 256 commands are allowed"));
        }
        for (name, command) in &self.commands {
            let sound = !name.is_empty()
                && name.len() <= 64
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
            if !sound {
                return Err(Error::invalid(format!("command name `{name}` is not valid"))
                    .hint("use letters, digits, `.`, `_`, `-`, at most 64"));
            }
            if !command.argv.first().is_some_and(|program| program.starts_with('/')) {
                return Err(Error::invalid(format!("command `{name}` has no program by an absolute path"))
                    .hint("for example `argv = [\"/usr/bin/systemctl\", \"restart\", \"press\"]`"));
            }
        }
        if self.log_files.len() > 32 {
            return Err(Error::invalid("more than 32 log files"));
        }
        if self.metrics_every < Span::from_seconds(1) || self.heartbeat_every < Span::from_seconds(1) {
            return Err(Error::invalid("intervals of less than a second"));
        }
        if !(1..=64).contains(&self.tasks_at_once_max) {
            return Err(Error::invalid("`tasks_at_once_max` must be 1 to 64"));
        }
        if self.spool_bytes_max < 1 << 20 {
            return Err(Error::invalid("`spool_bytes_max` must be at least 1 MiB"));
        }
        Ok(())
    }

    /// The program and arguments of a command that the server asks for, or why it may not.
    pub fn argv(&self, name: &str, arguments: &[String]) -> Result<Vec<String>> {
        let shown: String = name.chars().take(64).collect();
        let allowed = self.commands.get(name).ok_or_else(|| {
            Error::forbidden(format!("command `{shown}` is not allowed by this agent's configuration"))
        })?;
        if !arguments.is_empty() && !allowed.takes_arguments {
            return Err(Error::forbidden(format!("command `{shown}` takes no arguments here")));
        }
        if arguments.len() > limits::TASK_ARGUMENTS_MAX || arguments.iter().any(|a| a.contains('\0')) {
            return Err(Error::invalid(format!("the arguments of command `{shown}` are not valid")));
        }
        Ok(allowed.argv.iter().chain(arguments).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_allowed_runs() {
        let configuration: Configuration = toml::from_str(
            "journal = true\nmetrics_every = \"5s\"\n[commands.restart]\nargv = [\"/bin/true\"]\n\
             [commands.say]\nargv = [\"/bin/echo\", \"-n\"]\ntakes_arguments = true\n",
        )
        .unwrap();
        configuration.check().unwrap();
        assert_eq!(configuration.argv("say", &["a;b".into()]).unwrap(), ["/bin/echo", "-n", "a;b"]);
        assert!(configuration.argv("restart", &["x".into()]).is_err());
        assert!(configuration.argv("reboot", &[]).unwrap_err().message().contains("`reboot`"));
        assert!(configuration.argv("say", &vec![String::new(); 65]).is_err());
        let relative: Configuration = toml::from_str("[commands.x]\nargv = [\"true\"]").unwrap();
        assert!(relative.check().unwrap_err().message().contains("`x`"));
    }
}
