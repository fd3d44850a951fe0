//! What is in memory of one source: its names with their newest values, the ticks that no block has yet, and where its
//! blocks lie.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::codec::Columns;
use crate::base::Timestamp;
use crate::engine::days::{Place, day_of, day_start};

/// One source.
#[derive(Default)]
pub(super) struct Source {
    pub(super) columns: Vec<Column>,
    places: HashMap<Arc<str>, u32>,
    pub(super) head: Head,
    /// The head that is being written to a block just now; still answered from.
    pub(super) sealing: Option<Arc<Head>>,
    /// In the order of sealing, so that later ones win.
    pub(super) blocks: Vec<Block>,
}

/// A name and its newest value.
pub(super) struct Column {
    pub(super) name: Arc<str>,
    pub(super) at: i64,
    pub(super) value: f64,
}

/// Ticks in order of time. Column `i` belongs to the source's name `i`, and may be shorter than `times`.
#[derive(Clone, Default)]
pub(super) struct Head {
    pub(super) times: Vec<i64>,
    values: Vec<Vec<f64>>,
    pub(super) record_first: u64,
    pub(super) record_last: u64,
    /// When its first tick arrived, by the monotonic clock.
    pub(super) since: Duration,
    pub(super) samples: usize,
}

/// Where a block lies and what time it covers, in milliseconds of its day.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub(super) place: Place,
    first: u32,
    last: u32,
}

impl Block {
    pub(super) fn new(place: Place, first: i64, last: i64) -> Block {
        let within = |at: i64| (at - day_start(place.day)).clamp(0, 86_399_999) as u32;
        Block { place, first: within(first), last: within(last) }
    }

    pub(super) fn overlaps(&self, from: i64, to: i64) -> bool {
        let start = day_start(self.place.day);
        start + i64::from(self.first) <= to && start + i64::from(self.last) >= from
    }
}

impl Source {
    /// The column of `name`.
    pub(super) fn column(&self, name: &str) -> Option<usize> {
        self.places.get(name).map(|place| *place as usize)
    }

    /// The column of `name`, made when it is new; `intern` gives the shared text.
    pub(super) fn column_or_new(&mut self, name: &str, intern: impl FnOnce(&str) -> Arc<str>) -> usize {
        if let Some(place) = self.column(name) {
            return place;
        }
        let name = intern(name);
        self.places.insert(name.clone(), self.columns.len() as u32);
        self.columns.push(Column { name, at: i64::MIN, value: f64::NAN });
        self.columns.len() - 1
    }

    /// Takes a tick in; `intern` gives the shared text of a new name. Returns how many samples more there are.
    pub(super) fn tick<'a>(
        &mut self,
        record: u64,
        now: Duration,
        at: i64,
        values: impl Iterator<Item = (&'a str, f64)>,
        intern: impl Fn(&str) -> Arc<str>,
    ) -> usize {
        let place = self.head.place(record, now, at);
        let before = self.head.samples;
        let mut next = 0;
        for (name, value) in values.filter(|(_, v)| v.is_finite()) {
            // Most ticks bring the same names in the same order as the one before.
            let column = match self.columns.get(next) {
                Some(known) if &*known.name == name => next,
                _ => self.column_or_new(name, &intern),
            };
            next = column + 1;
            self.head.set(column, place, value);
            self.newest(column, at, value);
        }
        self.head.samples - before
    }

    /// Remembers `value` as the newest one of `column` when no later one is known.
    pub(super) fn newest(&mut self, column: usize, at: i64, value: f64) {
        if let Some(column) = self.columns.get_mut(column)
            && at >= column.at
        {
            (column.at, column.value) = (at, value);
        }
    }

    /// Sets the head aside for sealing.
    pub(super) fn take(&mut self) -> Arc<Head> {
        let head = Arc::new(std::mem::take(&mut self.head));
        self.sealing = Some(head.clone());
        head
    }

