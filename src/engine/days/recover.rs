//! What series and logs do alike when they open: the journal beside the day files, and which records lie in blocks
//! already.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::{Days, day_of, fits};
use crate::base::{Result, Timestamp};
use crate::engine::journal::{self, Journal, Recovered};

/// Opens the journal in `folder` beside the day files in it. `number_of` gives, of a block's header, the highest number
/// of a record in it.
pub fn open_journal(
    folder: &Path,
    magic: [u8; 4],
    mut options: journal::Options,
    number_of: impl Fn(&[u8]) -> Result<u64>,
) -> Result<(Journal, Recovered)> {
    let (blocks, records) = (folder.join("blocks"), folder.join("journal"));
    fits(&blocks, "blocks", options.seal.is_some())?;
    let (journal, recovered) = Journal::open(&records, options.clone())?;
    if recovered.last > 0 {
        return Ok((journal, recovered));
    }
    let mut newest = 0;
    Days::open(
        &blocks,
        "blocks",
        magic,
        options.seal.clone(),
        |_| true,
        |_, _, header| {
            newest = number_of(header)?.max(newest);
            Ok(())
        },
    )?;
    if newest == 0 {
        return Ok((journal, recovered));
    }
    // Day files came back without their journal: its numbers go on after theirs, or new records would look as if they lay
    // in these blocks already, and would have come before them.
    drop(journal);
    fs::remove_dir_all(&records)?;
    options.first_number = newest + 1;
    Journal::open(&records, options)
}

/// Which positions of a source lie in sound blocks of a day, as ranges with both ends.
#[derive(Default)]
pub struct Sealed(HashMap<(u128, i32), Vec<(u64, u64)>>);

impl Sealed {
    /// The ranges of a source on a day.
    pub fn of(&mut self, source: u128, day: i32) -> &mut Vec<(u64, u64)> {
        self.0.entry((source, day)).or_default()
    }

    /// Nothing of a source lies in blocks of that day any more.
    pub fn forget(&mut self, source: u128, day: i32) {
        self.0.remove(&(source, day));
    }

    /// Whether a position of a source, of that instant, lies in a block.
    pub fn holds(&self, source: u128, at: i64, position: u64) -> bool {
        let ranges = self.0.get(&(source, day_of(Timestamp::from_milliseconds(at))));
        ranges.is_some_and(|ranges| ranges.iter().any(|(first, last)| (*first..=*last).contains(&position)))
    }
}

/// The number of the record at which each source was last forgotten. `source_of` gives the source that a record forgets.
pub fn forgotten(
    journal: &Journal,
    from: u64,
    source_of: impl Fn(u64, &[u8]) -> Result<Option<u128>>,
) -> Result<HashMap<u128, u64>> {
    let mut last = HashMap::new();
    journal.replay(from, |number, payload| {
        last.extend(source_of(number, payload)?.map(|source| (source, number)));
        Ok(())
    })?;
    Ok(last)
}
