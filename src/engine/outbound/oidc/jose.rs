//! Signed tokens (RFC 7515, 7518, 8037) and the keys that prove them (RFC 7517).
//!
//! Invariant: an algorithm that is not on the list does not exist: neither `none` nor one with a shared secret.
//! Invariant: a key proves only what its own kind and its own `alg` allow.

use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::base::{Error, Result};

/// Bytes of a token.
pub(super) const TOKEN_BYTES_MAX: usize = 64 * 1024;
/// Keys of a provider that are kept.
pub(super) const KEYS_COUNT_MAX: usize = 64;

/// The algorithms that are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Ps256,
    Es256,
    EdDsa,
}

impl Algorithm {
    fn find(word: &str) -> Option<Algorithm> {
        Some(match word {
            "RS256" => Algorithm::Rs256,
            "PS256" => Algorithm::Ps256,
            "ES256" => Algorithm::Es256,
            "EdDSA" | "Ed25519" => Algorithm::EdDsa,
            _ => return None,
        })
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<Value>,
}

/// A token that is read and not yet proved.
pub(super) struct Signed<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    message: &'a [u8],
    signature: Vec<u8>,
    /// What it claims.
    pub(super) claims: Map<String, Value>,
}

/// Reads a token in the compact form.
pub(super) fn read(token: &str) -> Result<Signed<'_>> {
    let wrong = |why: &str| Error::unauthenticated(format!("the provider's token {why}"));
    if token.len() > TOKEN_BYTES_MAX {
        return Err(wrong("is too long"));
    }
    let parts: Vec<&str> = token.split('.').collect();
    let [head, body, signature] = parts[..] else {
        return Err(wrong("is no signed token"));
    };
    let decoded = |part: &str| decode(part).ok_or_else(|| wrong("does not read"));
    let header: Header =
        serde_json::from_slice(&decoded(head)?).map_err(|e| wrong("has no readable header").because(e))?;
    if header.crit.is_some() {
        return Err(wrong("demands an extension that is not known here"));
    }
    let Some(algorithm) = Algorithm::find(&header.alg) else {
        let shown: String = header.alg.chars().filter(char::is_ascii_alphanumeric).take(20).collect();
        return Err(wrong(&format!("is signed with `{shown}`, which is not accepted"))
            .hint("set RS256, PS256, ES256 or EdDSA for this client at the provider"));
    };
    let claims =
        serde_json::from_slice(&decoded(body)?).map_err(|e| wrong("has no readable claims").because(e))?;
    let signature = decoded(signature)?;
    Ok(Signed {
        algorithm,
        kid: header.kid,
        message: &token.as_bytes()[..head.len() + 1 + body.len()],
        signature,
        claims,
    })
}

/// A public key of a provider.
#[derive(Clone, Debug)]
pub(super) struct Key {
    kid: Option<String>,
    algorithm: Option<Algorithm>,
    material: Material,
}

#[derive(Clone, Debug)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// A point of P-256, not compressed.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl Key {
    fn of(key: &Value) -> Option<Key> {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let bytes = |name: &str| text(name).and_then(decode);
        if text("use").is_some_and(|what| what != "sig") {
            return None;
        }
        let algorithm = match text("alg") {
            Some(word) => Some(Algorithm::find(word)?),
            None => None,
        };
        let material = match (text("kty")?, text("crv")) {
            ("RSA", _) => {
                let n: Vec<u8> = bytes("n")?.into_iter().skip_while(|byte| *byte == 0).collect();
                Material::Rsa { n, e: bytes("e")? }
            }
            ("EC", Some("P-256")) => {
                let (x, y) = (bytes("x")?, bytes("y")?);
                (x.len() == 32 && y.len() == 32).then_some(())?;
                Material::P256([&[4], &x[..], &y[..]].concat())
            }
            ("OKP", Some("Ed25519")) => Material::Ed25519(bytes("x")?),
            _ => return None,
        };
        Some(Key { kid: text("kid").map(str::to_owned), algorithm, material })
    }

    /// Whether it may be the one that signed this.
    fn fits(&self, token: &Signed<'_>) -> bool {
        let kind = match self.material {
            Material::Rsa { .. } => matches!(token.algorithm, Algorithm::Rs256 | Algorithm::Ps256),
            Material::P256(_) => token.algorithm == Algorithm::Es256,
            Material::Ed25519(_) => token.algorithm == Algorithm::EdDsa,
        };
        let named = token.kid.is_none() || self.kid.is_none() || token.kid == self.kid;
        kind && named && self.algorithm.is_none_or(|own| own == token.algorithm)
    }

    fn proves(&self, token: &Signed<'_>) -> bool {
        let (message, signature) = (token.message, &token.signature[..]);
        match &self.material {
            Material::Rsa { n, e } => {
                let parameters = match token.algorithm {
                    Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
                    _ => &signature::RSA_PKCS1_2048_8192_SHA256,
                };
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
            }
            Material::P256(point) => UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
                .verify(message, signature)
                .is_ok(),
            Material::Ed25519(key) => {
                UnparsedPublicKey::new(&signature::ED25519, key).verify(message, signature).is_ok()
            }
        }
    }
}

