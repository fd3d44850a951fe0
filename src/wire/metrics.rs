//! The packed form of metrics, which is most of what an agent sends.
//!
//! `COMPACT`, then varints (LEB128) and text: flags (bit 0: sequence present), sequence, number of names, each name as
//! length and UTF-8, number of ticks, each tick as the zigzag delta of its instant in milliseconds to the tick before
//! (the first to zero), number of values, and per value the index of its name and the number: zigzag `n·2+1` where
//! the value times 100 is a whole number below 2^50, else a `0` byte and the eight bytes of the IEEE 754 double.
//! Names are sent once a message, so a message of several ticks costs two or three bytes a sample.

use std::collections::BTreeMap;

use super::{COMPACT, Metrics, Tick, codec};
use crate::base::{Error, Result, Timestamp, limits};

/// Splits `disk.used_percent{/var}` into name and instance.
pub fn split(series: &str) -> (&str, &str) {
    match series.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}').unwrap_or(rest)),
        None => (series, ""),
    }
}

/// Counts and names are within their limits and every value is finite.
pub(super) fn check(metrics: &Metrics) -> Result<()> {
    let ticks = || metrics.ticks.iter().map(|t| &t.values).chain([&metrics.values]);
    let samples: usize = ticks().map(BTreeMap::len).sum();
    if samples > limits::METRICS_SAMPLES_MAX {
        return Err(Error::invalid(format!("{samples} samples in one message"))
            .hint(format!("at most {}; send several messages", limits::METRICS_SAMPLES_MAX)));
    }
    for (name, value) in ticks().flatten() {
        let sound = !name.is_empty()
            && name.len() <= limits::METRIC_NAME_BYTES_MAX
            && split(name).0.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/:".contains(&b))
            && !name.chars().any(char::is_control);
        if !sound {
            return Err(Error::invalid(format!(
                "metric name `{}` is not valid",
                name.chars().take(60).collect::<String>()
            ))
            .hint("use letters, digits and `._-/:`, an instance in braces, at most 200 bytes"));
        }
        if !value.is_finite() {
            return Err(Error::invalid(format!("the value of `{name}` is not a finite number")));
        }
    }
    Ok(())
}

/// Decodes either form.
pub(super) fn decode(payload: &[u8]) -> Result<Metrics> {
    match payload.split_first() {
        Some((&COMPACT, rest)) => Reader(rest).message(),
        _ => codec::decode("metrics", payload),
    }
}

