//! Which backups may go: grandfather, father, son, and a window in which every second can be brought back.
//!
//! Invariant: the newest good full backup never goes.
//! Invariant: what could be restored inside the window before can be restored after.
//! Invariant: what goes at one time would also go at any later time; doing it twice does nothing more.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::names::Holds;
use crate::base::{Error, Result, Span, Timestamp};

/// The most of any number of the retention.
const COUNT_MAX: u32 = 366;

/// How long backups are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Retention {
    /// Days back within which every second can be brought back.
    pub window_days: u32,
    /// Days of which one full backup is kept.
    pub daily: u32,
    /// Weeks of which one is kept.
    pub weekly: u32,
    /// Months of which one is kept.
    pub monthly: u32,
    /// Years of which one is kept.
    pub yearly: u32,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { window_days: 7, daily: 7, weekly: 4, monthly: 12, yearly: 3 }
    }
}

impl Retention {
    /// Checks every number by name.
    pub fn check(&self) -> Result<()> {
        if !(1..=COUNT_MAX).contains(&self.window_days) {
            return Err(Error::invalid(format!("a window of {} days", self.window_days)).hint("1 to 366"));
        }
        for (word, count) in [
            ("daily", self.daily),
            ("weekly", self.weekly),
            ("monthly", self.monthly),
            ("yearly", self.yearly),
        ] {
            if count > COUNT_MAX {
                return Err(Error::invalid(format!("{count} {word} backups")).hint("at most 366"));
            }
        }
        Ok(())
    }
}

/// A backup as the retention sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub holds: Holds,
    /// When it was complete.
    pub at: Timestamp,
    /// The site's generation: change numbers of two generations are two histories.
    pub generation: u64,
    /// Whether it has been read back and was whole.
    pub good: bool,
}

/// The names of those that may go, oldest first.
pub(super) fn prune(list: &[Kept], now: Timestamp, retention: &Retention) -> Vec<String> {
    let mut fulls: Vec<&Kept> = list.iter().filter(|k| k.good && k.holds.is_full()).collect();
    fulls.sort_by_key(|k| (k.at, &k.name));
    let Some(newest) = fulls.last() else { return Vec::new() };
    let mut kept: BTreeSet<&str> = BTreeSet::from([newest.name.as_str()]);
    for (count, bucket) in [
        (retention.daily, day as fn(Timestamp) -> i64),
        (retention.weekly, week),
        (retention.monthly, month),
        (retention.yearly, year),
    ] {
        // The newest of each of the last so many days, weeks, months or years that have one.
        let mut buckets: BTreeMap<i64, &str> = BTreeMap::new();
        for full in &fulls {
            buckets.insert(bucket(full.at), &full.name);
        }
        kept.extend(buckets.into_values().rev().take(count as usize));
    }
    let start = now - Span::from_days(u64::from(retention.window_days));
    let generations: BTreeSet<u64> = list.iter().map(|k| k.generation).collect();
    for generation in generations {
        let of = |k: &&&Kept| k.generation == generation;
        // From the last full one before the window on, everything in it can be reached.
        let base = fulls.iter().filter(of).rfind(|k| k.at <= start);
        let base = base.or_else(|| fulls.iter().find(of));
        let Some(base) = base else {
            // Changes without a full one to stand on: they help nobody once a newer full one is there.
            continue;
        };
        let mut needed: Vec<&Kept> =
            list.iter().filter(|k| k.generation == generation && k.at > start && k.good).collect();
        if needed.is_empty() {
            continue;
        }
        needed.push(base);
        let changes = list.iter().filter(|k| {
            k.generation == generation && k.good && !k.holds.is_full() && k.holds.last() > base.holds.last()
        });
        needed.extend(changes);
        kept.extend(needed.iter().map(|k| k.name.as_str()));
    }
    let mut gone: Vec<&Kept> =
        list.iter().filter(|k| !kept.contains(k.name.as_str()) && (k.good || k.at < newest.at)).collect();
    gone.sort_by_key(|k| (k.at, &k.name));
    gone.into_iter().map(|k| k.name.clone()).collect()
}

fn day(at: Timestamp) -> i64 {
    at.milliseconds().div_euclid(86_400_000)
}

/// Weeks begin on Monday; the epoch was a Thursday.
fn week(at: Timestamp) -> i64 {
    (day(at) + 3).div_euclid(7)
}

fn month(at: Timestamp) -> i64 {
    let number = |pattern: &str| at.format(pattern).parse::<i64>().unwrap_or_default();
    number("%Y") * 12 + number("%m")
}

