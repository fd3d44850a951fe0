//! Reading certificates: fingerprint, identity, serial, lifetime; PEM in and out.

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::base::{Error, Result, Timestamp};

const IDENTITY: &str = "muster:agent:";
const BASE32: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// SHA-256 of a certificate's DER form. As text it is lower-case hexadecimal pairs with colons between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Characters of the short form: 130 bits.
    pub const SHORT_CHARACTERS: usize = 26;

    /// The fingerprint of a certificate.
    pub fn of(der: &[u8]) -> Result<Fingerprint> {
        // The hash of the TLS provider, so that there is one implementation of SHA-256 in the process.
        let suite = super::tls::provider()
            .cipher_suites
            .iter()
            .find(|s| s.suite() == rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256)
            .ok_or_else(|| Error::internal("the TLS provider has no SHA-256"))?
            .tls13()
            .ok_or_else(|| Error::internal("the TLS provider has no TLS 1.3"))?;
        let digest = suite.common.hash_provider.hash(der);
        Ok(Fingerprint(digest.as_ref().try_into().map_err(|_| Error::internal("SHA-256 of a wrong length"))?))
    }

    /// The first 130 bits in Crockford's base 32, for join codes: a person can read it out.
    pub fn short(&self) -> String {
        base32(&self.0, Self::SHORT_CHARACTERS)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, byte) in self.0.iter().enumerate() {
            let colon = if n == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid("the fingerprint is not valid")
                .hint("write the 64 hexadecimal digits of the SHA-256 fingerprint, with or without colons")
        };
        let text = text.trim();
        let text = text.strip_prefix("SHA256:").or_else(|| text.strip_prefix("sha256:")).unwrap_or(text);
        let digits: Vec<u8> = text
            .chars()
            .filter(|c| *c != ':')
            .map(|c| c.to_digit(16).map(|d| d as u8).ok_or_else(wrong))
            .collect::<Result<_>>()?;
        if digits.len() != 64 {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Fingerprint(bytes))
    }
}

/// The first `characters` of `bytes` in Crockford's base 32, upper case.
pub(super) fn base32(bytes: &[u8], characters: usize) -> String {
    (0..characters)
        .map(|n| {
            let bit = n * 5;
            let at = |place: usize| u16::from(bytes.get(place).copied().unwrap_or(0));
            let pair = at(bit / 8) << 8 | at(bit / 8 + 1);
            char::from(BASE32[usize::from(pair >> (11 - bit % 8) & 31)])
        })
        .collect()
}

/// What a person typed as base 32, in its one spelling: upper case, no dashes, `O` as 0, `I` and `L` as 1.
pub(super) fn normal_base32(text: &str) -> Option<String> {
    text.chars()
        .filter(|c| !matches!(c, '-' | ' '))
        .map(|c| match c.to_ascii_uppercase() {
            'O' => Some('0'),
            'I' | 'L' => Some('1'),
            c if c.is_ascii() && BASE32.contains(&(c as u8)) => Some(c),
            _ => None,
        })
        .collect()
}

/// Who a client certificate says it is: the id after `muster:agent:` in its only such URI.
/// The certificate's signature must have been verified before; this only reads.
pub fn identity_of(der: &[u8]) -> Result<String> {
    let certificate = parse(der)?;
    let names = certificate.subject_alternative_name()?.map(|n| &n.value.general_names);
    let mut ids = names.into_iter().flatten().filter_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix(IDENTITY),
        _ => None,
    });
    match (ids.next(), ids.next()) {
        (Some(id), None) => Ok(id.to_owned()),
        _ => Err(Error::unauthenticated("the certificate names no agent")),
    }
}

/// The serial number in lower-case hexadecimal.
pub fn serial_of(der: &[u8]) -> Result<String> {
    Ok(parse(der)?.raw_serial().iter().map(|b| format!("{b:02x}")).collect())
}

/// From when until when a certificate is valid.
pub fn lifetime_of(der: &[u8]) -> Result<(Timestamp, Timestamp)> {
    let certificate = parse(der)?;
    let at =
        |t: x509_parser::time::ASN1Time| Timestamp::from_milliseconds(t.timestamp().saturating_mul(1000));
    Ok((at(certificate.validity().not_before), at(certificate.validity().not_after)))
}

/// Digest (BLAKE3, hexadecimal) of the public key in a signing request (PEM, PKCS #10): the same key, the same program.
pub fn request_key(pem: &str) -> Result<String> {
    let wrong = || Error::invalid("the signing request cannot be read").hint("send PKCS #10 in PEM form");
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|e| wrong().because(e))?;
    let (_, request) = X509CertificationRequest::from_der(&pem.contents).map_err(|e| wrong().because(e))?;
    Ok(blake3::hash(request.certification_request_info.subject_pki.raw).to_hex().to_string())
}

/// The URI by which a certificate names an agent.
pub(super) fn identity_uri(id: &str) -> String {
    format!("{IDENTITY}{id}")
}

/// Parses DER; a certificate that is none is the sender's mistake, not ours.
pub(super) fn parse(der: &[u8]) -> Result<X509Certificate<'_>> {
    X509Certificate::from_der(der)
        .map(|(_, certificate)| certificate)
        .map_err(|e| Error::invalid("the certificate cannot be read").because(e))
}

/// Every certificate of a PEM text, as DER.
pub fn pem_to_der(pem: &str) -> Result<Vec<Vec<u8>>> {
    let wrong = || {
        Error::invalid("the text has no certificate in PEM form")
            .hint("it begins with `-----BEGIN CERTIFICATE-----`")
    };
    let found: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|c| c.map(|c| c.to_vec()).map_err(|e| wrong().because(e)))
        .collect::<Result<_>>()?;
    if found.is_empty() { Err(wrong()) } else { Ok(found) }
}

/// A certificate as PEM.
pub fn pem_of(der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            let at = |n: usize| u32::from(group.get(n).copied().unwrap_or(0));
            let bits = at(0) << 16 | at(1) << 8 | at(2);
            for n in 0..4 {
                let digit = char::from(DIGITS[(bits >> (18 - 6 * n) & 63) as usize]);
                text.push(if n > group.len() { '=' } else { digit });
            }
        }
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_sha_256() {
        let of_nothing = Fingerprint::of(b"abc").unwrap();
        assert!(of_nothing.to_string().starts_with("ba:78:16:bf:8f:01:cf:ea"));
        assert_eq!(of_nothing.to_string().parse::<Fingerprint>().unwrap(), of_nothing);
        assert_eq!(of_nothing.short().len(), 26);
        assert!("ba:78".parse::<Fingerprint>().is_err());
        assert_eq!(base32(&[0xff, 0x00, 0xff], 4), "ZW0F");
        assert_eq!(normal_base32("ab-o1 iL").unwrap(), "AB0111");
        assert!(normal_base32("U!").is_none());
    }

    #[test]
    fn garbage_is_refused() {
        assert!(identity_of(b"x").is_err() && serial_of(&[0x30, 0x80]).is_err());
        assert!(pem_to_der("nothing").is_err());
        for length in 1..8 {
            let der: Vec<u8> = (0..length).collect();
            assert_eq!(pem_to_der(&pem_of(&der)).unwrap(), [der]);
        }
    }
}
