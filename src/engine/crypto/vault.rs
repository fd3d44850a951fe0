//! The vault: one sealed file per key or secret, and the ring of data keys that sealed them.
//!
//! The key-encryption key wraps the ring (`ring`), and the newest key of the ring seals. So the key-encryption key can be
//! changed by writing one small file, and a data key without touching what older ones sealed elsewhere.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::data_keys::{self, NONCE_BYTES, Ring, Wrap};
use super::kek::{Kek, Unlocked, write_key};
use super::private::{private_folder, sync_folder, write_private};
use crate::base::{Error, Result, Secret};
use crate::engine::clock::Clock;

/// First byte of what the key-encryption key itself sealed, before there was a ring: 24 bytes of nonce and the
/// XChaCha20-Poly1305 text follow. It is still read, by key 0 of the ring.
const BY_KEK: u8 = 1;
/// First byte of everything that is sealed now: the number of the data key (u32, little-endian), then nonce and text.
const BY_DATA_KEY: u8 = 2;
const NUMBER_BYTES: usize = 4;
const RING: &str = "ring";
const SUFFIX: &str = ".sealed";
/// A value that an older version of the program tells a wrong key by: it refuses this folder and makes no new keys.
const CHECK: &str = "check";
/// Where a vault from before the ring keeps the salt of its passphrase.
const OLD_SALT: &str = "salt";
const NAME_BYTES_MAX: usize = 100;
/// Most failed changes of the key-encryption key that the ring carries along.
const BEGUN_MAX: usize = 8;
/// The name under which an export has the ring; no value has such a name.
const EXPORTED_RING: &str = "@ring";

/// Sealed values in a folder. Cloning gives the same vault.
#[derive(Clone)]
pub struct Vault(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    clock: Clock,
    state: RwLock<State>,
    /// Held while files of the folder change, so that re-sealing never undoes a newer value.
    files: Mutex<()>,
}

struct State {
    ring: Ring,
    by: Unlocked,
    /// Keys of changes that failed after the ring was wrapped by them: one of them may lie in the key file, so the ring
    /// stays wrapped by all until a change succeeds.
    begun: Vec<Unlocked>,
}

impl State {
    /// What the file of this ring must hold.
    fn wraps(&self, ring: &Ring, clock: &Clock) -> Result<Vec<Wrap>> {
        [&self.by].into_iter().chain(&self.begun).map(|by| Wrap::new(ring, by, clock)).collect()
    }
}

impl Vault {
    /// Opens the vault in `folder`, or makes one there. A key that does not fit is refused before anything is read.
    pub fn open(folder: &Path, kek: &Kek, clock: &Clock) -> Result<Vault> {
        private_folder(folder)?;
        let path = folder.join(RING);
        if let Some(wraps) = data_keys::read(&path)? {
            let state = unwrap(folder, &wraps, kek)?;
            let (last, salt) = (wraps.len() - 1, &state.by.salt);
            // The new key opens: the change of keys was done but for taking the old one away.
            if last > 0 && wraps[last].salt == *salt && wraps[last].open(&state.by.key).is_some() {
                data_keys::write(&path, &wraps[last..])?;
            }
            return Ok(Self::with(folder, state, clock));
        }
        let fresh = !folder.join(format!("{CHECK}{SUFFIX}")).exists();
        let state = if fresh {
            State { ring: Ring::new(clock), by: kek.make(clock)?, begun: Vec::new() }
        } else {
            let by = open_version_1(folder, kek)?;
            State { ring: Ring::of_version_1(&by.key, clock), by, begun: Vec::new() }
        };
        data_keys::write(&path, &[Wrap::new(&state.ring, &state.by, clock)?])?;
        let vault = Self::with(folder, state, clock);
        vault.put(CHECK, b"muster")?;
        // The salt is in the ring now.
        let _ = fs::remove_file(folder.join(OLD_SALT));
        Ok(vault)
    }

    /// Makes a vault in `folder` of what `export` gave, under a key-encryption key of its own. Whatever the exported
    /// vault sealed, here or elsewhere, opens by it.
    pub fn import(
        folder: &Path,
        kek: &Kek,
        clock: &Clock,
        entries: impl IntoIterator<Item = (String, Secret<Vec<u8>>)>,
    ) -> Result<Vault> {
        private_folder(folder)?;
        let there = |name: &str| folder.join(name).exists();
        if there(RING) || there(&format!("{CHECK}{SUFFIX}")) {
            return Err(Error::conflict(format!("there is a vault in `{}` already", folder.display()))
                .hint("import into an empty folder"));
        }
        let (mut ring, mut values) = (None, Vec::new());
        for (name, value) in entries {
            if name == EXPORTED_RING {
                ring = Ring::decode(value.expose());
            } else {
                values.push((name, value));
            }
        }
        let ring = ring.ok_or_else(|| {
            Error::invalid("the exported keys lack their ring, or it is damaged")
                .hint("what was sealed cannot be opened without it; take another backup")
        })?;
        let state = State { ring, by: kek.make(clock)?, begun: Vec::new() };
        let wrap = Wrap::new(&state.ring, &state.by, clock)?;
        let vault = Self::with(folder, state, clock);
        for (name, value) in &values {
            vault.put(name, value.expose())?;
        }
        // The ring goes last: without it the folder is no vault, and the import can be done again.
        data_keys::write(&folder.join(RING), &[wrap])?;
        vault.put(CHECK, b"muster")?;
        Ok(vault)
    }

