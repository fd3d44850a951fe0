//! How far a long command is, on standard error when a person watches.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use parking_lot::Mutex;

use crate::engine::clock::Clock;
use crate::server::Progress as Report;

/// How often the line is written anew.
const EVERY: Duration = Duration::from_millis(200);

/// One line that is written over and over; nothing is written when standard error is no terminal.
pub(super) struct Progress {
    clock: Clock,
    began: Duration,
    written: Option<Duration>,
    shown: bool,
}

impl Progress {
    /// Begins now.
    pub(super) fn begin(clock: &Clock) -> Progress {
        let began = clock.monotonic();
        Progress { clock: clock.clone(), began, written: None, shown: std::io::stderr().is_terminal() }
    }

    /// So many bytes are done, of so many when that is known.
    pub(super) fn at(&mut self, bytes: u64, of: Option<u64>) {
        let now = self.clock.monotonic();
        if !self.shown || self.written.is_some_and(|written| now - written < EVERY) {
            return;
        }
        self.written = Some(now);
        let text = line(bytes, of, now - self.began);
        let _ = write!(std::io::stderr().lock(), "\r\x1b[K{text}");
    }

    /// The same for progress that another thread tells of.
    pub(super) fn shared(self) -> Shared {
        Shared(Mutex::new(self))
    }

    /// Clears the line and gives the time that it took.
    pub(super) fn end(self) -> Duration {
        if self.written.is_some() {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
        self.clock.monotonic() - self.began
    }
}

/// A line that any thread may write.
pub(super) struct Shared(Mutex<Progress>);

impl Shared {
    /// How far the work is.
    pub(super) fn phase(&self, progress: &Report) {
        self.0.lock().at(progress.bytes, (progress.bytes_total > 0).then_some(progress.bytes_total));
    }

    /// Clears the line.
    pub(super) fn end(self) {
        self.0.into_inner().end();
    }
}

/// `12.0 MB of about 48.0 MB, 6.0 MB/s, 6 s left`.
fn line(bytes: u64, of: Option<u64>, took: Duration) -> String {
    let rate = bytes as f64 / took.as_secs_f64().max(0.001);
    let mut text = size(bytes);
    if let Some(of) = of.filter(|of| *of >= bytes && bytes > 0) {
        let left = (of - bytes) as f64 / rate.max(1.0);
        text.push_str(&format!(" of about {}, {}/s, {} left", size(of), size(rate as u64), seconds(left)));
    } else {
        text.push_str(&format!(", {}/s", size(rate as u64)));
    }
    text
}

/// A number of bytes, as people say it.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

fn seconds(seconds: f64) -> String {
    let seconds = seconds.ceil() as u64;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3_600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_rate_and_time_left() {
        let two = Duration::from_secs(2);
        assert_eq!(line(12_000_000, Some(48_000_000), two), "12.0 MB of about 48.0 MB, 6.0 MB/s, 6 s left");
        assert_eq!(line(5_000, None, two), "5.0 kB, 2.5 kB/s");
        assert_eq!(line(60, Some(50), two), "60 B, 30 B/s", "an estimate that was too low is dropped");
        assert_eq!(
            (seconds(119.5), seconds(121.0), seconds(9_000.0)),
            ("2 min".into(), "3 min".into(), "3 h".into())
        );
    }
}
