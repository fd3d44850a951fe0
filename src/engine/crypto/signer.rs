//! Signatures (Ed25519, RFC 8032) by a key that the vault keeps.

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use zeroize::Zeroizing;

use super::vault::Vault;
use crate::base::{Error, Result};
use crate::engine::clock::Clock;

const SEED_BYTES: usize = 32;
const PUBLIC_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;

/// Signs. Public keys and signatures are lower-case hexadecimal text, of 64 and 128 digits; `openssl pkeyutl` and every
/// other Ed25519 verify them.
pub struct Signer(Ed25519KeyPair);

impl Signer {
    /// The signer whose key the vault keeps under `name`; the key is made when it is not there.
    pub fn open(vault: &Vault, name: &str, clock: &Clock) -> Result<Signer> {
        if let Some(seed) = vault.get(name)? {
            return Self::of_seed(seed.expose());
        }
        let seed = Zeroizing::new(clock.random::<SEED_BYTES>());
        vault.put(name, seed.as_slice())?;
        Self::of_seed(seed.as_slice())
    }

    /// The public key, to be given to whoever verifies.
    pub fn public(&self) -> String {
        hexadecimal(self.0.public_key().as_ref())
    }

    /// The signature of `message`; the same message has the same signature.
    pub fn sign(&self, message: &[u8]) -> String {
        hexadecimal(self.0.sign(message).as_ref())
    }

    /// Refuses unless `signature` is that of `message` by the key that belongs to `public`.
    pub fn verify(public: &str, message: &[u8], signature: &str) -> Result<()> {
        let public = bytes::<PUBLIC_BYTES>(public).ok_or_else(|| {
            Error::invalid("the public key cannot be read").hint("it is 64 hexadecimal digits")
        })?;
        let signature = bytes::<SIGNATURE_BYTES>(signature).ok_or_else(|| {
            Error::invalid("the signature cannot be read").hint("it is 128 hexadecimal digits")
        })?;
        UnparsedPublicKey::new(&ED25519, public).verify(message, &signature).map_err(|_| {
            Error::invalid("the signature does not fit")
                .hint("what was signed has been changed, or another key signed it")
        })
    }

    /// The public key as it is.
    pub fn public_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    /// The signature of `message` as it is.
    pub fn sign_bytes(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }

    /// Whether `signature` is that of `message` by the key that belongs to `public`.
    pub fn fits(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
    }

    /// The signer of this seed of 32 bytes, which the caller keeps.
    pub fn of_seed(seed: &[u8]) -> Result<Signer> {
        Ed25519KeyPair::from_seed_unchecked(seed)
            .map(Signer)
            .map_err(|e| Error::internal(format!("the signing key is not usable: {e}")))
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits: Vec<u8> =
        text.trim().chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| high << 4 | low).collect::<Vec<u8>>().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::super::kek::Kek;
    use super::*;

    /// RFC 8032, 7.1: seed, public key, message, signature.
    const VECTORS: [[&str; 4]; 3] = [
        [
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ],
        [
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ],
        [
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ],
    ];

    #[test]
    fn signatures_are_those_of_rfc_8032() {
        for [seed, public, message, signature] in VECTORS {
            let signer = Signer::of_seed(&bytes::<32>(seed).unwrap()).unwrap();
            let message: Vec<u8> = match message.len() {
                0 => Vec::new(),
                2 => bytes::<1>(message).unwrap().to_vec(),
                _ => bytes::<2>(message).unwrap().to_vec(),
            };
            assert_eq!(signer.public(), public);
            assert_eq!(signer.sign(&message), signature);
            Signer::verify(public, &message, signature).unwrap();
            Signer::verify(&public.to_uppercase(), &message, &format!(" {signature}\n")).unwrap();
            assert!(Signer::verify(public, b"other", signature).is_err());
            assert!(Signer::verify(&signature[..64], &message, signature).is_err());
            for wrong in ["", "zz", &signature[1..], &signature[2..], &format!("{signature}00")] {
                let error = Signer::verify(public, &message, wrong).unwrap_err();
                assert!(error.message().contains("cannot be read"), "{error}");
            }
        }
    }

    #[test]
    fn the_vault_keeps_the_key() {
        let clock = Clock::system();
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(folder.path(), &Kek::File(folder.path().join("kek")), &clock).unwrap();
        let signer = Signer::open(&vault, "records.key", &clock).unwrap();
        let signature = signer.sign(b"all is well");
        assert_eq!(Signer::open(&vault, "records.key", &clock).unwrap().public(), signer.public());
        assert_ne!(Signer::open(&vault, "other.key", &clock).unwrap().public(), signer.public());
        Signer::verify(&signer.public(), b"all is well", &signature).unwrap();
        vault.put("broken.key", b"short").unwrap();
        assert!(Signer::open(&vault, "broken.key", &clock).is_err());
    }
}
