//! The host: ports, clock, limits, memory, randomness, the kernel's settings, and the unit of systemd.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use super::{Inside, Report};
use crate::engine::host;
use crate::server::config::Config;

/// Files that the server has open besides connections.
const FILES_BESIDES: u64 = 256;
/// Threads and processes that the server and its agent may need.
const TASKS: u64 = 256;
/// Memory that is available, in MB: less is little, or too little.
const MEMORY_LITTLE: u64 = 256;
const MEMORY_BAD: u64 = 64;
/// Bits that a kernel whose random source is ready says it has, at least.
const ENTROPY: u64 = 128;
/// Connections that wait to be accepted.
const BACKLOG: u64 = 1_024;

pub(super) fn ports(config: &Config, server: Option<u32>, unsure: bool, report: &mut Report) {
    let ports = [
        ("http.address", Some(config.http.address)),
        ("mqtt.address", Some(config.mqtt.address)),
        ("mqtt.plain", config.mqtt.plain),
    ];
    for (key, address) in ports {
        let Some(address) = address.filter(|address| address.port() != 0) else { continue };
        port(key, address, server, unsure, report);
    }
}

/// Whether a listener there keeps another from this address.
fn overlap(held: SocketAddr, wanted: SocketAddr) -> bool {
    held.ip() == wanted.ip() || held.ip().is_unspecified() || wanted.ip().is_unspecified()
}

fn port(key: &str, address: SocketAddr, server: Option<u32>, unsure: bool, report: &mut Report) {
    let subject = format!("port {}", address.port());
    let held = host::listeners(address.port());
    let holder = held.iter().find(|listener| overlap(listener.address, address));
    match (holder, server) {
        (Some(holder), Some(server)) => match &holder.process {
            Some((number, _)) if *number != server => report.bad(
                &subject,
                format!("{} holds it, not the server (process {server})", holder.who()),
                format!("stop that program, or choose another port with `{key}`, and start the server again"),
            ),
            _ => report.good(&subject, format!("the server listens on {}", holder.address)),
        },
        (Some(holder), None) if unsure => report.good(&subject, format!("{} holds it", holder.who())),
        (Some(holder), None) => report.bad(
            &subject,
            format!("{} holds it", holder.who()),
            format!("stop that program, or choose another port with `{key}`"),
        ),
        (None, Some(server)) => report.attention(
            &subject,
            format!("the server (process {server}) does not listen there"),
            format!("it was started with another address than `{key}` says: see `muster config diff`"),
        ),
        (None, None) => match TcpListener::bind(address) {
            Ok(_) => report.good(&subject, "free"),
            Err(e) => report.bad(
                &subject,
                format!("this user cannot listen on {address}: {e}"),
                format!("choose one of this machine's addresses and a port above 1023 with `{key}`"),
            ),
        },
    }
}

/// Whether something sets the clock. The kernel's own word is asked through systemd, which knows it from `adjtimex`.
pub(super) fn clock(report: &mut Report) {
    const SUBJECT: &str = "clock";
    const REMEDY: &str =
        "switch on a time service with a source on the site (`timedatectl set-ntp true`, or chrony)";
    let told = answer("timedatectl", &["show", "-p", "NTPSynchronized", "--value"]);
    let synchronised = match told.as_deref().map(str::trim) {
        Some("yes") => Some(true),
        Some("no") => Some(false),
        _ if fs::exists("/run/systemd/timesync/synchronized").unwrap_or_default() => Some(true),
        _ => None,
    };
    match synchronised {
        Some(true) => report.good(SUBJECT, "the kernel says that it is synchronised"),
        Some(false) => report.attention(SUBJECT, "the kernel says that nothing synchronises it", REMEDY),
        None => {
            report.attention(SUBJECT, "this machine does not say whether anything synchronises it", REMEDY)
        }
    }
}

pub(super) fn limits(config: &Config, inside: &Inside, report: &mut Report) {
    let (own, text) = match inside {
        Inside::Running(told) if told["limits"].is_string() => {
            (false, told["limits"].as_str().unwrap_or_default().to_owned())
        }
        _ => (true, fs::read_to_string("/proc/self/limits").unwrap_or_default()),
    };
    let whose = if own { " for programs of this shell" } else { "" };
    let need =
        u64::from(config.mqtt.connections_max) + u64::from(config.http.connections_max) + FILES_BESIDES;
    match limit(&text, "Max open files") {
        Some(files) if files >= need => report.good("open files", format!("at most {files}{whose}")),
        Some(files) => report.attention(
            "open files",
            format!("at most {files}{whose}; the connections that the configuration lets in may need {need}"),
            format!("`LimitNOFILE={need}` in the unit or `ulimit -n {need}` before the start, or lower `mqtt.connections_max`"),
        ),
        None => report.attention("open files", "the kernel does not say the limit", "look at `/proc/self/limits`"),
    }
    match limit(&text, "Max processes") {
        Some(tasks) if tasks < TASKS => report.attention(
            "tasks",
            format!("at most {tasks}{whose}"),
            format!("`LimitNPROC={TASKS}` or more in the unit, or `ulimit -u` before the start"),
        ),
        Some(u64::MAX) => report.good("tasks", format!("as many as it likes{whose}")),
        Some(tasks) => report.good("tasks", format!("at most {tasks}{whose}")),
        None => {}
    }
}

