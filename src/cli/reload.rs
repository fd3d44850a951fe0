//! `muster reload`: the running server reads its configuration and the files of its HTTPS certificate again.

use super::{Failure, Folder, say};
use crate::server::certificate;

/// Asks it, and says what it serves now, what changed and what waits for a restart.
pub(super) fn reload(folder: &Folder) -> Result<(), Failure> {
    let certificate::Reloaded { names, ends, changed, settings, restart } =
        certificate::reload(&folder.data)?;
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
    for (title, list) in [("Taken over from the configuration:", settings), ("Waits for a restart:", restart)]
    {
        if !list.is_empty() {
            say(title);
            list.iter().for_each(|line| say(&format!("  {line}")));
        }
    }
    Ok(())
}
