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
