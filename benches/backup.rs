//! What a backup costs the writers of a busy store, how fast it is, and how fast the store is back.
//!
//! `cargo bench --bench backup`. It builds a store of `BACKUP_MIB` (1,024) MiB of 256-byte values in `BACKUP_FOLDER` (the
//! folder for temporary files), keeps 1,000 changes a second going, and goes through quiet times and exports in turns,
//! `BACKUP_ROUNDS` (3) times: through zstd into a file, and as a backup file. Then the files of all rounds but the last are
//! removed, at once and in steps in turns. A latency counts from the instant at which
//! its change was due. The values are hexadecimal digits of chance, so that they shrink to half. Compare within a run.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on stops")]
#![expect(clippy::print_stdout, reason = "a bench speaks to its reader")]

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use muster::base::Timestamp;
use muster::engine::archive::{Pace, Paced, Reader, RecoveryKey, Steady, Writer, remove_in_steps};
use muster::engine::clock::Clock;
use muster::engine::host::give_way;
use muster::engine::store::{
    Exported, LONE_CHUNK_BYTES_MAX, Options, Origin, Part, Restore, Store, Table, Until,
};

const ROWS: Table<u64, String> = Table::new("rows");
const VALUE_BYTES: u64 = 256;
const CHANGES_PER_SECOND: u64 = 1_000;
const WRITERS: u64 = 16;
const QUIET: Duration = Duration::from_secs(20);
const AFTER_REMOVAL: Duration = Duration::from_secs(6);
/// What the writers' latencies are counted under.
const PHASES: [&str; 5] =
    ["quiet", "export through zstd", "export as a backup file", "removal at once", "removal in steps"];

