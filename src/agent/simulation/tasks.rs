//! What members answer to tasks.

use super::curves::{memory_percent, unit, values, var_percent};
use super::fleet::Member;
use crate::base::Timestamp;

const GIB: f64 = (1u64 << 30) as f64;

/// Commands that every member allows, with their description.
pub(super) const COMMANDS: [(&str, &str); 6] = [
    ("addresses", "Network interfaces and their addresses"),
    ("disks", "How full the disks are"),
    ("failed-units", "Units that have failed"),
    ("memory", "Use of memory"),
    ("restart-historian", "Restarts the local historian"),
    ("uptime", "How long the host has been up, and its load"),
];

/// What a command prints and its exit status; `None` when it is not allowed.
pub(super) fn answer(
    member: &Member,
    command: &str,
    now: Timestamp,
    story_hours: f64,
) -> Option<(String, i32)> {
    let booted = member.booted(now);
    Some(match command {
        "uptime" => {
            let load = values(member, now, booted, story_hours).get("load.1").copied().unwrap_or_default();
            let up = now.since(booted).seconds();
            let text = format!(
                " {} up {} days, {:2}:{:02},  1 user,  load average: {load:.2}, {:.2}, {:.2}\n",
                now.format("%H:%M:%S"),
                up / 86_400,
                up % 86_400 / 3_600,
                up % 3_600 / 60,
                load * 0.94,
                load * 0.9
            );
            (text, 0)
        }
        "disks" => {
            let mut text = String::from("Filesystem      Size  Used Avail Use% Mounted on\n");
            for (n, disk) in member.disks().iter().enumerate() {
                let percent = match disk.mount.as_str() {
                    "/var" => var_percent(member, story_hours),
                    _ => 22.0 + 30.0 * unit(member.seed, 4),
                };
                let size = disk.bytes as f64 / GIB;
                let used = size * percent / 100.0;
                text.push_str(&format!(
                    "/dev/mmcblk0p{} {size:>5.0}G {used:>4.0}G {:>4.0}G {percent:>3.0}% {}\n",
                    n + 1,
                    size - used,
                    disk.mount
                ));
            }
            (text, 0)
        }
        "memory" => {
            let total = member.memory_bytes() as f64 / GIB;
            let used = total * memory_percent(member, story_hours, now) / 100.0;
            let text = format!(
                "               total        used        free\nMem:         {total:>5.1}Gi     {used:>5.1}Gi     {:>5.1}Gi\n\
                 Swap:           0B          0B          0B\n",
                total - used
            );
            (text, 0)
        }
        "addresses" => (
            format!("lo               UNKNOWN        127.0.0.1/8\neth0             UP             {}/24\n", member.address()),
            0,
        ),
        "failed-units" if var_percent(member, story_hours) > 96.0 => (
            "  UNIT              LOAD   ACTIVE SUB    DESCRIPTION\n● historian.service loaded failed failed Plant historian\n\n\
             1 loaded units listed.\n"
                .into(),
            0,
        ),
        "failed-units" => {
            ("  UNIT LOAD ACTIVE SUB DESCRIPTION\n0 loaded units listed.\n".into(), 0)
        }
        "restart-historian" if var_percent(member, story_hours) > 96.0 => (
            "Job for historian.service failed because the control process exited with error code.\n".into(),
            1,
        ),
        "restart-historian" => ("historian.service restarted\n".into(), 0),
        _ => return None,
    })
}

/// How long the work takes, in milliseconds.
pub(super) fn length_ms(member: &Member, task: u64) -> u64 {
    250 + (unit(member.seed, task) * 2_200.0) as u64
}

#[cfg(test)]
mod tests {
    use super::super::fleet::{Trouble, fleet};
    use super::*;

    #[test]
    fn every_command_is_answered_and_no_other() {
        let now = Timestamp::from_milliseconds(1_790_000_000_000);
        for member in fleet(12, 1) {
            for (command, _) in COMMANDS {
                let (text, exit) = answer(&member, command, now, 3.0).unwrap();
                assert!(!text.is_empty());
                assert!(exit == 0 || member.trouble == Trouble::DiskFills);
            }
            assert!(answer(&member, "rm", now, 0.0).is_none());
            assert!((250..2_500).contains(&length_ms(&member, 9)));
        }
    }
}
