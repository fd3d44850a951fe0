//! What a command of the command line works on: a running server through its control socket, or a stopped folder that
//! it opens itself. Either way the same operations run, and the journal says which user asked.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::config::Config;
use super::control::{self, Client};
use super::opening::{self, Purpose};
use crate::base::{Error, Kind, Result};
use crate::capabilities::{ALL, identity};
use crate::engine::clock::Clock;
use crate::engine::journal::FolderLock;
use crate::kit::{Actor, Ctx, Request, Site};
use crate::surface;

/// Where operations run.
pub enum Access {
    /// The server that runs in the folder.
    Running(Client),
    /// The folder itself; nobody else can use it while this is held.
    Stopped(Stopped),
}

impl Access {
    /// Finds the running server, or opens the folder.
    pub fn find(config: &Config, folder: &Path, clock: &Clock) -> Result<Access> {
        if let Some(client) = Client::connect(folder)? {
            return Ok(Access::Running(client));
        }
        match Stopped::open(config, folder, clock) {
            Ok(stopped) => Ok(Access::Stopped(stopped)),
            // Between its lock and its socket a server starts or ends.
            Err(e) if e.kind() == Kind::Conflict && in_use(folder) => match Client::connect(folder)? {
                Some(client) => Ok(Access::Running(client)),
                None => Err(Error::conflict(e.message().to_owned())
                    .hint("it is starting, stopping, or another command; try again in a moment")),
            },
            Err(e) => Err(e),
        }
    }

    /// Runs an operation.
    pub fn call(self, op: &str, input: Value) -> Result<Value> {
        match self {
            Access::Running(client) => client.call(op, input),
            Access::Stopped(stopped) => stopped.call(op, input),
        }
    }
}

fn in_use(folder: &Path) -> bool {
    FolderLock::take(&folder.join("store")).is_err()
}

/// A stopped folder, opened without anything that listens or runs by itself.
pub struct Stopped {
    site: Arc<Site>,
}

impl Stopped {
    /// Opens it; refuses one that is in use, of a newer form, of another user, or no data folder at all.
    pub fn open(config: &Config, folder: &Path, clock: &Clock) -> Result<Stopped> {
        opening::known(folder)?;
        drop(opening::stopped(folder)?);
        let site = opening::site(config, folder, clock, Vec::new(), Purpose::Command)?;
        Ok(Stopped { site: Arc::new(site) })
    }

    /// Runs an operation as the appliance itself.
    pub fn call(&self, op: &str, input: Value) -> Result<Value> {
        surface::call(&surface::ops(ALL), &self.ctx(), op, input)
    }

    /// A fresh set-up code, while nobody has an account.
    pub fn setup_code(&self) -> Result<Option<String>> {
        identity::setup_code(&self.site)
    }

    /// The engines.
    pub(super) fn site(&self) -> &Site {
        &self.site
    }

    /// Acts as the appliance; the journal says which user asked.
    pub(super) fn ctx(&self) -> Ctx<'_> {
        let from = control::from(rustix::process::geteuid().as_raw());
        Ctx::new(&self.site, self.site.home, Actor::System, Request { from, ..Request::default() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn data(folder: &Path, clock: &Clock) -> std::path::PathBuf {
        let data = folder.join("data");
        opening::prepare(&data, clock).unwrap();
        drop(opening::site(&Config::default(), &data, clock, Vec::new(), Purpose::Serve).unwrap());
        data
    }

    #[test]
    fn a_stopped_folder_answers_and_is_nobody_elses_meanwhile() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::system());
        let data = data(folder.path(), &clock);
        let access = Access::find(&Config::default(), &data, &clock).unwrap();
        let error = Access::find(&Config::default(), &data, &clock).err().unwrap();
        assert_eq!(error.kind(), Kind::Conflict);
        assert!(error.hint_text().unwrap().contains("try again"), "{error}");
        let site = access.call("settings.find", json!({})).unwrap();
        assert_eq!(site["name"], "Muster");
        let access = Access::find(&Config::default(), &data, &clock).unwrap();
        let error = access.call("settings.find", json!({ "nmae": 1 })).unwrap_err();
        assert!(error.message().contains("not a field"), "{error}");
        assert!(!data.join(control::SOCKET).exists(), "nothing listens");
    }

    #[test]
    fn what_is_written_says_which_user_asked() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::system());
        let data = data(folder.path(), &clock);
        let stopped = Stopped::open(&Config::default(), &data, &clock).unwrap();
        stopped.call("settings.change", json!({ "name": "Lyon" })).unwrap();
        let change = stopped.site.store.changes(0, 100).unwrap().pop().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        assert_eq!(change.origin.from, format!("command line, uid {uid}"));
        assert_eq!(change.origin.actor, "system");
    }

    #[test]
    fn nothing_is_made_where_no_data_is() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::system());
        assert!(Stopped::open(&Config::default(), folder.path(), &clock).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
