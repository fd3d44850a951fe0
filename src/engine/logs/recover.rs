//! Opening: day files are scanned by their headers, watermarks read, then the journal is replayed over them.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::{Mutex, RwLock};

use super::codec::{self, Record};
use super::{Block, Inner, Options, Order, RESERVE_BYTES, SHARDS, Source};
use crate::base::{Result, Timestamp};
use crate::engine::days::{self, Days, Place, day_of};
use crate::engine::journal::{self, Journal, Seal};

pub(super) const MAGIC: [u8; 4] = *b"MLB\x01";
pub(super) const MARKS: &str = "watermarks";

/// Which positions of a source lie in sound blocks of a day.
type Sealed = HashMap<(u128, i32), Vec<(u64, u64)>>;

impl Inner {
    pub(super) fn open(folder: &Path, options: Options) -> Result<Inner> {
        days::fits(&folder.join("blocks"), "blocks", options.seal.is_some())?;
        let mut kept = journal::Options::new("logs");
        kept.segment_bytes_max = options.segment_bytes_max;
        kept.seal = options.seal.clone();
        kept.reserve_bytes = RESERVE_BYTES;
        let (mut journal, mut recovered) = Journal::open(&folder.join("journal"), kept.clone())?;
        let newest = match recovered.last {
            0 => newest_record(&folder.join("blocks"), options.seal.clone())?,
            _ => 0,
        };
        if newest > 0 {
            // Day files came back without their journal: its numbers go on after theirs, or new lines would look as if
            // they lay in these blocks already, and would have come before them.
            drop(journal);
            fs::remove_dir_all(folder.join("journal"))?;
            kept.first_number = newest + 1;
            (journal, recovered) = Journal::open(&folder.join("journal"), kept)?;
        }
        let mut sources: HashMap<u128, Source> = HashMap::new();
        let mut sealed = Sealed::new();
        let synced = |bytes: &[u8]| {
            let header = codec::header(bytes);
            header.is_ok_and(|h| h.lines > 0 && codec::record_of(h.position_last) < recovered.first)
        };
        let days = Days::open(
            &folder.join("blocks"),
            "blocks",
            MAGIC,
            options.seal.clone(),
            synced,
            |days, place, bytes| {
                let header = codec::header(bytes)?;
                let source = sources.entry(header.source).or_default();
                if header.lines == 0 {
                    source.blocks.retain(|block| block.place.day != place.day);
                    sealed.remove(&(header.source, place.day));
                    return Ok(());
                }
                // Only a block whose records may be replayed can be one that no sync has completed.
                let recent = recovered.first <= recovered.last
                    && codec::record_of(header.position_last) >= recovered.first;
                if recent && days.read(place)?.is_none() {
                    return Ok(());
                }
                // After a failed sealing the same lines, and perhaps more, were written again: the later copy is whole.
                let again = |block: &Block| {
                    block.place.day == place.day && block.position_last >= header.position_first
                };
                while source.blocks.last().is_some_and(again) {
                    source.blocks.pop();
                }
                if recent {
                    let ranges = sealed.entry((header.source, place.day)).or_default();
                    ranges.retain(|(_, last)| *last < header.position_first);
                    ranges.push((header.position_first, header.position_last));
                }
                source.blocks.push(Block::new(place, &header));
                Ok(())
            },
        )?;
        sources.retain(|_, source| !source.blocks.is_empty());
        let (through, marks) = read_marks(folder)?;
        let inner = Inner {
            folder: folder.to_owned(),
            options,
            journal,
            days,
            order: Mutex::new(Order { marks }),
            sealing: Mutex::new(()),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            bytes: AtomicU64::new(0),
            dropped_again: AtomicU64::new(0),
            dropped_time: AtomicU64::new(0),
            cut: AtomicU64::new(0),
        };
        for (id, source) in sources {
            inner.shard(id).write().insert(id, source);
        }
        inner.replay(recovered.first, through, &sealed)?;
        Ok(inner)
    }

    fn replay(&self, from: u64, through: u64, sealed: &Sealed) -> Result<()> {
        let oldest = (self.options.clock.now() - self.options.retention).milliseconds();
        let arrived = self.options.clock.monotonic();
        let mut forgotten: HashMap<u128, u64> = HashMap::new();
        self.journal.replay(from, |number, payload| {
            if codec::is_forget(payload)
                && let Record::Forget(source) = codec::read(number, payload)?
            {
                forgotten.insert(source, number);
            }
            Ok(())
        })?;
        let mut order = self.order.lock();
        // The file of watermarks may be older than what was forgotten.
        order.marks.retain(|source, _| forgotten.get(source).is_none_or(|last| *last <= through));
        self.journal.replay(from, |number, payload| {
            let Record::Lines { source, sequence, lines } = codec::read(number, payload)? else {
                return Ok(());
            };
            if forgotten.get(&source).is_some_and(|last| number < *last) {
                return Ok(());
            }
            if let Some(sequence) = sequence {
                let mark = order.marks.entry(source).or_insert(sequence);
                *mark = sequence.max(*mark);
            }
            let lost = lines.into_iter().filter(|line| {
                let day = day_of(Timestamp::from_milliseconds(line.at));
                let ranges = sealed.get(&(source, day)).map_or(&[][..], Vec::as_slice);
                line.at >= oldest
                    && !ranges.iter().any(|(first, last)| (*first..=*last).contains(&line.position))
            });
            self.take_in(source, arrived, lost);
            Ok(())
        })
    }
}

/// The highest number of a record that lies in a block.
fn newest_record(blocks: &Path, seal: Option<Arc<dyn Seal>>) -> Result<u64> {
    let mut newest = 0;
    Days::open(
        blocks,
        "blocks",
        MAGIC,
        seal,
        |_| true,
        |_, _, bytes| {
            newest = codec::record_of(codec::header(bytes)?.position_last).max(newest);
            Ok(())
        },
    )?;
    Ok(newest)
}

impl Block {
    pub(super) fn new(place: Place, header: &codec::Header) -> Block {
        Block {
            place,
            first: header.first,
            last: header.last,
            position_first: header.position_first,
            position_last: header.position_last,
            severity_max: header.severity_max,
            counts: header.counts,
        }
    }
}

fn read_marks(folder: &Path) -> Result<(u64, HashMap<u128, u64>)> {
    let bytes = match fs::read(folder.join(MARKS)) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok((0, HashMap::new())),
        bytes => bytes?,
    };
    // Without them a line may come twice, which is better than not to start.
    Ok(codec::read_marks(&bytes).unwrap_or_else(|e| {
        tracing::error!(error = %e, "the watermarks of log lines are damaged; lines sent again may be kept twice");
        (0, HashMap::new())
    }))
}
