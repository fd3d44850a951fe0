//! Lines of the host's logs: the journal through `journalctl`, and files that grow.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout};

use crate::base::{Timestamp, limits};

/// Lines of one host and second that are kept; what is more is counted and dropped.
pub const LINES_PER_SECOND_MAX: usize = 200;
/// Bytes of one file that are read each second.
const FILE_BYTES_PER_SECOND_MAX: usize = 128 * 1024;
/// Bytes of the journal that wait for the end of their line.
const JOURNAL_BYTES_MAX: usize = 128 * 1024;
/// Seconds until `journalctl` is started again after it ended.
const RESTART_SECONDS: u32 = 30;

/// A line of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// When it was written, where the log says so.
    pub at: Option<Timestamp>,
    /// Syslog's severity: 0 is an emergency, 7 is for debugging.
    pub priority: u8,
    /// Unit or file.
    pub source: String,
    /// The text.
    pub text: String,
}

/// Follows the journal and files from now on.
pub struct Logs {
    journal_wanted: bool,
    journal: Option<(Child, ChildStdout)>,
    arrived: BytesMut,
    restart_in: u32,
    files: Vec<Tail>,
    lines: VecDeque<Line>,
    dropped: u64,
    ticks: tokio::time::Interval,
}

struct Tail {
    path: PathBuf,
    inode: u64,
    offset: u64,
    rest: Vec<u8>,
}

impl Logs {
    /// Follows the journal, where there is one, and these files. Call it within the runtime.
    pub fn follow(journal: bool, files: &[PathBuf]) -> Logs {
        let files = files.iter().map(|path| {
            let (inode, offset) = path.metadata().map(|m| (m.ino(), m.len())).unwrap_or_default();
            Tail { path: path.clone(), inode, offset, rest: Vec::new() }
        });
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Logs {
            journal_wanted: journal,
            journal: if journal { start_journal() } else { None },
            arrived: BytesMut::new(),
            restart_in: RESTART_SECONDS,
            files: files.collect(),
            lines: VecDeque::new(),
            dropped: 0,
            ticks,
        }
    }

    /// The lines of about a second, never none; waits until there are some. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Vec<Line> {
        loop {
            tokio::select! {
                alive = read_journal(&mut self.journal, &mut self.arrived), if self.journal.is_some() => {
                    if !alive {
                        self.journal = None;
                        self.restart_in = RESTART_SECONDS;
                    }
                    self.take_journal();
                }
                _ = self.ticks.tick() => {
                    self.restart_journal();
                    self.read_files();
                    if self.dropped > 0 {
                        let text = format!("{} lines were dropped: more than {LINES_PER_SECOND_MAX} a second", self.dropped);
                        self.lines.push_back(Line { priority: 4, source: "muster-agent".into(), text, at: None });
                        self.dropped = 0;
                    }
                    if !self.lines.is_empty() {
                        return self.lines.drain(..).collect();
                    }
                }
            }
        }
    }

    fn restart_journal(&mut self) {
        if self.journal_wanted && self.journal.is_none() {
            self.restart_in = self.restart_in.saturating_sub(1);
            if self.restart_in == 0 {
                self.journal = start_journal();
                self.restart_in = RESTART_SECONDS;
            }
        }
    }

    fn take_journal(&mut self) {
        while let Some(end) = self.arrived.iter().position(|b| *b == b'\n') {
            let line = self.arrived.split_to(end + 1);
            if let Some(line) = journal_line(&line) {
                self.keep(line);
            }
        }
        if self.arrived.len() > JOURNAL_BYTES_MAX {
            // An entry that never ends, a core dump for example; it is not a line for people.
            self.arrived.clear();
            self.dropped += 1;
        }
    }

    fn read_files(&mut self) {
        let mut files = std::mem::take(&mut self.files);
        for tail in &mut files {
            for text in tail.read() {
                let source = tail.path.display().to_string();
                self.keep(Line { at: None, priority: guess(&text), source, text });
            }
        }
        self.files = files;
    }

    fn keep(&mut self, mut line: Line) {
        if self.lines.len() >= LINES_PER_SECOND_MAX {
            self.dropped += 1;
            return;
        }
        if line.text.len() > limits::LOG_LINE_BYTES_MAX {
            let mut end = limits::LOG_LINE_BYTES_MAX - 4;
            while !line.text.is_char_boundary(end) {
                end -= 1;
            }
            line.text.truncate(end);
            line.text.push('…');
        }
        self.lines.push_back(line);
    }
}

