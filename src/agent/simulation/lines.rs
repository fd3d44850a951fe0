//! What members write into their logs, and the events of their troubles.

use super::curves::{memory_percent, mix, unit, var_percent};
use super::fleet::{Member, Role, Trouble};
use crate::base::Timestamp;
use crate::wire::{Event, LogLine, Severity};

/// Longest time between two lines of a member, in milliseconds.
const GAP_MS: i64 = 600_000;

/// The lines of a member in a stretch of time, oldest first.
pub(super) fn lines(
    member: &Member,
    from: Timestamp,
    to: Timestamp,
    gap_ms: i64,
    hours: impl Fn(Timestamp) -> f64,
) -> Vec<LogLine> {
    let gap = gap_ms.clamp(1_000, GAP_MS);
    (from.milliseconds().div_euclid(gap)..to.milliseconds().div_euclid(gap))
        .map(|step| {
            let at = Timestamp::from_milliseconds(
                step * gap + (mix(member.seed, step as u64) % gap as u64) as i64,
            );
            line(member, at, mix(member.seed ^ 0x10, step as u64), hours(at))
        })
        .collect()
}

fn line(member: &Member, at: Timestamp, draw: u64, story_hours: f64) -> LogLine {
    let (source, severity, text) =
        troubled(member, at, draw, story_hours).unwrap_or_else(|| ordinary(member, draw));
    LogLine { at: Some(at), severity, source: source.into(), text }
}

