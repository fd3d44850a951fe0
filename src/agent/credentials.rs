//! Who the agent is: key, certificate and authority, in one file that only its user reads.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Server;
use crate::base::{AgentId, Error, Result, Secret, TenantId, Timestamp};
use crate::engine::clock::Clock;
use crate::engine::crypto::{self, Pin, SigningRequest};

const FILE: &str = "credentials.json";
const PENDING: &str = "pending.json";

/// What an agent got by joining.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The tenant.
    pub tenant: TenantId,
    /// Who it is.
    pub agent: AgentId,
    /// Where its server is.
    pub server: Server,
    /// Its certificate (PEM).
    pub certificate: String,
    /// The authority's certificate (PEM).
    pub authority: String,
    /// Its private key, PKCS #8 DER.
    pub key: Secret<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    tenant: TenantId,
    agent: AgentId,
    server: String,
    certificate: String,
    authority: String,
    key: String,
}

#[derive(Serialize, Deserialize)]
struct StoredPending {
    request: String,
    key: String,
}

impl Credentials {
    /// Reads them from the agent's folder; `None` when it has not joined.
    pub fn load(folder: &Path) -> Result<Option<Credentials>> {
        let Some(stored) = read::<Stored>(&folder.join(FILE))? else { return Ok(None) };
        Ok(Some(Credentials {
            tenant: stored.tenant,
            agent: stored.agent,
            server: stored.server.parse()?,
            certificate: stored.certificate,
            authority: stored.authority,
            key: from_hex(&stored.key)?,
        }))
    }

    /// Writes them, whole or not at all, after it has checked that key and certificate belong together.
    pub fn save(&self, folder: &Path, clock: &Clock) -> Result<()> {
        self.check(clock)?;
        let stored = Stored {
            tenant: self.tenant,
            agent: self.agent,
            server: self.server.to_string(),
            certificate: self.certificate.clone(),
            authority: self.authority.clone(),
            key: to_hex(self.key.expose()),
        };
        write(&folder.join(FILE), &stored)
    }

    /// From when until when the certificate is valid.
    pub fn lifetime(&self) -> Result<(Timestamp, Timestamp)> {
        let chain = crypto::pem_to_der(&self.certificate)?;
        crypto::lifetime_of(chain.first().map(Vec::as_slice).unwrap_or_default())
    }

    /// Whether two thirds of the certificate's life are over.
    pub fn wants_renewal(&self, now: Timestamp) -> bool {
        self.lifetime().is_ok_and(|(begins, ends)| {
            now.since(begins).milliseconds() > ends.since(begins).milliseconds() / 3 * 2
        })
    }

    fn check(&self, clock: &Clock) -> Result<()> {
        let pin = Pin::Authority(self.authority.clone());
        crypto::client_config(&pin, Some((&self.certificate, &self.key)), clock)
            .map_err(|e| Error::invalid(format!("the certificate does not fit the key: {}", e.detail())))?;
        let chain = crypto::pem_to_der(&self.certificate)?;
        let named = crypto::identity_of(chain.first().map(Vec::as_slice).unwrap_or_default())?;
        if named != self.agent.to_string() {
            return Err(Error::invalid(format!(
                "the certificate is for `{named}`, not for `{}`",
                self.agent
            )));
        }
        Ok(())
    }
}

/// The key pair that waits for its certificate: the kept one, so that asking again is the same request, or a new one.
pub(super) fn pending(folder: &Path) -> Result<SigningRequest> {
    if let Some(stored) = read::<StoredPending>(&folder.join(PENDING))? {
        return Ok(SigningRequest { key: from_hex(&stored.key)?, pem: stored.request });
    }
    let request = crypto::signing_request()?;
    let stored = StoredPending { request: request.pem.clone(), key: to_hex(request.key.expose()) };
    write(&folder.join(PENDING), &stored)?;
    Ok(request)
}

/// Forgets the key pair that waited.
pub(super) fn forget_pending(folder: &Path) {
    let _ = fs::remove_file(folder.join(PENDING));
}

fn read<T: for<'de> Deserialize<'de>>(path: &PathBuf) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| Error::invalid(format!("`{}` cannot be read: {e}", path.display()))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::unavailable(format!("`{}` cannot be read: {e}", path.display()))),
    }
}

fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let bytes = Secret::new(serde_json::to_vec_pretty(value)?);
    crypto::write_private(path, bytes.expose())
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn from_hex(text: &str) -> Result<Secret<Vec<u8>>> {
    let wrong = || Error::invalid("the agent's key cannot be read");
    let bytes: Option<Vec<u8>> =
        (0..text.len() / 2).map(|n| u8::from_str_radix(text.get(n * 2..n * 2 + 2)?, 16).ok()).collect();
    bytes.filter(|b| !b.is_empty()).map(Secret::new).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::base::Span;
    use crate::engine::crypto::{Authority, Kek, Vault};

    #[test]
    fn credentials_are_private_checked_and_renewed_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Timestamp::from_milliseconds(1_790_000_000_000), 2);
        let vault =
            Vault::open(&folder.path().join("v"), &Kek::File(folder.path().join("kek")), &clock).unwrap();
        let authority = Authority::open(&vault, "t", &clock).unwrap();
        let request = pending(folder.path()).unwrap();
        assert_eq!(pending(folder.path()).unwrap().pem, request.pem);
        let agent = AgentId::from_bits(7);
        let credentials = Credentials {
            tenant: TenantId::from_bits(1),
            agent,
            server: "plant:8883".parse().unwrap(),
            certificate: authority.sign_client(&request.pem, &agent.to_string(), 30).unwrap(),
            authority: authority.certificate_pem(),
            key: request.key.clone(),
        };
        credentials.save(folder.path(), &clock).unwrap();
        let read = Credentials::load(folder.path()).unwrap().unwrap();
        assert_eq!((read.agent, read.certificate), (agent, credentials.certificate.clone()));
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!credentials.wants_renewal(clock.now() + Span::from_days(18)));
        assert!(credentials.wants_renewal(clock.now() + Span::from_days(20)));
        forget_pending(folder.path());
        let other = Credentials { key: pending(folder.path()).unwrap().key, ..credentials.clone() };
        assert!(other.save(folder.path(), &clock).is_err());
        let other = Credentials { agent: AgentId::from_bits(8), ..credentials };
        assert!(other.save(folder.path(), &clock).is_err());
    }
}
