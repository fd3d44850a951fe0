//! The spool: what the agent has to say, on disk until the server has it.
//!
//! Two lanes of segment files in one numbering: `sure` for task reports and events, `bulk` for samples and lines. They
//! are sent in the order of their numbers. A segment is named by its lane and the first number in it. `acknowledged`
//! holds the number up to which the server has everything; it may be behind, then some messages are sent twice and
//! recognised by number.
//!
//! Invariant: a message is sent only after it is synced, so a number never comes to mean another message.
//! Invariant: the spool never exceeds its bound; the oldest samples and lines go first, task reports never.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::segments::{HEAD_BYTES, Lane, PAYLOAD_BYTES_MAX, Record, checksum, encode, read_record};
use crate::base::{Error, Result};
use crate::engine::crypto::private_folder;
use crate::wire::{Sequence, Up, UpKind};

/// Segments that a full spool is made of: dropping the oldest loses this part of it.
const SEGMENTS: u64 = 32;

/// The durable queue of outgoing messages.
pub struct Spool {
    folder: PathBuf,
    lanes: [Lane; 2],
    bytes_max: u64,
    next: Sequence,
    floor: Sequence,
    acknowledged: File,
    sent: VecDeque<Sequence>,
    waiting: u64,
    dropped: u64,
}

