//! The key-encryption key: where it comes from, and what it is made of.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::private::{private_folder, write_private};
use crate::base::{Error, Result, Secret};
use crate::engine::clock::Clock;

/// 32 bytes that are wiped when dropped.
pub(super) type Key = Zeroizing<[u8; KEY_BYTES]>;

pub(super) const KEY_BYTES: usize = 32;
const SALT_BYTES: usize = 16;
/// Name of the credential that systemd hands over in `$CREDENTIALS_DIRECTORY`.
const CREDENTIAL: &str = "muster.kek";
const CREDENTIAL_BYTES_MIN: usize = 16;

/// Where the key-encryption key comes from.
#[derive(Clone, Debug)]
pub enum Kek {
    /// A file of 32 random bytes, made with the vault. Keep it on another medium than the backups.
    File(PathBuf),
    /// A passphrase that a person gives at start; its salt lies in the vault's ring.
    Passphrase(Secret<String>),
    /// The systemd credential `muster.kek`, which may be sealed by the machine's TPM.
    Credential,
}

/// A key with what is needed to come by it again.
#[derive(Clone)]
pub(super) struct Unlocked {
    pub(super) kek: Kek,
    pub(super) key: Key,
    /// Salt of a passphrase; empty for the others.
    pub(super) salt: Vec<u8>,
}

impl Kek {
    /// The key for a new vault. A key file that is not there is made.
    pub(super) fn make(&self, clock: &Clock) -> Result<Unlocked> {
        let salt = self.new_salt(clock);
        if let Kek::File(path) = self
            && absent(path)
        {
            write_key(path, &Zeroizing::new(clock.random()))?;
        }
        let key = self.key(&salt)?.ok_or_else(|| Error::internal("a key that does not suit its own salt"))?;
        Ok(Unlocked { kek: self.clone(), key, salt })
    }

    /// The key that shall follow `old`, and whether it must still be written to its file.
    pub(super) fn next(&self, old: &Unlocked, clock: &Clock) -> Result<(Unlocked, bool)> {
        let random = || Unlocked { kek: self.clone(), key: Zeroizing::new(clock.random()), salt: Vec::new() };
        let next = match (self, &old.kek) {
            // The file of the old key is replaced by one with a new key.
            (Kek::File(new), Kek::File(old)) if same_file(new, old) => return Ok((random(), true)),
            (Kek::File(new), _) if absent(new) => return Ok((random(), true)),
            _ => self.make(clock)?,
        };
        if next.key == old.key {
            return Err(Error::conflict("the new key-encryption key is the one in use").hint(
                "give another key; to renew a credential, rotate to a key file first and from it to the new credential",
            ));
        }
        Ok((next, false))
    }

    /// The key for this salt, or none when a key of this kind has no such salt.
    pub(super) fn key(&self, salt: &[u8]) -> Result<Option<Key>> {
        if matches!(self, Kek::Passphrase(_)) == salt.is_empty() {
            return Ok(None);
        }
        let key = match self {
            Kek::File(path) => match fs::read(path).map(Zeroizing::new) {
                Ok(key) => <[u8; KEY_BYTES]>::try_from(key.as_slice()).map(Zeroizing::new).map_err(|_| {
                    Error::invalid(format!("the key file `{}` is not {KEY_BYTES} bytes long", path.display()))
                        .hint("put back the file that the vault was made with")
                })?,
                Err(e) => {
                    return Err(Error::unavailable(format!(
                        "the key file `{}` cannot be read",
                        path.display()
                    ))
                    .hint("put back the file that the vault was made with; without it the vault stays shut")
                    .because(e));
                }
            },
            Kek::Passphrase(passphrase) => derive(passphrase.expose().as_bytes(), salt)?,
            Kek::Credential => credential()?,
        };
        Ok(Some(key))
    }

    fn new_salt(&self, clock: &Clock) -> Vec<u8> {
        match self {
            Kek::Passphrase(_) => clock.random::<SALT_BYTES>().to_vec(),
            Kek::File(_) | Kek::Credential => Vec::new(),
        }
    }
}

/// Writes a key file, whole or not at all.
pub(super) fn write_key(path: &Path, key: &Key) -> Result<()> {
    if let Some(parent) = path.parent() {
        private_folder(parent)?;
    }
    write_private(path, key.as_slice())
}

fn absent(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|e| e.kind() == ErrorKind::NotFound)
}

fn same_file(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    real(a) == real(b)
}

fn credential() -> Result<Key> {
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
        Error::invalid("systemd handed over no credentials")
            .hint("add `LoadCredentialEncrypted=muster.kek` to the unit, or use a key file")
    })?;
    let bytes = fs::read(Path::new(&folder).join(CREDENTIAL))
        .map(Zeroizing::new)
        .map_err(|e| Error::invalid(format!("the credential `{CREDENTIAL}` cannot be read")).because(e))?;
    if bytes.len() < CREDENTIAL_BYTES_MIN {
        return Err(Error::invalid(format!(
            "the credential `{CREDENTIAL}` is shorter than {CREDENTIAL_BYTES_MIN} bytes"
        )));
    }
    // Any text of enough entropy will do; the hash brings it to the length of a key.
    Ok(Zeroizing::new(blake3::derive_key("muster 2026 key-encryption key from credential", &bytes)))
}

fn derive(passphrase: &[u8], salt: &[u8]) -> Result<Key> {
    let wrong = |e: argon2::Error| Error::internal(format!("key derivation failed: {e}"));
    let params = argon2::Params::new(64 * 1024, 3, 1, Some(KEY_BYTES)).map_err(wrong)?;
    let mut key = Key::default();
    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(passphrase, salt, key.as_mut_slice())
        .map_err(wrong)?;
    Ok(key)
}
