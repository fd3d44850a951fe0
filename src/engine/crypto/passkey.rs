//! Passkeys: the server's half of Web Authentication (W3C, Level 3), sections 7.1 and 7.2.
//!
//! It is ours, over `ring`, which is here anyway. The crate `webauthn-rs` does more than is asked: it brings 55 crates, and
//! its licence (MPL-2.0) is not among those that this program may have. What it would do beyond this file is to judge who
//! made an authenticator, which a site without internet cannot look up: no attestation is asked for, and none is believed.
//!
//! Invariant: challenge, origin, relying party, presence and, where it is asked for, verification are each checked before
//! the signature is; nothing that the browser says is believed without the signature.
//! Invariant: the key that is kept is one of three kinds, and it is checked when it is taken in.

use cbor4ii::core::Value;
use cbor4ii::core::dec::{Decode, Read};
use cbor4ii::core::utils::SliceReader;
use ring::digest::{SHA256, digest};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;

use crate::base::{Error, Result};

/// The kinds of key that are taken, the best first: numbers of the COSE registry.
pub const PASSKEY_KINDS: [i64; 3] = [EDDSA, ES256, RS256];
/// Bytes of a credential's identifier (section 5.8.3).
pub const CREDENTIAL_BYTES_MAX: usize = 1_023;
/// Bytes of anything that an authenticator says.
const SAID_BYTES_MAX: usize = 16 * 1024;

const EDDSA: i64 = -8;
const ES256: i64 = -7;
const RS256: i64 = -257;

const PRESENT: u8 = 1;
const VERIFIED: u8 = 1 << 2;
const MAY_BE_BACKED_UP: u8 = 1 << 3;
const BACKED_UP: u8 = 1 << 4;
const HAS_CREDENTIAL: u8 = 1 << 6;
const HAS_EXTENSIONS: u8 = 1 << 7;
const HEAD_BYTES: usize = 37;

/// What an answer must fit.
#[derive(Clone, Copy, Debug)]
pub struct Ceremony<'a> {
    /// The bytes that were asked to be signed.
    pub challenge: &'a [u8],
    /// `https://host:port`, as the browser's address bar has it.
    pub origin: &'a str,
    /// The host's name.
    pub relying_party: &'a str,
    /// Whether the person must have shown themselves to the authenticator, by a PIN or a finger.
    pub verified: bool,
}

/// A key that was made for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Its identifier.
    pub credential: Vec<u8>,
    /// The public key as COSE has it.
    pub key: Vec<u8>,
    /// How often it has signed, if it counts.
    pub counter: u32,
    /// Whether the person was verified.
    pub verified: bool,
    /// Whether it lives in more than one place.
    pub backed_up: bool,
}

/// An answer that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asserted {
    /// How often the key has signed, if it counts.
    pub counter: u32,
    /// Whether the person was verified.
    pub verified: bool,
    /// Whether the key lives in more than one place.
    pub backed_up: bool,
}

/// Takes a new key in: what the browser said of it, and the attestation object.
pub fn register(ceremony: &Ceremony<'_>, client: &[u8], attestation: &[u8]) -> Result<Registered> {
    said(client, "webauthn.create", ceremony)?;
    let (object, rest) = cbor(attestation)?;
    if !rest.is_empty() {
        return Err(wrong("something follows the attestation"));
    }
    let data = match entry(&object, &Value::Text("authData".into())) {
        Some(Value::Bytes(data)) => data,
        _ => return Err(wrong("the attestation has no data of the authenticator")),
    };
    let head = head(data, ceremony)?;
    if head.flags & HAS_CREDENTIAL == 0 {
        return Err(wrong("it has no credential"));
    }
    let rest = &data[HEAD_BYTES..];
    // What kind of authenticator it is (16 bytes) is not asked for; a length follows.
    let (length, rest) =
        rest.get(16..).and_then(<[u8]>::split_first_chunk::<2>).ok_or_else(|| wrong("it is cut off"))?;
    let length = usize::from(u16::from_be_bytes(*length));
    if length == 0 || length > CREDENTIAL_BYTES_MAX || length > rest.len() {
        return Err(wrong("the length of its identifier is not valid"));
    }
    let (credential, rest) = rest.split_at(length);
    let (key, after) = cbor(rest)?;
    let key_bytes = &rest[..rest.len() - after.len()];
    PublicKey::of(&key)?;
    ends(head.flags, after)?;
    Ok(Registered {
        credential: credential.to_vec(),
        key: key_bytes.to_vec(),
        counter: head.counter,
        verified: head.flags & VERIFIED != 0,
        backed_up: head.flags & BACKED_UP != 0,
    })
}

/// Checks an answer by the kept key: what the browser said, what the authenticator said, and the signature of both.
pub fn assert(
    ceremony: &Ceremony<'_>,
    key: &[u8],
    client: &[u8],
    data: &[u8],
    signature: &[u8],
) -> Result<Asserted> {
    said(client, "webauthn.get", ceremony)?;
    let head = head(data, ceremony)?;
    if head.flags & HAS_CREDENTIAL != 0 {
        return Err(wrong("it has a credential where none belongs"));
    }
    ends(head.flags, &data[HEAD_BYTES..])?;
    let (key, _) = cbor(key)?;
    let mut signed = data.to_vec();
    signed.extend_from_slice(digest(&SHA256, client).as_ref());
    if !PublicKey::of(&key)?.verifies(&signed, signature) {
        return Err(wrong("the signature is not the key's"));
    }
    Ok(Asserted {
        counter: head.counter,
        verified: head.flags & VERIFIED != 0,
        backed_up: head.flags & BACKED_UP != 0,
    })
}

