//! Controls of common catalogues, and which of them each check bears on.
//!
//! A check bears on a control when what it looks at is part of what the control asks; none of them fulfils one alone. This is
//! the one place where numbers of controls stand.

use schemars::JsonSchema;
use serde::Serialize;

use Catalogue::{Cis, Csf, Iec, Iso};

/// A catalogue of controls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Catalogue {
    /// CIS Critical Security Controls, by safeguard.
    Cis,
    /// ISO/IEC 27001, Annex A.
    Iso,
    /// NIST Cybersecurity Framework, by subcategory.
    Csf,
    /// IEC 62443-3-3, by system requirement.
    Iec,
}

impl Catalogue {
    /// Every catalogue.
    pub const ALL: [Catalogue; 4] = [Cis, Iso, Csf, Iec];

    /// Its name with the edition that the numbers are of.
    pub fn edition(self) -> &'static str {
        match self {
            Cis => "CIS Controls v8",
            Iso => "ISO/IEC 27001:2022 Annex A",
            Csf => "NIST CSF 2.0",
            Iec => "IEC 62443-3-3:2013",
        }
    }

    /// What stands before a number.
    pub fn short(self) -> &'static str {
        match self {
            Cis => "CIS",
            Iso => "ISO A.",
            Csf => "CSF",
            Iec => "IEC",
        }
    }
}

/// A catalogue and the edition that is cited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Edition {
    /// The catalogue.
    pub catalogue: Catalogue,
    /// Its name and edition.
    pub edition: &'static str,
}

/// One control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Control {
    /// Of which catalogue.
    pub catalogue: Catalogue,
    /// Its number there.
    pub number: &'static str,
    /// What it is called there, shortened.
    pub title: &'static str,
}

impl Control {
    /// `CIS 6.5`, `ISO A.8.5`.
    pub fn label(&self) -> String {
        let space = if self.catalogue == Iso { "" } else { " " };
        format!("{}{space}{}", self.catalogue.short(), self.number)
    }
}

/// What the controls that are cited are called.
const TITLES: &[(Catalogue, &str, &str)] = &[
    (Cis, "3.3", "Configure data access control lists"),
    (Cis, "3.10", "Encrypt sensitive data in transit"),
    (Cis, "3.11", "Encrypt sensitive data at rest"),
    (Cis, "4.3", "Configure automatic session locking"),
    (Cis, "4.4", "Implement and manage a firewall on servers"),
    (Cis, "4.8", "Uninstall or disable unnecessary services"),
    (Cis, "5.3", "Disable dormant accounts"),
    (Cis, "5.4", "Restrict administrator privileges to dedicated accounts"),
    (Cis, "5.5", "Establish and maintain an inventory of service accounts"),
    (Cis, "6.2", "Establish an access revoking process"),
    (Cis, "6.5", "Require multi-factor authentication for administrative access"),
    (Cis, "6.8", "Define and maintain role-based access control"),
    (Cis, "8.2", "Collect audit logs"),
    (Cis, "8.4", "Standardize time synchronization"),
    (Cis, "8.10", "Retain audit logs"),
    (Cis, "11.2", "Perform automated backups"),
    (Cis, "11.3", "Protect recovery data"),
    (Cis, "11.4", "Establish and maintain an isolated instance of recovery data"),
    (Cis, "11.5", "Test data recovery"),
    (Iso, "5.15", "Access control"),
    (Iso, "5.16", "Identity management"),
    (Iso, "5.17", "Authentication information"),
    (Iso, "5.18", "Access rights"),
    (Iso, "5.28", "Collection of evidence"),
    (Iso, "5.33", "Protection of records"),
    (Iso, "8.2", "Privileged access rights"),
    (Iso, "8.3", "Information access restriction"),
    (Iso, "8.5", "Secure authentication"),
    (Iso, "8.13", "Information backup"),
    (Iso, "8.15", "Logging"),
    (Iso, "8.17", "Clock synchronization"),
    (Iso, "8.20", "Networks security"),
    (Iso, "8.21", "Security of network services"),
    (Iso, "8.22", "Segregation of networks"),
    (Iso, "8.24", "Use of cryptography"),
    (Csf, "ID.AM-03", "Network communication and data flows are represented"),
    (Csf, "PR.AA-01", "Identities and credentials are managed"),
    (Csf, "PR.AA-03", "Users, services and hardware are authenticated"),
    (Csf, "PR.AA-05", "Access permissions are managed with least privilege"),
    (Csf, "PR.DS-01", "Data at rest are protected"),
    (Csf, "PR.DS-02", "Data in transit are protected"),
    (Csf, "PR.DS-11", "Backups are created, protected, maintained and tested"),
    (Csf, "PR.PS-01", "Configuration management practices are applied"),
    (Csf, "PR.PS-04", "Log records are generated"),
    (Csf, "PR.IR-01", "Networks are protected from unauthorized access"),
    (Csf, "DE.CM-01", "Networks and network services are monitored"),
    (Iec, "SR 1.1", "Human user identification and authentication"),
    (Iec, "SR 1.2", "Software process and device identification and authentication"),
    (Iec, "SR 1.3", "Account management"),
    (Iec, "SR 1.5", "Authenticator management"),
    (Iec, "SR 1.8", "Public key infrastructure certificates"),
    (Iec, "SR 2.1", "Authorization enforcement"),
    (Iec, "SR 2.5", "Session lock"),
    (Iec, "SR 2.8", "Auditable events"),
    (Iec, "SR 2.10", "Response to audit processing failures"),
    (Iec, "SR 2.11", "Timestamps"),
    (Iec, "SR 3.1", "Communication integrity"),
    (Iec, "SR 3.9", "Protection of audit information"),
    (Iec, "SR 4.1", "Information confidentiality"),
    (Iec, "SR 4.3", "Use of cryptography"),
    (Iec, "SR 5.2", "Zone boundary protection"),
    (Iec, "SR 7.1", "Denial of service protection"),
    (Iec, "SR 7.3", "Control system backup"),
    (Iec, "SR 7.4", "Control system recovery and reconstitution"),
    (Iec, "SR 7.7", "Least functionality"),
];

