//! `muster audit verify`.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _};
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{Failure, complain, say};
use crate::base::Error;
use crate::server::{is_pack, prove, prove_pack};

#[derive(Subcommand)]
pub(super) enum AuditRole {
    /// Says whether an exported audit log or a pack of evidence is whole, or names the first line that does not fit.
    Verify {
        /// File that the console's audit page gave away.
        file: PathBuf,
        /// Public key of the site, as the audit page shows it; without it the file's own is believed.
        #[arg(long, value_name = "PUBLIC")]
        key: Option<String>,
    },
}

/// Runs the role.
pub(super) fn audit(role: &AuditRole) -> Result<(), Failure> {
    let AuditRole::Verify { file, key } = role;
    let mut input = open(file)?;
    let mut beginning = [0; 4];
    let begun = input.read(&mut beginning).and_then(|read| {
        input.rewind()?;
        Ok(beginning.get(..read).is_some_and(is_pack))
    });
    let is_pack =
        begun.map_err(|e| Error::unavailable(format!("`{}` cannot be read", file.display())).because(e))?;
    let proved = match is_pack {
        true => prove_pack(BufReader::new(input), key.as_deref()),
        false => prove(BufReader::new(input), key.as_deref()),
    };
    let proved = proved.map_err(|e| Error::invalid(format!("`{}`: {}", file.display(), e.message())))?;
    say(&format!("{}: {proved}", file.display()));
    let (_, to) = proved.range;
    if proved.signed_up_to < to {
        complain(&format!("muster: no checkpoint vouches for the entries after {}", proved.signed_up_to));
    }
    if key.is_none() {
        complain(&format!(
            "muster: the file's own key was believed; compare it with the site's: {}",
            proved.key
        ));
    }
    Ok(())
}

fn open(file: &Path) -> Result<File, Error> {
    File::open(file).map_err(|e| Error::not_found("the file", file.display()).because(e))
}