fn wrong(what: &'static str) -> Error {
    Error::invalid(format!("the passkey's answer does not hold: {what}")).hint("try once more")
}

/// What the browser says it was asked, and by whom.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Client {
    r#type: String,
    challenge: String,
    origin: String,
    #[serde(default)]
    cross_origin: bool,
}

fn said(client: &[u8], kind: &str, ceremony: &Ceremony<'_>) -> Result<()> {
    if client.len() > SAID_BYTES_MAX {
        return Err(wrong("the browser says too much"));
    }
    let client: Client =
        serde_json::from_slice(client).map_err(|e| wrong("the browser is not understood").because(e))?;
    if client.r#type != kind {
        return Err(wrong("it answers another question"));
    }
    let challenge = data_encoding::BASE64URL_NOPAD.decode(client.challenge.as_bytes()).unwrap_or_default();
    if challenge.is_empty() || challenge != ceremony.challenge {
        return Err(wrong("it answers another challenge"));
    }
    if !client.origin.eq_ignore_ascii_case(ceremony.origin) || client.cross_origin {
        return Err(wrong("it was given to another site"));
    }
    Ok(())
}

struct Head {
    flags: u8,
    counter: u32,
}

fn head(data: &[u8], ceremony: &Ceremony<'_>) -> Result<Head> {
    let Some((head, _)) = data.split_first_chunk::<HEAD_BYTES>().filter(|_| data.len() <= SAID_BYTES_MAX)
    else {
        return Err(wrong("the authenticator says too little or too much"));
    };
    if head[..32] != *digest(&SHA256, ceremony.relying_party.as_bytes()).as_ref() {
        return Err(wrong("it is for another site"));
    }
    let flags = head[32];
    if flags & PRESENT == 0 {
        return Err(wrong("nobody was there"));
    }
    if flags & BACKED_UP != 0 && flags & MAY_BE_BACKED_UP == 0 {
        return Err(wrong("the authenticator contradicts itself"));
    }
    if ceremony.verified && flags & VERIFIED == 0 {
        return Err(wrong("the authenticator has not asked who was there")
            .hint("set up a PIN or a fingerprint on it, or sign in with your password first"));
    }
    Ok(Head { flags, counter: u32::from_be_bytes([head[33], head[34], head[35], head[36]]) })
}

/// After the head and the credential there are extensions, if they were announced, and nothing else.
fn ends(flags: u8, rest: &[u8]) -> Result<()> {
    let rest = match flags & HAS_EXTENSIONS {
        0 => rest,
        _ => cbor(rest)?.1,
    };
    if rest.is_empty() { Ok(()) } else { Err(wrong("something follows what the authenticator says")) }
}

/// The first value, and what follows it.
fn cbor(bytes: &[u8]) -> Result<(Value, &[u8])> {
    if bytes.len() > SAID_BYTES_MAX {
        return Err(wrong("the authenticator says too much"));
    }
    let unread =
        |e: &dyn std::fmt::Debug| wrong("the authenticator is not understood").because(format!("{e:?}"));
    let mut reader = SliceReader::new(bytes);
    let value = Value::decode(&mut reader).map_err(|e| unread(&e))?;
    let rest = reader.fill(bytes.len()).map_err(|e| unread(&e))?.as_ref().len();
    Ok((value, &bytes[bytes.len() - rest..]))
}

fn entry<'a>(map: &'a Value, key: &Value) -> Option<&'a Value> {
    let Value::Map(entries) = map else { return None };
    entries.iter().find(|(name, _)| name == key).map(|(_, value)| value)
}

/// A public key, as RFC 9053 writes it.
enum PublicKey<'a> {
    Ed25519(&'a [u8]),
    P256([u8; 65]),
    Rsa { n: &'a [u8], e: &'a [u8] },
}

impl PublicKey<'_> {
    fn of(key: &Value) -> Result<PublicKey<'_>> {
        let number = |label: i128| match entry(key, &Value::Integer(label)) {
            Some(Value::Integer(value)) => i64::try_from(*value).ok(),
            _ => None,
        };
        let bytes = |label: i128| match entry(key, &Value::Integer(label)) {
            Some(Value::Bytes(bytes)) => Some(bytes.as_slice()),
            _ => None,
        };
        // Type, algorithm and, where there is one, the curve.
        let key = match (number(1), number(3), number(-1)) {
            (Some(1), Some(EDDSA), Some(6)) => bytes(-2).filter(|x| x.len() == 32).map(PublicKey::Ed25519),
            (Some(2), Some(ES256), Some(1)) => match (bytes(-2), bytes(-3)) {
                (Some(x), Some(y)) if x.len() == 32 && y.len() == 32 => {
                    let mut point = [4; 65];
                    point[1..33].copy_from_slice(x);
                    point[33..].copy_from_slice(y);
                    Some(PublicKey::P256(point))
                }
                _ => None,
            },
            (Some(3), Some(RS256), _) => match (bytes(-1), bytes(-2)) {
                (Some(n), Some(e)) if (256..=1_024).contains(&n.len()) && (1..=8).contains(&e.len()) => {
                    Some(PublicKey::Rsa { n, e })
                }
                _ => None,
            },
            _ => None,
        };
        key.ok_or_else(|| wrong("its kind of key is not taken").hint("use another authenticator"))
    }

    fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        match self {
            PublicKey::Ed25519(x) => UnparsedPublicKey::new(&ED25519, x).verify(signed, signature).is_ok(),
            PublicKey::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(signed, signature).is_ok()
            }
            PublicKey::Rsa { n, e } => {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature).is_ok()
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
