//! `muster reload`: the running server reads the files of its HTTPS certificate again.

use super::{Failure, Folder, say};
use crate::server::certificate;

/// Asks it, and says what it serves now.
pub(super) fn reload(folder: &Folder) -> Result<(), Failure> {
    let (names, ends, changed) = certificate::reload(&folder.data)?;
    match (names.is_empty(), changed) {
        (true, _) => say(&format!("HTTPS goes on with the certificate of the own authority, until {ends}.")),
        (false, true) => {
            say(&format!("HTTPS has the new certificate, for {}, until {ends}.", names.join(", ")))
        }
        (false, false) => say(&format!(
            "HTTPS goes on with the same certificate, for {}, until {ends}: the file holds no other.",
            names.join(", ")
        )),
    }
    Ok(())
}
