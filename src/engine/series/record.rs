//! What the journal keeps of an append: one record, with its names written once.
//!
//! Kind 1, ticks: number of names, each as length and UTF-8; number of batches; each batch as source (16), instant
//! (zigzag), number of values, and per value the name's index and the number: zigzag `n·2+1` where the value times 100
//! is the whole number n below 2^50, else a `0` byte and the double. Kind 2, forget: a source (16).

use std::collections::HashMap;

use super::Batch;
use super::codec::{double, scaled};
use crate::base::{Error, Result};
use crate::engine::days::bytes::{Reader, put, put_bytes, unzigzag, zigzag};

const TICKS: u8 = 1;
const FORGET: u8 = 2;
const WHOLE_MAX: i64 = 1 << 50;

/// A record read back.
pub(super) enum Record<'a> {
    Ticks(Vec<Tick<'a>>),
    Forget(u128),
}

/// One batch of a record.
pub(super) struct Tick<'a> {
    pub(super) source: u128,
    pub(super) at: i64,
    pub(super) values: Vec<(&'a str, f64)>,
}

/// The record of an append.
pub(super) fn ticks<'a>(batches: impl Iterator<Item = &'a Batch<'a>>) -> Vec<u8> {
    let mut names: Vec<&str> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut body = Vec::new();
    let mut count = 0;
    for batch in batches {
        count += 1;
        body.extend_from_slice(&batch.source.to_be_bytes());
        put(&mut body, zigzag(batch.at.milliseconds()));
        put(&mut body, batch.values.iter().filter(|(_, v)| v.is_finite()).count() as u64);
        // Sources mostly send the same names in the same order: look there before asking the map.
        let mut next = 0;
        for &(name, value) in batch.values.iter().filter(|(_, v)| v.is_finite()) {
            let place = match names.get(next) {
                Some(known) if *known == name => next,
                _ => *places.entry(name).or_insert_with(|| {
                    names.push(name);
                    names.len() - 1
                }),
            };
            next = place + 1;
            put(&mut body, place as u64);
            match scaled(value, 100.0).filter(|whole| whole.abs() < WHOLE_MAX) {
                Some(whole) => put(&mut body, zigzag(whole) << 1 | 1),
                None => {
                    body.push(0);
                    body.extend_from_slice(&value.to_le_bytes());
                }
            }
        }
    }
    let mut out = vec![TICKS];
    put(&mut out, names.len() as u64);
    for name in names {
        put_bytes(&mut out, name.as_bytes());
    }
    put(&mut out, count);
    out.extend_from_slice(&body);
    out
}

/// The record that a source is forgotten.
pub(super) fn forget(source: u128) -> Vec<u8> {
    let mut out = vec![FORGET];
    out.extend_from_slice(&source.to_be_bytes());
    out
}

/// Whether a record forgets a source.
pub(super) fn is_forget(payload: &[u8]) -> bool {
    payload.first() == Some(&FORGET)
}

/// Reads a record.
pub(super) fn read(payload: &[u8]) -> Result<Record<'_>> {
    let mut reader = Reader(payload);
    match reader.byte()? {
        TICKS => {}
        FORGET => return Ok(Record::Forget(reader.source()?)),
        _ => return Err(Error::internal("a record of series is of an unknown kind")),
    }
    let mut names = Vec::new();
    for _ in 0..reader.number()? {
        names.push(reader.text()?);
    }
    let mut ticks = Vec::new();
    for _ in 0..reader.number()? {
        let source = reader.source()?;
        let at = unzigzag(reader.number()?);
        let mut values = Vec::new();
        for _ in 0..reader.number()? {
            let place = reader.number()? as usize;
            let name =
                *names.get(place).ok_or_else(|| Error::internal("a record of series names nothing"))?;
            let value = match reader.number()? {
                0 => double(&mut reader)?,
                whole => unzigzag(whole >> 1) as f64 / 100.0,
            };
            values.push((name, value));
        }
        ticks.push(Tick { source, at, values });
    }
    Ok(Record::Ticks(ticks))
}
