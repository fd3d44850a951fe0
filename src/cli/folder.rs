//! The data folder that a command works on.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, configuration};
use crate::engine::clock::Clock;
use crate::server::config::Config;
use crate::server::{Access, Stopped};

/// Where the installed service keeps everything.
pub(super) const INSTALLED_DATA: &str = "/var/lib/muster";
/// Where its configuration is.
pub(super) const INSTALLED_CONFIG: &str = "/etc/muster/muster.toml";
/// Where a server that is started by hand keeps everything.
pub(super) const OWN_DATA: &str = "./muster-data";

/// `--data` and `--config`, as every command on a data folder has them.
#[derive(Args)]
pub(super) struct Folder {
    /// Folder with everything that the server keeps. Without it: `./muster-data` if there is one, else that of the
    /// installed service, `/var/lib/muster`.
    #[arg(long = "data", value_name = "DIR", default_value_os_t = usual(), hide_default_value = true)]
    pub(super) data: PathBuf,
    /// Configuration file of the server; needed where it says what opens the keys. The installed service's is found.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

fn usual() -> PathBuf {
    choose(Path::new(OWN_DATA), Path::new(INSTALLED_DATA)).to_owned()
}

/// A folder of one's own goes before that of the service.
fn choose<'a>(own: &'a Path, installed: &'a Path) -> &'a Path {
    match !own.exists() && installed.exists() {
        true => installed,
        false => own,
    }
}

impl Folder {
    /// The server's configuration, with the passphrase when there is one.
    pub(super) fn configuration(&self) -> Result<Config, Failure> {
        let installed = Path::new(INSTALLED_CONFIG);
        let found = (self.data == Path::new(INSTALLED_DATA) && installed.exists()).then_some(installed);
        let mut config = configuration(self.config.as_deref().or(found), &[])?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ones_own_folder_goes_before_that_of_the_service() {
        let folder = tempfile::tempdir().unwrap();
        let (own, installed) = (folder.path().join("own"), folder.path().join("installed"));
        assert_eq!(choose(&own, &installed), own, "neither is there: what is made is one's own");
        std::fs::create_dir(&installed).unwrap();
        assert_eq!(choose(&own, &installed), installed);
        std::fs::create_dir(&own).unwrap();
        assert_eq!(choose(&own, &installed), own);
    }
}
