//! The vault: one sealed file per key or secret.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::base::{Error, Result, Secret};
use crate::engine::clock::Clock;

/// First byte of everything sealed: XChaCha20-Poly1305, 24 bytes of nonce, then the sealed text and its tag.
const SEALED: u8 = 1;
const NONCE_BYTES: usize = 24;
const KEY_BYTES: usize = 32;
const SALT_BYTES: usize = 16;
/// Name of the value that tells a fitting key from a wrong one.
const CHECK: &str = "check";
/// Name of the credential that systemd hands over in `$CREDENTIALS_DIRECTORY`.
const CREDENTIAL: &str = "muster.kek";

/// Where the key-encryption key comes from.
#[derive(Clone, Debug)]
pub enum Kek {
    /// A file of 32 random bytes, made with the vault. Keep it on another medium than the backups.
    File(PathBuf),
    /// A passphrase that a person gives at start; its salt lies beside the vault's files.
    Passphrase(Secret<String>),
    /// The systemd credential `muster.kek`, which may be sealed by the machine's TPM.
    Credential,
}

/// Sealed values in a folder. Cloning gives the same vault.
#[derive(Clone)]
pub struct Vault(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    cipher: XChaCha20Poly1305,
    clock: Clock,
}

impl Vault {
    /// Opens the vault in `folder`, or makes one there. A key that does not fit is refused before anything is read.
    pub fn open(folder: &Path, kek: &Kek, clock: &Clock) -> Result<Vault> {
        private_folder(folder)?;
        let fresh = !folder.join(format!("{CHECK}.sealed")).exists();
        let key = key_of(folder, kek, fresh, clock)?;
        let cipher = XChaCha20Poly1305::new_from_slice(key.as_slice())
            .map_err(|_| Error::internal("key of a wrong length"))?;
        let vault = Vault(Arc::new(Inner { folder: folder.to_owned(), cipher, clock: clock.clone() }));
        if fresh {
            vault.put(CHECK, b"muster")?;
        } else {
            vault.get(CHECK).map_err(|_| {
                Error::invalid(format!(
                    "the key-encryption key does not open the vault in `{}`",
                    folder.display()
                ))
                .hint("give the key file, passphrase or credential that this vault was made with")
            })?;
        }
        Ok(vault)
    }

    /// Seals `value` and keeps it under `name`, on disk when this returns.
    pub fn put(&self, name: &str, value: &[u8]) -> Result<()> {
        let sealed = self.seal(&format!("file:{name}"), value)?;
        write_private(&self.path(name)?, &sealed)
    }

    /// The value under `name`.
    pub fn get(&self, name: &str) -> Result<Option<Secret<Vec<u8>>>> {
        match fs::read(self.path(name)?) {
            Ok(sealed) => self.open_sealed(&format!("file:{name}"), &sealed).map(Some),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::unavailable(format!("the vault's `{name}` cannot be read")).because(e)),
        }
    }

    /// Removes what is under `name`, if anything is.
    pub fn remove(&self, name: &str) -> Result<()> {
        match fs::remove_file(self.path(name)?) {
            Ok(()) => sync_folder(&self.0.folder),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(Error::unavailable(format!("the vault's `{name}` cannot be removed")).because(e)),
        }
    }

    /// Seals a small value that is kept elsewhere. It opens only for the same purpose.
    pub fn seal(&self, purpose: &str, value: &[u8]) -> Result<Vec<u8>> {
        let nonce: [u8; NONCE_BYTES] = self.0.clock.random();
        let sealed = self
            .0
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: value, aad: purpose.as_bytes() })
            .map_err(|_| Error::internal("sealing failed"))?;
        let mut out = Vec::with_capacity(1 + NONCE_BYTES + sealed.len());
        out.push(SEALED);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        Ok(out)
    }

    /// Opens what `seal` made for `purpose`.
    pub fn open_sealed(&self, purpose: &str, sealed: &[u8]) -> Result<Secret<Vec<u8>>> {
        let wrong = || {
            Error::invalid(format!("the sealed value for `{purpose}` does not open"))
                .hint("it was changed, or sealed with another key or for another purpose")
        };
        let (&version, rest) = sealed.split_first().ok_or_else(wrong)?;
        let (nonce, text) = rest.split_at_checked(NONCE_BYTES).ok_or_else(wrong)?;
        if version != SEALED {
            return Err(wrong());
        }
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| wrong())?;
        self.0
            .cipher
            .decrypt(&XNonce::from(nonce), Payload { msg: text, aad: purpose.as_bytes() })
            .map(Secret::new)
            .map_err(|_| wrong())
    }

    fn path(&self, name: &str) -> Result<PathBuf> {
        let sound = !name.is_empty()
            && name.len() <= 100
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            && !name.starts_with('.');
        if !sound {
            return Err(Error::invalid("a name in the vault must be of letters, digits, `.`, `_` and `-`"));
        }
        Ok(self.0.folder.join(format!("{name}.sealed")))
    }
}

