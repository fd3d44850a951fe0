//! From samples to points: duplicates fall together, and long ranges are told in buckets.

use super::Point;
use crate::base::Timestamp;

/// Sorts by instant; of several samples with one instant the last in the list wins.
pub(super) fn merge(samples: &mut Vec<(i64, f64)>) {
    if samples.is_sorted_by(|a, b| a.0 < b.0) {
        return;
    }
    samples.sort_by_key(|(at, _)| *at);
    samples.dedup_by(|later, kept| {
        let same = later.0 == kept.0;
        if same {
            *kept = *later;
        }
        same
    });
}

/// At most `points_max` points of samples in order: each sample when there are few, else buckets of one width, aligned
/// to multiples of it so that a chart that moves on keeps its points.
pub(super) fn points(samples: &[(i64, f64)], from: i64, to: i64, points_max: usize) -> Vec<Point> {
    let point = |at: i64, value: f64| Point {
        at: Timestamp::from_milliseconds(at),
        min: value,
        max: value,
        mean: value,
        last: value,
        count: 1,
    };
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return Vec::new() };
    if samples.len() <= points_max {
        return samples.iter().map(|(at, value)| point(*at, *value)).collect();
    }
    // The range of the question, or that of the data where the question is open-ended.
    let length = (to.min(last.0) - from.max(first.0)).max(1) as u64;
    // One bucket fewer, because an aligned range may touch one more.
    let width = length.div_ceil(points_max.saturating_sub(1).max(1) as u64).max(1) as i64;
    let mut points: Vec<Point> = Vec::with_capacity(points_max);
    for &(at, value) in samples {
        let start = if points_max == 1 { first.0 } else { at.div_euclid(width) * width };
        match points.last_mut() {
            Some(open) if open.at.milliseconds() == start => {
                open.min = open.min.min(value);
                open.max = open.max.max(value);
                open.count += 1;
                open.mean += (value - open.mean) / f64::from(open.count);
                open.last = value;
            }
            _ => points.push(point(start, value)),
        }
    }
    points
}
