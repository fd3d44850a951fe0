//! Records as they lie in a segment, to be carried elsewhere and back without breaking the chain.

use super::record::{FRAME_BYTES, Frame, Hash};
use super::{Journal, RECORD_BYTES_MAX, Ticket, no_longer_kept, record};
use crate::base::{Error, Result};

/// A record with everything that the chain knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a> {
    /// Its number.
    pub number: u64,
    /// The hash of the record before it.
    pub previous: Hash,
    /// Its own hash.
    pub hash: Hash,
    /// The frame and the payload.
    pub bytes: &'a [u8],
}

impl<'a> Raw<'a> {
    /// What was appended.
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(FRAME_BYTES..).unwrap_or_default()
    }

    /// Takes the first record off `bytes`, which must have `number` and fit the hash `previous`.
    pub fn take(bytes: &'a [u8], number: u64, previous: Hash) -> Result<(Raw<'a>, &'a [u8])> {
        let broken = || Error::invalid(format!("record {number} does not fit the one before it"));
        let frame = Frame::decode(bytes).ok_or_else(broken)?;
        let end = FRAME_BYTES + frame.payload_bytes();
        if frame.payload_bytes() > RECORD_BYTES_MAX || end > bytes.len() || frame.number != number {
            return Err(broken());
        }
        let (bytes, rest) = bytes.split_at(end);
        if !frame.fits(&previous, &bytes[FRAME_BYTES..]) {
            return Err(broken());
        }
        Ok((Raw { number, previous, hash: frame.hash, bytes }, rest))
    }

    /// Part of its hash, as `Ticket::fingerprint`.
    pub fn fingerprint(&self) -> u64 {
        record::fingerprint(&self.hash)
    }
}

/// Part of a hash, as `Ticket::fingerprint`.
pub fn fingerprint(hash: &Hash) -> u64 {
    record::fingerprint(hash)
}

impl Journal {
    /// Appends a record that another journal wrote. It must be the next one of this chain.
    pub fn append_raw(&self, raw: &Raw<'_>) -> Result<Ticket> {
        let batch = self.shared.append_raw(raw)?;
        Ok(Ticket::new(self.shared.clone(), raw.number, batch, raw.fingerprint()))
    }

    /// The hash of the record `number`, which is on the disk or was just before the oldest that is.
    pub fn hash(&self, number: u64) -> Result<Hash> {
        let before = {
            let state = self.shared.state.lock();
            state.segments.iter().find(|segment| segment.first == number + 1).map(|segment| segment.previous)
        };
        if let Some(hash) = before {
            return Ok(hash);
        }
        let (mut cursor, _) = self.cursor(number)?.ok_or_else(|| no_longer_kept(number))?;
        while cursor.next()?.0 < number {}
        cursor.raw(number).map(|raw| raw.hash).ok_or_else(|| no_longer_kept(number))
    }

    /// Hands every record that is on the disk to `each`, beginning with number `from`, until it says false.
    pub fn replay_raw(&self, from: u64, each: &mut dyn FnMut(&Raw<'_>) -> Result<bool>) -> Result<()> {
        self.walk(from, &mut |cursor, number| match cursor.raw(number) {
            Some(raw) => each(&raw),
            None => Err(no_longer_kept(number)),
        })
    }
}