impl Spool {
    /// Opens the spool in `folder`, or makes it. A record that a crash left half-written is cut off.
    pub fn open(folder: &Path, bytes_max: u64) -> Result<Spool> {
        private_folder(folder)?;
        let acknowledged = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join("acknowledged"))?;
        let floor = read_floor(&acknowledged);
        let mut spool = Spool {
            folder: folder.to_owned(),
            lanes: [Lane::new("sure"), Lane::new("bulk")],
            bytes_max,
            next: floor + 1,
            floor,
            acknowledged,
            sent: VecDeque::new(),
            waiting: 0,
            dropped: 0,
        };
        for lane in &mut spool.lanes {
            lane.open(folder)?;
            for segment in &lane.segments {
                spool.next = spool.next.max(segment.last + 1);
            }
        }
        for lane in 0..2 {
            let firsts: Vec<Sequence> = spool.lanes[lane].segments.iter().map(|s| s.first).collect();
            for first in firsts {
                spool.waiting += spool.count_waiting(lane, first);
            }
        }
        Ok(spool)
    }

    /// Takes a message in and numbers it. It is safe after the next `sync`.
    pub fn append(&mut self, up: Up) -> Result<Sequence> {
        let sequence = self.next;
        let up = numbered(up, sequence)?;
        let payload = up.compact();
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Error::too_many(format!(
                "a {} message of {} bytes",
                up.kind().word(),
                payload.len()
            )));
        }
        let lane = usize::from(!is_sure(up.kind()));
        self.make_room(lane, (HEAD_BYTES + payload.len()) as u64)?;
        let record = encode(sequence, up.kind(), &payload)?;
        let segment_bytes_max = self.bytes_max / SEGMENTS;
        self.lanes[lane].append(&self.folder, sequence, &record, segment_bytes_max)?;
        self.next += 1;
        self.waiting += 1;
        Ok(sequence)
    }

    /// Brings everything that was appended to disk.
    pub fn sync(&mut self) -> Result<()> {
        for lane in &mut self.lanes {
            if lane.unsynced {
                if let Some(writer) = &lane.writer {
                    writer.sync_data()?;
                }
                lane.unsynced = false;
            }
        }
        Ok(())
    }

    /// Begins again with the first message that is not acknowledged: on a new connection.
    pub fn rewind(&mut self) {
        self.sent.clear();
        for lane in &mut self.lanes {
            (lane.reading, lane.ahead) = (None, None);
        }
    }

    /// The next message to send, in the order of numbers; only what is synced.
    pub fn next_to_send(&mut self) -> Result<Option<Record>> {
        if self.lanes.iter().any(|l| l.unsynced) {
            self.sync()?;
        }
        let after = self.sent.back().copied().unwrap_or(self.floor).max(self.floor);
        for lane in &mut self.lanes {
            lane.fill(&self.folder, after)?;
        }
        let [sure, bulk] = &mut self.lanes;
        let lane = match (&sure.ahead, &bulk.ahead) {
            (Some(a), Some(b)) if b.sequence < a.sequence => bulk,
            (Some(_), _) => sure,
            (None, _) => bulk,
        };
        let record = lane.ahead.take();
        if let Some(record) = &record {
            self.sent.push_back(record.sequence);
        }
        Ok(record)
    }

    /// The last message that `next_to_send` gave could not be handed over; it will be given again.
    pub fn put_back(&mut self, record: Record) {
        if self.sent.back() == Some(&record.sequence) {
            self.sent.pop_back();
        }
        let lane = usize::from(!is_sure(record.kind));
        self.lanes[lane].ahead = Some(record);
    }

    /// The server has everything up to this number. What was never sent cannot be acknowledged.
    pub fn acknowledge(&mut self, through: Sequence) -> Result<()> {
        let mut floor = self.floor;
        while let Some(first) = self.sent.front().filter(|s| **s <= through) {
            floor = *first;
            self.waiting = self.waiting.saturating_sub(1);
            self.sent.pop_front();
        }
        if floor > self.floor {
            self.floor = floor;
            write_floor(&self.acknowledged, floor)?;
            for lane in &mut self.lanes {
                // The last segment stays: it holds the numbering, should `acknowledged` be lost.
                while lane.segments.len() > 1 && lane.segments.front().is_some_and(|s| s.last <= floor) {
                    lane.remove_first(&self.folder)?;
                }
            }
        }
        Ok(())
    }

    /// Messages that are not acknowledged.
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Messages that were given up for want of room since this was asked last.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    fn bytes(&self) -> u64 {
        self.lanes.iter().flat_map(|l| &l.segments).map(|s| s.bytes).sum()
    }

    fn make_room(&mut self, lane: usize, more: u64) -> Result<()> {
        while self.bytes() + more > self.bytes_max {
            let bulk = &self.lanes[1];
            let Some(oldest) = bulk.segments.front().map(|s| s.first) else {
                return Err(self.full());
            };
            if bulk.segments.len() == 1 && (lane == 1 || bulk.segments[0].bytes == 0) {
                // Only what is being written is left of the samples; the reports fill the rest.
                return Err(self.full());
            }
            let lost = self.count_waiting(1, oldest);
            self.dropped += lost;
            self.waiting = self.waiting.saturating_sub(lost);
            self.lanes[1].remove_first(&self.folder)?;
        }
        Ok(())
    }

    fn full(&self) -> Error {
        Error::too_many("the spool is full of task reports").hint("they go when the server can be reached")
    }

    fn count_waiting(&self, lane: usize, first: Sequence) -> u64 {
        let path = self.lanes[lane].path(&self.folder, first);
        let (mut count, mut at) = (0, 0);
        if let Ok(file) = File::open(path) {
            while let Ok(Some((record, end))) = read_record(&file, at) {
                count += u64::from(record.sequence > self.floor);
                at = end;
            }
        }
        count
    }
}

fn is_sure(kind: UpKind) -> bool {
    matches!(kind, UpKind::Task | UpKind::Events)
}

fn numbered(mut up: Up, sequence: Sequence) -> Result<Up> {
    match &mut up {
        Up::Metrics(m) => m.sequence = Some(sequence),
        Up::Logs(m) => m.sequence = Some(sequence),
        Up::Spans(m) => m.sequence = Some(sequence),
        Up::Events(m) => m.sequence = Some(sequence),
        Up::Task(m) => m.sequence = Some(sequence),
        Up::Hello(_) | Up::Heartbeat(_) | Up::Certificate(_) => {
            return Err(Error::internal("only numbered messages are spooled"));
        }
    }
    Ok(up)
}

