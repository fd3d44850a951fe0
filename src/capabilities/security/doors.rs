//! Checks of what is open to the network: listeners, TLS, certificates, networks, limits, and where the server connects.

use std::net::SocketAddr;

use super::facts::{Doors, Facts};
use super::model::{Found, State, Verdict};
use super::people::{count, known};
use crate::base::{Span, Timestamp, limits};

/// So long before its end a supplied certificate is spoken of; somebody must act.
pub(super) const SUPPLIED_SOON: Span = Span::from_days(21);
/// A certificate that renews itself and has less left than this did not renew itself.
pub(super) const OWN_SOON: Span = Span::from_days(14);
/// The authority cannot be renewed in silence: every agent must learn of another.
pub(super) const AUTHORITY_SOON: Span = Span::from_days(365);
/// An agent renews when a third of thirty days is left; with less it has missed it.
pub(super) const AGENT_SOON: Span = Span::from_days(7);
/// Limits that are so many times what is delivered hold nobody back.
pub(super) const LIMIT_TIMES_MAX: u32 = 10;

const HELP: &str = "/help/network";

/// Whether TLS 1.2 is spoken.
pub(super) fn tls(facts: &Facts) -> Verdict {
    let guards = &known!(facts.doors).guards;
    let old = [("console and API", guards.http.tls12, "http"), ("the gate", guards.mqtt.tls12, "mqtt")];
    let found = old
        .into_iter()
        .filter(|(_, old, _)| *old)
        .map(|(what, _, section)| {
            let text = format!("speaks TLS 1.2 too: `tls_minimum` in `[{section}]`");
            Found::new(State::Attention, what, text, format!("{HELP}#tls"))
        })
        .collect();
    Verdict::worst(found, "TLS 1.3 alone is spoken at every port.", "TLS 1.2 is switched on.")
}

/// The end of the server's certificates and of the authority's.
pub(super) fn certificates(facts: &Facts) -> Verdict {
    let doors = known!(facts.doors);
    let mut found = Vec::new();
    let mut ends = |what: &str, end: Timestamp, soon: Span, text: &str| {
        let left = end.since(facts.now);
        let (state, text) = match end <= facts.now {
            true => (State::Bad, format!("ended {} ago; {text}", facts.now.since(end).rough())),
            false if left < soon => (State::Attention, format!("ends in {}; {text}", left.rough())),
            false => return,
        };
        found.push(Found::new(state, what, text, format!("{HELP}#certificate")));
    };
    let authority = "everything that trusts this site must learn of another one";
    ends("The site's authority", doors.authority_ends, AUTHORITY_SOON, authority);
    let Some(served) = &doors.served else { return Verdict::unknown("no server serves a certificate") };
    ends("The server's own", served.own_ends, OWN_SOON, "it should have renewed itself");
    if let Some((names, end)) = &served.supplied {
        ends(&format!("The supplied one for {}", names.join(", ")), *end, SUPPLIED_SOON, "put a new one");
    }
    if let Some(why) = &served.refused {
        let text = format!("not used: {why}");
        found.push(Found::new(State::Bad, "The newest supplied files", text, format!("{HELP}#certificate")));
    }
    let next = served.supplied.as_ref().map_or(served.own_ends, |(_, end)| *end);
    let none = format!("HTTPS has a certificate for {} more.", next.since(facts.now).rough());
    Verdict::worst(found, none, "A certificate ends or has ended.")
}

/// The end of agents' certificates, which they renew by themselves.
pub(super) fn agent_certificates(facts: &Facts) -> Verdict {
    let agents = known!(facts.agents);
    let found: Vec<Found> = agents
        .iter()
        .filter_map(|agent| {
            let end = agent.certificate_until?;
            let left = end.since(facts.now);
            let (state, text) = match (end <= facts.now, agent.here) {
                (true, _) => (State::Bad, "has ended; it joins with a new code".to_owned()),
                (false, _) if left >= AGENT_SOON => return None,
                (false, true) => {
                    (State::Attention, format!("ends in {}, though it is connected", left.rough()))
                }
                (false, false) => {
                    (State::Attention, format!("ends in {}; it renews when it comes back", left.rough()))
                }
            };
            Some(Found::new(state, &agent.name, text, format!("/agents/{}?tab=access", agent.id)))
        })
        .collect();
    let with = agents.iter().filter(|agent| agent.certificate_until.is_some()).count();
    let some = format!("{} of {with} certificates of agents end soon or have ended.", found.len());
    let none = match with {
        0 => "No agent has a certificate.".to_owned(),
        1 => "The certificate of the one agent has a week or more left.".to_owned(),
        _ => format!("{with} certificates of agents, all with a week or more left."),
    };
    Verdict::worst(found, none, some)
}

/// What somebody who listens at an address is, in words.
fn purpose(doors: &Doors, address: SocketAddr) -> Option<(&'static str, bool)> {
    match address.port() {
        port if port == doors.https_port => Some(("console and API, with TLS", true)),
        port if port == doors.mqtt_port => Some(("the gate for agents, with TLS", true)),
        port if Some(port) == doors.plain_port => {
            Some(("the gate without TLS, which everybody on the way can read", false))
        }
        _ => None,
    }
}