/// Encodes in the packed form.
pub(super) fn compact(metrics: &Metrics) -> Vec<u8> {
    let mut out = vec![COMPACT];
    put(&mut out, u64::from(metrics.sequence.is_some()) | u64::from(metrics.at.is_some()) << 1);
    if let Some(sequence) = metrics.sequence {
        put(&mut out, sequence);
    }
    let head = (metrics.at.is_some() || !metrics.values.is_empty())
        .then(|| (metrics.at.unwrap_or_default(), &metrics.values));
    let ticks: Vec<_> = head.into_iter().chain(metrics.ticks.iter().map(|t| (t.at, &t.values))).collect();
    let mut names: BTreeMap<&str, u64> = BTreeMap::new();
    for name in ticks.iter().flat_map(|(_, values)| values.keys()) {
        names.insert(name, 0);
    }
    put(&mut out, names.len() as u64);
    for (index, (name, place)) in names.iter_mut().enumerate() {
        *place = index as u64;
        put(&mut out, name.len() as u64);
        out.extend_from_slice(name.as_bytes());
    }
    put(&mut out, u64::from(head.is_some()));
    put(&mut out, ticks.len() as u64);
    let mut before = 0i64;
    for (at, values) in ticks {
        put(&mut out, zigzag(at.milliseconds().wrapping_sub(before)));
        before = at.milliseconds();
        put(&mut out, values.len() as u64);
        for (name, value) in values {
            put(&mut out, names[name.as_str()]);
            let hundredths = value * 100.0;
            let whole = hundredths as i64;
            if whole as f64 / 100.0 == *value
                && whole.unsigned_abs() < 1 << 50
                && value.to_bits() != (-0.0f64).to_bits()
            {
                put(&mut out, zigzag(whole) << 1 | 1);
            } else {
                out.push(0);
                out.extend_from_slice(&value.to_le_bytes());
            }
        }
    }
    out
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn wrong() -> Error {
        Error::invalid("the metrics message is not valid in its compact form")
    }

    fn byte(&mut self) -> Result<u8> {
        let (first, rest) = self.0.split_first().ok_or_else(Self::wrong)?;
        self.0 = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Self::wrong())
    }

    /// A count of things of at least one byte each, so it cannot exceed what is left.
    fn count(&mut self) -> Result<usize> {
        let count = self.number()? as usize;
        if count > self.0.len() { Err(Self::wrong()) } else { Ok(count) }
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(Self::wrong)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn message(mut self) -> Result<Metrics> {
        let flags = self.number()?;
        let sequence = if flags & 1 == 1 { Some(self.number()?) } else { None };
        let mut names = Vec::new();
        for _ in 0..self.count()? {
            let length = self.count()?;
            names.push(std::str::from_utf8(self.bytes(length)?).map_err(|_| Self::wrong())?);
        }
        let head = self.number()? == 1;
        let mut ticks = Vec::new();
        let (mut at, mut samples) = (0i64, 0usize);
        for _ in 0..self.count()? {
            at = at.wrapping_add(unzigzag(self.number()?));
            let mut values = BTreeMap::new();
            for _ in 0..self.count()? {
                samples += 1;
                if samples > limits::METRICS_SAMPLES_MAX {
                    return Err(Error::invalid("too many samples in one message")
                        .hint(format!("at most {}; send several messages", limits::METRICS_SAMPLES_MAX)));
                }
                let name = *names.get(self.number()? as usize).ok_or_else(Self::wrong)?;
                let packed = self.number()?;
                let value = if packed & 1 == 1 {
                    unzigzag(packed >> 1) as f64 / 100.0
                } else {
                    f64::from_le_bytes(self.bytes(8)?.try_into().map_err(|_| Self::wrong())?)
                };
                values.insert(name.to_owned(), value);
            }
            ticks.push(Tick { at: Timestamp::from_milliseconds(at), values });
        }
        if !self.0.is_empty() {
            return Err(Self::wrong());
        }
        let mut metrics = Metrics { sequence, ..Metrics::default() };
        if head && !ticks.is_empty() {
            let first = ticks.remove(0);
            metrics.at = (flags & 2 == 2).then_some(first.at);
            metrics.values = first.values;
        }
        metrics.ticks = ticks;
        Ok(metrics)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn messages() -> impl Strategy<Value = Metrics> {
        let value = prop_oneof![
            any::<i32>().prop_map(|n| f64::from(n) / 100.0),
            any::<f64>().prop_filter("finite", |v| v.is_finite())
        ];
        let values = prop::collection::btree_map("[a-z.]{1,12}(\\{/[a-z]{0,6}\\})?", value, 0..12);
        let at = (0i64..4_000_000_000_000).prop_map(Timestamp::from_milliseconds);
        let ticks = prop::collection::vec(
            (at.clone(), values.clone()).prop_map(|(at, values)| Tick { at, values }),
            0..5,
        );
        (prop::option::of(any::<u64>()), prop::option::of(at), values, ticks)
            .prop_map(|(sequence, at, values, ticks)| Metrics { sequence, at, values, ticks })
    }

    proptest! {
        #[test]
        fn packing_is_undone_by_unpacking(message in messages()) {
            prop_assert_eq!(decode(&compact(&message)).unwrap(), message);
        }

        #[test]
        fn garbage_is_an_error_and_never_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            bytes.insert(0, COMPACT);
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn a_sample_costs_a_few_bytes() {
        let values: BTreeMap<String, f64> =
            (0..20).map(|n| (format!("metric.number_{n}"), f64::from(n) * 1.25)).collect();
        let ticks = (0..60)
            .map(|n| Tick { at: Timestamp::from_milliseconds(n * 10_000), values: values.clone() })
            .collect();
        let bytes = compact(&Metrics { ticks, ..Metrics::default() }).len();
        assert!(bytes < 60 * 20 * 4, "{bytes} bytes for 1,200 samples");
    }
}
