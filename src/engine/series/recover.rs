//! Opening: day files are scanned by their headers, then the journal is replayed over them.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::{Mutex, RwLock};

use super::head::{Block, Source};
use super::record::Record;
use super::{Inner, Options, RESERVE_BYTES, SHARDS, codec, record};
use crate::base::{Result, Timestamp};
use crate::engine::days::{self, Days, day_of};
use crate::engine::journal::{self, Journal, Seal};

pub(super) const MAGIC: [u8; 4] = *b"MSB\x01";

/// Which records of a source lie in sound blocks of a day, as ranges of numbers.
type Sealed = HashMap<(u128, i32), Vec<(u64, u64)>>;

impl Inner {
    pub(super) fn open(folder: &Path, options: Options) -> Result<Inner> {
        days::fits(&folder.join("blocks"), "blocks", options.seal.is_some())?;
        let mut kept = journal::Options::new("series");
        kept.segment_bytes_max = options.segment_bytes_max;
        kept.seal = options.seal.clone();
        kept.reserve_bytes = RESERVE_BYTES;
        let (mut journal, mut recovered) = Journal::open(&folder.join("journal"), kept.clone())?;
        let newest = match recovered.last {
            0 => newest_record(&folder.join("blocks"), options.seal.clone())?,
            _ => 0,
        };
        if newest > 0 {
            // Day files came back without their journal: its numbers go on after theirs, or new records would look as if
            // they lay in these blocks already.
            drop(journal);
            std::fs::remove_dir_all(folder.join("journal"))?;
            kept.first_number = newest + 1;
            (journal, recovered) = Journal::open(&folder.join("journal"), kept)?;
        }
        let mut sources: HashMap<u128, Source> = HashMap::new();
        let mut sealed = Sealed::new();
        let mut texts = HashSet::new();
        let mut forgotten = HashSet::new();
        let synced =
            |bytes: &[u8]| codec::header(bytes).is_ok_and(|h| h.ticks > 0 && h.record_last < recovered.first);
        let days = Days::open(
            &folder.join("blocks"),
            "blocks",
            MAGIC,
            options.seal.clone(),
            synced,
            |days, place, bytes| {
                let header = codec::header(bytes)?;
                let source = sources.entry(header.source).or_default();
                if header.ticks == 0 {
                    source.blocks.retain(|block| block.place.day != place.day);
                    sealed.remove(&(header.source, place.day));
                    forgotten.insert(header.source);
                    return Ok(());
                }
                // Only a block whose records may be replayed can be one that no sync has completed.
                if header.record_last >= recovered.first && recovered.first <= recovered.last {
                    if days.read(place)?.is_none() {
                        return Ok(());
                    }
                    let ranges = sealed.entry((header.source, place.day)).or_default();
                    ranges.push((header.record_first, header.record_last));
                }
                names_of(source, &header, &mut texts);
                source.blocks.push(Block::new(place, header.first, header.last));
                Ok(())
            },
        )?;
        // Of a forgotten source only the names in later blocks are left.
        for id in forgotten {
            let blocks = sources.remove(&id).map(|source| source.blocks).unwrap_or_default();
            let mut source = Source::default();
            source.blocks = blocks;
            for block in source.blocks.clone() {
                if let Some(frame) = days.read(block.place)? {
                    names_of(&mut source, &codec::header(frame.header())?, &mut texts);
                }
            }
            sources.insert(id, source);
        }
        sources.retain(|_, source| !source.blocks.is_empty());
        let inner = Inner {
            options,
            journal,
            days,
            order: Mutex::new(recovered.last),
            sealing: Mutex::new(()),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            texts: Mutex::new(texts),
            samples: AtomicU64::new(0),
            dropped_future: AtomicU64::new(0),
            dropped_old: AtomicU64::new(0),
        };
        for (id, source) in sources {
            inner.shard(id).write().insert(id, source);
        }
        inner.replay(recovered.first, &sealed)?;
        Ok(inner)
    }

    fn replay(&self, from: u64, sealed: &Sealed) -> Result<()> {
        let oldest = (self.options.clock.now() - self.options.retention).milliseconds();
        let arrived = self.options.clock.monotonic();
        let mut forgotten: HashMap<u128, u64> = HashMap::new();
        self.journal.replay(from, |number, payload| {
            if record::is_forget(payload)
                && let Record::Forget(source) = record::read(payload)?
            {
                forgotten.insert(source, number);
            }
            Ok(())
        })?;
        self.journal.replay(from, |number, payload| {
            match record::read(payload)? {
                Record::Ticks(ticks) => {
                    for tick in ticks.into_iter().filter(|tick| tick.at >= oldest) {
                        if forgotten.get(&tick.source).is_some_and(|last| number < *last) {
                            continue;
                        }
                        let day = day_of(Timestamp::from_milliseconds(tick.at));
                        let ranges = sealed.get(&(tick.source, day)).map_or(&[][..], Vec::as_slice);
                        if !ranges.iter().any(|(first, last)| (*first..=*last).contains(&number)) {
                            self.take_in(number, arrived, tick.source, tick.at, tick.values.into_iter());
                        }
                    }
                }
                Record::Forget(_) => {}
            }
            Ok(())
        })?;
        Ok(())
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
            newest = codec::header(bytes)?.record_last.max(newest);
            Ok(())
        },
    )?;
    Ok(newest)
}

fn names_of(source: &mut Source, header: &codec::Header, texts: &mut HashSet<Arc<str>>) {
    for (name, at, value) in &header.names {
        let column = source.column_or_new(name, |name| super::intern_in(texts, name));
        source.newest(column, *at, *value);
    }
}
