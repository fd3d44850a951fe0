//! The list of checks: what each is called, how it is mended, and where.

use super::controls;
use super::facts::Facts;
use super::model::{Check, FOUND_MAX, Group, Verdict};
use super::{clocks, doors, keeping, people};
use Group::{Keeping, Network, People, Programs, Time};

/// A check before it has looked.
pub(super) struct Rule {
    pub(super) id: &'static str,
    pub(super) group: Group,
    pub(super) title: &'static str,
    pub(super) remedy: &'static str,
    pub(super) href: &'static str,
    /// Whether it is about agents, of which somebody may see a part.
    pub(super) of_agents: bool,
    pub(super) look: fn(&Facts) -> Verdict,
}

const fn rule(
    group: Group,
    (id, title): (&'static str, &'static str),
    look: fn(&Facts) -> Verdict,
    (href, remedy): (&'static str, &'static str),
) -> Rule {
    Rule { id, group, title, remedy, href, of_agents: false, look }
}

const fn of_agents(rule: Rule) -> Rule {
    Rule { of_agents: true, ..rule }
}

/// Every check, in the order of the page.
pub(super) const RULES: &[Rule] = &[
    rule(
        People,
        ("people.factor", "Second factors"),
        people::factor,
        ("/people", "Ask each of them to add a passkey or an authenticator app under their account."),
    ),
    rule(
        People,
        ("people.factor_rule", "Second factors are required"),
        people::factor_rule,
        ("/people/rules", "Tick owner and administrator under the rules about signing in."),
    ),
    rule(
        People,
        ("people.owners", "Owners"),
        people::owners,
        (
            "/people",
            "Keep two to four owners with a password of this site, so that one can stand in for another.",
        ),
    ),
    rule(
        People,
        ("people.dormant", "Accounts that nobody uses"),
        people::dormant,
        ("/people", "Disable accounts that nobody needs; they are enabled again by one click."),
    ),
    rule(
        People,
        ("people.sessions", "Length of sessions"),
        people::sessions,
        ("/people/rules", "Let sessions end after 8 hours without use and 24 hours in all, or sooner."),
    ),
    rule(
        People,
        ("roles.everything", "Roles with everything"),
        people::everything,
        ("/people/roles", "Give roles that include what the work needs, and nothing else."),
    ),
    rule(
        People,
        ("roles.taken_up", "Roles held for a while"),
        people::taken_up,
        ("/people", "See whether the reason still holds; each ends by itself."),
    ),
    rule(
        Programs,
        ("keys.unused", "API keys that nobody uses"),
        people::keys_unused,
        ("/people/keys", "Revoke keys that no program uses."),
    ),
    rule(
        Programs,
        ("keys.expiry", "API keys without an end"),
        people::keys_expiry,
        ("/people/keys", "Make keys that end after some days, and move the programs over."),
    ),
    rule(
        Programs,
        ("keys.network", "API keys that work from anywhere"),
        people::keys_network,
        ("/people/keys", "Name the networks in which the program runs on the key's page."),
    ),
    rule(
        Network,
        ("network.tls", "Versions of TLS"),
        doors::tls,
        ("/help/network#tls", "Set `tls_minimum` to 1.3 once no program needs 1.2 any more."),
    ),
    rule(
        Network,
        ("network.certificates", "Certificates of the server"),
        doors::certificates,
        (
            "/help/network#certificate",
            "Put a new certificate in the place of the old one, then run `muster reload`.",
        ),
    ),
    of_agents(rule(
        Network,
        ("network.agent_certificates", "Certificates of agents"),
        doors::agent_certificates,
        ("/agents", "Bring the agent back before its certificate ends, or let it join anew with a code."),
    )),
    rule(
        Network,
        ("network.listeners", "Open ports"),
        doors::listeners,
        (
            "/help/network",
            "Close what the configuration does not name: restart the server, and look at who changed it.",
        ),
    ),
    rule(
        Network,
        ("network.plain", "Ports without TLS"),
        doors::plain,
        ("/help/network", "Set `plain` in `[mqtt]` to `off`, or to an address of this machine alone."),
    ),
    rule(
        Network,
        ("network.allowed", "Networks that may connect"),
        doors::allowed,
        (
            "/help/network#who-may-connect",
            "Name the networks of your people and agents under `allow` of `[http]` and `[mqtt]`.",
        ),
    ),
    rule(
        Network,
        ("network.limits", "Limits of requests"),
        doors::bounds,
        ("/help/network#limits", "Take the limits in `[http]` back to what the site needs."),
    ),
    rule(
        Network,
        ("network.egress", "Where the server connects"),
        doors::egress,
        ("/security/egress", "Look at what asked for a place that nobody allowed, and allow or remove it."),
    ),
    rule(
        Time,
        ("time.server", "The server's clock"),
        clocks::server,
        ("/help/checks#time", "Run systemd-timesyncd or chrony on this machine against a clock of the site."),
    ),
    of_agents(rule(
        Time,
        ("time.agents", "Clocks of agents"),
        clocks::agents,
        (
            "/help/checks#time",
            "Point the time service of these hosts at a clock of the site, such as this server.",
        ),
    )),
    rule(
        Keeping,
        ("backups.outside", "Copies out of the building"),
        keeping::outside,
        ("/backups", "Add a target that is out of the building, and see that copies arrive there."),
    ),
    rule(
        Keeping,
        ("backups.drill", "Restore drills"),
        keeping::drill,
        ("/backups", "Read why the drill failed or did not run, and start one by hand."),
    ),
    rule(
        Keeping,
        ("backups.key", "The recovery key in somebody's hands"),
        keeping::key,
        (
            "/backups",
            "Print the recovery kit, put it away, and type the key once to prove that it opens a backup.",
        ),
    ),
    rule(
        Keeping,
        ("audit.chain", "Proof of the audit trail"),
        keeping::chain,
        ("/audit", "Look into what contradicts the log, and write a checkpoint down elsewhere."),
    ),
    rule(
        Keeping,
        ("audit.unwritable", "When the audit trail cannot be written"),
        keeping::unwritable,
        (
            "/help/checks#when-the-audit-trail-cannot-be-written",
            "Set `when_unwritable` in `[audit]` to `closed`.",
        ),
    ),
    rule(
        Keeping,
        ("data.sealed", "Encryption at rest"),
        keeping::sealed,
        (
            "/help/checks#on-the-disk",
            "Put the data folder on an encrypted disk, or make the site anew with `seal = true` and restore into it.",
        ),
    ),
    rule(
        Keeping,
        ("data.folder", "Rights of the data folder"),
        keeping::folder,
        (
            "/help/checks#on-the-disk",
            "Take the rights of others away from the data folder, as its owner: `chmod go=` and its path.",
        ),
    ),
    rule(
        Keeping,
        ("data.keys", "What opens the keys"),
        keeping::keys,
        (
            "/help/checks#on-the-disk",
            "Seal them by a passphrase (`muster keys rotate --to passphrase`) or a credential of systemd's.",
        ),
    ),
];

impl Rule {
    /// Looks.
    pub(super) fn check(&self, facts: &Facts) -> Check {
        let Verdict { state, said, mut found } = (self.look)(facts);
        let found_count = found.len();
        found.truncate(FOUND_MAX);
        Check {
            id: self.id,
            group: self.group,
            title: self.title,
            state,
            said,
            found,
            found_count,
            remedy: self.remedy,
            href: self.href,
            controls: controls::of(self.id),
        }
    }
}