    /// Everything that another vault needs to be this one: each value by its name, and under `@ring` the data keys. It
    /// is in the clear, for the inside of something that is encrypted.
    pub fn export(&self) -> Result<Vec<(String, Secret<Vec<u8>>)>> {
        let _still = self.0.files.lock();
        let ring = Secret::new(self.0.state.read().ring.encode().to_vec());
        let mut all = vec![(EXPORTED_RING.to_owned(), ring)];
        for name in self.names()? {
            if let Some(value) = self.get(&name)? {
                all.push((name, value));
            }
        }
        Ok(all)
    }

    /// The names of all values, sorted.
    pub fn names(&self) -> Result<Vec<String>> {
        let folder = &self.0.folder;
        let failed = |e| {
            Error::unavailable(format!("the vault in `{}` cannot be listed", folder.display())).because(e)
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            match name.to_str().and_then(|n| n.strip_suffix(SUFFIX)) {
                Some(name) if name != CHECK && sound(name) => names.push(name.to_owned()),
                _ => {}
            }
        }
        names.sort();
        Ok(names)
    }

    /// Seals `value` and keeps it under `name`, on disk when this returns.
    pub fn put(&self, name: &str, value: &[u8]) -> Result<()> {
        let _mine = self.0.files.lock();
        self.write(name, value)
    }

