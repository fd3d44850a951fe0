//! Opening: day files are scanned by their headers, then the journal is replayed over them.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::{Mutex, RwLock};

use super::head::{Block, Source};
use super::record::Record;
use super::{Inner, Options, RESERVE_BYTES, SHARDS, codec, record};
use crate::base::Result;
use crate::engine::days::{Days, Sealed, forgotten, open_journal};
use crate::engine::journal;

pub(super) const MAGIC: [u8; 4] = *b"MSB\x01";

impl Inner {
    pub(super) fn open(folder: &Path, options: Options) -> Result<Inner> {
        let mut kept = journal::Options::new("series");
        kept.segment_bytes_max = options.segment_bytes_max;
        kept.seal = options.seal.clone();
        kept.reserve_bytes = RESERVE_BYTES;
        let (journal, recovered) =
            open_journal(folder, MAGIC, kept, |header| Ok(codec::header(header)?.record_last))?;
        let mut sources: HashMap<u128, Source> = HashMap::new();
        let mut sealed = Sealed::default();
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
                    sealed.forget(header.source, place.day);
                    forgotten.insert(header.source);
                    return Ok(());
                }
                // Only a block whose records may be replayed can be one that no sync has completed.
                if header.record_last >= recovered.first && recovered.first <= recovered.last {
                    if days.read(place)?.is_none() {
                        return Ok(());
                    }
                    let ranges = sealed.of(header.source, place.day);
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
        let forgotten = forgotten(&self.journal, from, |_, payload| match record::is_forget(payload) {
            true => Ok(match record::read(payload)? {
                Record::Forget(source) => Some(source),
                Record::Ticks(_) => None,
            }),
            false => Ok(None),
        })?;
        self.journal.replay(from, |number, payload| {
            match record::read(payload)? {
                Record::Ticks(ticks) => {
                    for tick in ticks.into_iter().filter(|tick| tick.at >= oldest) {
                        if forgotten.get(&tick.source).is_some_and(|last| number < *last) {
                            continue;
                        }
                        if !sealed.holds(tick.source, tick.at, number) {
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

fn names_of(source: &mut Source, header: &codec::Header, texts: &mut HashSet<Arc<str>>) {
    for (name, at, value) in &header.names {
        let column = source.column_or_new(name, |name| super::intern_in(texts, name));
        source.newest(column, *at, *value);
    }
}