    /// Takes a head back that could not be sealed, below what has arrived since. Returns how many samples of the two
    /// fell together.
    pub(super) fn put_back(&mut self) -> usize {
        let Some(older) = self.sealing.take() else { return 0 };
        let newer = std::mem::replace(&mut self.head, (*older).clone());
        for (i, at) in newer.times.iter().enumerate() {
            let place = self.head.place(newer.record_first, newer.since, *at);
            for (column, values) in newer.values.iter().enumerate() {
                if let Some(value) = values.get(i).filter(|v| !v.is_nan()) {
                    self.head.set(column, place, *value);
                }
            }
        }
        self.head.record_last = self.head.record_last.max(newer.record_last);
        older.samples + newer.samples - self.head.samples
    }

    /// Forgets names whose newest value is older than `at`, while no head refers to them by number.
    pub(super) fn drop_names_before(&mut self, at: i64) {
        if self.head.times.is_empty() && self.sealing.is_none() && self.columns.iter().any(|c| c.at < at) {
            self.columns.retain(|column| column.at >= at);
            self.head = Head::default();
            self.places =
                self.columns.iter().enumerate().map(|(i, column)| (column.name.clone(), i as u32)).collect();
        }
    }

    /// The head's samples of `column` from `from` to `to`, those being sealed first.
    pub(super) fn recent(&self, column: usize, from: i64, to: i64, out: &mut Vec<(i64, f64)>) {
        for head in self.sealing.as_deref().into_iter().chain([&self.head]) {
            let Some(values) = head.values.get(column) else { continue };
            let start = head.times.partition_point(|at| *at < from).min(values.len());
            let end = head.times.partition_point(|at| *at <= to).min(values.len());
            if start < end {
                let part = head.times[start..end].iter().copied().zip(values[start..end].iter().copied());
                out.extend(part.filter(|(_, value)| !value.is_nan()));
            }
        }
    }
}

impl Head {
    /// The row of the tick at `at`, made when it is new.
    fn place(&mut self, record: u64, now: Duration, at: i64) -> usize {
        if self.times.is_empty() {
            (self.record_first, self.since) = (record, now);
        }
        self.record_last = record;
        match self.times.last() {
            Some(last) if *last >= at => match self.times.binary_search(&at) {
                Ok(place) => place,
                Err(place) => {
                    self.times.insert(place, at);
                    for column in self.values.iter_mut().filter(|c| c.len() > place) {
                        column.insert(place, f64::NAN);
                    }
                    place
                }
            },
            _ => {
                self.times.push(at);
                self.times.len() - 1
            }
        }
    }

    fn set(&mut self, column: usize, place: usize, value: f64) {
        if self.values.len() <= column {
            self.values.resize_with(column + 1, Vec::new);
        }
        let values = &mut self.values[column];
        if values.len() == place {
            values.push(value);
            self.samples += 1;
            return;
        }
        if values.len() < place {
            values.resize(place + 1, f64::NAN);
        }
        self.samples += usize::from(values[place].is_nan());
        values[place] = value;
    }

    /// The head cut at midnights: day and columns, ready to be encoded.
    pub(super) fn by_day(&self, names: &[Arc<str>]) -> Vec<(i32, Columns)> {
        let mut parts = Vec::new();
        let mut start = 0;
        while let Some(first) = self.times.get(start) {
            let day = day_of(Timestamp::from_milliseconds(*first));
            let end = self.times.partition_point(|at| *at < day_start(day + 1));
            let cut = |values: &Vec<f64>| values[start.min(values.len())..end.min(values.len())].to_vec();
            let (names, values) = names
                .iter()
                .zip(&self.values)
                .map(|(name, values)| (name.clone(), cut(values)))
                .filter(|(_, values)| values.iter().any(|v| !v.is_nan()))
                .unzip();
            parts.push((day, Columns { times: self.times[start..end].to_vec(), names, values }));
            start = end;
        }
        parts
    }
}