fn environment(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

fn value(seed: u64) -> String {
    (0..VALUE_BYTES / 16).map(|at| format!("{:016x}", mix(seed.wrapping_mul(31) + at))).collect()
}

fn origin() -> Origin {
    Origin {
        at: Timestamp::from_milliseconds(1_790_000_000_000),
        actor: "agt_01k9x0000000000000000000000".into(),
        action: "rows.change".into(),
        ..Origin::default()
    }
}

fn options(clock: &Clock) -> Options {
    Options { tables: vec!["rows"], ..Options::new(clock.clone()) }
}

fn seconds(clock: &Clock, f: impl FnOnce()) -> f64 {
    let begun = clock.monotonic();
    f();
    (clock.monotonic() - begun).as_secs_f64()
}

/// Megabytes a second of a plain file, written and read from beginning to end.
fn disk(clock: &Clock, folder: &Path, mebibytes: u64) -> (f64, f64) {
    let path = folder.join("plain");
    let block: Vec<u8> = (0..131_072u64).flat_map(|at| mix(at).to_le_bytes()).collect();
    let wrote = seconds(clock, || {
        let mut file = File::create(&path).unwrap();
        (0..mebibytes).for_each(|_| file.write_all(&block).unwrap());
        file.sync_all().unwrap();
    });
    let read = seconds(clock, || {
        let mut file = File::open(&path).unwrap();
        let mut block = vec![0; 1 << 20];
        while file.read(&mut block).unwrap() > 0 {}
    });
    std::fs::remove_file(path).unwrap();
    let megabytes = mebibytes as f64 * 1.048_576;
    (megabytes / wrote, megabytes / read)
}

fn fill(store: &Store, rows: u64) {
    let mut last = None;
    for first in (0..rows).step_by(500) {
        let change = store.submit(origin(), |tx| {
            (first..rows.min(first + 500)).try_for_each(|row| tx.put(&ROWS, &row, &value(row)))
        });
        last = Some(change.unwrap().1);
    }
    last.unwrap().wait().unwrap();
    store.checkpoint().unwrap();
}

/// Milliseconds of a change: until its writer began, until it was queued, until it was acknowledged; and all of it.
type Took = [f64; 4];

/// One of the writers: each of its changes is due at its instant, and late ones are made up for.
fn load(
    clock: &Clock,
    store: &Store,
    writer: u64,
    rows: u64,
    phase: &AtomicU8,
    stop: &AtomicBool,
    found: &[Mutex<Vec<Took>>],
) {
    let begun = clock.monotonic();
    let each = Duration::from_nanos(1_000_000_000 * WRITERS / CHANGES_PER_SECOND);
    let mut due = begun + each * writer as u32 / WRITERS as u32;
    let mut number = writer;
    while !stop.load(Ordering::Relaxed) {
        let now = clock.monotonic();
        if now < due {
            std::thread::park_timeout(due - now);
            continue;
        }
        let in_phase = phase.load(Ordering::Relaxed);
        number += WRITERS;
        let change = store.submit(origin(), |tx| tx.put(&ROWS, &(mix(number) % rows), &value(number)));
        let queued = clock.monotonic();
        change.unwrap().1.wait().unwrap();
        let parts = [now - due, queued - now, clock.monotonic() - queued, clock.monotonic() - due];
        let took = parts.map(|part| part.as_secs_f64() * 1000.0);
        // A change that lies in two phases says nothing of either.
        if phase.load(Ordering::Relaxed) == in_phase {
            found[in_phase as usize].lock().unwrap().push(took);
        }
        due += each;
    }
}

fn through_zstd(store: &Store, path: &Path) -> Exported {
    let file = BufWriter::with_capacity(128 * 1024, Steady::new(File::create(path).unwrap()));
    let mut out = zstd::Encoder::new(file, 1).unwrap();
    let told = store
        .export(u64::MAX, &mut |part, bytes| {
            out.write_all(&[u8::from(part == Part::Changes)])?;
            out.write_all(&(bytes.len() as u64).to_le_bytes())?;
            Ok(out.write_all(bytes)?)
        })
        .unwrap();
    let mut file = out.finish().unwrap();
    file.flush().unwrap();
    file.into_parts().0.finish().unwrap();
    told
}

fn as_backup(store: &Store, path: &Path, key: &RecoveryKey) -> Exported {
    let file = Paced::new(Steady::new(File::create(path).unwrap()), &Pace::new(&Clock::system()));
    let mut out = Writer::begin(file, &[key.recipient()], &"bench").unwrap();
    let mut entries = 0;
    let told = store
        .export(u64::MAX, &mut |part, bytes| {
            entries += 1;
            let folder = if part == Part::Rows { "rows" } else { "changes" };
            out.entry(&format!("store/{folder}/{entries:06}"), bytes)
        })
        .unwrap();
    let (file, _) = out.finish(&told).unwrap();
    file.into_inner().finish().unwrap();
    told
}

fn take(restore: &mut Restore, changes: bool, chunk: &[u8]) {
    if changes {
        restore.changes(chunk, &Until::End, &mut |_| {}).unwrap();
    } else {
        restore.rows(chunk).unwrap();
    }
}

fn from_zstd(path: &Path, folder: &Path, told: &Exported) {
    let mut read = zstd::Decoder::new(File::open(path).unwrap()).unwrap();
    let mut restore = Restore::begin(folder, 256 << 20).unwrap();
    let mut chunk = Vec::new();
    let mut part = [0];
    while read.read(&mut part).unwrap() == 1 {
        let mut length = [0; 8];
        read.read_exact(&mut length).unwrap();
        chunk.resize(u64::from_le_bytes(length) as usize, 0);
        assert!(chunk.len() <= LONE_CHUNK_BYTES_MAX);
        read.read_exact(&mut chunk).unwrap();
        take(&mut restore, part[0] == 1, &chunk);
    }
    restore.finish(told).unwrap();
}

fn from_backup(path: &Path, folder: &Path, key: &RecoveryKey) {
    let file = BufReader::new(File::open(path).unwrap());
    let mut reader = Reader::open(file, "backup", std::slice::from_ref(key)).unwrap();
    let mut restore = Restore::begin(folder, 256 << 20).unwrap();
    let mut chunk = Vec::new();
    reader
        .each(&mut |name, bytes, content| {
            chunk.clear();
            content.take(bytes).read_to_end(&mut chunk)?;
            if name.starts_with("store/") {
                take(&mut restore, name.starts_with("store/changes"), &chunk);
            }
            Ok(())
        })
        .unwrap();
    restore.finish(&reader.end().unwrap()).unwrap();
}

fn zstd_of(round: u64) -> String {
    format!("export-{round}.zst")
}

fn backup_of(round: u64) -> String {
    format!("export-{round}.muster")
}

fn percentile(sorted: &[f64], part: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * part) as usize]
}