fn year(at: Timestamp) -> i64 {
    at.format("%Y").parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3_600_000;

    fn start() -> Timestamp {
        "2026-01-05T00:00:00Z".parse().unwrap()
    }

    /// A history: every step is some hours later, brings some changes, and is a full backup, one of changes, a gap in
    /// the journal (with the full one that follows it), or a restore (a new generation with its full one).
    fn history(steps: &[(u8, u8, u8)]) -> Vec<Kept> {
        let (mut list, mut at, mut last, mut chain, mut generation) = (Vec::new(), start(), 1u64, 1u64, 1u64);
        let mut add = |at: Timestamp, holds: Holds, generation: u64, good: bool| {
            list.push(Kept { name: format!("{:04}", list.len()), holds, at, generation, good });
        };
        add(at, Holds::Full { last }, generation, true);
        for (hours, changes, kind) in steps {
            at = at + Span::from_milliseconds(u64::from(*hours % 40 + 1) * HOUR);
            last += u64::from(*changes) + 1;
            match kind % 16 {
                0..=2 => add(at, Holds::Full { last }, generation, true),
                3 => {
                    add(at, Holds::Full { last }, generation, true);
                    chain = last;
                }
                4 => {
                    generation += 1;
                    last = last.saturating_sub(5).max(1);
                    chain = last;
                    add(at, Holds::Full { last }, generation, true);
                }
                5 => add(at, Holds::Full { last }, generation, false),
                _ => {
                    add(at, Holds::Changes { first: chain + 1, last }, generation, true);
                    chain = last;
                }
            }
        }
        list
    }

    /// Whether the state after the change can be made from the list.
    fn reaches(list: &[Kept], generation: u64, change: u64) -> bool {
        let here = || list.iter().filter(|k| k.generation == generation && k.good);
        here().filter(|k| k.holds.is_full() && k.holds.last() <= change).any(|full| {
            let mut reach = full.holds.last();
            let mut files: Vec<_> = here().filter_map(|k| Some((k.holds.first()?, k.holds.last()))).collect();
            files.sort_unstable();
            for (first, last) in files {
                if first <= reach + 1 {
                    reach = reach.max(last);
                }
            }
            reach >= change
        })
    }

    fn without(list: &[Kept], gone: &[String]) -> Vec<Kept> {
        list.iter().filter(|k| !gone.contains(&k.name)).cloned().collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn laws(
            steps in prop::collection::vec((any::<u8>(), any::<u8>(), any::<u8>()), 0..120),
            window_days in 1u32..12, daily in 0u32..5, weekly in 0u32..3, later in 0u64..400,
        ) {
            let list = history(&steps);
            let policy = Retention { window_days, daily, weekly, monthly: 1, yearly: 1 };
            let now = list.last().map(|k| k.at).unwrap_or_default() + Span::from_hours(1);
            let gone = prune(&list, now, &policy);
            let left = without(&list, &gone);
            // The newest good full one stays.
            let newest = list.iter().rfind(|k| k.good && k.holds.is_full()).unwrap();
            prop_assert!(!gone.contains(&newest.name));
            // Again does nothing.
            prop_assert_eq!(prune(&left, now, &policy), Vec::<String>::new());
            // What could be restored inside the window can still be.
            let start = now - Span::from_days(u64::from(window_days));
            for k in list.iter().filter(|k| k.good && k.at > start) {
                // A file may begin long before the window; only what is in it counts.
                let before = list.iter().filter(|o| o.generation == k.generation && o.at <= start);
                let known = before.map(|o| o.holds.last()).max().unwrap_or_default();
                let from = k.holds.first().unwrap_or(k.holds.last()).max(known);
                for change in [from, k.holds.last(), (from + k.holds.last()) / 2] {
                    if change >= known && reaches(&list, k.generation, change) {
                        prop_assert!(reaches(&left, k.generation, change), "{} {change}", k.name);
                    }
                }
            }
            // Every file of changes that stays has a full one to stand on.
            for k in left.iter().filter(|k| k.good && !k.holds.is_full()) {
                prop_assert!(reaches(&left, k.generation, k.holds.last()) || !reaches(&list, k.generation, k.holds.last()));
            }
            // What goes now goes later too.
            let gone_later = prune(&list, now + Span::from_hours(later), &policy);
            prop_assert!(gone.iter().all(|name| gone_later.contains(name)));
        }
    }

    #[test]
    fn sons_fathers_and_grandfathers() {
        // A full backup every night for two years.
        let list: Vec<Kept> = (0..730)
            .map(|n| Kept {
                name: format!("{n:04}"),
                holds: Holds::Full { last: n + 1 },
                at: start() + Span::from_days(n),
                generation: 1,
                good: true,
            })
            .collect();
        let now = start() + Span::from_hours(730 * 24);
        let left = without(&list, &prune(&list, now, &Retention::default()));
        // 7 days and the one before the window, 3 more weeks, 11 more months, 1 more year.
        assert!((20..=24).contains(&left.len()), "{}", left.len());
        assert!(prune(&[], now, &Retention::default()).is_empty());
        let only_bad = [Kept { good: false, ..list[0].clone() }];
        assert!(prune(&only_bad, now, &Retention::default()).is_empty());
    }
}
