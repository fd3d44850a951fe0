//! An authenticator in a few lines, and everything that may be wrong with its answers.

use cbor4ii::core::enc::Encode;
use cbor4ii::core::utils::BufWriter;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};

use super::*;

/// An authenticator with one key, which does as it is told.
pub(crate) struct Authenticator {
    key: Pair,
    /// The key's identifier.
    pub(crate) credential: Vec<u8>,
    /// How often it has signed.
    pub(crate) counter: u32,
    /// Present and verified, unless a test says otherwise.
    pub(crate) flags: u8,
}

enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

/// A key for tests alone: `ring` makes none of this kind.
const RSA: &[u8] = include_bytes!("rsa.der");

/// What the browser would send.
pub(crate) struct Answer {
    pub(crate) client: Vec<u8>,
    pub(crate) data: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

impl Authenticator {
    pub(crate) fn p256(n: u8) -> Authenticator {
        let random = SystemRandom::new();
        let file = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, file.as_ref(), &random).unwrap();
        Authenticator::with(Pair::P256(key), n)
    }

    pub(crate) fn ed25519(n: u8) -> Authenticator {
        let file = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Authenticator::with(Pair::Ed25519(Ed25519KeyPair::from_pkcs8(file.as_ref()).unwrap()), n)
    }

    pub(crate) fn rsa(n: u8) -> Authenticator {
        Authenticator::with(Pair::Rsa(RsaKeyPair::from_pkcs8(RSA).unwrap()), n)
    }

    fn with(key: Pair, n: u8) -> Authenticator {
        Authenticator { key, credential: vec![n; 32], counter: 1, flags: PRESENT | VERIFIED }
    }

    fn cose(&self) -> Vec<u8> {
        let number = |n: i128| Value::Integer(n);
        let map = match &self.key {
            Pair::P256(key) => {
                let point = key.public_key().as_ref();
                vec![
                    (number(1), number(2)),
                    (number(3), number(-7)),
                    (number(-1), number(1)),
                    (number(-2), Value::Bytes(point[1..33].to_vec())),
                    (number(-3), Value::Bytes(point[33..].to_vec())),
                ]
            }
            Pair::Ed25519(key) => vec![
                (number(1), number(1)),
                (number(3), number(-8)),
                (number(-1), number(6)),
                (number(-2), Value::Bytes(key.public_key().as_ref().to_vec())),
            ],
            Pair::Rsa(key) => {
                let public: RsaPublicKeyComponents<Vec<u8>> = key.public().into();
                vec![
                    (number(1), number(3)),
                    (number(3), number(-257)),
                    (number(-1), Value::Bytes(public.n)),
                    (number(-2), Value::Bytes(public.e)),
                ]
            }
        };
        bytes(&Value::Map(map))
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.key {
            Pair::P256(key) => key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Pair::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            Pair::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
        }
    }

    fn head(&self, relying_party: &str, flags: u8) -> Vec<u8> {
        let mut data = digest(&SHA256, relying_party.as_bytes()).as_ref().to_vec();
        data.push(flags);
        data.extend_from_slice(&self.counter.to_be_bytes());
        data
    }

    /// Client data and attestation object of a new key.
    pub(crate) fn make(&self, ceremony: &Ceremony<'_>) -> (Vec<u8>, Vec<u8>) {
        let mut data = self.head(ceremony.relying_party, self.flags | HAS_CREDENTIAL);
        data.extend_from_slice(&[0; 16]);
        data.extend_from_slice(&(self.credential.len() as u16).to_be_bytes());
        data.extend_from_slice(&self.credential);
        data.extend_from_slice(&self.cose());
        let object = Value::Map(vec![
            (Value::Text("fmt".into()), Value::Text("none".into())),
            (Value::Text("attStmt".into()), Value::Map(Vec::new())),
            (Value::Text("authData".into()), Value::Bytes(data)),
        ]);
        (client("webauthn.create", ceremony), bytes(&object))
    }

    /// The answer to a challenge; the counter goes up.
    pub(crate) fn answer(&mut self, ceremony: &Ceremony<'_>) -> Answer {
        self.counter += 1;
        let client = client("webauthn.get", ceremony);
        let data = self.head(ceremony.relying_party, self.flags);
        let mut signed = data.clone();
        signed.extend_from_slice(digest(&SHA256, &client).as_ref());
        Answer { signature: self.sign(&signed), client, data }
    }
}

fn client(kind: &str, ceremony: &Ceremony<'_>) -> Vec<u8> {
    let challenge = data_encoding::BASE64URL_NOPAD.encode(ceremony.challenge);
    let client = serde_json::json!({
        "type": kind, "challenge": challenge, "origin": ceremony.origin, "crossOrigin": false,
    });
    client.to_string().into_bytes()
}

fn bytes(value: &Value) -> Vec<u8> {
    let mut writer = BufWriter::new(Vec::new());
    value.encode(&mut writer).unwrap();
    writer.into_inner()
}