fn main() {
    let clock = Clock::system();
    let mebibytes = environment("BACKUP_MIB", 1_024);
    let rounds = environment("BACKUP_ROUNDS", 3).max(1);
    let base = std::env::var("BACKUP_FOLDER").map_or_else(|_| std::env::temp_dir(), Into::into);
    let folder = tempfile::tempdir_in(base).unwrap();
    let at = |name: &str| folder.path().join(name);
    let rows = mebibytes * 1_048_576 / VALUE_BYTES;
    let megabytes = (rows * VALUE_BYTES) as f64 / 1e6;
    let key = RecoveryKey::generate(&clock).unwrap();

    let store = Store::open(&at("live"), options(&clock)).unwrap();
    let filled = seconds(&clock, || fill(&store, rows));
    let state = std::fs::metadata(at("live").join("state.redb")).unwrap().len();
    println!(
        "store: {megabytes:.0} MB of values, {rows} rows, state file {:.0} MB, filled in {filled:.0} s",
        state as f64 / 1e6
    );
    let (wrote, read) = disk(&clock, folder.path(), mebibytes.min(1_024));
    println!("disk before: writes {wrote:.0} MB/s, reads {read:.0} MB/s");

    let phase = AtomicU8::new(0);
    let stop = AtomicBool::new(false);
    let found: Vec<Mutex<Vec<Took>>> = PHASES.iter().map(|_| Mutex::default()).collect();
    let exported = AtomicU64::new(0);
    let mut told = None;
    let mut alone = Vec::new();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (clock, store, phase, stop, found) = (&clock, &store, &phase, &stop, &found);
            scope.spawn(move || load(clock, store, writer, rows, phase, stop, found));
        }
        std::thread::park_timeout(Duration::from_secs(3));
        found[0].lock().unwrap().clear();
        // Files go after all exports: a disk that was told what became free is slower to take it again.
        let exports = (0..rounds).flat_map(|round| [0, 1, 2].map(|number| (round, number)));
        let removals = (0..rounds.saturating_sub(1)).flat_map(|round| [3, 4].map(|number| (round, number)));
        for (round, number) in exports.chain(removals) {
            let name = PHASES[number];
            phase.store(number as u8, Ordering::Relaxed);
            let took = if number == 0 {
                let until = clock.monotonic() + QUIET;
                seconds(&clock, || {
                    while clock.monotonic() < until {
                        std::thread::park_timeout(QUIET);
                    }
                })
            } else if number > 2 {
                // One way each; what a removal leaves to be done comes soon after.
                let (zstd, backup) = (at(&zstd_of(round)), at(&backup_of(round)));
                let until = clock.monotonic() + AFTER_REMOVAL;
                seconds(&clock, || {
                    match number {
                        3 => std::fs::remove_file(zstd).unwrap(),
                        _ => remove_in_steps(&backup).unwrap(),
                    }
                    while clock.monotonic() < until {
                        std::thread::park_timeout(AFTER_REMOVAL);
                    }
                })
            } else {
                let (store, key, told, exported) = (&store, &key, &mut told, &exported);
                // To begin with an old file would count its removal as part of the export.
                let (zstd, backup) = (at(&zstd_of(round)), at(&backup_of(round)));
                seconds(&clock, || {
                    // On a thread of its own with the lowest right to the processor, as the product does it.
                    let run = move || {
                        give_way();
                        match number {
                            1 => through_zstd(store, &zstd),
                            _ => as_backup(store, &backup, key),
                        }
                    };
                    let one = std::thread::scope(|scope| scope.spawn(run).join().unwrap());
                    exported.store(one.bytes, Ordering::Relaxed);
                    if number == 1 {
                        *told = Some(one);
                    }
                })
            };
            if (1..3).contains(&number) {
                alone.push((number, megabytes / took));
                println!("round {round}: {name}: {took:.1} s, {:.0} MB/s", megabytes / took);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    println!("bytes of one export: {:.0} MB", exported.load(Ordering::Relaxed) as f64 / 1e6);
    let (wrote_after, read_after) = disk(&clock, folder.path(), mebibytes.min(1_024));
    println!("disk after: writes {wrote_after:.0} MB/s, reads {read_after:.0} MB/s");
    let wrote = (wrote + wrote_after) / 2.0;
    let mut quiet_p99 = 0.0;
    for (number, name) in PHASES.iter().enumerate() {
        let found = std::mem::take(&mut *found[number].lock().unwrap());
        let part = |part: usize| {
            let mut sorted: Vec<f64> = found.iter().map(|took| took[part]).collect();
            sorted.sort_by(f64::total_cmp);
            sorted
        };
        let sorted = part(3);
        if sorted.is_empty() {
            continue;
        }
        let (p50, p99) = (percentile(&sorted, 0.5), percentile(&sorted, 0.99));
        if number == 0 {
            quiet_p99 = p99;
        }
        let rates: Vec<f64> = alone.iter().filter(|(of, _)| *of == number).map(|(_, rate)| *rate).collect();
        let rate = rates.iter().sum::<f64>() / rates.len().max(1) as f64;
        let max = percentile(&sorted, 1.0);
        println!(
            "{name}: {} changes, p50 {p50:.2} ms, p99 {p99:.2} ms ({:.2} of quiet), longest {max:.0} ms, {rate:.0} MB/s \
             ({:.2} of the disk)",
            sorted.len(),
            p99 / quiet_p99,
            rate / wrote
        );
        let [late, queued, acknowledged] = [0, 1, 2].map(|at| percentile(&part(at), 0.99));
        println!(
            "  p99 of its parts: begun {late:.2} ms, queued {queued:.2} ms, acknowledged {acknowledged:.2} ms"
        );
    }
    println!("{:?}", store.stats());
    drop(store);
    for (name, back) in [("from zstd", "back-1"), ("from a backup file", "back-2")] {
        let took = seconds(&clock, || {
            match back {
                "back-1" => from_zstd(&at(&zstd_of(rounds - 1)), &at(back), told.as_ref().unwrap()),
                _ => from_backup(&at(&backup_of(rounds - 1)), &at(back), &key),
            }
            drop(Store::open(&at(back), options(&clock)).unwrap());
        });
        println!("restore {name} to opened: {took:.1} s, {:.0} MB/s", megabytes / took);
        std::fs::remove_dir_all(at(back)).unwrap();
    }
}
