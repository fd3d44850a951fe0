//! Sealing of whole data files: AES-256-GCM with a key for every file, derived from one master.
//!
//! Invariant: a nonce is used once: six random bytes for every opening of a file, then a counter of six bytes.
//! Invariant: the master lies in the vault and nowhere else; files hold only what keys are derived from.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::Vault;
use crate::base::{Error, Result, Secret};
use crate::engine::clock::Clock;
use crate::engine::journal::{FileId, FileSeal, SEAL_BYTES, Seal};

/// The master's name in the vault.
const MASTER: &str = "data.key";
const MASTER_BYTES: usize = 32;
const CONTEXT: &str = "muster 2026 key of a data file";
const TAG_BYTES: usize = SEAL_BYTES - NONCE_LEN;
/// The part of a nonce that is random.
const PREFIX_BYTES: usize = 6;

/// Gives data files their seals.
pub struct DataSeal {
    master: Zeroizing<Vec<u8>>,
    clock: Clock,
}

impl DataSeal {
    /// Takes the master from the vault, or makes one there.
    pub fn open(vault: &Vault, clock: &Clock) -> Result<DataSeal> {
        let master = match vault.get(MASTER)? {
            Some(master) => Zeroizing::new(master.expose().clone()),
            None => {
                let master = Zeroizing::new(clock.random::<MASTER_BYTES>().to_vec());
                vault.put(MASTER, &master)?;
                master
            }
        };
        DataSeal::with(master, clock)
    }

    /// Takes the master from what a vault exported, before there is a vault to import it; nothing when it is not there.
    pub fn exported(entries: &BTreeMap<String, Secret<Vec<u8>>>, clock: &Clock) -> Result<Option<DataSeal>> {
        let master = entries.get(MASTER).map(|master| Zeroizing::new(master.expose().clone()));
        master.map(|master| DataSeal::with(master, clock)).transpose()
    }

    fn with(master: Zeroizing<Vec<u8>>, clock: &Clock) -> Result<DataSeal> {
        if master.len() != MASTER_BYTES {
            return Err(Error::invalid(format!("`{MASTER}` in the vault is not {MASTER_BYTES} bytes long")));
        }
        Ok(DataSeal { master, clock: clock.clone() })
    }

    /// With a master that nobody keeps, for tests.
    #[cfg(test)]
    pub(crate) fn of(master: u8) -> Arc<DataSeal> {
        Arc::new(DataSeal { master: Zeroizing::new(vec![master; MASTER_BYTES]), clock: Clock::system() })
    }
}

impl fmt::Debug for DataSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataSeal")
    }
}

impl Seal for DataSeal {
    fn fresh(&self) -> FileId {
        self.clock.random()
    }

    #[expect(clippy::expect_used, reason = "a derived key has the cipher's length")]
    fn file(&self, id: &FileId) -> Arc<dyn FileSeal> {
        let mut material = Zeroizing::new(Vec::with_capacity(MASTER_BYTES + id.len()));
        material.extend_from_slice(&self.master);
        material.extend_from_slice(id);
        let key = Zeroizing::new(blake3::derive_key(CONTEXT, &material));
        let key = UnboundKey::new(&AES_256_GCM, &*key).expect("a key of 32 bytes");
        Arc::new(OneFile { key: LessSafeKey::new(key), prefix: self.clock.random(), used: AtomicU64::new(0) })
    }
}

struct OneFile {
    key: LessSafeKey,
    prefix: [u8; PREFIX_BYTES],
    used: AtomicU64,
}

impl OneFile {
    fn nonce(&self) -> [u8; NONCE_LEN] {
        let count = self.used.fetch_add(1, Ordering::Relaxed);
        // At a million sealings a second this takes nine years of one opening.
        assert!(count < 1 << 48, "no nonce is left for this file");
        let mut nonce = [0; NONCE_LEN];
        nonce[..PREFIX_BYTES].copy_from_slice(&self.prefix);
        nonce[PREFIX_BYTES..].copy_from_slice(&count.to_be_bytes()[8 - PREFIX_BYTES..]);
        nonce
    }
}

impl fmt::Debug for OneFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneFile")
    }
}

impl FileSeal for OneFile {
    #[expect(clippy::expect_used, reason = "the cipher takes up to 64 GiB at once")]
    fn seal(&self, place: &[u8], plain: &[u8], out: &mut Vec<u8>) {
        let nonce = self.nonce();
        out.reserve(plain.len() + SEAL_BYTES);
        out.extend_from_slice(&nonce);
        let begin = out.len();
        out.extend_from_slice(plain);
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place),
                &mut out[begin..],
            )
            .expect("a text that is not too long");
        out.extend_from_slice(tag.as_ref());
    }

    fn open(&self, place: &[u8], sealed: &[u8], out: &mut Vec<u8>) -> bool {
        let Some((nonce, text)) = sealed.split_first_chunk::<NONCE_LEN>() else { return false };
        if text.len() < TAG_BYTES {
            return false;
        }
        let begin = out.len();
        out.extend_from_slice(text);
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.key.open_in_place(nonce, Aad::from(place), &mut out[begin..]).is_ok();
        out.truncate(if opened { begin + text.len() - TAG_BYTES } else { begin });
        opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::crypto::Kek;

    #[test]
    fn what_is_sealed_opens_in_its_place_alone() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let vault = Vault::open(&folder.path().join("keys"), &Kek::File(folder.path().join("kek")), &clock);
        let vault = vault.unwrap();
        let seal = DataSeal::open(&vault, &clock).unwrap();
        let id = seal.fresh();
        let mut sealed = Vec::new();
        seal.file(&id).seal(b"page 1", b"very private", &mut sealed);
        assert_eq!(sealed.len(), 12 + SEAL_BYTES);
        assert!(!sealed.windows(4).any(|part| part == b"priv"));
        // The vault gives the same master to the next process.
        let again = DataSeal::open(&vault, &clock).unwrap();
        let mut plain = b"before ".to_vec();
        assert!(again.file(&id).open(b"page 1", &sealed, &mut plain));
        assert_eq!(plain, b"before very private");
        assert!(!again.file(&id).open(b"page 2", &sealed, &mut plain));
        assert!(!again.file(&again.fresh()).open(b"page 1", &sealed, &mut plain));
        assert!(!DataSeal::of(1).file(&id).open(b"page 1", &sealed, &mut plain));
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(!again.file(&id).open(b"page 1", &bad, &mut plain), "byte {at}");
            assert!(!again.file(&id).open(b"page 1", &sealed[..at], &mut plain), "{at} bytes");
        }
        assert_eq!(plain, b"before very private");
    }

    #[test]
    fn no_nonce_comes_twice() {
        let seal = DataSeal::of(1);
        let (one, two) = (seal.file(&[7; 16]), seal.file(&[7; 16]));
        let mut seen = std::collections::HashSet::new();
        for file in [one, two] {
            for _ in 0..500 {
                let mut sealed = Vec::new();
                file.seal(b"", b"the same", &mut sealed);
                assert!(seen.insert(sealed[..NONCE_LEN].to_vec()));
            }
        }
    }
}