/// The soft limit of this name in `/proc/PID/limits`.
fn limit(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    match rest.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

pub(super) fn memory(report: &mut Report) {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    judge_memory(&text, report);
}

fn judge_memory(text: &str, report: &mut Report) {
    let megabytes = |name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        rest.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes / 1024)
    };
    let (Some(available), Some(total)) = (megabytes("MemAvailable:"), megabytes("MemTotal:")) else {
        return report.attention(
            "memory",
            "the kernel does not say how much there is",
            "look at `/proc/meminfo`",
        );
    };
    let found = format!("{available} of {total} MB available");
    let remedy = "stop what else uses memory, or give the machine more";
    match available {
        ..MEMORY_BAD => report.bad("memory", found, remedy),
        MEMORY_BAD..MEMORY_LITTLE => report.attention("memory", found, remedy),
        _ => report.good("memory", found),
    }
}

pub(super) fn entropy(report: &mut Report) {
    match number("/proc/sys/kernel/random/entropy_avail") {
        Some(bits) if bits >= ENTROPY => {
            report.good("randomness", format!("{bits} bits, the kernel's source is ready"))
        }
        Some(bits) => report.attention(
            "randomness",
            format!("the kernel has {bits} bits only; keys may have to wait for it"),
            "give a virtual machine a virtio-rng device, or install `rng-tools`",
        ),
        None => report.attention(
            "randomness",
            "the kernel does not say how much it has",
            "look whether `/proc` is mounted",
        ),
    }
}

pub(super) fn kernel(config: &Config, report: &mut Report) {
    const SUBJECT: &str = "kernel";
    let before = report.findings.len();
    if let Some(backlog) = number("/proc/sys/net/core/somaxconn").filter(|backlog| *backlog < BACKLOG) {
        report.attention(
            SUBJECT,
            format!(
                "net.core.somaxconn is {backlog}: a fleet that comes back at once is turned away in part"
            ),
            format!(
                "`sysctl -w net.core.somaxconn={BACKLOG}`, and the same line in `/etc/sysctl.d/muster.conf`"
            ),
        );
    }
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let reserved = fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
    for (key, address) in [("http.address", config.http.address), ("mqtt.address", config.mqtt.address)] {
        if taken_by_chance(&range, &reserved, address.port()) {
            report.attention(
                SUBJECT,
                format!(
                    "port {} of `{key}` lies among those that outgoing connections take by chance",
                    address.port()
                ),
                format!(
                    "`sysctl -w net.ipv4.ip_local_reserved_ports={}`, or choose a port below them",
                    address.port()
                ),
            );
        }
    }
    if number("/proc/sys/vm/overcommit_memory") == Some(2) {
        report.attention(
            SUBJECT,
            "vm.overcommit_memory is 2: memory that is only reserved counts as used",
            "set it to 0, or raise `vm.overcommit_ratio` so that the server's reservations fit",
        );
    }
    if report.findings.len() == before {
        report.good(
            SUBJECT,
            "backlog, ports of outgoing connections and reservations of memory are as they should be",
        );
    }
}

/// Whether the port is one that the kernel gives to outgoing connections.
fn taken_by_chance(range: &str, reserved: &str, port: u16) -> bool {
    let numbers = |text: &str, sign: char| {
        let (low, high) = text.trim().split_once(sign).unwrap_or((text.trim(), text.trim()));
        Some((low.trim().parse::<u16>().ok()?, high.trim().parse::<u16>().ok()?))
    };
    let within = |pair: Option<(u16, u16)>| pair.is_some_and(|(low, high)| (low..=high).contains(&port));
    within(numbers(range, '\t')) && !reserved.split(',').any(|part| within(numbers(part, '-')))
}

pub(super) fn unit(service: &str, report: &mut Report) {
    const WANTED: &str = "LoadState,ActiveState,UnitFileState,NRestarts";
    match answer("systemctl", &["show", service, "--property", WANTED]) {
        Some(text) => judge_unit(service, &text, report),
        None => report.attention(
            "service",
            "systemd does not answer on this machine",
            "look whether it runs here; without it `muster serve` needs another program that starts it again",
        ),
    }
}