    /// The value under `name`.
    pub fn get(&self, name: &str) -> Result<Option<Secret<Vec<u8>>>> {
        match fs::read(self.path(name)?) {
            Ok(sealed) => self.open_sealed(&format!("file:{name}"), &sealed).map(Some),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::unavailable(format!("the vault's `{name}` cannot be read")).because(e)),
        }
    }

    /// Removes what is under `name`, if anything is.
    pub fn remove(&self, name: &str) -> Result<()> {
        let _mine = self.0.files.lock();
        match fs::remove_file(self.path(name)?) {
            Ok(()) => sync_folder(&self.0.folder),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) => Err(Error::unavailable(format!("the vault's `{name}` cannot be removed")).because(e)),
        }
    }

    /// Seals a small value that is kept elsewhere. It opens only for the same purpose.
    pub fn seal(&self, purpose: &str, value: &[u8]) -> Result<Vec<u8>> {
        let nonce: [u8; NONCE_BYTES] = self.0.clock.random();
        let state = self.0.state.read();
        let text = state.ring.seal(nonce, purpose, value)?;
        let number = state.ring.current().to_le_bytes();
        Ok([&[BY_DATA_KEY], number.as_slice(), nonce.as_slice(), &text].concat())
    }

    /// Opens what `seal` made for `purpose`.
    pub fn open_sealed(&self, purpose: &str, sealed: &[u8]) -> Result<Secret<Vec<u8>>> {
        self.try_open(purpose, sealed).map(Secret::new).ok_or_else(|| {
            Error::invalid(format!("the sealed value for `{purpose}` does not open"))
                .hint("it was changed, or sealed with another key or for another purpose")
        })
    }

    /// Changes the key-encryption key, while the vault is in use. A key file in use is replaced by one with a new key;
    /// otherwise a key file that is there is taken, and one that is not is made.
    ///
    /// A crash or an error in the middle leaves a vault that opens by the key that is to be found then: the ring is
    /// wrapped by both keys until the new one is in its place. A passphrase opens it if it is the old or the new one.
    pub fn rotate_kek(&self, new: &Kek) -> Result<()> {
        self.rotate_kek_watched(new, &mut || {})
    }

    /// Adds a data key, which seals from now on, and seals the values of the vault by it. Older keys stay for what they
    /// sealed elsewhere. Tells the number of the new key.
    pub fn rotate_data_key(&self) -> Result<u32> {
        let _mine = self.0.files.lock();
        let number = {
            let mut state = self.0.state.write();
            let ring = state.ring.grown(&self.0.clock)?;
            // On disk first: nothing may be sealed by a key that could be lost.
            data_keys::write(&self.0.folder.join(RING), &state.wraps(&ring, &self.0.clock)?)?;
            state.ring = ring;
            state.ring.current()
        };
        for name in self.names()?.iter().map(String::as_str).chain([CHECK]) {
            if let Some(value) = self.get(name)? {
                self.write(name, value.expose())?;
            }
        }
        Ok(number)
    }

    fn rotate_kek_watched(&self, new: &Kek, after_each_step: &mut dyn FnMut()) -> Result<()> {
        let _mine = self.0.files.lock();
        let path = self.0.folder.join(RING);
        let (new, to_write) = new.next(&self.0.state.read().by, &self.0.clock)?;
        let both = {
            let mut state = self.0.state.write();
            if state.begun.len() >= BEGUN_MAX {
                return Err(Error::unavailable("changing the key-encryption key has failed too often")
                    .hint("mend what the earlier errors said, start the server again, then try once more"));
            }
            state.begun.push(new.clone());
            state.wraps(&state.ring, &self.0.clock)?
        };
        data_keys::write(&path, &both)?;
        after_each_step();
        if let (Kek::File(file), true) = (&new.kek, to_write) {
            write_key(file, &new.key)?;
            after_each_step();
        }
        let alone = {
            let state = self.0.state.read();
            Wrap::new(&state.ring, &new, &self.0.clock)?
        };
        data_keys::write(&path, &[alone])?;
        let mut state = self.0.state.write();
        (state.by, state.begun) = (new, Vec::new());
        drop(state);
        after_each_step();
        Ok(())
    }

    fn with(folder: &Path, state: State, clock: &Clock) -> Vault {
        let (folder, clock) = (folder.to_owned(), clock.clone());
        Vault(Arc::new(Inner { folder, clock, state: RwLock::new(state), files: Mutex::new(()) }))
    }

    fn write(&self, name: &str, value: &[u8]) -> Result<()> {
        let sealed = self.seal(&format!("file:{name}"), value)?;
        write_private(&self.path(name)?, &sealed)
    }

    fn try_open(&self, purpose: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (&version, rest) = sealed.split_first()?;
        let (number, rest) = match version {
            BY_KEK => (0, rest),
            BY_DATA_KEY => {
                let (number, rest) = rest.split_first_chunk::<NUMBER_BYTES>()?;
                (u32::from_le_bytes(*number), rest)
            }
            _ => return None,
        };
        let (nonce, text) = rest.split_first_chunk::<NONCE_BYTES>()?;
        self.0.state.read().ring.open(number, *nonce, purpose, text)
    }

    fn path(&self, name: &str) -> Result<PathBuf> {
        if !sound(name) {
            return Err(Error::invalid("a name in the vault must be of letters, digits, `.`, `_` and `-`"));
        }
        Ok(self.0.folder.join(format!("{name}{SUFFIX}")))
    }
}

fn sound(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && !name.starts_with(['.', '-'])
}

/// Opens the ring by whichever wrap the key fits.
fn unwrap(folder: &Path, wraps: &[Wrap], kek: &Kek) -> Result<State> {
    for wrap in wraps {
        if let Some(key) = kek.key(&wrap.salt)?
            && let Some(ring) = wrap.open(&key)
        {
            let by = Unlocked { kek: kek.clone(), key, salt: wrap.salt.clone() };
            return Ok(State { ring, by, begun: Vec::new() });
        }
    }
    Err(wrong_key(folder))
}

/// The key of a vault from before the ring, if it is the right one.
fn open_version_1(folder: &Path, kek: &Kek) -> Result<Unlocked> {
    let failed =
        |e| Error::unavailable(format!("the vault in `{}` cannot be read", folder.display())).because(e);
    let salt = match kek {
        Kek::Passphrase(_) => fs::read(folder.join(OLD_SALT)).map_err(failed)?,
        Kek::File(_) | Kek::Credential => Vec::new(),
    };
    let key = kek.key(&salt)?.ok_or_else(|| wrong_key(folder))?;
    let check = fs::read(folder.join(format!("{CHECK}{SUFFIX}"))).map_err(failed)?;
    let opened = check.strip_prefix(&[BY_KEK]).and_then(|rest| {
        let (nonce, text) = rest.split_first_chunk::<NONCE_BYTES>()?;
        data_keys::open_version_1(&key, *nonce, &format!("file:{CHECK}"), text)
    });
    opened.map(|_| Unlocked { kek: kek.clone(), key, salt }).ok_or_else(|| wrong_key(folder))
}

fn wrong_key(folder: &Path) -> Error {
    Error::invalid(format!("the key-encryption key does not open the vault in `{}`", folder.display()))
        .hint("give the key file, passphrase or credential that this vault was made with")
}

#[cfg(test)]
mod tests;
