//! What the host is made of.

use std::collections::BTreeMap;

use sysinfo::{CpuRefreshKind, Disks, Networks, System};

use super::sample;
use crate::base::Timestamp;

/// Packages of one inventory.
const PACKAGES_MAX: usize = 3_000;
/// Bytes of names and versions together, so that an inventory fits in one message.
const PACKAGES_BYTES_MAX: usize = 160 * 1024;

/// What the host is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inventory {
    /// For example `Debian GNU/Linux 12`.
    pub os: String,
    /// Kernel release.
    pub kernel: String,
    /// For example `x86_64`.
    pub architecture: String,
    /// Model of the processor.
    pub cpu: String,
    /// Logical processors.
    pub cpu_count: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Identifier of the machine, hashed: the original must not leave the host (machine-id(5)).
    pub machine: String,
    /// When the host started.
    pub booted: Option<Timestamp>,
    /// Network interfaces.
    pub interfaces: Vec<Interface>,
    /// Mounted disks.
    pub disks: Vec<Disk>,
    /// Installed packages, name to version; empty when they were not asked for.
    pub packages: BTreeMap<String, String>,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interface {
    /// For example `eth0`.
    pub name: String,
    /// Hardware address.
    pub mac: String,
    /// Addresses with prefix length.
    pub addresses: Vec<String>,
}

/// A mounted disk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Disk {
    /// Where it is mounted.
    pub mount: String,
    /// File system type.
    pub kind: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// Looks at the whole host. With packages it reads the status file of dpkg, where there is one.
pub fn inventory(with_packages: bool) -> Inventory {
    let mut system = System::new().ok();
    if let Some(system) = &mut system {
        system.refresh_memory();
        system.refresh_cpu_list(CpuRefreshKind::nothing());
    }
    let cpus = system.as_ref().map(System::cpus).unwrap_or_default();
    Inventory {
        os: System::long_os_version().unwrap_or_default(),
        kernel: System::kernel_version().unwrap_or_default(),
        architecture: System::cpu_arch(),
        cpu: cpus.first().map(|c| c.brand().trim().to_owned()).unwrap_or_default(),
        cpu_count: cpus.len() as u32,
        memory_bytes: system.as_ref().map(System::total_memory).unwrap_or_default(),
        machine: machine(),
        booted: System::boot_time().ok().map(|s| Timestamp::from_milliseconds(s as i64 * 1000)),
        interfaces: interfaces(),
        disks: disks(),
        packages: if with_packages { packages() } else { BTreeMap::new() },
    }
}

fn machine() -> String {
    let id = ["/etc/machine-id", "/var/lib/dbus/machine-id"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .unwrap_or_default();
    if id.trim().is_empty() {
        return String::new();
    }
    blake3::Hash::from(blake3::derive_key("muster 2026 machine", id.trim().as_bytes())).to_hex()[..32]
        .to_owned()
}

fn interfaces() -> Vec<Interface> {
    let Ok(networks) = Networks::new_with_refreshed_list() else { return Vec::new() };
    let mut found: Vec<Interface> = networks
        .iter()
        .filter_map(|(name, n)| Some((name.to_str().filter(|name| sample::is_physical(name))?, n)))
        .map(|(name, n)| Interface {
            name: name.to_owned(),
            mac: n.mac_address().to_string(),
            addresses: n.ip_networks().iter().take(16).map(ToString::to_string).collect(),
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found.truncate(64);
    found
}

fn disks() -> Vec<Disk> {
    let Ok(disks) = Disks::new_with_refreshed_list() else { return Vec::new() };
    let mut found: Vec<Disk> = disks
        .iter()
        .filter(|d| sample::is_real(d))
        .map(|d| Disk {
            mount: d.mount_point().to_string_lossy().into_owned(),
            kind: d.file_system().to_string_lossy().into_owned(),
            bytes: d.total_space(),
        })
        .collect();
    found.sort_by(|a, b| a.mount.cmp(&b.mount));
    found.truncate(64);
    found
}

fn packages() -> BTreeMap<String, String> {
    std::fs::read_to_string("/var/lib/dpkg/status").map(|text| parse(&text)).unwrap_or_default()
}

/// Installed packages of a dpkg status file.
fn parse(text: &str) -> BTreeMap<String, String> {
    let (mut packages, mut bytes) = (BTreeMap::new(), 0);
    for paragraph in text.split("\n\n") {
        let field = |name: &str| {
            paragraph.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        let installed = field("Status").is_some_and(|s| s.ends_with(" installed"));
        if let (true, Some(name), Some(version)) = (installed, field("Package"), field("Version")) {
            bytes += name.len() + version.len() + 4;
            if packages.len() >= PACKAGES_MAX || bytes > PACKAGES_BYTES_MAX {
                break;
            }
            packages.insert(name.to_owned(), version.to_owned());
        }
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_installed_packages_are_listed() {
        let text = "Package: bash\nStatus: install ok installed\nVersion: 5.2-1\n\n\
                    Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                    Package: zlib\nStatus: install ok installed\nDescription: x\n y\nVersion: 1:1.3\n";
        let found = parse(text);
        assert_eq!(found.len(), 2);
        assert_eq!((found["bash"].as_str(), found["zlib"].as_str()), ("5.2-1", "1:1.3"));
        let many: String = (0..PACKAGES_MAX + 5)
            .map(|n| format!("Package: p{n}\nStatus: install ok installed\nVersion: 1\n\n"))
            .collect();
        assert_eq!(parse(&many).len(), PACKAGES_MAX);
    }

    #[test]
    fn this_host_has_an_inventory() {
        let found = inventory(false);
        assert!(found.memory_bytes > 0 && found.cpu_count > 0 && !found.kernel.is_empty(), "{found:?}");
        assert!(found.packages.is_empty());
    }
}
