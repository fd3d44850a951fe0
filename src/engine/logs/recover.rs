//! Opening: day files are scanned by their headers, watermarks read, then the journal is replayed over them.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use parking_lot::{Mutex, RwLock};

use super::codec::{self, Record};
use super::{Block, Inner, Options, Order, RESERVE_BYTES, SHARDS, Source};
use crate::base::Result;
use crate::engine::days::{Days, Place, Sealed, forgotten, open_journal};
use crate::engine::journal;

pub(super) const MAGIC: [u8; 4] = *b"MLB\x01";
pub(super) const MARKS: &str = "watermarks";

impl Inner {
    pub(super) fn open(folder: &Path, options: Options) -> Result<Inner> {
        let mut kept = journal::Options::new("logs");
        kept.segment_bytes_max = options.segment_bytes_max;
        kept.seal = options.seal.clone();
        kept.reserve_bytes = RESERVE_BYTES;
        let (journal, recovered) = open_journal(folder, MAGIC, kept, |header| {
            Ok(codec::record_of(codec::header(header)?.position_last))
        })?;
        let mut sources: HashMap<u128, Source> = HashMap::new();
        let mut sealed = Sealed::default();
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
                    sealed.forget(header.source, place.day);
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
                    let ranges = sealed.of(header.source, place.day);
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
        let forgotten = forgotten(&self.journal, from, |number, payload| match codec::is_forget(payload) {
            true => Ok(match codec::read(number, payload)? {
                Record::Forget(source) => Some(source),
                Record::Lines { .. } | Record::Barrier => None,
            }),
            false => Ok(None),
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
            let lost = lines
                .into_iter()
                .filter(|line| line.at >= oldest && !sealed.holds(source, line.at, line.position));
            self.take_in(source, arrived, lost);
            Ok(())
        })
    }
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
