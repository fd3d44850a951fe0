//! Acknowledged changes per second: Muster's store beside redb and SQLite, every change synced before it counts.
//!
//! `cargo bench --bench store`. Values have 256 bytes and random keys; all run one after another in the same process.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on stops")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use muster::base::Timestamp;
use muster::engine::clock::Clock;
use muster::engine::crypto::{DataSeal, Kek, Vault};
use muster::engine::store::{Options, Origin, Store, Table};

const WRITERS: [u64; 3] = [1, 16, 256];
const ROWS: Table<u64, String> = Table::new("rows");
const RAW: redb::TableDefinition<'static, u64, &[u8]> = redb::TableDefinition::new("rows");

static KEYS: AtomicU64 = AtomicU64::new(1);

/// Spread over the whole range, as identifiers of many agents are.
fn key() -> u64 {
    KEYS.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn value() -> String {
    "v".repeat(256)
}

/// Runs `rounds` operations on each of `writers` threads and measures until the last is acknowledged.
fn run(clock: &Clock, writers: u64, rounds: u64, one: impl Fn() + Sync) -> Duration {
    let begun = clock.monotonic();
    std::thread::scope(|scope| {
        for _ in 0..writers {
            let one = &one;
            scope.spawn(move || (0..rounds).for_each(|_| one()));
        }
    });
    clock.monotonic() - begun
}

type Job = (u64, mpsc::SyncSender<()>);

/// One thread that commits all that waits together: what any store gains from grouping.
fn grouped(mut commit: impl FnMut(&[Job]) + Send + 'static) -> mpsc::Sender<Job> {
    let (sender, receiver) = mpsc::channel::<Job>();
    std::thread::spawn(move || {
        while let Ok(first) = receiver.recv() {
            let mut batch = vec![first];
            batch.extend(receiver.try_iter().take(4_095));
            commit(&batch);
            batch.iter().for_each(|(_, done)| done.send(()).unwrap());
        }
    });
    sender
}

fn ask(queue: &mpsc::Sender<Job>) {
    let (done, wait) = mpsc::sync_channel(1);
    queue.send((key(), done)).unwrap();
    wait.recv().unwrap();
}

fn redb_put(database: &redb::Database, keys: impl Iterator<Item = u64>) {
    let tx = database.begin_write().unwrap();
    {
        let mut table = tx.open_table(RAW).unwrap();
        for key in keys {
            table.insert(key, value().as_bytes()).unwrap();
        }
    }
    tx.commit().unwrap();
}

fn sqlite(path: &Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE rows (key INTEGER PRIMARY KEY, value BLOB) WITHOUT ROWID;",
        )
        .unwrap();
    connection
}

fn sqlite_put(connection: &mut rusqlite::Connection, keys: impl Iterator<Item = u64>) {
    let tx = connection.transaction().unwrap();
    {
        let mut insert = tx.prepare_cached("INSERT OR REPLACE INTO rows VALUES (?1, ?2)").unwrap();
        for key in keys {
            insert.execute((key as i64, value())).unwrap();
        }
    }
    tx.commit().unwrap();
}

fn acknowledged(c: &mut Criterion) {
    let clock = Clock::system();
    let mut group = c.benchmark_group("acknowledged");
    group.sample_size(10).sampling_mode(criterion::SamplingMode::Flat);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));

    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("muster"), Options::new(clock.clone())).unwrap();
    let origin = || Origin {
        at: Timestamp::from_milliseconds(1_790_000_000_000),
        actor: "agt_01k9x0000000000000000000000".into(),
        action: "rows.change".into(),
        ..Origin::default()
    };
    for writers in WRITERS {
        group.throughput(Throughput::Elements(writers));
        group.bench_function(BenchmarkId::new("muster", writers), |b| {
            b.iter_custom(|rounds| {
                run(&clock, writers, rounds, || {
                    store.write(origin(), |tx| tx.put(&ROWS, &key(), &value())).unwrap()
                })
            })
        });
    }
    show(&store);
    drop(store);

    let vault =
        Vault::open(&folder.path().join("keys"), &Kek::File(folder.path().join("kek")), &clock).unwrap();
    let seal = Arc::new(DataSeal::open(&vault, &clock).unwrap());
    let options = Options { seal: Some(seal), ..Options::new(clock.clone()) };
    let sealed = Store::open(&folder.path().join("sealed"), options).unwrap();
    for writers in WRITERS {
        group.throughput(Throughput::Elements(writers));
        group.bench_function(BenchmarkId::new("muster, sealed", writers), |b| {
            b.iter_custom(|rounds| {
                run(&clock, writers, rounds, || {
                    sealed.write(origin(), |tx| tx.put(&ROWS, &key(), &value())).unwrap()
                })
            })
        });
    }
    drop(sealed);

    let database = redb::Database::create(folder.path().join("alone.redb")).unwrap();
    for writers in WRITERS {
        group.throughput(Throughput::Elements(writers));
        group.bench_function(BenchmarkId::new("redb, a transaction each", writers), |b| {
            b.iter_custom(|rounds| {
                run(&clock, writers, rounds, || redb_put(&database, std::iter::once(key())))
            })
        });
    }
    let queue = grouped(move |batch| redb_put(&database, batch.iter().map(|(key, _)| *key)));
    for writers in WRITERS {
        group.throughput(Throughput::Elements(writers));
        group.bench_function(BenchmarkId::new("redb, grouped", writers), |b| {
            b.iter_custom(|rounds| run(&clock, writers, rounds, || ask(&queue)))
        });
    }
    drop(queue);

    let mut connection = sqlite(&folder.path().join("grouped.sqlite"));
    let queue = grouped(move |batch| sqlite_put(&mut connection, batch.iter().map(|(key, _)| *key)));
    for writers in WRITERS {
        group.throughput(Throughput::Elements(writers));
        group.bench_function(BenchmarkId::new("sqlite WAL FULL, grouped", writers), |b| {
            b.iter_custom(|rounds| run(&clock, writers, rounds, || ask(&queue)))
        });
    }
    drop(queue);
    group.finish();
}

#[expect(clippy::print_stderr, reason = "a bench speaks to its reader")]
fn show(store: &Store) {
    eprintln!("{:#?}", black_box(store.stats()));
}

criterion_group!(benches, acknowledged);
criterion_main!(benches);
