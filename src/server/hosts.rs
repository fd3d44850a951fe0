//! Under which names and addresses the server is reached: for its certificate and for the lines it prints.

use std::collections::HashSet;
use std::net::IpAddr;

use super::config::Config;
use crate::engine::host;

/// What the configuration says, else the host's name and addresses; always followed by the loopback names.
pub(super) fn of(config: &Config) -> Vec<String> {
    let mut hosts = config.site.hosts.clone();
    let listening = [config.http.address.ip(), config.mqtt.address.ip()];
    if hosts.is_empty() && listening.iter().all(IpAddr::is_loopback) {
        hosts.push("localhost".into());
    }
    if hosts.is_empty() {
        hosts.extend(
            host::inventory(false).interfaces.iter().flat_map(|i| &i.addresses).filter_map(|a| routable(a)),
        );
        hosts.push(host::hostname());
    }
    hosts.extend(["localhost".into(), "127.0.0.1".into(), "::1".into()]);
    let mut seen = HashSet::new();
    hosts.retain(|host| !host.is_empty() && seen.insert(host.clone()));
    hosts
}

/// The hosts of requests that are answered, in lower case: those, and what the host calls itself.
pub(super) fn answered(hosts: &[String]) -> HashSet<String> {
    let mut answered: HashSet<String> = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
    answered.insert(host::hostname().to_ascii_lowercase());
    answered.remove("");
    answered
}

/// An address of an interface, without its prefix length, if others can reach it.
fn routable(text: &str) -> Option<String> {
    let address: IpAddr = text.split('/').next()?.parse().ok()?;
    let local = match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    };
    (!local).then(|| address.to_string())
}

/// Names and addresses, apart.
pub(super) fn split(hosts: &[String]) -> (Vec<String>, Vec<IpAddr>) {
    let mut names = Vec::new();
    let mut addresses = Vec::new();
    for host in hosts {
        match host.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => names.push(host.clone()),
        }
    }
    (names, addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_what_others_reach_and_loopback_is_always_there() {
        let mut config = Config::default();
        config.site.hosts = vec!["muster.plant".into(), "10.0.0.5".into(), "localhost".into()];
        let hosts = of(&config);
        assert_eq!(hosts, ["muster.plant", "10.0.0.5", "localhost", "127.0.0.1", "::1"]);
        assert_eq!(split(&hosts).1.len(), 3);
        config.site.hosts = vec!["Muster.Plant".into()];
        let answered = answered(&of(&config));
        assert!(answered.contains("muster.plant") && answered.contains("::1") && !answered.contains(""));
        assert_eq!(routable("192.0.2.7/24").as_deref(), Some("192.0.2.7"));
        assert_eq!((routable("127.0.0.1/8"), routable("fe80::1/64"), routable("x")), (None, None, None));
    }
}
