//! Keys: the site's own authority, TLS on both sides, sealing at rest, signatures, join codes, tokens and passwords.
//!
//! Two keys lie over every secret. The key-encryption key ([`Kek`]) is outside of the vault and wraps its ring of data keys;
//! the newest data key seals. So the first is changed by one small file, and the second without losing what older ones
//! sealed. A stolen copy of vault and key-encryption key together needs both changed, and every secret itself renewed.
//!
//! Invariant: no private key and no secret lies on the server's disk in the clear; the vault seals each of them.
//! Invariant: at every instant, also after a crash, the vault opens by the key-encryption key that is then in its place, and
//! whatever any data key ever sealed opens as long as the vault's ring is there.
//! Invariant: TLS is 1.3, where nobody has switched 1.2 on, with a provider that is named here and never taken from a process-wide default.
//! Invariant: a client certificate names who it is in one place only, the URI `muster:agent:{id}`, which we wrote.

mod authority;
mod certificate;
mod data;
mod data_keys;
mod join_code;
mod jwt;
mod kek;
mod passkey;
mod passwords;
mod private;
mod signer;
mod supplied;
mod tls;
mod tokens;
mod totp;
mod vault;

pub use authority::{Authority, ServerCertificate, SigningRequest, signing_request};
pub use certificate::{Fingerprint, identity_of, lifetime_of, pem_of, pem_to_der, request_key, serial_of};
pub use data::DataSeal;
pub use join_code::JoinCode;
pub use jwt::{JWT_BYTES_MAX, from_base64, jwk, looks_like_jwt, sign_jwt, verify_jwt};
pub use kek::Kek;
#[cfg(test)]
pub(crate) use passkey::tests as passkey_tests;
pub use passkey::{
    Asserted, CREDENTIAL_BYTES_MAX, Ceremony, PASSKEY_KINDS, Registered, assert as passkey_assert,
    register as passkey_register,
};
pub use passwords::{hash_password, verify_password};
pub use private::{private_folder, write_private};
pub use signer::Signer;
pub use supplied::{Supplied, names_of};
pub use tls::{Minimum, Pin, ServerTls, client_config};
pub use tokens::{digest, is_marked, marked_token, token, well_formed};
pub use totp::{TOTP_DIGITS, TOTP_STEP_SECONDS, TotpSecret, totp_step};
pub use vault::Vault;
