//! What members measure: numbers that follow the shifts of a plant, with noise, and the marks of their troubles.

use std::collections::BTreeMap;
use std::f64::consts::PI;

use super::fleet::{Member, Role, Trouble};
use crate::base::Timestamp;

/// Hours in which a leaking program takes all memory and is killed.
const LEAK_HOURS: f64 = 7.0;
/// Milliseconds between two values of the noise.
const NOISE_STEP_MS: i64 = 60_000;

/// Two numbers to one that looks random (the finaliser of splitmix64).
pub(super) fn mix(a: u64, b: u64) -> u64 {
    let mut x = a ^ b.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// From 0 to 1.
pub(super) fn unit(a: u64, b: u64) -> f64 {
    (mix(a, b) >> 11) as f64 / (1u64 << 53) as f64
}

/// From -1 to 1, changing smoothly from step to step.
fn noise(seed: u64, channel: u64, at: Timestamp) -> f64 {
    let step = at.milliseconds().div_euclid(NOISE_STEP_MS);
    let part = at.milliseconds().rem_euclid(NOISE_STEP_MS) as f64 / NOISE_STEP_MS as f64;
    let value = |step: i64| unit(mix(seed, channel), step as u64) * 2.0 - 1.0;
    let ease = (1.0 - (part * PI).cos()) / 2.0;
    value(step) * (1.0 - ease) + value(step + 1) * ease
}

/// How much the plant works, from 0 to 1: early and late shift, a quiet night, a break at noon.
pub(super) fn shift(at: Timestamp) -> f64 {
    let hour = at.milliseconds().rem_euclid(86_400_000) as f64 / 3_600_000.0;
    let day = ((hour - 4.5) / 17.5 * PI).sin().max(0.0).powf(0.45);
    let lunch = 1.0 - 0.35 * (-(hour - 11.2).powi(2) / 0.18).exp();
    0.12 + 0.88 * day * lunch
}

/// How full `/var` is.
pub(super) fn var_percent(member: &Member, story_hours: f64) -> f64 {
    match member.trouble {
        Trouble::DiskFills => (93.5 + story_hours * 1.02).clamp(41.0, 99.6),
        _ => 18.0 + 45.0 * unit(member.seed, 5) + 0.05 * story_hours,
    }
}

/// How much memory is used.
pub(super) fn memory_percent(member: &Member, story_hours: f64, at: Timestamp) -> f64 {
    let base = 24.0 + 34.0 * unit(member.seed, 6) + 2.0 * noise(member.seed, 6, at);
    match member.trouble {
        Trouble::MemoryLeaks => 31.0 + 66.0 * ((story_hours + 5.2) / LEAK_HOURS).rem_euclid(1.0),
        _ => base,
    }
}

/// Everything that a member measures at an instant.
pub(super) fn values(
    member: &Member,
    at: Timestamp,
    booted: Timestamp,
    story_hours: f64,
) -> BTreeMap<String, f64> {
    let (seed, work) = (member.seed, shift(at));
    let n = |channel: u64| noise(seed, channel, at);
    let own = |channel: u64| unit(seed, channel);
    let (base, swing, cores) = match member.role {
        Role::Press => (14.0, 32.0, 4.0),
        Role::Hmi => (7.0, 18.0, 4.0),
        Role::Gateway => (6.0, 22.0, 4.0),
        Role::Edge => (18.0, 38.0, 20.0),
        Role::Ai => (9.0, 52.0, 64.0),
    };
    let spike =
        if mix(seed, at.milliseconds().div_euclid(600_000) as u64).is_multiple_of(47) { 24.0 } else { 0.0 };
    let cpu = (base + swing * work * (0.7 + 0.6 * own(1)) + 5.0 * n(1) + spike).clamp(1.0, 100.0);
    let total = member.memory_bytes() as f64;
    let memory = memory_percent(member, story_hours, at).clamp(2.0, 99.0);
    let mut out = BTreeMap::new();
    let mut put = |name: &str, value: f64| {
        out.insert(name.to_owned(), (value * 100.0).round() / 100.0);
    };
    put("cpu.usage_percent", cpu);
    put("cpu.user_percent", cpu * 0.72);
    put("cpu.system_percent", cpu * 0.22);
    put("cpu.wait_percent", cpu * 0.06);
    put("load.1", cpu / 100.0 * cores * (1.0 + 0.2 * n(2)));
    put("memory.total_bytes", total);
    put("memory.used_bytes", (total * memory / 100.0).round());
    put("memory.used_percent", memory);
    put("processes.count", (90.0 + 60.0 * own(3) + 4.0 * n(3)).round());
    put("uptime.seconds", at.since(booted).seconds() as f64);
    for disk in member.disks() {
        let percent = match disk.mount.as_str() {
            "/var" => var_percent(member, story_hours),
            _ => 22.0 + 30.0 * own(4),
        };
        put(&format!("disk.total_bytes{{{}}}", disk.mount), disk.bytes as f64);
        put(&format!("disk.used_percent{{{}}}", disk.mount), percent);
    }
    let traffic = match member.role {
        Role::Gateway => 900_000.0,
        Role::Ai => 2_400_000.0,
        Role::Edge => 350_000.0,
        _ => 24_000.0,
    };
    put("network.received_bytes_per_second{eth0}", (traffic * work * (1.0 + 0.3 * n(7))).round());
    put("network.sent_bytes_per_second{eth0}", (traffic * 0.4 * work * (1.0 + 0.3 * n(8))).round());
    put("temperature.celsius{cpu}", 34.0 + cpu * 0.32 + 1.2 * n(9));
    match member.role {
        Role::Press => {
            put("press.strokes_per_minute", (48.0 * work * (0.9 + 0.1 * n(10))).max(0.0));
            put("press.oil_celsius", 38.0 + 16.0 * work + n(11));
            put("press.hydraulic_bar", 182.0 + 9.0 * n(12));
        }
        Role::Gateway => put("gateway.devices_count", (18.0 + 40.0 * own(13)).round()),
        Role::Ai => {
            put("gpu.usage_percent", (8.0 + 78.0 * work + 9.0 * n(14)).clamp(0.0, 100.0));
            put("gpu.memory_used_percent", 61.0 + 6.0 * n(15));
            put("inference.tokens_per_second", (1_400.0 * work * (1.0 + 0.25 * n(16))).max(0.0));
        }
        Role::Hmi | Role::Edge => {}
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::fleet::fleet;
    use super::*;

    #[test]
    fn what_is_measured_is_sound_and_repeats() {
        let at = Timestamp::from_milliseconds(1_790_000_000_000);
        for member in fleet(60, 1) {
            for hour in -24..6 {
                let at = Timestamp::from_milliseconds(at.milliseconds() + hour * 3_600_000);
                let all = values(&member, at, member.booted(at), hour as f64);
                assert_eq!(all, values(&member, at, member.booted(at), hour as f64));
                for (name, value) in all.iter().filter(|(name, _)| name.contains("percent")) {
                    assert!((0.0..=100.0).contains(value), "{} {name} {value}", member.name);
                }
                assert!(all.len() < 24 && all.values().all(|v| v.is_finite()));
            }
        }
    }

    #[test]
    fn troubles_show() {
        let members = fleet(60, 1);
        let of = |trouble| members.iter().find(|m| m.trouble == trouble).unwrap();
        let full = of(Trouble::DiskFills);
        assert!(var_percent(full, -24.0) < 70.0 && var_percent(full, 2.0) > 95.0);
        let (leaky, at) = (of(Trouble::MemoryLeaks), Timestamp::from_milliseconds(0));
        let highest = (-48..0).map(|h| memory_percent(leaky, f64::from(h) / 2.0, at)).fold(0.0, f64::max);
        assert!(highest > 90.0);
    }
}
