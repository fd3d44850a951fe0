//! Recovery keys and shares as a person hands them over.

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;

use super::complain;
use crate::base::{Error, Result, Secret};
use crate::server::Keys;

/// Bytes of a file with a key.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// `--key` and `--share`.
#[derive(Args)]
pub(super) struct Key {
    /// File with the recovery key; `-` reads it from standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "share")]
    key: Option<PathBuf>,
    /// File with one share of the recovery key; two of the three are the key.
    #[arg(long, value_name = "FILE")]
    share: Vec<PathBuf>,
}

impl Key {
    /// What was handed over; nothing means the keys of the folder itself.
    pub(super) fn keys(&self) -> Result<Keys> {
        match &self.key {
            Some(path) => Ok(Keys::Text(read(path)?)),
            None if self.share.is_empty() => Ok(Keys::OfFolder),
            None => Ok(Keys::Shares(self.share.iter().map(|path| read(path)).collect::<Result<_>>()?)),
        }
    }
}

/// Reads a secret from a file or from standard input.
pub(super) fn read(path: &Path) -> Result<Secret<String>> {
    let unreadable =
        |e: std::io::Error| Error::unavailable(format!("`{}` cannot be read", path.display())).because(e);
    let mut text = String::new();
    if path.as_os_str() == "-" {
        if std::io::stdin().is_terminal() {
            complain("The recovery key, then Enter and Ctrl-D:");
        }
        std::io::stdin().lock().take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    } else {
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    }
    Ok(Secret::new(text))
}