type Numbers = &'static [(Catalogue, &'static str)];

/// Which controls each check bears on.
const MAP: &[(&str, Numbers)] = &[
    ("people.factor", &[(Cis, "6.5"), (Iso, "8.5"), (Csf, "PR.AA-03"), (Iec, "SR 1.1")]),
    ("people.factor_rule", &[(Cis, "6.5"), (Iso, "5.17"), (Iso, "8.5"), (Csf, "PR.AA-03"), (Iec, "SR 1.1")]),
    ("people.owners", &[(Cis, "5.4"), (Iso, "8.2"), (Csf, "PR.AA-05"), (Iec, "SR 1.3")]),
    ("people.dormant", &[(Cis, "5.3"), (Iso, "5.16"), (Iso, "5.18"), (Csf, "PR.AA-01"), (Iec, "SR 1.3")]),
    ("people.sessions", &[(Cis, "4.3"), (Iso, "8.5"), (Csf, "PR.AA-03"), (Iec, "SR 2.5")]),
    ("roles.everything", &[(Cis, "6.8"), (Iso, "8.2"), (Iso, "8.3"), (Csf, "PR.AA-05"), (Iec, "SR 2.1")]),
    ("roles.taken_up", &[(Cis, "5.4"), (Iso, "8.2"), (Csf, "PR.AA-05"), (Iec, "SR 2.1")]),
    ("keys.unused", &[(Cis, "5.5"), (Cis, "6.2"), (Iso, "5.18"), (Csf, "PR.AA-01"), (Iec, "SR 1.5")]),
    ("keys.expiry", &[(Cis, "5.5"), (Iso, "5.17"), (Csf, "PR.AA-01"), (Iec, "SR 1.5")]),
    ("keys.network", &[(Cis, "5.5"), (Iso, "8.3"), (Csf, "PR.AA-05"), (Iec, "SR 1.2")]),
    ("network.tls", &[(Cis, "3.10"), (Iso, "8.24"), (Csf, "PR.DS-02"), (Iec, "SR 3.1"), (Iec, "SR 4.3")]),
    ("network.certificates", &[(Cis, "3.10"), (Iso, "8.24"), (Csf, "PR.DS-02"), (Iec, "SR 1.8")]),
    ("network.agent_certificates", &[(Iso, "8.24"), (Csf, "PR.AA-03"), (Iec, "SR 1.2"), (Iec, "SR 1.8")]),
    ("network.listeners", &[(Cis, "4.8"), (Iso, "8.20"), (Iso, "8.21"), (Csf, "PR.IR-01"), (Iec, "SR 7.7")]),
    ("network.plain", &[(Cis, "3.10"), (Iso, "8.21"), (Csf, "PR.DS-02"), (Iec, "SR 3.1"), (Iec, "SR 4.1")]),
    ("network.allowed", &[(Cis, "4.4"), (Iso, "8.20"), (Iso, "8.22"), (Csf, "PR.IR-01"), (Iec, "SR 5.2")]),
    ("network.limits", &[(Iso, "8.20"), (Csf, "PR.IR-01"), (Iec, "SR 7.1")]),
    ("network.egress", &[(Cis, "4.4"), (Iso, "8.22"), (Csf, "ID.AM-03"), (Csf, "DE.CM-01"), (Iec, "SR 5.2")]),
    ("time.server", &[(Cis, "8.4"), (Iso, "8.17"), (Csf, "PR.PS-04"), (Iec, "SR 2.11")]),
    ("time.agents", &[(Cis, "8.4"), (Iso, "8.17"), (Csf, "PR.PS-04"), (Iec, "SR 2.11")]),
    ("backups.outside", &[(Cis, "11.2"), (Cis, "11.4"), (Iso, "8.13"), (Csf, "PR.DS-11"), (Iec, "SR 7.3")]),
    ("backups.drill", &[(Cis, "11.5"), (Iso, "8.13"), (Csf, "PR.DS-11"), (Iec, "SR 7.3"), (Iec, "SR 7.4")]),
    ("backups.key", &[(Cis, "11.3"), (Iso, "8.13"), (Iso, "8.24"), (Csf, "PR.DS-11"), (Iec, "SR 7.4")]),
    (
        "audit.chain",
        &[
            (Cis, "8.2"),
            (Cis, "8.10"),
            (Iso, "5.28"),
            (Iso, "5.33"),
            (Iso, "8.15"),
            (Csf, "PR.PS-04"),
            (Iec, "SR 3.9"),
        ],
    ),
    ("audit.unwritable", &[(Iso, "8.15"), (Csf, "PR.PS-04"), (Iec, "SR 2.8"), (Iec, "SR 2.10")]),
    ("data.sealed", &[(Cis, "3.11"), (Iso, "8.24"), (Csf, "PR.DS-01"), (Iec, "SR 4.1")]),
    ("data.folder", &[(Cis, "3.3"), (Iso, "5.15"), (Iso, "8.3"), (Csf, "PR.PS-01"), (Iec, "SR 2.1")]),
    ("data.keys", &[(Cis, "3.11"), (Iso, "8.24"), (Csf, "PR.DS-01"), (Iec, "SR 1.5"), (Iec, "SR 4.3")]),
];

