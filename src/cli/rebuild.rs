//! `muster rebuild` and `muster compact`: what follows from something else, made anew or smaller.

use clap::Subcommand;

use super::folder::Folder;
use super::progress::{Progress, size};
use super::{Failure, say};
use crate::engine::clock::Clock;
use crate::server::rebuild;

/// `muster rebuild`.
#[derive(Subcommand)]
pub(super) enum Rebuild {
    /// Removes the search index; the next start makes it anew.
    Index(Folder),
    /// Makes the store's state anew from the journal, and from the server's own newest backup where it needs one.
    State(Folder),
}

/// Makes it anew, while the server is stopped.
pub(super) fn rebuild(role: &Rebuild) -> Result<(), Failure> {
    match role {
        Rebuild::Index(folder) => {
            rebuild::index(&folder.data)?;
            say("The search index is removed; the next start makes it anew.");
        }
        Rebuild::State(folder) => {
            let (clock, config) = (Clock::system(), folder.configuration()?);
            let line = Progress::begin(&clock).shared();
            let rebuilt = rebuild::state(&config, &folder.data, &clock, &|progress| line.phase(progress));
            line.end();
            let rebuilt = rebuilt?;
            let from = match rebuilt.from {
                Some(backup) => format!("the backup {backup} and the journal"),
                None => "the journal".into(),
            };
            say(&format!("The state is made anew from {from}, to change {}.", rebuilt.last));
            if let Some(aside) = rebuilt.aside {
                say(&format!("The old one is now {}; remove it when all is well.", aside.display()));
            }
        }
    }
    Ok(())
}

/// Makes the state's file as small as its contents allow.
pub(super) fn compact(folder: &Folder) -> Result<(), Failure> {
    let (before, after) = rebuild::compact(&folder.configuration()?, &folder.data, &Clock::system())?;
    say(&format!("The state's file is {}; it was {}.", size(after), size(before)));
    Ok(())
}
