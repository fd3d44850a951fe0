//! Who listens on a port of this host, and where this process listens, as the kernel's tables and the processes' open
//! files say: not what a configuration says, but what is open.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::base::{Error, Result};

/// Listening sockets of this process that are told.
pub const LISTENERS_MAX: usize = 64;
/// Processes that are looked at.
const PROCESSES_MAX: usize = 65_536;
/// Open files of a process that are looked at.
const FILES_MAX: usize = 200_000;
/// The kernel's number for a socket that listens.
const LISTENS: &str = "0A";

/// A socket that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where.
    pub address: SocketAddr,
    /// Number of the user whose it is.
    pub user: u32,
    /// Number and name of the process, when this user may know it.
    pub process: Option<(u32, String)>,
}

impl Listener {
    /// `nginx (process 812)`, or as much of it as is known.
    pub fn who(&self) -> String {
        match &self.process {
            Some((number, name)) => format!("`{name}` (process {number})"),
            None => format!("a process of user {} (root is told which)", self.user),
        }
    }
}

/// Where this process listens for TCP connections, by port and address.
pub fn own_listeners() -> Result<Vec<SocketAddr>> {
    let unknown = |e: std::io::Error| {
        Error::unavailable("the kernel does not tell which sockets are open").because(e).hint("mount /proc")
    };
    let own = sockets(Path::new("/proc/self/fd")).map_err(unknown)?;
    let mut found = Vec::new();
    for (name, needed) in [("/proc/self/net/tcp", true), ("/proc/self/net/tcp6", false)] {
        match fs::read_to_string(name) {
            Ok(table) => found.extend(parse(&table).into_iter().filter(|entry| own.contains(&entry.inode))),
            Err(e) if needed => return Err(unknown(e)),
            // A kernel without IPv6.
            Err(_) => {}
        }
    }
    let mut found: Vec<SocketAddr> = found.into_iter().map(|entry| entry.address).collect();
    found.sort_by_key(|address| (address.port(), address.ip()));
    // Several threads may listen at one address.
    found.dedup();
    found.truncate(LISTENERS_MAX);
    Ok(found)
}

/// The inodes of the sockets among these open files.
fn sockets(files: &Path) -> std::io::Result<HashSet<u64>> {
    let of = |entry: fs::DirEntry| {
        let target = fs::read_link(entry.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    Ok(fs::read_dir(files)?.take(FILES_MAX).flatten().filter_map(of).collect())
}

/// Every socket that listens on this port of TCP.
pub fn listeners(port: u16) -> Vec<Listener> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let found: Vec<Entry> =
        tables.iter().flat_map(|table| parse(table)).filter(|entry| entry.address.port() == port).collect();
    let holders = if found.is_empty() { Vec::new() } else { processes(&found) };
    let process = |inode| holders.iter().find(|(held, _)| *held == inode).map(|(_, process)| process.clone());
    found
        .into_iter()
        .map(|entry| Listener { address: entry.address, user: entry.user, process: process(entry.inode) })
        .collect()
}

struct Entry {
    address: SocketAddr,
    user: u32,
    inode: u64,
}

/// The lines of `/proc/net/tcp` or `tcp6` whose sockets listen.
fn parse(table: &str) -> Vec<Entry> {
    table.lines().skip(1).filter_map(line).collect()
}

fn line(line: &str) -> Option<Entry> {
    let words: Vec<&str> = line.split_whitespace().collect();
    if *words.get(3)? != LISTENS {
        return None;
    }
    let (ip, port) = words.get(1)?.split_once(':')?;
    let ip = address(ip)?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(Entry {
        address: SocketAddr::new(ip, port),
        user: words.get(7)?.parse().ok()?,
        inode: words.get(9)?.parse().ok()?,
    })
}

/// Words of four bytes, each in the order of the machine.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |n: usize| u32::from_str_radix(hex.get(n * 8..n * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for n in 0..4 {
                bytes[n * 4..n * 4 + 4].copy_from_slice(&word(n)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical())
        }
        _ => None,
    }
}

/// Which process has which of the sockets open; a user sees only its own processes, root all.
fn processes(wanted: &[Entry]) -> Vec<(u64, (u32, String))> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten().take(PROCESSES_MAX) {
        let Some(number) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Those of others are for root.
        let Ok(open) = sockets(&process.path().join("fd")) else { continue };
        for inode in wanted.iter().map(|entry| entry.inode).filter(|inode| open.contains(inode)) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            found.push((inode, (number, name.trim().to_owned())));
        }
        if found.len() >= wanted.len() {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_a_port_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let found = listeners(address.port());
        let own = found.iter().find(|listener| listener.address == address).unwrap();
        assert_eq!(own.process.as_ref().unwrap().0, std::process::id());
        assert!(own.who().contains(&format!("process {}", std::process::id())), "{}", own.who());
        assert!(own_listeners().unwrap().contains(&address));
        drop(listener);
        assert!(!own_listeners().unwrap().contains(&address));
        assert!(!listeners(address.port()).iter().any(|listener| listener.address == address));
    }

    #[test]
    fn the_kernels_tables_are_read_and_what_is_none_is_passed_over() {
        if cfg!(target_endian = "big") {
            return;
        }
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:20FB 00000000:0000 0A 00000000:00000000 00:00000000 00000000   997        0 4711 1\n\
            \x20  1: 0100007F:20FB 0100007F:1234 01 00000000:00000000 00:00000000 00000000     0        0 4712 1\n\
            \x20  2: 00000000000000000000000001000000:22B3 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 9 1\n\
            rubbish\n   3: zz:1 0 0A\n";
        let found: Vec<(String, u32, u64)> =
            parse(table).into_iter().map(|e| (e.address.to_string(), e.user, e.inode)).collect();
        assert_eq!(found, [("127.0.0.1:8443".to_owned(), 997, 4711), ("[::1]:8883".to_owned(), 0, 9)]);
        let hidden = Listener { address: ([0, 0, 0, 0], 1).into(), user: 33, process: None };
        assert!(hidden.who().contains("user 33"));
    }
}
