//! How the host is, as numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use sysinfo::{Components, DiskRefreshKind, Disks, MemoryRefreshKind, Networks, System};

use crate::base::Result;
use crate::engine::clock::Clock;

/// Disks, interfaces and sensors of one host that are sampled.
const INSTANCES_MAX: usize = 64;
/// Bytes of an instance's name, so that the metric's name stays within the wire's bound.
const INSTANCE_BYTES_MAX: usize = 120;

/// Samples the host. It keeps counters between two samples, so keep it.
pub struct Host {
    system: System,
    disks: Disks,
    networks: Networks,
    components: Components,
    clock: Clock,
    processor: Option<[u64; 10]>,
    traffic: BTreeMap<String, (u64, u64)>,
    sampled: Option<Duration>,
    slow: u32,
}

/// Samples between two looks for new disks, sensors and their rare values.
const SLOW_EVERY: u32 = 6;

impl Host {
    /// Looks at the host for the first time.
    pub fn new(clock: &Clock) -> Result<Host> {
        let mut host = Host {
            system: System::new()?,
            disks: Disks::new()?,
            networks: Networks::new()?,
            components: Components::new()?,
            clock: clock.clone(),
            processor: processor_times(),
            traffic: BTreeMap::new(),
            sampled: None,
            slow: 0,
        };
        host.networks.refresh(true);
        host.traffic();
        host.sampled = Some(host.clock.monotonic());
        Ok(host)
    }

    /// Metric, with its instance in braces where there are several, to value. Rates are over the time since the
    /// sample before; what the host does not tell is left out.
    pub fn sample(&mut self) -> BTreeMap<String, f64> {
        let mut values = BTreeMap::new();
        self.processor(&mut values);
        self.memory(&mut values);
        if let Ok(load) = System::load_average() {
            put(&mut values, "load.1", load.one);
            put(&mut values, "load.5", load.five);
            put(&mut values, "load.15", load.fifteen);
        }
        if let Ok(seconds) = System::uptime() {
            put(&mut values, "uptime.seconds", seconds as f64);
        }
        if let Some(count) = process_count() {
            put(&mut values, "processes.count", count as f64);
        }
        self.network(&mut values);
        if self.slow == 0 {
            self.disks.refresh_specifics(true, DiskRefreshKind::nothing().with_storage());
            self.components.refresh(true);
        }
        self.slow = (self.slow + 1) % SLOW_EVERY;
        self.disk(&mut values);
        self.temperature(&mut values);
        values
    }

    fn processor(&mut self, values: &mut BTreeMap<String, f64>) {
        let Some(now) = processor_times() else { return };
        if let Some(before) = self.processor.replace(now) {
            let spent: Vec<u64> = now.iter().zip(before).map(|(n, b)| n.saturating_sub(b)).collect();
            // user nice system idle iowait irq softirq steal; guest time is within user time.
            let total: u64 = spent[..8].iter().sum();
            if total > 0 {
                let percent = |part: u64| part as f64 * 100.0 / total as f64;
                put(values, "cpu.usage_percent", percent(total - spent[3] - spent[4]));
                put(values, "cpu.user_percent", percent(spent[0] + spent[1]));
                put(values, "cpu.system_percent", percent(spent[2] + spent[5] + spent[6]));
                put(values, "cpu.wait_percent", percent(spent[4]));
                put(values, "cpu.steal_percent", percent(spent[7]));
            }
        }
    }

    fn memory(&mut self, values: &mut BTreeMap<String, f64>) {
        self.system.refresh_memory_specifics(MemoryRefreshKind::everything());
        let (total, used) = (self.system.total_memory(), self.system.used_memory());
        if total > 0 {
            put(values, "memory.total_bytes", total as f64);
            put(values, "memory.used_bytes", used as f64);
            put(values, "memory.used_percent", used as f64 * 100.0 / total as f64);
        }
        let (total, used) = (self.system.total_swap(), self.system.used_swap());
        if total > 0 {
            put(values, "swap.used_bytes", used as f64);
            put(values, "swap.used_percent", used as f64 * 100.0 / total as f64);
        }
    }

    fn disk(&self, values: &mut BTreeMap<String, f64>) {
        for disk in self.disks.iter().filter(|d| is_real(d)).take(INSTANCES_MAX) {
            let Some(mount) = instance(&disk.mount_point().to_string_lossy()) else { continue };
            let total = disk.total_space() as f64;
            let used = total - disk.available_space() as f64;
            put(values, &format!("disk.total_bytes{{{mount}}}"), total);
            put(values, &format!("disk.used_bytes{{{mount}}}"), used);
            put(values, &format!("disk.used_percent{{{mount}}}"), used * 100.0 / total);
        }
    }

