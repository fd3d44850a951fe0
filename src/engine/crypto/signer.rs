//! Signatures: Ed25519 (RFC 8032), with a key that lies sealed in the vault.

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::Vault;
use crate::base::{Error, Result};
use crate::engine::clock::Clock;

/// Signs with one key.
pub struct Signer(Ed25519KeyPair);

impl Signer {
    /// The key that the vault keeps under `name`; made the first time.
    pub fn open(vault: &Vault, name: &str, clock: &Clock) -> Result<Signer> {
        let pair = |seed: &[u8]| {
            Ed25519KeyPair::from_seed_unchecked(seed)
                .map_err(|_| Error::internal(format!("the vault's `{name}` is no signing key")))
        };
        if let Some(seed) = vault.get(name)? {
            return pair(seed.expose()).map(Signer);
        }
        let seed = zeroize::Zeroizing::new(clock.random::<32>());
        vault.put(name, seed.as_slice())?;
        pair(seed.as_slice()).map(Signer)
    }

    /// What others check its signatures with.
    pub fn public(&self) -> [u8; 32] {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.public_key().as_ref());
        key
    }

    /// The signature over `text`.
    pub fn sign(&self, text: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.0.sign(text).as_ref());
        signature
    }
}

/// Whether `signature` over `text` was made with the key behind `public`.
pub fn verify(public: &[u8], text: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(text, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::crypto::Kek;

    #[test]
    fn a_signature_holds_for_one_text_and_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let vault =
            Vault::open(&folder.path().join("v"), &Kek::File(folder.path().join("k")), &clock).unwrap();
        let (one, two) = (
            Signer::open(&vault, "one.key", &clock).unwrap(),
            Signer::open(&vault, "two.key", &clock).unwrap(),
        );
        let signature = one.sign(b"text");
        assert!(verify(&one.public(), b"text", &signature));
        assert!(!verify(&one.public(), b"texts", &signature) && !verify(&two.public(), b"text", &signature));
        assert!(!verify(b"short", b"text", &signature) && !verify(&one.public(), b"text", b""));
        let again = Signer::open(&vault, "one.key", &clock).unwrap();
        assert_eq!((again.public(), again.sign(b"text")), (one.public(), signature));
    }
}