impl Tail {
    fn read(&mut self) -> Vec<String> {
        let Ok(mut file) = File::open(&self.path) else { return Vec::new() };
        let Ok(metadata) = file.metadata() else { return Vec::new() };
        if metadata.ino() != self.inode || metadata.len() < self.offset {
            // Rotated or cut: it is a new file.
            (self.inode, self.offset) = (metadata.ino(), 0);
            self.rest.clear();
        }
        if metadata.len() == self.offset || file.seek(SeekFrom::Start(self.offset)).is_err() {
            return Vec::new();
        }
        let before = self.rest.len();
        if file.take(FILE_BYTES_PER_SECOND_MAX as u64).read_to_end(&mut self.rest).is_err() {
            return Vec::new();
        }
        self.offset += (self.rest.len() - before) as u64;
        let mut lines = Vec::new();
        let whole = self.rest.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
        for line in self.rest[..whole].split(|b| *b == b'\n') {
            let text = String::from_utf8_lossy(line).trim_end().to_owned();
            if !text.is_empty() {
                lines.push(text);
            }
        }
        self.rest.drain(..whole);
        if self.rest.len() > limits::LOG_LINE_BYTES_MAX {
            lines.push(String::from_utf8_lossy(&std::mem::take(&mut self.rest)).into_owned());
        }
        lines
    }
}

fn start_journal() -> Option<(Child, ChildStdout)> {
    let mut child = tokio::process::Command::new("journalctl")
        .args(["--follow", "--lines=0", "--output=json", "--quiet"])
        .args(["--output-fields=MESSAGE,PRIORITY,_SYSTEMD_UNIT,SYSLOG_IDENTIFIER,__REALTIME_TIMESTAMP"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .ok()?;
    let stdout = child.stdout.take()?;
    Some((child, stdout))
}

async fn read_journal(journal: &mut Option<(Child, ChildStdout)>, arrived: &mut BytesMut) -> bool {
    match journal {
        Some((_, stdout)) => stdout.read_buf(arrived).await.is_ok_and(|count| count > 0),
        None => std::future::pending().await,
    }
}

fn journal_line(bytes: &[u8]) -> Option<Line> {
    let entry: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let text = |key: &str| entry.get(key).and_then(|v| v.as_str());
    let message = match entry.get("MESSAGE")? {
        serde_json::Value::String(text) => text.clone(),
        // Text that is not UTF-8 comes as an array of bytes.
        serde_json::Value::Array(bytes) => {
            let bytes: Vec<u8> = bytes.iter().filter_map(|b| u8::try_from(b.as_u64()?).ok()).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        _ => return None,
    };
    let microseconds: Option<i64> = text("__REALTIME_TIMESTAMP").and_then(|t| t.parse().ok());
    Some(Line {
        at: microseconds.map(|t| Timestamp::from_milliseconds(t / 1000)),
        priority: text("PRIORITY").and_then(|p| p.parse().ok()).filter(|p| *p < 8).unwrap_or(6),
        source: text("_SYSTEMD_UNIT").or(text("SYSLOG_IDENTIFIER")).unwrap_or("journal").to_owned(),
        text: message,
    })
}

/// Files say how grave a line is in words, early in it, if they say it at all.
fn guess(text: &str) -> u8 {
    let head: String = text.chars().take(80).collect::<String>().to_uppercase();
    let has = |words: &[&str]| words.iter().any(|w| head.contains(w));
    match () {
        () if has(&["FATAL", "PANIC", "CRIT", "EMERG"]) => 2,
        () if has(&["ERROR", "[ERR]", "FAILED"]) => 3,
        () if has(&["WARN"]) => 4,
        () if has(&["DEBUG", "TRACE"]) => 7,
        () => 6,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn a_file_is_followed_through_rotation_and_flood() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        std::fs::write(&path, "old\n").unwrap();
        let mut logs = Logs::follow(false, &[path.clone(), folder.path().join("absent")]);
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"2026-11-25 ERROR new\nhalf").unwrap();
        let lines = logs.next().await;
        assert_eq!(lines.len(), 1);
        assert_eq!((lines[0].text.as_str(), lines[0].priority), ("2026-11-25 ERROR new", 3));
        std::fs::rename(&path, folder.path().join("app.log.1")).unwrap();
        std::fs::write(&path, "line\n".repeat(300)).unwrap();
        let lines = logs.next().await;
        assert_eq!(lines.len(), LINES_PER_SECOND_MAX + 1);
        assert!(lines.last().unwrap().text.starts_with("100 lines were dropped"));
    }

    #[test]
    fn journal_entries_become_lines() {
        let entry = br#"{"MESSAGE":"Started x","PRIORITY":"6","_SYSTEMD_UNIT":"x.service","__REALTIME_TIMESTAMP":"1790000000123456"}"#;
        let line = journal_line(entry).unwrap();
        assert_eq!((line.source.as_str(), line.at.unwrap().milliseconds()), ("x.service", 1_790_000_000_123));
        assert_eq!(journal_line(br#"{"MESSAGE":[104,105]}"#).unwrap().text, "hi");
        assert!(journal_line(b"{}").is_none() && journal_line(b"x").is_none());
    }
}