/// The keys of a set that can prove something here; others are passed over.
pub(super) fn keys(document: &[u8]) -> Result<Vec<Key>> {
    let set: Value = serde_json::from_slice(document)
        .map_err(|e| Error::unavailable("the provider's keys do not read").because(e))?;
    let all = set.get("keys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    Ok(all.iter().filter_map(Key::of).take(KEYS_COUNT_MAX).collect())
}

/// Whether a key is there that may have signed the token.
pub(super) fn knows(keys: &[Key], token: &Signed<'_>) -> bool {
    keys.iter().any(|key| key.fits(token))
}

/// Refuses a token that none of the keys signed.
pub(super) fn prove(keys: &[Key], token: &Signed<'_>) -> Result<()> {
    if keys.iter().any(|key| key.fits(token) && key.proves(token)) {
        return Ok(());
    }
    Err(Error::unauthenticated("the provider's token is not signed by a key of the provider"))
}

const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Base64 for addresses, without padding (RFC 4648 §5).
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(SIGNS[(word >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}

/// The bytes again; nothing when a sign is foreign or bits are left over.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for chunk in text.as_bytes().chunks(4) {
        let mut word = 0u32;
        for sign in chunk {
            let value = match sign {
                b'A'..=b'Z' => sign - b'A',
                b'a'..=b'z' => sign - b'a' + 26,
                b'0'..=b'9' => sign - b'0' + 52,
                b'-' => 62,
                b'_' => 63,
                _ => return None,
            };
            word = word << 6 | u32::from(value);
        }
        let left = word << (6 * (4 - chunk.len()));
        let count = chunk.len() * 6 / 8;
        let whole = left.to_be_bytes();
        if chunk.len() == 1 || whole[1 + count..].iter().any(|byte| *byte != 0) {
            return None;
        }
        bytes.extend_from_slice(&whole[1..1 + count]);
    }
    Some(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
    use serde_json::json;

    use super::*;

    /// A provider's key of a test.
    pub(in crate::engine::outbound::oidc) enum Own {
        Ec(EcdsaKeyPair),
        Ed(Ed25519KeyPair),
    }

    impl Own {
        pub(in crate::engine::outbound::oidc) fn ec() -> Own {
            let random = SystemRandom::new();
            let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
            let document = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
            Own::Ec(EcdsaKeyPair::from_pkcs8(kind, document.as_ref(), &random).unwrap())
        }

        pub(in crate::engine::outbound::oidc) fn ed() -> Own {
            let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
            Own::Ed(Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap())
        }

        pub(in crate::engine::outbound::oidc) fn public(&self, kid: &str) -> Value {
            match self {
                Own::Ec(pair) => {
                    let point = pair.public_key().as_ref();
                    let (x, y) = (encode(&point[1..33]), encode(&point[33..]));
                    json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid, "use": "sig" })
                }
                Own::Ed(pair) => {
                    let x = encode(pair.public_key().as_ref());
                    json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid })
                }
            }
        }

        pub(in crate::engine::outbound::oidc) fn sign(&self, header: &Value, claims: &Value) -> String {
            let text = |value: &Value| encode(value.to_string().as_bytes());
            let message = format!("{}.{}", text(header), text(claims));
            let signature = match self {
                Own::Ec(pair) => {
                    pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec()
                }
                Own::Ed(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
            };
            format!("{message}.{}", encode(&signature))
        }
    }

    fn set(keys: &[Value]) -> Vec<Key> {
        super::keys(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
    }

    const N: &str = "0bJReyHZ07NA1Cc8zp7jHJpr9FJNcQzfI3aNyVTq4DI7OF0VkA7Vk7dUPfS2sWbpdSZwsGh-gkkEaOQfNEVWtcHWvpqpBBODaRH7_Tmqicc0US-FTWW1EvVZTGSlpa--wuvELW6HA3Siwr6Sz2qyTvwTHqdvkfnEX6_9W3u3Z6YZp9hA0xyCbqwjajqFSRdze7z_REXMyuIspQfw9YxvP8-iAOh6FzeW_LsYq5X30cIM_KKlx1BwDo-ESkbXPp_5BsHTf73TZG5uJ72kW28MQmyaqtAWHu__WadSTDZTp9vmzfIkKI_FXe2HNKG9gGN8QegvrP7Bu7MbYmA7d3yaPQ";
    const RS256: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6InIxIn0.eyJzdWIiOiJ4In0.MU8w5gBITrSjoCMxF6CdRAgrdMxmt4Qh4vwVyx5AiZujb8zPqrbbrv-KHNqjyb_W0gEisKqN_Q-Dc2Xf0ABQo4_voLOdw7rSBMGh3UdN810l3lA1beOQqnk1BBzvILY0_TCN4t4VW-7Z8UuwZf3R7SyqLRY2P0WdNu0fnApjFOJ6b9XnJX81Km3y_CcFUV5uU26s37xgNla5PvmdROnogLz2BsI7N1jCc2gr8i0OKCbNjZ4eqXoFalv3iO4hv0UjXAlVDbtJOH1_Ez6wN3iDWDWPEOPPtn97LN-91BLhOLsyO50kr55U1lGXZjWYLKo1p2J3Kthlwm9P12qvuWj9vg";
    const PS256: &str = "eyJhbGciOiJQUzI1NiIsImtpZCI6InIxIn0.eyJzdWIiOiJ4In0.0IR0ph9I8--KecdGmMGc0Ev45f-ArEJ8aa7-bFLd_9rCsR5mlYBARZv6gEyC4kMiI7qvv04yRl_wcFLhbYHRHt-c-ubCGST1gTyjIBmjhBzu6jIJWC1uXCKtP-WMEqnsZUHkFVccZgB6dA7vD8NbMQb4zKGOBB76zRbLH51xq3MMJhMRGez2YuhOnGXxXLhWfaPmw2Bf3-9C6U45MF8ym1o4ozk1FGhOiXhW8kYR9xn5mO_AXpOS1hgLOjq8JBZOfh2pa3pZZ59T10raF-J-E7sbFbuY0MQn3vzz2vMV5EBV66gmTFbm14riQtxdK4cJB45MF0QtxAH2kiOWY1oJkA";

    #[test]
    fn each_algorithm_proves_its_own_and_no_other() {
        let (ec, ed) = (Own::ec(), Own::ed());
        let rsa = json!({ "kty": "RSA", "n": N, "e": "AQAB", "kid": "r1" });
        let keys = set(&[ec.public("e1"), ed.public("d1"), rsa.clone()]);
        assert_eq!(keys.len(), 3);
        let es = ec.sign(&json!({ "alg": "ES256", "kid": "e1" }), &json!({ "sub": "x" }));
        let eddsa = ed.sign(&json!({ "alg": "EdDSA", "kid": "d1" }), &json!({ "sub": "x" }));
        for token in [RS256, PS256, &es, &eddsa] {
            let read = read(token).unwrap();
            assert_eq!(read.claims["sub"], "x");
            prove(&keys, &read).unwrap();
            // A bit of the signature, and another body.
            let (head, signature) = token.rsplit_once('.').unwrap();
            let mut bytes = decode(signature).unwrap();
            bytes[3] ^= 1;
            let bent = format!("{head}.{}", encode(&bytes));
            assert!(prove(&keys, &super::read(&bent).unwrap()).is_err());
            let other = token.replace("eyJzdWIiOiJ4In0", &encode(b"{\"sub\":\"y\"}"));
            assert!(prove(&keys, &super::read(&other).unwrap()).is_err());
        }
        // A key that says what it is for is for nothing else; a name that is not there is not known.
        let mut only = rsa;
        only["alg"] = json!("RS256");
        let keys = set(&[only]);
        assert!(prove(&keys, &read(RS256).unwrap()).is_ok() && prove(&keys, &read(PS256).unwrap()).is_err());
        let stranger = ec.sign(&json!({ "alg": "ES256", "kid": "e2" }), &json!({}));
        let stranger = read(&stranger).unwrap();
        assert!(!knows(&set(&[ec.public("e1")]), &stranger));
        assert!(knows(&set(&[ec.public("e1"), ec.public("e2")]), &stranger));
    }

    #[test]
    fn what_is_not_on_the_list_is_refused() {
        let ec = Own::ec();
        for alg in ["none", "None", "HS256", "HS512", "RS512", "ES384", "", "dir"] {
            let token = ec.sign(&json!({ "alg": alg, "kid": "e1" }), &json!({ "sub": "x" }));
            let error = read(&token).err().unwrap();
            assert!(error.message().contains("not accepted"), "{alg}: {error}");
            let naked = format!("{}.", token.rsplit_once('.').unwrap().0);
            assert!(read(&naked).is_err(), "{alg}");
        }
        let crit = ec.sign(&json!({ "alg": "ES256", "crit": ["x"] }), &json!({}));
        let long = "a".repeat(TOKEN_BYTES_MAX + 1);
        for token in ["", ".", "..", "a.b", "a.b.c.d", "?.?.?", &crit, &long] {
            assert!(read(token).is_err());
        }
        assert!(set(&[json!({}), json!({ "kty": "oct", "k": "AAAA" }), json!(7)]).is_empty());
        let mut encryption = ec.public("e1");
        encryption["use"] = json!("enc");
        assert!(set(&[encryption]).is_empty());
        let many = vec![ec.public("e1"); KEYS_COUNT_MAX + 5];
        assert_eq!(set(&many).len(), KEYS_COUNT_MAX);
    }

    #[test]
    fn bytes_come_back() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg"),
            (b"fo", "Zm8"),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg"),
            (&[251, 255], "-_8"),
        ] {
            assert_eq!(encode(bytes), text);
            assert_eq!(decode(text).unwrap(), bytes);
        }
        for wrong in ["A", "+/", "Zh", "Zm9", "Zm 9v", "é"] {
            assert!(decode(wrong).is_none(), "{wrong}");
        }
    }
}