    fn network(&mut self, values: &mut BTreeMap<String, f64>) {
        self.networks.refresh(true);
        let now = self.clock.monotonic();
        let seconds =
            self.sampled.replace(now).map_or(0.0, |before| now.saturating_sub(before).as_secs_f64());
        let before = std::mem::take(&mut self.traffic);
        self.traffic();
        if seconds < 0.05 {
            return;
        }
        for (name, (received, sent)) in &self.traffic {
            let Some((received_before, sent_before)) = before.get(name) else { continue };
            let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
            let key = |what: &str| format!("network.{what}_bytes_per_second{{{name}}}");
            put(values, &key("received"), rate(*received, *received_before));
            put(values, &key("sent"), rate(*sent, *sent_before));
        }
    }

    fn traffic(&mut self) {
        self.traffic = self
            .networks
            .iter()
            .filter_map(|(name, n)| {
                let name = name.to_str().filter(|name| is_physical(name))?;
                Some((instance(name)?, (n.total_received(), n.total_transmitted())))
            })
            .take(INSTANCES_MAX)
            .collect();
    }

    fn temperature(&self, values: &mut BTreeMap<String, f64>) {
        for sensor in self.components.iter().take(INSTANCES_MAX) {
            if let (Some(celsius), Some(label)) = (sensor.temperature(), instance(sensor.label())) {
                put(values, &format!("temperature.celsius{{{label}}}"), f64::from(celsius));
            }
        }
    }
}

fn put(values: &mut BTreeMap<String, f64>, name: &str, value: f64) {
    if value.is_finite() {
        // Two decimals are what the wire packs into two or three bytes, and more than any reader wants.
        values.insert(name.to_owned(), (value * 100.0).round() / 100.0);
    }
}

/// A name as it stands in braces, if it can.
fn instance(name: &str) -> Option<String> {
    let sound = !name.is_empty()
        && name.len() <= INSTANCE_BYTES_MAX
        && !name.contains(['{', '}'])
        && !name.chars().any(char::is_control);
    sound.then(|| name.to_owned())
}

/// Mounts that hold data: no images, no layers of containers, nothing of size zero.
pub(super) fn is_real(disk: &sysinfo::Disk) -> bool {
    let kind = disk.file_system().to_string_lossy();
    let mount = disk.mount_point();
    disk.total_space() > 0
        && !matches!(kind.as_ref(), "squashfs" | "tmpfs" | "devtmpfs" | "iso9660")
        && mount.is_dir()
        && !["/var/lib/docker", "/var/lib/containers", "/run", "/snap"].iter().any(|p| mount.starts_with(p))
}

/// Interfaces of the host itself; not the loopback and not the ends of containers' cables.
pub(super) fn is_physical(name: &str) -> bool {
    name != "lo" && !name.starts_with("veth")
}

fn processor_times() -> Option<[u64; 10]> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let mut times = [0; 10];
    let first = text.lines().next()?.strip_prefix("cpu ")?;
    for (time, word) in times.iter_mut().zip(first.split_ascii_whitespace()) {
        *time = word.parse().ok()?;
    }
    Some(times)
}

fn process_count() -> Option<usize> {
    let is_number = |name: &std::ffi::OsStr| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    let entries = std::fs::read_dir("/proc").ok()?;
    Some(entries.flatten().filter(|entry| is_number(&entry.file_name())).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_the_promised_names() {
        let clock = Clock::system();
        let mut host = Host::new(&clock).unwrap();
        let values = host.sample();
        for name in
            ["memory.used_percent", "memory.total_bytes", "load.1", "uptime.seconds", "processes.count"]
        {
            assert!(values.contains_key(name), "{name} is missing in {values:?}");
        }
        for (name, value) in &values {
            assert!(value.is_finite() && *value >= 0.0, "{name} is {value}");
            if name.contains("percent") {
                assert!(*value <= 100.0, "{name} is {value}");
            }
            assert!(name.len() <= crate::base::limits::METRIC_NAME_BYTES_MAX);
        }
    }

    #[test]
    fn names_in_braces_are_safe() {
        assert!(instance("/var").is_some());
        for bad in ["", "a}b", "a\nb", &"x".repeat(121)] {
            assert!(instance(bad).is_none());
        }
    }
}
