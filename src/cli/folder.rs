//! The data folder that a command works on.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, configuration};
use crate::engine::clock::Clock;
use crate::server::config::Config;
use crate::server::{Access, Stopped};

/// `--data` and `--config`, as every command on a data folder has them.
#[derive(Args)]
pub(super) struct Folder {
    /// Folder with everything that the server keeps.
    #[arg(long = "data", value_name = "DIR", default_value = "./muster-data")]
    pub(super) data: PathBuf,
    /// Configuration file of the server; needed where it says what opens the keys.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

impl Folder {
    /// The server's configuration, with the passphrase when there is one.
    pub(super) fn configuration(&self) -> Result<Config, Failure> {
        let mut config = configuration(self.config.as_deref(), &[])?;
        config.keys.read_passphrase()?;
        Ok(config)
    }

    /// The server that runs in the folder, or the folder itself.
    pub(super) fn access(&self, clock: &Clock) -> Result<Access, Failure> {
        Ok(Access::find(&self.configuration()?, &self.data, clock)?)
    }

    /// The folder itself, for what needs the server stopped.
    pub(super) fn stopped(&self, clock: &Clock) -> Result<Stopped, Failure> {
        Ok(Stopped::open(&self.configuration()?, &self.data, clock)?)
    }
}