const ASKED: Ceremony<'_> = Ceremony {
    challenge: &[7; 32],
    origin: "https://muster.test:8443",
    relying_party: "muster.test",
    verified: true,
};

#[test]
fn keys_are_taken_in_and_their_answers_hold() {
    for mut authenticator in [Authenticator::p256(1), Authenticator::ed25519(2), Authenticator::rsa(3)] {
        let (client, object) = authenticator.make(&ASKED);
        let made = register(&ASKED, &client, &object).unwrap();
        assert_eq!((made.credential.len(), made.counter, made.verified), (32, 1, true));
        let answer = authenticator.answer(&ASKED);
        let held = assert(&ASKED, &made.key, &answer.client, &answer.data, &answer.signature).unwrap();
        assert_eq!((held.counter, held.verified), (2, true));
    }
}

#[test]
fn an_answer_to_something_else_does_not_hold() {
    let mut authenticator = Authenticator::p256(1);
    let (client, object) = authenticator.make(&ASKED);
    let key = register(&ASKED, &client, &object).unwrap().key;
    let answer = authenticator.answer(&ASKED);
    let why = |asked: &Ceremony<'_>, answer: &Answer| {
        let held = assert(asked, &key, &answer.client, &answer.data, &answer.signature);
        held.unwrap_err().message().to_owned()
    };
    for (asked, part) in [
        (Ceremony { challenge: &[8; 32], ..ASKED }, "another challenge"),
        (Ceremony { challenge: &[], ..ASKED }, "another challenge"),
        (Ceremony { origin: "https://evil.test:8443", ..ASKED }, "another site"),
        (Ceremony { origin: "https://muster.test", ..ASKED }, "another site"),
        (Ceremony { relying_party: "evil.test", ..ASKED }, "for another site"),
    ] {
        assert!(why(&asked, &answer).contains(part), "{asked:?}");
    }
    authenticator.flags = PRESENT;
    let unverified = authenticator.answer(&ASKED);
    assert!(why(&ASKED, &unverified).contains("has not asked who was there"));
    let loose = Ceremony { verified: false, ..ASKED };
    assert!(assert(&loose, &key, &unverified.client, &unverified.data, &unverified.signature).is_ok());
    authenticator.flags = PRESENT | VERIFIED | BACKED_UP;
    assert!(why(&ASKED, &authenticator.answer(&ASKED)).contains("contradicts itself"));
    authenticator.flags = 0;
    assert!(why(&loose, &authenticator.answer(&ASKED)).contains("nobody was there"));
    // The answer of a registration is none to a sign-in.
    let crossed = Answer { client, ..authenticator.answer(&ASKED) };
    assert!(why(&ASKED, &crossed).contains("another question"));
    let mut other = Authenticator::p256(1);
    let foreign = other.answer(&ASKED);
    assert!(why(&ASKED, &foreign).contains("signature"));
}

#[test]
fn no_bit_may_change() {
    let mut authenticator = Authenticator::ed25519(1);
    let (client, object) = authenticator.make(&ASKED);
    let key = register(&ASKED, &client, &object).unwrap().key;
    let answer = authenticator.answer(&ASKED);
    for part in 0..3 {
        let length = [&answer.client, &answer.data, &answer.signature][part].len();
        for at in 0..length {
            let mut parts = [answer.client.clone(), answer.data.clone(), answer.signature.clone()];
            parts[part][at] ^= 1;
            assert!(assert(&ASKED, &key, &parts[0], &parts[1], &parts[2]).is_err(), "part {part} byte {at}");
            parts[part].truncate(at);
            assert!(assert(&ASKED, &key, &parts[0], &parts[1], &parts[2]).is_err(), "part {part} cut {at}");
        }
    }
}

#[test]
fn nonsense_is_refused_and_breaks_nothing() {
    let authenticator = Authenticator::p256(1);
    let (client, object) = authenticator.make(&ASKED);
    for at in 0..object.len() {
        assert!(register(&ASKED, &client, &object[..at]).is_err(), "cut at {at}");
        for bit in 0..8 {
            let mut bad = object.clone();
            bad[at] ^= 1 << bit;
            // Some bits are nobody's, such as the authenticator's model; what is taken in must be usable.
            if let Ok(made) = register(&ASKED, &client, &bad) {
                assert!(cbor(&made.key).is_ok_and(|(key, _)| PublicKey::of(&key).is_ok()));
            }
        }
    }
    let deep = [0x81; 10_000];
    for bad in [
        &deep[..],
        &[0x9f],
        &[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x5a, 0xff, 0xff, 0xff, 0xff],
    ] {
        assert!(register(&ASKED, &client, bad).is_err());
    }
    assert!(register(&ASKED, &vec![b' '; SAID_BYTES_MAX + 1], &object).is_err());
    assert!(register(&ASKED, &client, &vec![0; SAID_BYTES_MAX + 1]).is_err());
    let mut longer = object.clone();
    longer.push(0);
    assert!(register(&ASKED, &client, &longer).is_err());
}
