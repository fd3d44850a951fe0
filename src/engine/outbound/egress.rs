//! The list of where this process may connect to.
//!
//! It is empty at first. What uses it is filled from the store at every start, by whoever keeps a setting that names a
//! destination; the list itself keeps nothing on the disk.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::{Error, Result, Timestamp};
use crate::engine::clock::Clock;

/// Destinations of one site.
pub const DESTINATIONS_COUNT_MAX: usize = 256;
/// Purposes of one destination.
pub const PURPOSES_COUNT_MAX: usize = 32;
/// Refused destinations that are remembered, with their counts; when there are more, the one seen longest ago goes.
pub const REFUSED_COUNT_MAX: usize = 64;
/// Bytes of a host name (RFC 1035).
pub const HOST_BYTES_MAX: usize = 253;

/// Where this process may connect to. Cloning gives the same list.
#[derive(Clone)]
pub struct Egress(Arc<Inner>);

struct Inner {
    clock: Clock,
    lists: Mutex<Lists>,
}

#[derive(Default)]
struct Lists {
    allowed: BTreeMap<(String, u16), Destination>,
    refused: BTreeMap<(String, u16), Refused>,
}

/// One place that may be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Host name in small letters, or an address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// What for; never empty.
    pub purposes: Vec<Purpose>,
    /// Connections that were begun since this process started.
    pub connections: u64,
    /// When the last of them was begun.
    pub used: Option<Timestamp>,
}

/// Why a destination is on the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purpose {
    /// What for, as a person reads it: "backups to `vault`".
    pub what: String,
    /// Who allowed it.
    pub by: String,
    /// When.
    pub since: Timestamp,
}

/// A destination that was asked for and is not on the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Attempts since this process started.
    pub attempts: u64,
    /// When the last one was.
    pub at: Timestamp,
}

/// Leave to open one connection to one destination. Only [`Egress::permit`] makes it.
#[derive(Debug)]
pub struct Permitted {
    host: String,
    port: u16,
}

impl Permitted {
    /// The host, as it is on the list.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Egress {
    /// An empty list.
    pub fn new(clock: &Clock) -> Egress {
        Egress(Arc::new(Inner { clock: clock.clone(), lists: Mutex::default() }))
    }

    /// Lets this process connect to `host:port` for `purpose`; said again, it changes who allowed it and when.
    pub fn allow(&self, host: &str, port: u16, purpose: &str, by: &str, since: Timestamp) -> Result<()> {
        let host = checked_host(host)?;
        if port == 0 {
            return Err(Error::invalid("a destination's port is 1 to 65535"));
        }
        let mut lists = self.0.lists.lock();
        let key = (host.clone(), port);
        if lists.allowed.len() >= DESTINATIONS_COUNT_MAX && !lists.allowed.contains_key(&key) {
            return Err(Error::too_many(format!("there are {DESTINATIONS_COUNT_MAX} destinations already"))
                .hint("take away one that is not needed"));
        }
        let destination = lists.allowed.entry(key.clone()).or_insert_with(|| Destination {
            host,
            port,
            purposes: Vec::new(),
            connections: 0,
            used: None,
        });
        let new = Purpose { what: purpose.to_owned(), by: by.to_owned(), since };
        let full = destination.purposes.len() >= PURPOSES_COUNT_MAX;
        match destination.purposes.iter_mut().find(|p| p.what == purpose) {
            Some(old) => *old = new,
            None if full => {
                return Err(Error::too_many(format!(
                    "the destination has {PURPOSES_COUNT_MAX} purposes already"
                )));
            }
            None => destination.purposes.push(new),
        }
        lists.refused.remove(&key);
        Ok(())
    }

    /// Takes back what was allowed for `purpose`. Without a purpose left nothing connects there any more.
    pub fn withdraw(&self, host: &str, port: u16, purpose: &str) -> Result<()> {
        let key = (checked_host(host)?, port);
        let mut lists = self.0.lists.lock();
        let missing = || Error::not_found("destination", format!("{}:{port}", key.0));
        let destination = lists.allowed.get_mut(&key).ok_or_else(missing)?;
        let before = destination.purposes.len();
        destination.purposes.retain(|p| p.what != purpose);
        if destination.purposes.len() == before {
            return Err(missing());
        }
        if destination.purposes.is_empty() {
            lists.allowed.remove(&key);
        }
        Ok(())
    }

    /// The whole list, by host and port.
    pub fn list(&self) -> Vec<Destination> {
        self.0.lists.lock().allowed.values().cloned().collect()
    }

    /// What was asked for in vain, by host and port.
    pub fn refused(&self) -> Vec<Refused> {
        self.0.lists.lock().refused.values().cloned().collect()
    }