fn judge_unit(service: &str, text: &str, report: &mut Report) {
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .unwrap_or_default()
            .to_owned()
    };
    let (loaded, active, enabled) = (value("LoadState"), value("ActiveState"), value("UnitFileState"));
    let restarts: u64 = value("NRestarts").parse().unwrap_or_default();
    if loaded != "loaded" {
        report.bad(
            "service",
            format!("systemd knows no unit `{service}`"),
            "install the package, or run `muster install`",
        );
    } else if active != "active" {
        report.bad(
            "service",
            format!("`{service}` is {active}"),
            format!("`systemctl start {service}`; `journalctl -u {service} -n 50` says why it ended"),
        );
    } else if enabled != "enabled" {
        report.attention(
            "service",
            format!("`{service}` runs and would not after a restart of the machine ({enabled})"),
            format!("`systemctl enable {service}`"),
        );
    } else if restarts > 0 {
        report.attention(
            "service",
            format!("`{service}` runs; systemd had to start it again {restarts} times"),
            format!("`journalctl -u {service}` says why it ended"),
        );
    } else {
        report.good("service", format!("`{service}` runs, also after a restart of the machine"));
    }
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// What a program prints that ends well; nothing when it is not there.
fn answer(program: &str, arguments: &[&str]) -> Option<String> {
    // A machine without systemd running would only be waited for.
    if !fs::exists("/run/systemd/system").unwrap_or_default() {
        return None;
    }
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_port_is_free_held_by_a_stranger_or_the_servers_own() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let own = std::process::id();
        let level = |server, unsure| {
            let mut report = Report::default();
            port("http.address", address, server, unsure, &mut report);
            (report.level(), report.to_string())
        };
        assert_eq!(level(Some(own), false).0, Level::Good);
        assert_eq!(level(None, true).0, Level::Good);
        let (bad, text) = level(None, false);
        assert_eq!(bad, Level::Bad);
        assert!(text.contains(&format!("process {own}")) && text.contains("http.address"), "{text}");
        assert_eq!(level(Some(own + 1), false).0, Level::Bad);
        drop(listener);
        assert_eq!(level(None, false).0, Level::Good);
        assert_eq!(level(Some(own), false).0, Level::Attention);
        assert!(overlap(([0, 0, 0, 0], 1).into(), ([127, 0, 0, 1], 1).into()));
        assert!(!overlap(([10, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 1).into()));
    }

    #[test]
    fn the_kernels_words_are_judged() {
        let limits = "Limit   Soft Limit   Hard Limit   Units\nMax processes  63 63 processes\nMax open files 1024 1048576 files\n";
        assert_eq!((limit(limits, "Max open files"), limit(limits, "Max processes")), (Some(1024), Some(63)));
        assert_eq!(limit("Max processes  unlimited unlimited processes", "Max processes"), Some(u64::MAX));
        let mut report = Report::default();
        let inside = Inside::Running(serde_json::json!({ "limits": limits }));
        super::limits(&Config::default(), &inside, &mut report);
        assert_eq!(report.findings.len(), 2, "{report}");
        assert!(report.to_string().contains("LimitNOFILE=21280"), "{report}");
        for (available, level) in [(40, Level::Bad), (100, Level::Attention), (4_000, Level::Good)] {
            let mut report = Report::default();
            let text = format!("MemTotal:  8192000 kB\nMemAvailable: {} kB\n", available * 1024);
            judge_memory(&text, &mut report);
            assert_eq!(report.level(), level, "{report}");
        }
        let mut report = Report::default();
        judge_memory("", &mut report);
        assert_eq!(report.level(), Level::Attention);
        assert!(!taken_by_chance("32768\t60999\n", "\n", 8443));
        assert!(taken_by_chance("1024\t60999\n", "\n", 8443));
        assert!(!taken_by_chance("1024\t60999\n", "8080,8443-8883\n", 8443));
    }

    #[test]
    fn a_unit_that_does_not_run_is_bad() {
        let level = |text: &str| {
            let mut report = Report::default();
            judge_unit("muster", text, &mut report);
            report.level()
        };
        let text = |active, enabled, restarts| {
            format!("LoadState=loaded\nActiveState={active}\nUnitFileState={enabled}\nNRestarts={restarts}\n")
        };
        assert_eq!(level(&text("active", "enabled", 0)), Level::Good);
        assert_eq!(level(&text("active", "enabled", 3)), Level::Attention);
        assert_eq!(level(&text("active", "disabled", 0)), Level::Attention);
        assert_eq!(level(&text("failed", "enabled", 0)), Level::Bad);
        assert_eq!(level("LoadState=not-found\nActiveState=inactive\n"), Level::Bad);
    }

    #[test]
    fn this_very_machine_is_looked_at_without_an_error() {
        let mut report = Report::default();
        clock(&mut report);
        memory(&mut report);
        entropy(&mut report);
        kernel(&Config::default(), &mut report);
        assert!(report.findings.len() >= 4, "{report}");
        for finding in &report.findings {
            assert_eq!(finding.remedy.is_empty(), finding.level == Level::Good, "{finding:?}");
        }
    }
}
