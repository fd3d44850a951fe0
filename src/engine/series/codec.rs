//! The stored form of a block: one source's ticks of one day, all its series together.
//!
//! Header: source (16, big-endian), first instant (zigzag varint, milliseconds), last minus first, first record, last
//! minus first record, number of ticks, length of the body before compression (0: not compressed), number of names,
//! and per name its length, its UTF-8, last minus the instant of its newest value, and that value (8).
//! Body, compressed by zstd where that shrinks it: length and bytes of the times (delta of delta, zigzag varints), then
//! per name in the header's order length and bytes of its column: presence (0: all; 1: a bit per tick), coding and
//! values. Coding 0 to 3: whole numbers after multiplying by 1, 10, 100 or 1,000, as zigzag deltas; 4: each double XOR
//! the one before, bytes reversed, as varint.
//!
//! Invariant: every finite double comes back bit for bit.

use std::sync::Arc;

use crate::base::{Error, Result};
use crate::engine::days::bytes::{Reader, damaged, put, put_bytes, unzigzag, zigzag};

/// Times in order and one column per name; an absent value is NaN.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns {
    pub(super) times: Vec<i64>,
    pub(super) names: Vec<Arc<str>>,
    pub(super) values: Vec<Vec<f64>>,
}

/// What the header of a block says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    pub(super) source: u128,
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) record_first: u64,
    pub(super) record_last: u64,
    pub(super) ticks: usize,
    raw: usize,
    /// Name, instant of its newest value, that value.
    pub(super) names: Vec<(String, i64, f64)>,
}

const SCALES: [f64; 4] = [1.0, 10.0, 100.0, 1000.0];
const XOR: u8 = 4;
/// Scaled numbers stay below this, so that the division gives the same double back.
const SCALED_MAX: f64 = 4_503_599_627_370_496.0;
const ZSTD_LEVEL: i32 = 1;
/// Bytes of a body before compression; more in a header is damage.
const RAW_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Encodes header and body. `columns` holds at least one tick, sorted by time.
pub(super) fn encode(source: u128, records: (u64, u64), columns: &Columns) -> Result<(Vec<u8>, Vec<u8>)> {
    let (Some(&first), Some(&last)) = (columns.times.first(), columns.times.last()) else {
        return Err(Error::internal("a block without ticks"));
    };
    let mut raw = Vec::with_capacity(columns.times.len() * (columns.names.len() * 2 + 1));
    let mut part = Vec::new();
    put_times(&mut part, &columns.times);
    put_bytes(&mut raw, &part);
    let mut names = Vec::new();
    let mut count = 0;
    for (name, values) in columns.names.iter().zip(&columns.values) {
        let Some(newest) = values.iter().rposition(|v| !v.is_nan()) else { continue };
        count += 1;
        put_bytes(&mut names, name.as_bytes());
        put(&mut names, (last - columns.times[newest]) as u64);
        names.extend_from_slice(&values[newest].to_le_bytes());
        part.clear();
        put_column(&mut part, values, columns.times.len());
        put_bytes(&mut raw, &part);
    }
    let packed = zstd::bulk::compress(&raw, ZSTD_LEVEL)?;
    let shrinks = packed.len() < raw.len();
    let mut header = source.to_be_bytes().to_vec();
    put(&mut header, zigzag(first));
    put(&mut header, (last - first) as u64);
    put(&mut header, records.0);
    put(&mut header, records.1 - records.0);
    put(&mut header, columns.times.len() as u64);
    put(&mut header, if shrinks { raw.len() as u64 } else { 0 });
    put(&mut header, count);
    header.extend_from_slice(&names);
    Ok((header, if shrinks { packed } else { raw }))
}

/// Reads a header.
pub(super) fn header(bytes: &[u8]) -> Result<Header> {
    let mut reader = Reader(bytes);
    let source = reader.source()?;
    let first = unzigzag(reader.number()?);
    let last = first.checked_add_unsigned(reader.number()?).ok_or_else(damaged)?;
    let record_first = reader.number()?;
    let record_last = record_first.checked_add(reader.number()?).ok_or_else(damaged)?;
    let ticks = reader.number()? as usize;
    let raw = reader.number()? as usize;
    let mut names = Vec::new();
    for _ in 0..reader.number()? {
        let name = reader.text()?.to_owned();
        let at = last.checked_sub_unsigned(reader.number()?).ok_or_else(damaged)?;
        names.push((name, at, double(&mut reader)?));
    }
    Ok(Header { source, first, last, record_first, record_last, ticks, raw, names })
}

/// The times and values of the series `name` in a block, absent ones left out; nothing when the block has no such name.
pub(super) fn series(header: &Header, body: &[u8], name: &str) -> Result<Vec<(i64, f64)>> {
    let Some(place) = header.names.iter().position(|(n, ..)| n == name) else { return Ok(Vec::new()) };
    let raw = raw(header, body)?;
    let mut reader = Reader(&raw);
    let times = read_times(reader.bytes()?, header.ticks)?;
    for _ in 0..place {
        reader.bytes()?;
    }
    let values = read_column(reader.bytes()?, header.ticks)?;
    Ok(times.into_iter().zip(values).filter(|(_, v)| !v.is_nan()).collect())
}