    /// Leave to open a connection to `host:port` now; counted whichever way it goes.
    pub fn permit(&self, host: &str, port: u16) -> Result<Permitted> {
        let host = checked_host(host)?;
        let now = self.0.clock.now();
        let mut lists = self.0.lists.lock();
        let key = (host.clone(), port);
        if let Some(destination) = lists.allowed.get_mut(&key) {
            destination.connections += 1;
            destination.used = Some(now);
            return Ok(Permitted { host, port });
        }
        if lists.refused.len() >= REFUSED_COUNT_MAX && !lists.refused.contains_key(&key) {
            let oldest = lists.refused.iter().min_by_key(|(_, r)| r.at).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                lists.refused.remove(&oldest);
            }
        }
        let refused = lists.refused.entry(key).or_insert_with(|| Refused {
            host: host.clone(),
            port,
            attempts: 0,
            at: now,
        });
        refused.attempts += 1;
        refused.at = now;
        Err(Error::forbidden(format!("`{host}:{port}` is not on the list of allowed destinations"))
            .hint("an administrator allows a destination by naming it in a setting that connects there"))
    }
}

/// A host name in small letters or an address, without brackets and without the dot at its end.
pub fn checked_host(host: &str) -> Result<String> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    let bare = bare.strip_suffix('.').unwrap_or(bare);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if bare.is_empty() || bare.len() > HOST_BYTES_MAX || !bare.split('.').all(label) {
        return Err(Error::invalid("the host is not a name or an address")
            .hint("letters, digits, hyphens and dots, or an IP address; no port"));
    }
    Ok(bare.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Kind, Span};

    fn egress() -> (Egress, Clock) {
        let clock = Clock::manual(Timestamp::from_milliseconds(1_790_000_000_000), 1);
        (Egress::new(&clock), clock)
    }

    #[test]
    fn nothing_is_allowed_until_somebody_allows_it() {
        let (egress, clock) = egress();
        let now = clock.now();
        assert_eq!(egress.permit("vault.lan", 22).unwrap_err().kind(), Kind::Forbidden);
        assert_eq!(egress.refused()[0].attempts, 1);
        egress.allow("Vault.LAN.", 22, "backups", "usr_1", now).unwrap();
        egress.allow("vault.lan", 22, "drills", "usr_2", now).unwrap();
        clock.advance(Span::from_seconds(5));
        let permitted = egress.permit("VAULT.lan", 22).unwrap();
        assert_eq!((permitted.host(), permitted.port()), ("vault.lan", 22));
        let listed = egress.list();
        assert_eq!((listed.len(), listed[0].connections, listed[0].used), (1, 1, Some(clock.now())));
        assert_eq!(listed[0].purposes.len(), 2);
        assert!(egress.refused().is_empty(), "what is allowed now is no longer refused");
        assert!(egress.permit("vault.lan", 23).is_err(), "another port is another destination");
        egress.withdraw("vault.lan", 22, "drills").unwrap();
        assert!(egress.permit("vault.lan", 22).is_ok());
        assert!(egress.withdraw("vault.lan", 22, "drills").is_err());
        egress.withdraw("vault.lan", 22, "backups").unwrap();
        assert!(egress.permit("vault.lan", 22).is_err());
    }

    #[test]
    fn said_again_it_is_the_same_purpose() {
        let (egress, clock) = egress();
        for by in ["usr_1", "usr_2"] {
            egress.allow("::1", 9000, "backups", by, clock.now()).unwrap();
        }
        let purposes = &egress.list()[0].purposes;
        assert_eq!((purposes.len(), purposes[0].by.as_str()), (1, "usr_2"));
        assert!(egress.permit("[::1]", 9000).is_ok());
    }

    #[test]
    fn the_lists_are_bounded() {
        let (egress, clock) = egress();
        for n in 0..REFUSED_COUNT_MAX + 3 {
            let _ = egress.permit(&format!("h{n}.lan"), 1);
            clock.advance(Span::from_seconds(1));
        }
        assert_eq!(egress.refused().len(), REFUSED_COUNT_MAX);
        assert!(!egress.refused().iter().any(|r| r.host == "h0.lan"), "the oldest goes");
        for n in 0..DESTINATIONS_COUNT_MAX {
            egress.allow(&format!("h{n}"), 1, "x", "y", clock.now()).unwrap();
        }
        assert_eq!(egress.allow("more", 1, "x", "y", clock.now()).unwrap_err().kind(), Kind::TooMany);
        for n in 1..PURPOSES_COUNT_MAX {
            egress.allow("h0", 1, &format!("p{n}"), "y", clock.now()).unwrap();
        }
        assert_eq!(egress.allow("h0", 1, "more", "y", clock.now()).unwrap_err().kind(), Kind::TooMany);
    }

    #[test]
    fn hosts_are_checked() {
        for good in ["a", "a-b.example", "10.0.0.1", "::1", "[fe80::1]", "srv_1.lan"] {
            assert!(checked_host(good).is_ok(), "{good}");
        }
        let long = "a.".repeat(127) + "b";
        let label = "x".repeat(64);
        for bad in ["", ".", "a..b", "-a", "a-", "a b", "a:22", "a/b", "ä.lan", "[::1", &long, &label, "a\n"]
        {
            assert!(checked_host(bad).is_err(), "{bad}");
        }
        let (egress, clock) = egress();
        assert!(egress.allow("a", 0, "x", "y", clock.now()).is_err());
    }
}
