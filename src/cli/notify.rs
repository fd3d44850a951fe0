//! What systemd is told. Without systemd nothing happens.

use std::sync::mpsc;
use std::time::Duration;

use sd_notify::NotifyState;

/// Tells that the service is ready, and from then on that it lives, as often as systemd asks for.
/// The beat ends with the value.
pub(super) fn ready(status: &str) -> Beat {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    let (stop, stopped) = mpsc::channel::<()>();
    if let Some(within) = sd_notify::watchdog_enabled() {
        let every = (within / 3).max(Duration::from_millis(100));
        let beat = move || {
            while stopped.recv_timeout(every) == Err(mpsc::RecvTimeoutError::Timeout) {
                tell(&[NotifyState::Watchdog]);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("watchdog".into()).spawn(beat) {
            tracing::warn!("the watchdog's thread did not start: {error}");
        }
    }
    Beat { _stop: stop }
}

/// Whether what is printed goes into systemd's journal.
pub(super) fn prints_into_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    rustix::fs::fstat(std::io::stdout()).is_ok_and(|stat| is_stream(&stream, stat.st_dev, stat.st_ino))
}

/// systemd names the device and the inode of its stream; what has been led elsewhere since has others.
fn is_stream(named: &str, device: u64, inode: u64) -> bool {
    named.split_once(':').is_some_and(|(d, i)| d.parse() == Ok(device) && i.parse() == Ok(inode))
}

/// Tells that the service is on its way out.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Keeps the beat going.
pub(super) struct Beat {
    _stop: mpsc::Sender<()>,
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("systemd could not be told: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_known_by_its_stream() {
        assert!(is_stream("8:1234", 8, 1234));
        for named in ["", "8", "8:1235", "9:1234", "x:y"] {
            assert!(!is_stream(named, 8, 1234), "{named}");
        }
    }
}