/// What this process really listens to.
pub(super) fn listeners(facts: &Facts) -> Verdict {
    let doors = known!(facts.doors);
    let open = known!(doors.listeners);
    let mut strange = 0;
    let found = open
        .iter()
        .map(|address| {
            let reach = if address.ip().is_loopback() { "this machine only" } else { "other hosts reach it" };
            let (state, text) = match purpose(doors, *address) {
                Some((what, _)) => (State::Good, format!("{what}; {reach}")),
                None if address.ip().is_loopback() => {
                    strange += 1;
                    (State::Attention, format!("nothing in the configuration opens it; {reach}"))
                }
                None => {
                    strange += 1;
                    (State::Bad, format!("nothing in the configuration opens it; {reach}"))
                }
            };
            Found::new(state, address, text, HELP)
        })
        .collect();
    let said = match strange {
        0 => format!("{}, each as configured.", count(open.len(), "socket listens", "sockets listen")),
        number => format!("{number} of {} listening sockets are not in the configuration.", open.len()),
    };
    Verdict::worst(found, "Nothing listens.", said)
}

/// Whether anything is spoken without TLS.
pub(super) fn plain(facts: &Facts) -> Verdict {
    let doors = known!(facts.doors);
    let open = known!(doors.listeners);
    let found: Vec<Found> = open
        .iter()
        .filter(|address| purpose(doors, **address).is_some_and(|(_, tls)| !tls))
        .map(|address| match address.ip().is_loopback() {
            true => Found::new(State::Attention, address, "without TLS, for programs on this machine", HELP),
            false => Found::new(State::Bad, address, "without TLS, and other hosts reach it", HELP),
        })
        .collect();
    Verdict::worst(found, "Everything that listens speaks TLS.", "A listener speaks without TLS.")
}

/// Whether the networks that may connect are named.
pub(super) fn allowed(facts: &Facts) -> Verdict {
    let doors = known!(facts.doors);
    let open = known!(doors.listeners);
    let ports = [
        ("console and API", &doors.guards.http, doors.https_port, "http"),
        ("the gate", &doors.guards.mqtt, doors.mqtt_port, "mqtt"),
    ];
    let found: Vec<Found> = ports
        .into_iter()
        .filter(|(_, door, port, _)| {
            let reached = open.iter().any(|at| at.port() == *port && !at.ip().is_loopback());
            reached && door.networks.allow.is_empty()
        })
        .map(|(what, _, _, section)| {
            let text = format!("every host that reaches it may connect: `allow` in `[{section}]` is empty");
            Found::new(State::Attention, what, text, format!("{HELP}#networks"))
        })
        .collect();
    let none = "Only named networks may connect, or this machine alone.";
    Verdict::worst(found, none, "Every network may connect.")
}

/// Whether limits hold anybody back.
pub(super) fn bounds(facts: &Facts) -> Verdict {
    let guards = &known!(facts.doors).guards;
    let delivered = [
        ("requests of one address a second", limits::REQUESTS_PER_ADDRESS_PER_SECOND_MAX),
        ("requests of one person or key a second", limits::REQUESTS_PER_ACTOR_PER_SECOND_MAX),
        ("requests of a tenant a second", limits::REQUESTS_PER_TENANT_PER_SECOND_MAX),
    ];
    let found: Vec<Found> = delivered
        .into_iter()
        .zip(guards.requests_per_second_max)
        .filter(|((_, delivered), now)| *now > delivered.saturating_mul(LIMIT_TIMES_MAX))
        .map(|((what, delivered), now)| {
            let text = format!("{now}, where {delivered} is delivered");
            Found::new(State::Attention, what, text, format!("{HELP}#limits"))
        })
        .collect();
    let [address, person, tenant] = guards.requests_per_second_max;
    let none = format!(
        "Requests a second: {address} of an address, {person} of a person or key, {tenant} of a tenant."
    );
    Verdict::worst(found, none, "A limit is so high that it holds nobody back.")
}

/// Where the server may connect and who allowed it, and what was refused.
pub(super) fn egress(facts: &Facts) -> Verdict {
    let view = &known!(facts.doors).egress;
    const PAGE: &str = "/security/egress";
    let refused = view.refused.iter().map(|one| {
        let last = facts.now.since(one.at).rough();
        let text =
            format!("refused {}, the last time {last} ago", count(one.attempts as usize, "time", "times"));
        Found::new(State::Attention, format!("{}:{}", one.host, one.port), text, PAGE)
    });
    let allowed = view.items.iter().map(|place| {
        let purposes: Vec<String> =
            place.purposes.iter().map(|one| format!("{}, allowed by {}", one.what, one.by_name)).collect();
        Found::new(State::Good, format!("{}:{}", place.host, place.port), purposes.join("; "), PAGE)
    });
    let found = refused.chain(allowed).collect();
    let good = match view.items.len() {
        0 => "The list is empty: the server connects nowhere.".to_owned(),
        1 => "The server may connect to one place, which somebody allowed by name.".to_owned(),
        number => format!("The server may connect to {number} places, each allowed by name."),
    };
    let said = match view.refused.len() {
        0 => good.clone(),
        number => {
            let asked = count(number, "place was asked", "places were asked");
            format!("{asked} for that nobody allowed, and refused.")
        }
    };
    Verdict::worst(found, good, said)
}