fn key_of(folder: &Path, kek: &Kek, fresh: bool, clock: &Clock) -> Result<Zeroizing<Vec<u8>>> {
    match kek {
        Kek::File(path) => match fs::read(path) {
            Ok(key) if key.len() == KEY_BYTES => Ok(Zeroizing::new(key)),
            Ok(_) => Err(Error::invalid(format!("the key file `{}` is not 32 bytes long", path.display()))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && fresh => {
                let key = Zeroizing::new(clock.random::<KEY_BYTES>().to_vec());
                if let Some(parent) = path.parent() {
                    private_folder(parent)?;
                }
                write_private(path, &key)?;
                Ok(key)
            }
            Err(e) => Err(Error::unavailable(format!("the key file `{}` cannot be read", path.display()))
                .hint("put back the file that the vault was made with; without it the vault stays shut")
                .because(e)),
        },
        Kek::Passphrase(passphrase) => {
            let path = folder.join("salt");
            let salt = match fs::read(&path) {
                Ok(salt) => salt,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound && fresh => {
                    let salt = clock.random::<SALT_BYTES>().to_vec();
                    write_private(&path, &salt)?;
                    salt
                }
                Err(e) => return Err(Error::unavailable("the vault's salt cannot be read").because(e)),
            };
            derive(passphrase.expose().as_bytes(), &salt)
        }
        Kek::Credential => {
            let folder = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                Error::invalid("systemd handed over no credentials")
                    .hint("add `LoadCredentialEncrypted=muster.kek` to the unit, or use a key file")
            })?;
            let bytes = fs::read(Path::new(&folder).join(CREDENTIAL)).map(Zeroizing::new).map_err(|e| {
                Error::invalid(format!("the credential `{CREDENTIAL}` cannot be read")).because(e)
            })?;
            if bytes.len() < 16 {
                return Err(Error::invalid(format!(
                    "the credential `{CREDENTIAL}` is shorter than 16 bytes"
                )));
            }
            // Any text of enough entropy will do; the hash brings it to the length of a key.
            Ok(Zeroizing::new(
                blake3::derive_key("muster 2026 key-encryption key from credential", &bytes).to_vec(),
            ))
        }
    }
}

fn derive(passphrase: &[u8], salt: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let wrong = |e: argon2::Error| Error::internal(format!("key derivation failed: {e}"));
    let params = argon2::Params::new(64 * 1024, 3, 1, Some(KEY_BYTES)).map_err(wrong)?;
    let mut key = Zeroizing::new(vec![0; KEY_BYTES]);
    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(passphrase, salt, &mut key)
        .map_err(wrong)?;
    Ok(key)
}

/// Makes `folder` and what is above it, for this user alone.
pub fn private_folder(folder: &Path) -> Result<()> {
    let failed =
        |e| Error::unavailable(format!("the folder `{}` cannot be made", folder.display())).because(e);
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(failed)
}

/// Writes a file that only this user reads, whole or not at all, and on disk when this returns.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |e| Error::unavailable(format!("`{}` cannot be written", path.display())).because(e);
    let folder = path.parent().unwrap_or(Path::new("."));
    let new = path.with_extension("new");
    let write = || {
        // A left-over of an earlier crash could have other permissions.
        let _ = fs::remove_file(&new);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(failed)?;
    sync_folder(folder)
}

fn sync_folder(folder: &Path) -> Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    fs::File::open(folder)
        .and_then(|f| f.sync_all())
        .map_err(|e| Error::unavailable(format!("`{}` cannot be synced", folder.display())).because(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_values_come_back_and_the_disk_tells_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (keys, kek) = (folder.path().join("keys"), Kek::File(folder.path().join("kek")));
        let clock = Clock::system();
        let vault = Vault::open(&keys, &kek, &clock).unwrap();
        vault.put("site.key", b"very private").unwrap();
        assert!(vault.get("absent").unwrap().is_none());
        assert!(vault.put("../x", b"").is_err());
        let vault = Vault::open(&keys, &kek, &clock).unwrap();
        assert_eq!(vault.get("site.key").unwrap().unwrap().expose(), b"very private");
        for entry in fs::read_dir(&keys).unwrap().chain(fs::read_dir(folder.path()).unwrap()) {
            let path = entry.unwrap().path();
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
            if path.is_file() {
                let bytes = fs::read(&path).unwrap();
                assert!(!bytes.windows(12).any(|w| w == b"very private"));
            }
        }
        // A renamed file is another purpose.
        fs::copy(keys.join("site.key.sealed"), keys.join("other.sealed")).unwrap();
        assert!(vault.get("other").is_err());
    }

    #[test]
    fn a_wrong_key_is_told_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let kek = |text: &str| Kek::Passphrase(Secret::new(text.to_owned()));
        let vault = Vault::open(folder.path(), &kek("right"), &clock).unwrap();
        let sealed = vault.seal("webhook", b"s").unwrap();
        assert_eq!(vault.open_sealed("webhook", &sealed).unwrap().expose(), b"s");
        assert!(vault.open_sealed("mail", &sealed).is_err());
        assert!(Vault::open(folder.path(), &kek("right"), &clock).is_ok());
        let error = Vault::open(folder.path(), &kek("wrong"), &clock).err().unwrap();
        assert!(error.message().contains("does not open the vault"), "{error}");
        // A lost key file is never replaced by a new key.
        assert!(Vault::open(folder.path(), &Kek::File(folder.path().join("none")), &clock).is_err());
    }
}
