//! Networks by their CIDR form, and lists of those that may and may not connect.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Error, Result};

/// A network such as `10.0.0.0/8`, `fd00::/8`, or one address. IPv4 addresses inside IPv6 ones are the IPv4 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpNet);

impl Network {
    /// Whether the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        let shown: String = text.chars().take(60).collect();
        let wrong = || {
            Error::invalid(format!("`{shown}` is not a network"))
                .hint("for example `10.0.0.0/8`, `fd00::/8`, or one address")
        };
        let net = match text.contains('/') {
            true => text.parse::<IpNet>().map_err(|_| wrong())?,
            false => IpNet::from(text.parse::<IpAddr>().map_err(|_| wrong())?),
        };
        let net = canonical(net);
        if net.addr() != net.network() {
            // A slip of the pen either way: one machine was meant, or the whole network.
            return Err(Error::invalid(format!("`{shown}` has digits beyond its prefix")).hint(format!(
                "write `{}` for the network, or `{}` for the one address",
                net.trunc(),
                net.addr()
            )));
        }
        Ok(Network(net))
    }
}

/// An IPv4 network that was written as an IPv6 one.
fn canonical(net: IpNet) -> IpNet {
    if let IpNet::V6(v6) = net
        && v6.prefix_len() >= 96
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && let Ok(v4) = Ipv4Net::new(v4, v6.prefix_len() - 96)
    {
        return v4.into();
    }
    net
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.prefix_len() == self.0.max_prefix_len() {
            true => self.0.addr().fmt(f),
            false => self.0.fmt(f),
        }
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|e: Error| serde::de::Error::custom(e.message()))
    }
}

impl schemars::JsonSchema for Network {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Network".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "a network such as `10.0.0.0/8`, or one address",
        })
    }
}

/// Who may connect: everybody when `allow` is empty, and nobody of `deny` in any case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Those that may; empty for all.
    pub allow: Vec<Network>,
    /// Those that may not, also when they are allowed.
    pub deny: Vec<Network>,
}

impl Networks {
    /// Whether the address may connect.
    pub fn let_in(&self, address: IpAddr) -> bool {
        let within = |list: &[Network]| list.iter().any(|network| network.contains(address));
        !within(&self.deny) && (self.allow.is_empty() || within(&self.allow))
    }
}

/// The part of an address that one machine cannot change at will: an IPv4 address, or 64 bits of an IPv6 one.
pub fn machine(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn networks_are_read_and_said_the_same() {
        for (text, said) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            (" 10.0.0.5 ", "10.0.0.5"),
            ("10.0.0.5/32", "10.0.0.5"),
            ("fd00::/8", "fd00::/8"),
            ("::1", "::1"),
            ("::ffff:10.1.0.0/112", "10.1.0.0/16"),
            ("::ffff:10.0.0.5", "10.0.0.5"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            let network: Network = text.parse().unwrap();
            assert_eq!(network.to_string(), said);
            let json = serde_json::to_string(&network).unwrap();
            assert_eq!(serde_json::from_str::<Network>(&json).unwrap(), network);
        }
        for (text, part) in [
            ("10.0.0.5/8", "beyond its prefix"),
            ("10.0.0.0/33", "is not a network"),
            ("10.0.0", "is not a network"),
            ("plant.lan", "is not a network"),
            ("", "is not a network"),
            ("10.0.0.0/", "is not a network"),
        ] {
            let error = text.parse::<Network>().unwrap_err();
            assert!(error.message().contains(part), "{text}: {error}");
        }
        let hint = "10.0.0.5/8".parse::<Network>().unwrap_err();
        assert_eq!(
            hint.hint_text(),
            Some("write `10.0.0.0/8` for the network, or `10.0.0.5` for the one address")
        );
    }

    #[test]
    fn denial_wins_and_an_empty_list_allows_all() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(Networks::default().let_in(ip("203.0.113.7")));
        let lists =
            Networks { allow: list(&["10.0.0.0/8", "fd00::/8"]), deny: list(&["10.9.0.0/16", "fd00::7"]) };
        for (address, expected) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.9.2.3", false),
            ("::ffff:10.9.2.3", false),
            ("11.0.0.1", false),
            ("fd00::8", true),
            ("fd00::7", false),
            ("127.0.0.1", false),
        ] {
            assert_eq!(lists.let_in(ip(address)), expected, "{address}");
        }
    }

    #[test]
    fn one_machine_has_one_address() {
        for (address, expected) in [
            ("10.0.0.7", "10.0.0.7"),
            ("::ffff:10.0.0.7", "10.0.0.7"),
            ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::"),
            ("2001:db8:1:2:bbbb::9", "2001:db8:1:2::"),
        ] {
            assert_eq!(machine(address.parse().unwrap()).to_string(), expected);
        }
    }
}