/// Reads a whole block, to be sure that it can be read.
pub(super) fn understand(bytes: &[u8], body: &[u8]) -> Result<()> {
    let header = header(bytes)?;
    if header.ticks == 0 {
        return Ok(());
    }
    let raw = raw(&header, body)?;
    let mut reader = Reader(&raw);
    read_times(reader.bytes()?, header.ticks)?;
    for _ in &header.names {
        read_column(reader.bytes()?, header.ticks)?;
    }
    if reader.0.is_empty() { Ok(()) } else { Err(damaged()) }
}

fn raw<'a>(header: &Header, body: &'a [u8]) -> Result<std::borrow::Cow<'a, [u8]>> {
    // A tick takes at least a byte of the times, so a count beyond the body is damage, not an allocation.
    let length = if header.raw == 0 { body.len() } else { header.raw };
    if length > RAW_BYTES_MAX || header.ticks > length {
        return Err(damaged());
    }
    Ok(if header.raw == 0 { body.into() } else { zstd::bulk::decompress(body, header.raw)?.into() })
}

fn put_times(out: &mut Vec<u8>, times: &[i64]) {
    let (mut before, mut step) = (0i64, 0i64);
    for &at in times {
        let delta = at.wrapping_sub(before);
        put(out, zigzag(delta.wrapping_sub(step)));
        (before, step) = (at, delta);
    }
}

fn read_times(bytes: &[u8], ticks: usize) -> Result<Vec<i64>> {
    let mut reader = Reader(bytes);
    let mut times = Vec::with_capacity(ticks);
    let (mut before, mut step) = (0i64, 0i64);
    for _ in 0..ticks {
        step = step.wrapping_add(unzigzag(reader.number()?));
        before = before.wrapping_add(step);
        times.push(before);
    }
    Ok(times)
}

fn put_column(out: &mut Vec<u8>, values: &[f64], ticks: usize) {
    let present = |i: usize| values.get(i).is_some_and(|v| !v.is_nan());
    if (0..ticks).all(present) {
        out.push(0);
    } else {
        out.push(1);
        for start in (0..ticks).step_by(8) {
            out.push(
                (start..ticks.min(start + 8)).fold(0, |byte, i| byte | u8::from(present(i)) << (i - start)),
            );
        }
    }
    let mut there = values.iter().copied().filter(|v| !v.is_nan());
    let scale = (0..SCALES.len()).find(|s| there.clone().all(|v| scaled(v, SCALES[*s]).is_some()));
    match scale {
        Some(scale) => {
            out.push(scale as u8);
            let mut before = 0i64;
            for value in there {
                let whole = scaled(value, SCALES[scale]).unwrap_or_default();
                put(out, zigzag(whole - before));
                before = whole;
            }
        }
        None => {
            out.push(XOR);
            let mut before = 0u64;
            for value in there.by_ref() {
                put(out, (value.to_bits() ^ before).swap_bytes());
                before = value.to_bits();
            }
        }
    }
}

fn read_column(bytes: &[u8], ticks: usize) -> Result<Vec<f64>> {
    let mut reader = Reader(bytes);
    let presence = match reader.byte()? {
        0 => None,
        1 => Some(reader.take(ticks.div_ceil(8))?),
        _ => return Err(damaged()),
    };
    let coding = reader.byte()?;
    let mut values = Vec::with_capacity(ticks);
    let (mut whole, mut bits) = (0i64, 0u64);
    for i in 0..ticks {
        if presence.is_some_and(|p| p[i / 8] >> (i % 8) & 1 == 0) {
            values.push(f64::NAN);
            continue;
        }
        values.push(match SCALES.get(usize::from(coding)) {
            Some(scale) => {
                whole = whole.wrapping_add(unzigzag(reader.number()?));
                whole as f64 / scale
            }
            None if coding == XOR => {
                bits ^= reader.number()?.swap_bytes();
                f64::from_bits(bits)
            }
            None => return Err(damaged()),
        });
    }
    Ok(values)
}

/// The whole number that gives `value` back, bit for bit, when divided by `scale`.
pub(super) fn scaled(value: f64, scale: f64) -> Option<i64> {
    let whole = (value * scale).round();
    let same = whole.abs() < SCALED_MAX && ((whole as i64) as f64 / scale).to_bits() == value.to_bits();
    same.then_some(whole as i64)
}

/// Reads a double.
pub(super) fn double(reader: &mut Reader<'_>) -> Result<f64> {
    let mut eight = [0; 8];
    eight.copy_from_slice(reader.take(8)?);
    Ok(f64::from_le_bytes(eight))
}

/// The header of a frame that says: what this file holds of the source so far is forgotten.
pub(super) fn tombstone(source: u128) -> Vec<u8> {
    let mut header = source.to_be_bytes().to_vec();
    header.extend_from_slice(&[0; 7]);
    header
}