fn read_floor(mut file: &File) -> Sequence {
    let mut bytes = [0; 16];
    if file.read_exact(&mut bytes).is_err() || checksum(&bytes[..8]) != bytes[8..] {
        return 0;
    }
    u64::from_le_bytes(bytes[..8].try_into().unwrap_or_default())
}

fn write_floor(file: &File, floor: Sequence) -> Result<()> {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&floor.to_le_bytes());
    let sum = checksum(&bytes[..8]);
    bytes[8..].copy_from_slice(&sum);
    Ok(file.write_all_at(&bytes, 0)?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::wire::{Event, Events, LogLine, Logs};

    fn logs(text: &str) -> Up {
        let lines = vec![LogLine { text: text.into(), ..LogLine::default() }];
        Up::Logs(Logs { sequence: None, lines })
    }

    fn event(name: &str) -> Up {
        let events = vec![Event { name: name.into(), ..Event::default() }];
        Up::Events(Events { sequence: None, events })
    }

    fn drain(spool: &mut Spool) -> Vec<Sequence> {
        std::iter::from_fn(|| spool.next_to_send().unwrap()).map(|r| r.sequence).collect()
    }

    #[test]
    fn messages_leave_in_order_and_only_when_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path(), 1 << 20).unwrap();
        for up in [logs("a"), event("b"), logs("c")] {
            spool.append(up).unwrap();
        }
        let first = spool.next_to_send().unwrap().unwrap();
        assert!(
            matches!(Up::decode(first.kind, &first.payload).unwrap(), Up::Logs(l) if l.sequence == Some(1))
        );
        spool.put_back(first);
        assert_eq!(drain(&mut spool), [1, 2, 3]);
        spool.acknowledge(1).unwrap();
        spool.rewind();
        assert_eq!((drain(&mut spool), spool.waiting()), (vec![2, 3], 2));
        drop(spool);
        let mut spool = Spool::open(folder.path(), 1 << 20).unwrap();
        assert_eq!((drain(&mut spool), spool.waiting()), (vec![2, 3], 2));
        spool.acknowledge(99).unwrap();
        assert_eq!(spool.append(event("d")).unwrap(), 4);
        assert_eq!((drain(&mut spool), spool.waiting()), (vec![4], 1));
        // Without the mark everything comes twice, but no number comes to mean something else.
        drop(spool);
        fs::remove_file(folder.path().join("acknowledged")).unwrap();
        let mut spool = Spool::open(folder.path(), 1 << 20).unwrap();
        assert_eq!(spool.append(event("e")).unwrap(), 5);
    }

    #[test]
    fn a_torn_record_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path(), 1 << 20).unwrap();
        spool.append(logs("whole")).unwrap();
        spool.append(logs("torn")).unwrap();
        drop(spool);
        let path = folder.path().join(format!("bulk-{:020}", 1));
        let length = fs::metadata(&path).unwrap().len();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 3).unwrap();
        let mut spool = Spool::open(folder.path(), 1 << 20).unwrap();
        assert_eq!(drain(&mut spool), [1]);
        assert_eq!(spool.append(logs("next")).unwrap(), 2);
        assert_eq!(drain(&mut spool), [2]);
    }

    #[test]
    fn the_oldest_lines_go_first_and_reports_never() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path(), 256 * 1024).unwrap();
        spool.append(event("kept")).unwrap();
        for _ in 0..600 {
            spool.append(logs(&"x".repeat(1_000))).unwrap();
        }
        let bytes: u64 =
            fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!(bytes <= 256 * 1024 + 16, "{bytes}");
        let kept = drain(&mut spool);
        assert_eq!((kept[0], *kept.last().unwrap()), (1, 601));
        assert_eq!(kept.len() as u64, spool.waiting());
        assert_eq!(spool.take_dropped(), 601 - kept.len() as u64);
        // Reports push the lines out, and at last there is no room for more of them.
        let filled = (0..600).find_map(|_| spool.append(event(&"y".repeat(1_000))).err()).unwrap();
        assert_eq!(filled.kind(), crate::base::Kind::TooMany);
        spool.rewind();
        assert!(drain(&mut spool).len() > 200);
    }
}
