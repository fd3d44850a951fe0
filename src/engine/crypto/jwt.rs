//! Short-lived tokens: JWTs (RFC 7519) of the profile for access tokens (RFC 9068), signed with Ed25519 (RFC 8037).
//!
//! Invariant: the algorithm is ours and never the token's: a header that says anything else is refused.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::certificate::Fingerprint;
use super::signer::Signer;
use crate::base::{Error, Result};

/// The one algorithm.
const ALGORITHM: &str = "EdDSA";
/// The one kind of token.
const KIND: &str = "at+jwt";
/// Bytes of a token.
pub const JWT_BYTES_MAX: usize = 4 * 1024;

/// The public half as a JWK, with its thumbprint (RFC 7638) as `kid`.
pub fn jwk(signer: &Signer) -> Result<Value> {
    let x = URL_SAFE_NO_PAD.encode(signer.public_bytes());
    // Members in lexical order, without spaces.
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    let kid = URL_SAFE_NO_PAD.encode(Fingerprint::of(canonical.as_bytes())?.0);
    Ok(json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid, "alg": ALGORITHM, "use": "sig" }))
}

/// A token with these claims.
pub fn sign_jwt(signer: &Signer, kid: &str, claims: &Value) -> String {
    let header = json!({ "alg": ALGORITHM, "typ": KIND, "kid": kid });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(signer.sign_bytes(signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// Whether a text may be such a token at all, to tell it from others.
pub fn looks_like_jwt(text: &str) -> bool {
    text.starts_with("eyJ") && text.len() <= JWT_BYTES_MAX && text.split('.').count() == 3
}

/// The claims of a token whose signature fits. `jwk_of` gives the public key (JWK) with this `kid`, if it is still known.
/// What the claims say is the caller's to judge.
pub fn verify_jwt(token: &str, jwk_of: impl FnOnce(&str) -> Result<Option<Value>>) -> Result<Value> {
    let refused = |why: &str| Error::unauthenticated(format!("the token is not valid: {why}"));
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(refused("it has not three parts"));
    };
    if token.len() > JWT_BYTES_MAX {
        return Err(refused("it is too long"));
    }
    let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| refused("a part is not base64url"));
    let object = |part: &str| match serde_json::from_slice(&decoded(part)?) {
        Ok(value @ Value::Object(_)) => Ok(value),
        _ => Err(refused("a part is not a JSON object")),
    };
    let head = object(header)?;
    if head["alg"] != ALGORITHM || head["typ"] != KIND || head.get("crit").is_some() {
        return Err(refused("it is of another kind"));
    }
    let kid = head["kid"].as_str().ok_or_else(|| refused("it names no key"))?;
    let jwk = jwk_of(kid)?.ok_or_else(|| refused("nobody here has signed it, or too long ago"))?;
    let public = jwk["x"].as_str().map(&decoded).transpose()?.unwrap_or_default();
    let signed = token.rsplit_once('.').map(|(signed, _)| signed).unwrap_or_default();
    if !Signer::fits(&public, signed.as_bytes(), &decoded(signature)?) {
        return Err(refused("the signature does not fit"));
    }
    object(claims)
}

/// Standard base 64, as `Authorization: Basic` has it.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::super::kek::Kek;
    use super::super::vault::Vault;
    use super::*;
    use crate::engine::clock::Clock;

    fn signer(name: &str) -> Signer {
        let (clock, folder) = (Clock::system(), tempfile::tempdir().unwrap());
        let vault = Vault::open(folder.path(), &Kek::File(folder.path().join("kek")), &clock).unwrap();
        Signer::open(&vault, name, &clock).unwrap()
    }

    fn part(value: Value) -> String {
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    #[test]
    fn the_key_is_as_rfc_8037_has_it() {
        let seed = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
            0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
        ];
        let signer = Signer::of_seed(&seed).unwrap();
        let jwk = jwk(&signer).unwrap();
        // RFC 8037, appendix A.
        assert_eq!(jwk["x"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(jwk["kid"], "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert!(jwk.get("d").is_none());
        let signed = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        assert_eq!(
            URL_SAFE_NO_PAD.encode(signer.sign_bytes(signed.as_bytes())),
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
        );
    }

    #[test]
    fn a_token_is_what_was_signed_and_nothing_else() {
        let (ours, other) = (signer("a"), signer("b"));
        let (jwk, theirs) = (jwk(&ours).unwrap(), jwk(&other).unwrap());
        let kid = jwk["kid"].as_str().unwrap().to_owned();
        let claims = json!({ "sub": "key_1", "exp": 7 });
        let token = sign_jwt(&ours, &kid, &claims);
        assert!(looks_like_jwt(&token));
        let known = |asked: &str| Ok((asked == kid).then(|| jwk.clone()));
        assert_eq!(verify_jwt(&token, known).unwrap(), claims);
        let [header, body, signature] = <[&str; 3]>::try_from(token.split('.').collect::<Vec<_>>()).unwrap();
        let public = jwk["x"].as_str().unwrap();
        let head = |alg: &str, typ: &str| part(json!({ "alg": alg, "typ": typ, "kid": kid }));
        let signed = |head: &str, body: &str| {
            let text = format!("{head}.{body}");
            let signature = URL_SAFE_NO_PAD.encode(ours.sign_bytes(text.as_bytes()));
            format!("{text}.{signature}")
        };
        // The public key as the secret of a symmetric algorithm.
        let keyed = |head: &str| {
            let key = blake3::hash(public.as_bytes());
            let mac = blake3::keyed_hash(key.as_bytes(), format!("{head}.{body}").as_bytes());
            format!("{head}.{body}.{}", URL_SAFE_NO_PAD.encode(mac.as_bytes()))
        };
        let more = part(json!({ "sub": "key_2", "exp": 7 }));
        let mut flipped = URL_SAFE_NO_PAD.decode(signature).unwrap();
        flipped[7] ^= 1;
        for (what, token) in [
            ("no signature", format!("{header}.{body}.")),
            ("none", format!("{}.{body}.", head("none", KIND))),
            ("None, signed", signed(&head("None", KIND), body)),
            ("a symmetric one", keyed(&head("HS256", KIND))),
            ("another asymmetric one", signed(&head("ES256", KIND), body)),
            ("another kind", signed(&head(ALGORITHM, "JWT"), body)),
            ("an identity token", signed(&part(json!({ "alg": ALGORITHM, "kid": kid })), body)),
            (
                "what must be understood",
                signed(&part(json!({ "alg": ALGORITHM, "typ": KIND, "kid": kid, "crit": ["x"] })), body),
            ),
            ("no kid", signed(&part(json!({ "alg": ALGORITHM, "typ": KIND })), body)),
            ("its own key", {
                let head = part(json!({ "alg": ALGORITHM, "typ": KIND, "kid": "x", "jwk": theirs }));
                let text = format!("{head}.{body}");
                format!("{text}.{}", URL_SAFE_NO_PAD.encode(other.sign_bytes(text.as_bytes())))
            }),
            ("other claims", format!("{header}.{more}.{signature}")),
            ("another key", sign_jwt(&other, &kid, &claims)),
            ("a changed signature", format!("{header}.{body}.{}", URL_SAFE_NO_PAD.encode(flipped))),
            ("padding", format!("{header}.{body}.{signature}=")),
            ("four parts", format!("{token}.x")),
            ("two parts", format!("{header}.{body}")),
            ("claims that are no object", signed(header, &part(json!([1])))),
            ("nothing", "..".into()),
            ("much", format!("{header}.{}.{signature}", "A".repeat(JWT_BYTES_MAX))),
        ] {
            let error = verify_jwt(&token, known).expect_err(what);
            assert_eq!(error.kind(), crate::base::Kind::Unauthenticated, "{what}");
        }
        assert!(verify_jwt(&token, |_| Ok(None)).is_err());
    }
}