/// The controls that a check bears on.
pub(super) fn of(check: &str) -> Vec<Control> {
    let numbers = MAP.iter().find(|(id, _)| *id == check).map(|(_, numbers)| *numbers).unwrap_or_default();
    numbers.iter().filter_map(|(catalogue, number)| control(*catalogue, number)).collect()
}

fn control(catalogue: Catalogue, number: &str) -> Option<Control> {
    let row = TITLES.iter().find(|(of, its, _)| *of == catalogue && *its == number);
    row.map(|(catalogue, number, title)| Control { catalogue: *catalogue, number, title })
}

/// The catalogues, with their editions.
pub(super) fn editions() -> Vec<Edition> {
    Catalogue::ALL.map(|catalogue| Edition { catalogue, edition: catalogue.edition() }).into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::rules::RULES;
    use super::*;

    #[test]
    fn every_check_bears_on_controls_that_have_a_title_and_none_is_left_over() {
        let checks: BTreeSet<&str> = RULES.iter().map(|rule| rule.id).collect();
        let mapped: BTreeSet<&str> = MAP.iter().map(|(id, _)| *id).collect();
        assert_eq!(checks, mapped);
        let cited: BTreeSet<_> = MAP.iter().flat_map(|(_, numbers)| numbers.iter().copied()).collect();
        let titled: BTreeSet<_> = TITLES.iter().map(|(catalogue, number, _)| (*catalogue, *number)).collect();
        assert_eq!(cited, titled);
        assert_eq!(TITLES.len(), titled.len(), "each once");
        for (id, numbers) in MAP {
            assert!(numbers.len() >= 3 && of(id).len() == numbers.len(), "{id}");
        }
    }

    #[test]
    fn numbers_have_the_form_of_their_catalogue() {
        for (catalogue, number, _) in TITLES {
            let sound = match catalogue {
                Cis => number.split_once('.').is_some_and(|(control, safeguard)| {
                    let within =
                        |text: &str, most: u32| text.parse::<u32>().is_ok_and(|n| (1..=most).contains(&n));
                    within(control, 18) && within(safeguard, 14)
                }),
                Iso => number.split_once('.').is_some_and(|(theme, control)| {
                    let most = match theme {
                        "5" => 37,
                        "8" => 34,
                        _ => 0,
                    };
                    control.parse::<u32>().is_ok_and(|n| (1..=most).contains(&n))
                }),
                Csf => number.len() == 8 && number.as_bytes()[2] == b'.' && number.as_bytes()[5] == b'-',
                Iec => number.starts_with("SR ") && number[3..].split_once('.').is_some(),
            };
            assert!(sound, "{catalogue:?} {number}");
        }
        assert_eq!(control(Iso, "8.5").unwrap().label(), "ISO A.8.5");
        assert_eq!(control(Iec, "SR 1.1").unwrap().label(), "IEC SR 1.1");
    }
}
