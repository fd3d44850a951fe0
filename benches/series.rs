//! Series: how fast samples are taken in, how long questions take, and how many bytes a sample costs on disk.

use std::hint::black_box;
use std::path::Path;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use muster::base::Timestamp;
use muster::engine::clock::Clock;
use muster::engine::series::{Batch, Options, Series};

const START: i64 = 1_790_000_000_000;
const STEP: i64 = 10_000;
const NAMES: usize = 20;

fn at(tick: i64) -> Timestamp {
    Timestamp::from_milliseconds(START + tick * STEP)
}

/// What an agent looks like: some values wander with two decimals, some count up, some stand still.
fn value(source: u128, name: usize, tick: i64) -> f64 {
    // Mixed bits (splitmix64): noise with a pattern would flatter the compression.
    let mut bits = (source as u64) << 40 ^ (name as u64) << 32 ^ tick as u64;
    bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    let noise = ((bits ^ bits >> 31) % 997) as f64;
    match name % 4 {
        0 => ((40.0 + (tick as f64 / 50.0).sin() * 20.0 + noise / 200.0) * 100.0).round() / 100.0,
        1 => (tick * 1_500 + noise as i64) as f64,
        2 => 16_777_216.0 * 1024.0,
        _ => (noise * 100.0).round() / 100.0,
    }
}

fn names() -> Vec<String> {
    (0..NAMES).map(|n| format!("group{}.value_{n}", n % 5)).collect()
}

fn open(folder: &Path) -> Series {
    Series::open(folder, Options::new(Clock::manual(at(8_640), 1))).expect("the bench's folder opens")
}

/// Appends `ticks` of every source, `sources` batches a call, and waits for the last.
fn fill(series: &Series, names: &[String], sources: u128, ticks: std::ops::Range<i64>) {
    let mut pending = None;
    for tick in ticks {
        let values: Vec<Vec<(&str, f64)>> = (0..sources)
            .map(|source| {
                names.iter().enumerate().map(|(n, name)| (name.as_str(), value(source, n, tick))).collect()
            })
            .collect();
        let batches: Vec<_> =
            values.iter().zip(0..).map(|(values, source)| Batch { source, at: at(tick), values }).collect();
        pending = Some(series.append(&batches).expect("the samples are taken in"));
    }
    if let Some(pending) = pending {
        pending.wait().expect("the samples are durable");
    }
}

fn ingest(c: &mut Criterion) {
    let names = names();
    let mut group = c.benchmark_group("series");
    group.sample_size(10);
    let (sources, ticks) = (500u128, 20i64);
    group.throughput(Throughput::Elements(sources as u64 * ticks as u64 * NAMES as u64));
    group.bench_function("append", |b| {
        b.iter_batched(
            || {
                let folder = tempfile::tempdir().expect("a folder");
                let series = open(folder.path());
                (folder, series)
            },
            |(folder, series)| {
                fill(&series, &names, sources, 0..ticks);
                (folder, series)
            },
            BatchSize::PerIteration,
        );
    });
    let (sources, ticks) = (20u128, 360i64);
    group.throughput(Throughput::Elements(sources as u64 * ticks as u64 * NAMES as u64));
    group.bench_function("seal", |b| {
        b.iter_batched(
            || {
                let folder = tempfile::tempdir().expect("a folder");
                let series = open(folder.path());
                fill(&series, &names, sources, 0..ticks);
                (folder, series)
            },
            |(folder, series)| {
                series.seal_all().expect("heads are sealed");
                (folder, series)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

#[expect(clippy::print_stderr, reason = "a figure that criterion has no place for")]
fn query(c: &mut Criterion) {
    let names = names();
    let folder = tempfile::tempdir().expect("a folder");
    let series = open(folder.path());
    let sources = 20u128;
    for hour in 0..24 {
        fill(&series, &names, sources, hour * 360..(hour + 1) * 360);
        // The last hour stays in memory.
        if hour < 23 {
            series.seal().expect("heads are sealed");
        }
    }
    let stats = series.stats();
    let sealed = sources as u64 * 23 * 360 * NAMES as u64;
    eprintln!("bytes a sample on disk: {:.2}", stats.bytes as f64 / sealed as f64);
    let mut group = c.benchmark_group("query");
    for (what, hours) in [("1 h from memory", 1), ("24 h from blocks and memory", 24)] {
        group.bench_function(what, |b| {
            b.iter(|| series.query(7, black_box(&names[0]), at(8_640 - hours * 360), at(8_640), 500));
        });
    }
    group.bench_function("1 h from blocks", |b| {
        b.iter(|| series.query(7, black_box(&names[0]), at(3_600), at(3_960), 500));
    });
    group.bench_function("latest", |b| b.iter(|| series.latest(7, black_box(&names[9]))));
    group.finish();
}

criterion_group!(benches, ingest, query);
criterion_main!(benches);
