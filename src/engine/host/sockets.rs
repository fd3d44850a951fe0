//! The sockets on which this process listens, as the kernel has them: not what a configuration says, but what is open.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::base::{Error, Result};

/// Listening sockets of this process that are told.
pub const LISTENERS_MAX: usize = 64;
/// Open files that are looked at.
const FILES_MAX: usize = 200_000;
/// How the kernel writes that a TCP socket listens.
const LISTENS: &str = "0A";

/// Where this process listens for TCP connections, by port and address.
pub fn listeners() -> Result<Vec<SocketAddr>> {
    let unknown = |e: std::io::Error| {
        Error::unavailable("the kernel does not tell which sockets are open").because(e).hint("mount /proc")
    };
    let own = own_sockets(Path::new("/proc/self/fd")).map_err(unknown)?;
    let mut found = Vec::new();
    for (name, needed) in [("/proc/self/net/tcp", true), ("/proc/self/net/tcp6", false)] {
        match std::fs::read_to_string(name) {
            Ok(text) => found.extend(text.lines().filter_map(|line| listener(line, &own))),
            Err(e) if needed => return Err(unknown(e)),
            // A kernel without IPv6.
            Err(_) => {}
        }
    }
    found.sort_by_key(|address| (address.port(), address.ip()));
    // Several threads may listen at one address.
    found.dedup();
    found.truncate(LISTENERS_MAX);
    Ok(found)
}

/// The inodes of the sockets that this process has open.
fn own_sockets(files: &Path) -> std::io::Result<HashSet<u64>> {
    let of = |entry: std::fs::DirEntry| {
        let target = std::fs::read_link(entry.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    Ok(std::fs::read_dir(files)?.take(FILES_MAX).flatten().filter_map(of).collect())
}

/// The address of one line of the kernel's table, when it is a listening socket of ours.
fn listener(line: &str, own: &HashSet<u64>) -> Option<SocketAddr> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    if *state != LISTENS || !own.contains(&inode.parse().ok()?) {
        return None;
    }
    let (ip, port) = local.split_once(':')?;
    Some(SocketAddr::new(address(ip)?, u16::from_str_radix(port, 16).ok()?))
}

/// The kernel prints the words of an address as its own numbers, so their bytes are in the order of this machine.
fn address(text: &str) -> Option<IpAddr> {
    let word = |n: usize| u32::from_str_radix(text.get(n * 8..n * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        let own = HashSet::from([7, 8]);
        let line = |local: &str, state: &str, inode: u64| {
            format!(
                "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  1000        0 {inode} 1"
            )
        };
        let ones = u32::from_ne_bytes([127, 0, 0, 1]);
        let local = format!("{ones:08X}:20FB");
        assert_eq!(listener(&line(&local, "0A", 7), &own), Some("127.0.0.1:8443".parse().unwrap()));
        assert_eq!(listener(&line("00000000:20FB", "0A", 8), &own), Some("0.0.0.0:8443".parse().unwrap()));
        let any = format!("{}:22B3", "0".repeat(32));
        assert_eq!(listener(&line(&any, "0A", 8), &own), Some("[::]:8883".parse().unwrap()));
        assert_eq!(listener(&line(&local, "01", 7), &own), None, "a connection");
        assert_eq!(listener(&line(&local, "0A", 9), &own), None, "another process's");
        for text in [
            "",
            "  sl  local_address rem_address   st",
            "0: zz:1 a 0A b c d e f 7",
            "0: 7F:1 a 0A b c d e f 7",
        ] {
            assert_eq!(listener(text, &own), None, "{text}");
        }
    }

    #[test]
    fn a_socket_is_found_while_it_listens() {
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = open.local_addr().unwrap();
        assert!(listeners().unwrap().contains(&address));
        drop(open);
        assert!(!listeners().unwrap().contains(&address));
    }
}
