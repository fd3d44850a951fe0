//! Keys: the site's own authority, TLS on both sides, sealing at rest, join codes, tokens and passwords.
//!
//! Invariant: no private key and no secret lies on the server's disk in the clear; the vault seals each of them.
//! Invariant: TLS is 1.3, with a provider that is named here and never taken from a process-wide default.
//! Invariant: a client certificate names who it is in one place only, the URI `muster:agent:{id}`, which we wrote.

mod authority;
mod certificate;
mod data;
mod join_code;
mod passwords;
mod tls;
mod tokens;
mod vault;

pub use authority::{Authority, ServerCertificate, SigningRequest, signing_request};
pub use certificate::{Fingerprint, identity_of, lifetime_of, pem_of, pem_to_der, request_key, serial_of};
pub use data::DataSeal;
pub use join_code::JoinCode;
pub use passwords::{hash_password, verify_password};
pub use tls::{Pin, ServerTls, client_config};
pub use tokens::{digest, token, well_formed};
pub use vault::{Kek, Vault, private_folder, write_private};