type Told = (&'static str, Severity, String);

fn troubled(member: &Member, at: Timestamp, draw: u64, story_hours: f64) -> Option<Told> {
    let often = draw.is_multiple_of(3);
    match member.trouble {
        Trouble::DiskFills if var_percent(member, story_hours) > 97.0 && often => Some((
            "historian",
            Severity::Error,
            format!("write /var/lib/historian/segment-{:06}: no space left on device", draw % 900_000),
        )),
        Trouble::DiskFills if often => Some((
            "historian",
            Severity::Warn,
            format!(
                "/var is {:.0}% full; retention of 90 d is not reached",
                var_percent(member, story_hours)
            ),
        )),
        Trouble::MemoryLeaks => match memory_percent(member, story_hours, at) {
            used if used > 93.0 => Some((
                "kernel",
                Severity::Error,
                format!(
                    "Out of memory: Killed process {} (vision-capture) total-vm:1893412kB",
                    900 + draw % 9_000
                ),
            )),
            used if used > 75.0 && often => Some((
                "vision-capture",
                Severity::Warn,
                format!("frame pool holds {:.0} buffers, 64 expected", used * 40.0),
            )),
            _ => None,
        },
        Trouble::Flaps if often => Some((
            "kernel",
            Severity::Warn,
            format!("eth0: Link is {}", if draw.is_multiple_of(2) { "Down" } else { "Up - 100Mbps/Full" }),
        )),
        Trouble::OldVersion if often => Some((
            "muster-agent",
            Severity::Warn,
            format!("version {} is older than the server's", member.version),
        )),
        _ => None,
    }
}

fn ordinary(member: &Member, draw: u64) -> Told {
    let (n, part) = (draw / 64 % 900, unit(draw, 1));
    if draw.is_multiple_of(211) {
        return (
            "sshd",
            Severity::Warn,
            format!("Failed password for invalid user admin from 10.21.9.{}", n % 250),
        );
    }
    if draw.is_multiple_of(17) {
        return ("chronyd", Severity::Info, format!("System clock wrong by {:.6} seconds", part / 300.0));
    }
    if draw.is_multiple_of(13) {
        return ("systemd", Severity::Info, "Finished logrotate.service - Rotate log files.".into());
    }
    match (member.role, draw / 7 % 4) {
        (Role::Press, 0) => (
            "press-control",
            Severity::Info,
            format!("order {} done: 480 parts, {} rejected", 61_000 + n, n % 5),
        ),
        (Role::Press, 1) => (
            "press-control",
            Severity::Info,
            format!("tool {} at {:.1} kN, within tolerance", 1 + n % 24, 610.0 + 40.0 * part),
        ),
        (Role::Press, 2) if draw.is_multiple_of(29) => (
            "press-control",
            Severity::Error,
            format!("light curtain {} interrupted, stroke stopped", 1 + n % 4),
        ),
        (Role::Press, _) => (
            "press-control",
            Severity::Info,
            format!("stroke {}: peak {:.1} bar", 8_100_000 + draw % 90_000, 178.0 + 12.0 * part),
        ),
        (Role::Hmi, 0) => {
            ("hmi", Severity::Info, format!("operator {} signed in at line {}", 1_000 + n, member.line))
        }
        (Role::Hmi, 1) if draw.is_multiple_of(19) => {
            ("hmi", Severity::Warn, format!("screen `line-{}` took {} ms to draw", member.line, 900 + n))
        }
        (Role::Hmi, _) => ("hmi", Severity::Info, format!("recipe {} loaded", 200 + n % 60)),
        (Role::Gateway, 0) if draw.is_multiple_of(23) => (
            "opcua-bridge",
            Severity::Warn,
            format!("device plc-{:03}: no answer in 2000 ms, asking again", n % 60),
        ),
        (Role::Gateway, _) => (
            "opcua-bridge",
            Severity::Info,
            format!("{} values from {} devices in {:.0} ms", 2_000 + n, 20 + n % 40, 30.0 + 90.0 * part),
        ),
        (Role::Edge, 0) if draw.is_multiple_of(31) => {
            ("vision", Severity::Error, format!("camera {} gives no frames", 1 + n % 6))
        }
        (Role::Edge, _) => (
            "vision",
            Severity::Info,
            format!("{} parts inspected, {} marked, {:.1} ms a frame", 400 + n, n % 4, 11.0 + 6.0 * part),
        ),
        (Role::Ai, 0) if draw.is_multiple_of(27) => (
            "inference",
            Severity::Warn,
            format!("queue of {} requests, oldest waits {:.1} s", 12 + n % 30, 1.0 + 3.0 * part),
        ),
        (Role::Ai, _) => (
            "inference",
            Severity::Info,
            format!(
                "{} requests, {} tokens, {:.0} ms to the first one",
                20 + n % 40,
                9_000 + n * 11,
                140.0 + 200.0 * part
            ),
        ),
    }
}

/// What a member tells of itself when it is live.
pub(super) fn opening(member: &Member, at: Timestamp, story_hours: f64) -> Vec<Event> {
    let event = |name: &str, severity, text: String| Event {
        id: format!("{name}-{}", at.milliseconds()),
        at: Some(at),
        severity,
        name: name.into(),
        text,
    };
    let mut events = vec![event(
        "agent.started",
        Severity::Info,
        format!("{} {} has started", member.name, member.version),
    )];
    match member.trouble {
        Trouble::DiskFills => events.push(event(
            "disk.full",
            Severity::Error,
            format!("/var is {:.0}% full", var_percent(member, story_hours)),
        )),
        Trouble::MemoryLeaks => events.push(event(
            "memory.pressure",
            Severity::Warn,
            "vision-capture was killed twice in 12 h for want of memory".into(),
        )),
        _ => {}
    }
    events
}

#[cfg(test)]
mod tests {
    use super::super::fleet::fleet;
    use super::*;

    #[test]
    fn lines_are_in_their_stretch_and_troubles_speak() {
        let (from, to) = (
            Timestamp::from_milliseconds(1_790_000_000_000),
            Timestamp::from_milliseconds(1_790_086_400_000),
        );
        let hours = |at: Timestamp| (at.milliseconds() - to.milliseconds()) as f64 / 3_600_000.0;
        for member in fleet(30, 1) {
            let lines = lines(&member, from, to, GAP_MS, hours);
            assert_eq!(lines.len(), 144);
            assert!(lines.iter().all(|l| !l.text.is_empty() && l.text.len() < 200));
            let worst = lines.iter().map(|l| l.severity).max().unwrap();
            if matches!(member.trouble, Trouble::DiskFills | Trouble::MemoryLeaks) {
                assert!(worst >= Severity::Warn);
            }
        }
    }
}
