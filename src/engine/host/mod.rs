//! The host: what it is made of, how it is, what its logs say, and running programs on it within limits.
//!
//! Invariant: a program runs in a process group of its own, without standard input, with a cleared environment, and
//! its group is killed when it exceeds its time or output or when nobody waits for it any more.
//! Invariant: every reading is bounded: output, log lines per second, disks, interfaces.

mod disk;
mod give_way;
mod inventory;
mod logs;
mod ports;
mod process;
mod sample;
mod time;

pub use disk::{Space, folder_bytes, is_encrypted, space};
pub use give_way::give_way;
pub use inventory::{Disk, Interface, Inventory, inventory};
pub use logs::{LINES_PER_SECOND_MAX, Line, Logs};
pub use ports::{LISTENERS_MAX, Listener, listeners, own_listeners};
pub use process::{Command, Ended, Exceeded, Progress, Running, run};
pub use sample::Host;
pub use time::{TimeService, time_service};

/// The host's name; empty when it has none.
pub fn hostname() -> String {
    sysinfo::System::host_name().unwrap_or_default()
}
