//! Who the members are: sites, roles, names, hardware, and who has which trouble.

use std::collections::BTreeMap;

use super::curves::mix;
use crate::base::{Labels, Timestamp};
use crate::wire::{Disk, Interface, Inventory};

const SITES: [&str; 3] = ["lyon", "gdansk", "sfax"];
const GIB: u64 = 1 << 30;

/// What a member is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// Controls a press.
    Press,
    /// Shows a line to its people.
    Hmi,
    /// Joins the machines' network to the plant's.
    Gateway,
    /// Computes beside the machines.
    Edge,
    /// Runs models.
    Ai,
}

impl Role {
    pub(super) fn word(self) -> &'static str {
        match self {
            Role::Press => "press",
            Role::Hmi => "hmi",
            Role::Gateway => "gateway",
            Role::Edge => "edge",
            Role::Ai => "ai",
        }
    }
}

/// What is wrong with a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nothing.
    None,
    /// A log fills `/var`.
    DiskFills,
    /// A program leaks until it is killed.
    MemoryLeaks,
    /// It falls silent soon after the start.
    Silent,
    /// Its connection breaks again and again.
    Flaps,
    /// It runs a version that was left behind.
    OldVersion,
}

/// Troubles and the places in the fleet where they are; in a smaller fleet the first ones only.
const TROUBLES: [(usize, Trouble); 5] = [
    (6, Trouble::DiskFills),
    (11, Trouble::MemoryLeaks),
    (3, Trouble::Silent),
    (17, Trouble::Flaps),
    (9, Trouble::OldVersion),
];

/// One member.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) site: &'static str,
    pub(super) role: Role,
    pub(super) line: u64,
    pub(super) seed: u64,
    pub(super) trouble: Trouble,
    pub(super) version: &'static str,
}

/// So many members, always the same ones for a seed.
pub(super) fn fleet(count: usize, seed: u64) -> Vec<Member> {
    const PATTERN: [Role; 10] = [
        Role::Press,
        Role::Hmi,
        Role::Press,
        Role::Gateway,
        Role::Press,
        Role::Edge,
        Role::Hmi,
        Role::Press,
        Role::Edge,
        Role::Ai,
    ];
    let mut numbers: BTreeMap<(&str, Role), u32> = BTreeMap::new();
    (0..count)
        .map(|n| {
            let (site, role) = (SITES[n % SITES.len()], PATTERN[n / SITES.len() % PATTERN.len()]);
            let number = numbers.entry((site, role)).or_default();
            *number += 1;
            let trouble = TROUBLES.iter().find(|(place, _)| *place == n).map_or(Trouble::None, |(_, t)| *t);
            let seed = mix(seed, n as u64);
            Member {
                name: format!("{site}-{}-{number:02}", role.word()),
                site,
                role,
                line: 1 + seed % 8,
                seed,
                trouble,
                version: if trouble == Trouble::OldVersion { "0.0.7" } else { env!("CARGO_PKG_VERSION") },
            }
        })
        .collect()
}

impl Member {
    pub(super) fn labels(&self) -> Labels {
        Labels(BTreeMap::from([
            ("line".into(), self.line.to_string()),
            ("role".into(), self.role.word().into()),
            ("site".into(), self.site.into()),
        ]))
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        match self.role {
            Role::Press | Role::Gateway => 2 * GIB,
            Role::Hmi => 4 * GIB,
            Role::Edge => 16 * GIB,
            Role::Ai => 128 * GIB,
        }
    }

    pub(super) fn disks(&self) -> Vec<Disk> {
        let (root, var) = match self.role {
            Role::Press | Role::Gateway => (16, 32),
            Role::Hmi => (64, 64),
            Role::Edge => (128, 512),
            Role::Ai => (256, 4_096),
        };
        [("/", root), ("/var", var)]
            .into_iter()
            .map(|(mount, gib)| Disk { mount: mount.into(), kind: "ext4".into(), bytes: gib * GIB })
            .collect()
    }

    pub(super) fn address(&self) -> String {
        let site = SITES.iter().position(|s| *s == self.site).unwrap_or_default() + 21;
        format!("10.{site}.{}.{}", self.line, 10 + self.seed / 8 % 230)
    }

    pub(super) fn booted(&self, now: Timestamp) -> Timestamp {
        let days = 3 + self.seed / 16 % 120;
        Timestamp::from_milliseconds(
            now.milliseconds() - (days * 86_400_000 + self.seed / 4096 % 86_400_000) as i64,
        )
    }

    pub(super) fn inventory(&self, now: Timestamp, packages: bool) -> Inventory {
        let (os, kernel, architecture, cpu, cpu_count) = match self.role {
            Role::Press => ("Debian GNU/Linux 12", "6.1.0-28-rt-amd64", "x86_64", "Intel Atom x6425E", 4),
            Role::Hmi => ("Debian GNU/Linux 12", "6.1.0-28-amd64", "x86_64", "Intel Core i3-1115G4E", 4),
            Role::Gateway => ("Debian GNU/Linux 11", "5.10.0-33-arm64", "aarch64", "Cortex-A72", 4),
            Role::Edge => ("Ubuntu 24.04.1 LTS", "6.8.0-49-generic", "x86_64", "Intel Xeon D-1746TER", 20),
            Role::Ai => ("Ubuntu 24.04.1 LTS", "6.8.0-49-generic", "x86_64", "AMD EPYC 9354P", 64),
        };
        let mac: Vec<String> =
            mix(self.seed, 77).to_be_bytes()[..5].iter().map(|byte| format!("{byte:02x}")).collect();
        let packages: &[(&str, &str)] = match packages {
            true => &[
                ("bash", "5.2.15-2+b7"),
                ("chrony", "4.3-2+deb12u1"),
                ("libc6", "2.36-9+deb12u9"),
                ("linux-image-amd64", "6.1.119-1"),
                ("openssh-server", "1:9.2p1-2+deb12u3"),
                ("openssl", "3.0.15-1~deb12u1"),
                ("python3", "3.11.2-1+b1"),
                ("systemd", "252.31-1~deb12u1"),
                ("tzdata", "2024b-0+deb12u1"),
            ],
            false => &[],
        };
        Inventory {
            os: os.into(),
            kernel: kernel.into(),
            architecture: architecture.into(),
            cpu: cpu.into(),
            cpu_count,
            memory_bytes: self.memory_bytes(),
            machine: format!("{:016x}{:016x}", mix(self.seed, 78), mix(self.seed, 79)),
            booted: Some(self.booted(now)),
            interfaces: vec![Interface {
                name: "eth0".into(),
                mac: format!("02:{}", mac.join(":")),
                addresses: vec![format!("{}/24", self.address())],
            }],
            disks: self.disks(),
            packages: packages.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_stay_the_same() {
        let fleet_200 = fleet(200, 1);
        let names: std::collections::BTreeSet<_> = fleet_200.iter().map(|m| m.name.clone()).collect();
        assert_eq!(names.len(), 200);
        assert!(names.contains("lyon-press-07"));
        assert_eq!(fleet(200, 1)[42].seed, fleet_200[42].seed);
        assert_ne!(fleet(200, 2)[42].seed, fleet_200[42].seed);
        for (_, trouble) in TROUBLES {
            assert_eq!(fleet_200.iter().filter(|m| m.trouble == trouble).count(), 1, "{trouble:?}");
        }
        assert!(fleet_200.iter().all(|m| m.labels().check().is_ok()));
    }
}
