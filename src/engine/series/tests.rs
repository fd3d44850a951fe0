//! What the face promises: a model, crashes, limits, and the bytes on disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::codec::{self, Columns};
use super::*;

const START: i64 = 1_790_000_000_000;
const DAY: i64 = 86_400_000;

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_milliseconds(milliseconds)
}

fn options() -> Options {
    Options { ticks_per_block: 8, segment_bytes_max: 512, ..Options::new(Clock::manual(at(START), 1)) }
}

fn open(folder: &Path) -> Series {
    Series::open(folder, options()).unwrap()
}

fn put(series: &Series, source: u128, time: i64, values: &[(&str, f64)]) -> Pending {
    series.append(&[Batch { source, at: at(time), values }]).unwrap()
}

fn all(series: &Series, source: u128, name: &str) -> Vec<(i64, f64)> {
    let points = series.query(source, name, at(i64::MIN), at(i64::MAX), POINTS_MAX).unwrap();
    points.iter().map(|p| (p.at.milliseconds(), p.last)).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.into_iter().filter(|f| f.extension().is_some()).collect()
}

fn column(values: Vec<Option<f64>>) -> Vec<f64> {
    values.into_iter().map(|v| v.unwrap_or(f64::NAN)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn blocks_come_back_bit_for_bit(
        steps in prop::collection::vec(1i64..100_000, 1..60),
        rough in prop::collection::vec(prop::option::of(any::<f64>().prop_filter("finite", |v| v.is_finite())), 60),
        smooth in prop::collection::vec(prop::option::weighted(0.9, (-5_000i64..5_000).prop_map(|n| n as f64 / 100.0)), 60),
    ) {
        let times: Vec<i64> = steps.iter().scan(START, |t, s| { *t += s; Some(*t) }).collect();
        let names: Vec<Arc<str>> = vec!["rough".into(), "smooth".into(), "zero".into()];
        let mut values = vec![column(rough), column(smooth), vec![-0.0; 60]];
        values.iter_mut().for_each(|v| v.truncate(times.len()));
        let columns = Columns { times: times.clone(), names: names.clone(), values: values.clone() };
        let (header, body) = codec::encode(7, (3, 9), &columns).unwrap();
        let header = codec::header(&header).unwrap();
        prop_assert_eq!((header.source, header.first, header.last), (7, times[0], *times.last().unwrap()));
        for (name, values) in names.iter().zip(&values) {
            let expected: Vec<_> = times.iter().zip(values).filter(|(_, v)| !v.is_nan()).map(|(t, v)| (*t, v.to_bits())).collect();
            let found: Vec<_> = codec::series(&header, &body, name).unwrap().into_iter().map(|(t, v)| (t, v.to_bits())).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn damaged_blocks_are_errors_and_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = codec::header(&bytes);
        let _ = record::read(&bytes).map(|_| ());
        let (header, body) = codec::encode(1, (1, 1), &Columns {
            times: vec![1, 2], names: vec!["a".into()], values: vec![vec![0.1, 1e300]],
        }).unwrap();
        let header = codec::header(&header).unwrap();
        let _ = codec::series(&header, &bytes, "a");
        let mut bent = body.clone();
        if let Some(first) = bytes.first() {
            let place = bytes.len() % bent.len();
            bent[place] ^= first;
        }
        let _ = codec::series(&header, &bent, "a");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(u8, i64, u8, i16),
    Seal(bool),
    Reopen,
    Forget(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        40 => (0u8..3, -40i64..40, 0u8..3, any::<i16>()).prop_map(|(s, t, n, v)| Step::Append(s, t, n, v)),
        3 => any::<bool>().prop_map(Step::Seal),
        2 => Just(Step::Reopen),
        1 => (0u8..3).prop_map(Step::Forget),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Out of order, repeated, over midnight, sealed, reopened, forgotten: always what a map would hold.
    #[test]
    fn series_are_a_map(steps in prop::collection::vec(step(), 1..160)) {
        let folder = tempfile::tempdir().unwrap();
        let mut series = Some(open(folder.path()));
        let mut model: BTreeMap<(u128, &str), BTreeMap<i64, f64>> = BTreeMap::new();
        let names = ["a", "b", "c{/x}"];
        for step in steps {
            let now = series.clone().unwrap();
            match step {
                Step::Append(source, time, name, value) => {
                    // Hours around midnight, so that heads span days.
                    let time = START - START % DAY + time * 1_800_000;
                    let name = names[usize::from(name)];
                    put(&now, source.into(), time, &[(name, f64::from(value) / 3.0)]).wait().unwrap();
                    model.entry((source.into(), name)).or_default().insert(time, f64::from(value) / 3.0);
                }
                Step::Seal(every) => now.0.seal(every).unwrap(),
                Step::Reopen => {
                    drop(now);
                    drop(series.take());
                    series = Some(open(folder.path()));
                }
                Step::Forget(source) => {
                    now.forget(source.into()).unwrap();
                    model.retain(|(s, _), _| *s != u128::from(source));
                }
            }
            let now = series.as_ref().unwrap();
            for source in 0..3u128 {
                let known: Vec<Arc<str>> = now.names(source);
                let expected: Vec<Arc<str>> = model.keys().filter(|(s, _)| *s == source).map(|(_, n)| (*n).into()).collect();
                prop_assert_eq!(known, expected);
                for name in names {
                    let expected: Vec<_> = model.get(&(source, name)).map(|m| m.iter().map(|(t, v)| (*t, *v)).collect()).unwrap_or_default();
                    prop_assert_eq!(now.latest(source, name).map(|(t, v)| (t.milliseconds(), v)), expected.last().copied());
                    prop_assert_eq!(all(now, source, name), expected);
                }
            }
        }
    }

    /// Whatever length the last files were cut to, what lies before the cut is there and nothing is there twice.
    #[test]
    fn a_torn_tail_loses_only_the_tail(cut in 0.0f64..1.0, blocks in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let series = open(folder.path());
        for i in 0..20 {
            put(&series, 1, START - DAY / 2 + i * 1000, &[("a", i as f64)]).wait().unwrap();
        }
        // The state of a crash after the blocks were written and before the journal let go.
        let before = tempfile::tempdir().unwrap();
        copy(folder.path(), before.path());
        series.seal_all().unwrap();
        let expected = all(&series, 1, "a");
        prop_assert_eq!(expected.len(), 20);
        drop(series);
        let crashed = tempfile::tempdir().unwrap();
        copy(before.path(), crashed.path());
        copy(&folder.path().join("blocks"), &crashed.path().join("blocks"));
        if blocks {
            let file = files(&crashed.path().join("blocks")).pop().unwrap();
            let length = fs::metadata(&file).unwrap().len();
            fs::OpenOptions::new().write(true).open(&file).unwrap().set_len((length as f64 * cut) as u64).unwrap();
            let series = open(crashed.path());
            prop_assert_eq!(all(&series, 1, "a"), expected);
            series.seal_all().unwrap();
            drop(series);
            prop_assert_eq!(all(&open(crashed.path()), 1, "a").len(), 20);
        } else {
            let file = files(&before.path().join("journal")).pop().unwrap();
            let length = fs::metadata(&file).unwrap().len();
            // What the journal makes of damage is its own test; the head of a segment stays here.
            let keep = length - ((length as f64 * cut) as u64).min(60);
            fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(keep).unwrap();
            let found = all(&open(before.path()), 1, "a");
            prop_assert!(expected.starts_with(&found) && found.len() >= 15, "{} left", found.len());
        }
    }
}

#[test]
fn what_is_sealed_is_not_replayed_into_memory() {
    let folder = tempfile::tempdir().unwrap();
    let series = open(folder.path());
    for i in 0..8 {
        put(&series, 1, START + i, &[("a", 1.0), ("b", 2.0)]).wait().unwrap();
    }
    put(&series, 2, START, &[("a", 1.0)]).wait().unwrap();
    assert_eq!(series.stats().samples_in_memory, 17);
    series.seal().unwrap();
    assert_eq!((series.stats().samples_in_memory, series.stats().blocks), (1, 1));
    drop(series);
    let series = open(folder.path());
    assert_eq!((series.stats().samples_in_memory, series.stats().blocks, series.stats().series), (1, 1, 3));
    assert_eq!(series.latest(1, "b"), Some((at(START + 7), 2.0)));
}

#[test]
fn the_journal_lets_go_of_what_is_in_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let series = open(folder.path());
    for i in 0..200 {
        put(&series, 1, START + i, &[("a", i as f64)]).wait().unwrap();
    }
    let before = series.stats().journal_bytes;
    series.seal().unwrap();
    assert!(series.stats().journal_bytes < before / 4, "{before} then {}", series.stats().journal_bytes);
    // A slow source holds the journal only until its head is old.
    put(&series, 2, START, &[("a", 1.0)]).wait().unwrap();
    series.seal().unwrap();
    assert_eq!(series.stats().samples_in_memory, 1);
    series.0.options.clock.advance(Span::from_hours(2));
    series.seal().unwrap();
    assert_eq!(series.stats().samples_in_memory, 0);
}

/// The day files cannot be written: a folder stands where a file belongs.
#[test]
fn a_failed_sealing_loses_nothing_and_can_be_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let series = open(folder.path());
    for i in 0..10 {
        put(&series, 1, START + i, &[("a", i as f64), ("b", 1.0)]).wait().unwrap();
    }
    let obstacle = folder.path().join("blocks").join(format!("{}.blocks", at(START).day()));
    fs::create_dir(&obstacle).unwrap();
    assert!(series.seal_all().is_err());
    assert_eq!((all(&series, 1, "a").len(), series.stats().samples_in_memory), (10, 20));

    // What arrives while a head is being sealed wins over it when it is taken back.
    series.0.shard(1).write().get_mut(&1).unwrap().take();
    put(&series, 1, START + 3, &[("a", 33.0)]).wait().unwrap();
    put(&series, 1, START - 5, &[("c", 5.0)]).wait().unwrap();
    assert_eq!(all(&series, 1, "a")[3], (START + 3, 33.0));
    assert_eq!(series.0.shard(1).write().get_mut(&1).unwrap().put_back(), 1);
    fs::remove_dir(&obstacle).unwrap();
    series.seal_all().unwrap();
    drop(series);
    let series = open(folder.path());
    assert_eq!(series.stats().samples_in_memory, 0);
    assert_eq!((all(&series, 1, "a").len(), all(&series, 1, "a")[3]), (10, (START + 3, 33.0)));
    assert_eq!((all(&series, 1, "b").len(), all(&series, 1, "c")), (10, vec![(START - 5, 5.0)]));
}

#[test]
fn appends_seals_and_questions_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let series = open(folder.path());
    std::thread::scope(|scope| {
        for source in 0..4 {
            let series = series.clone();
            scope.spawn(move || {
                let mut pending = Vec::new();
                for i in 0..300 {
                    pending.push(put(&series, source, START + i, &[("a", i as f64), ("b", 0.5)]));
                    assert_eq!(all(&series, source, "a").len() as i64, i + 1);
                }
                pending.iter().for_each(|pending| pending.wait().unwrap());
            });
        }
        for _ in 0..40 {
            series.seal().unwrap();
        }
    });
    drop(series);
    let series = open(folder.path());
    for source in 0..4 {
        let expected: Vec<_> = (0..300).map(|i| (START + i, i as f64)).collect();
        assert_eq!(all(&series, source, "a"), expected);
    }
}

#[test]
fn memory_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let series = Series::open(folder.path(), Options { samples_in_memory_max: 20, ..options() }).unwrap();
    for source in 0..10 {
        for i in 0..4 {
            put(&series, source, START + i, &[("a", 1.0)]).wait().unwrap();
        }
    }
    let refused = series.append(&[Batch { source: 1, at: at(START), values: &[("a", 1.0)] }]).err().unwrap();
    assert_eq!(refused.kind(), crate::base::Kind::TooMany);
    series.seal().unwrap();
    assert!(series.stats().samples_in_memory <= 20);
    assert_eq!(all(&series, 9, "a").len(), 4);
    put(&series, 1, START + 9, &[("a", 1.0)]).wait().unwrap();
}

#[test]
fn the_number_of_series_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let series = open(folder.path());
    let names: Vec<String> = (0..=limits::SERIES_PER_AGENT_MAX).map(|i| format!("n{i:04}")).collect();
    let values: Vec<(&str, f64)> = names.iter().map(|n| (n.as_str(), 1.0)).collect();
    let first = Batch { source: 1, at: at(START), values: &values[..limits::SERIES_PER_AGENT_MAX - 1] };
    series.append(&[first]).unwrap().wait().unwrap();
    let two = [
        Batch { source: 1, at: at(START), values: &values[limits::SERIES_PER_AGENT_MAX - 1..] },
        Batch { source: 2, at: at(START), values: &values[..1] },
    ];
    let error = series.append(&two).err().unwrap();
    assert!(error.message().contains("n2000") && error.message().contains("2000"), "{error}");
    assert_eq!((series.names(1).len(), series.names(2).len()), (limits::SERIES_PER_AGENT_MAX - 1, 0));
    put(&series, 1, START, &values[limits::SERIES_PER_AGENT_MAX - 1..][..1]).wait().unwrap();
}

#[test]
fn instants_out_of_range_are_dropped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let series = open(folder.path());
    let pending = put(&series, 1, START + DAY + 1, &[("a", 1.0)]);
    assert_eq!(pending.dropped(), 1);
    pending.wait().unwrap();
    assert_eq!(put(&series, 1, START - 30 * DAY - 1, &[("a", 1.0)]).dropped(), 1);
    assert_eq!(put(&series, 1, START + DAY, &[("a", 1.0), ("b", f64::NAN)]).dropped(), 0);
    let stats = series.stats();
    assert_eq!((stats.dropped_future, stats.dropped_old, stats.series), (1, 1, 1));
}

#[test]
fn retention_unlinks_whole_days() {
    let folder = tempfile::tempdir().unwrap();
    let series = open(folder.path());
    for day in 0..5 {
        put(&series, 1, START - day * DAY, &[("a", day as f64)]).wait().unwrap();
    }
    put(&series, 2, START - 4 * DAY, &[("old", 1.0)]).wait().unwrap();
    series.seal_all().unwrap();
    assert_eq!(files(&folder.path().join("blocks")).len(), 5);
    series.0.options.clock.advance(Span::from_days(28));
    assert_eq!(series.expire().unwrap(), 2);
    assert_eq!(files(&folder.path().join("blocks")).len(), 3);
    assert_eq!(all(&series, 1, "a").len(), 3);
    assert_eq!((series.names(1).len(), series.names(2).len(), series.stats().sources), (1, 0, 1));
}

#[test]
fn long_ranges_are_told_in_buckets() {
    let folder = tempfile::tempdir().unwrap();
    let series = open(folder.path());
    for i in (0..100).filter(|i| !(40..60).contains(i)) {
        put(&series, 1, START + i * 1000, &[("a", i as f64)]).wait().unwrap();
        series.seal().unwrap();
    }
    let points = series.query(1, "a", at(START), at(START + 99_000), 11).unwrap();
    assert!(points.len() <= 11);
    assert_eq!(points.iter().map(|p| p.count).sum::<u32>(), 80);
    assert!(points.iter().all(|p| p.min <= p.mean && p.mean <= p.max && p.last <= 99.0));
    let gap = at(START + 40_000)..at(START + 50_000);
    assert!(points.iter().all(|p| !gap.contains(&p.at)), "a gap has no points");
    assert_eq!(series.query(1, "a", at(START), at(START + 3_000), 500).unwrap().len(), 4);
    assert_eq!(series.query(1, "a", at(i64::MIN), at(i64::MAX), 1).unwrap().len(), 1);
    assert_eq!(series.query(1, "a", at(START), at(START), 0).unwrap_err().kind(), crate::base::Kind::Invalid);
    assert!(series.query(1, "a", at(START), at(START), POINTS_MAX + 1).is_err());
}

#[test]
fn damage_in_the_middle_costs_one_block() {
    let folder = tempfile::tempdir().unwrap();
    let series = open(folder.path());
    for block in 0..3 {
        for i in 0..8 {
            put(&series, 1, START + block * 1000 + i, &[("a", 1.0)]).wait().unwrap();
        }
        series.seal().unwrap();
    }
    put(&series, 2, START, &[("a", 1.0)]).wait().unwrap();
    drop(series);
    let file = files(&folder.path().join("blocks")).remove(0);
    let sound = fs::read(&file).unwrap();
    for place in [sound.len() / 3 + 1, sound.len() / 3 + 20, sound.len() / 3 + 70] {
        let mut bytes = sound.clone();
        bytes[place] ^= 1;
        fs::write(&file, bytes).unwrap();
        let series = open(folder.path());
        // What the journal still holds comes back from there.
        assert!(all(&series, 1, "a").len() >= 16, "{place}");
        assert!(series.stats().damaged >= 1, "{place}");
    }
}

#[test]
fn shedding_takes_the_oldest_day_down_to_a_floor() {
    let folder = tempfile::tempdir().unwrap();
    let series = open(folder.path());
    for day in 0..4 {
        put(&series, 1, START - day * DAY, &[("a", day as f64)]).wait().unwrap();
    }
    series.seal_all().unwrap();
    let days = series.days();
    assert!(days.len() == 4 && days.is_sorted_by(|a, b| a.day < b.day));
    for oldest in days.iter().take(2) {
        assert_eq!(series.shed(Span::from_days(1)).unwrap().as_ref(), Some(oldest));
    }
    // Yesterday and today stay: less than a day back from now lies in both.
    assert_eq!(series.shed(Span::from_days(1)).unwrap(), None);
    assert_eq!(all(&series, 1, "a").len(), 2);
}

/// What a backup does: the first bytes of every day file, as `files` names them, in a folder of their own.
fn restored(found: &[DayFile]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("blocks")).unwrap();
    for file in found {
        let bytes = fs::read(&file.path).unwrap();
        let prefix = &bytes[..usize::try_from(file.bytes).unwrap()];
        fs::write(folder.path().join("blocks").join(&file.name), prefix).unwrap();
    }
    folder
}

#[test]
fn day_files_alone_hold_everything() {
    let folder = tempfile::tempdir().unwrap();
    let series = open(folder.path());
    for i in 0..40 {
        put(&series, 1, START - DAY + i * 4_000_000, &[("a", i as f64)]).wait().unwrap();
    }
    let expected = all(&series, 1, "a");
    let found = series.files().unwrap();
    assert!(found.len() >= 2 && series.stats().samples_in_memory == 0);
    // What comes later stands behind the lengths.
    put(&series, 1, START + 1, &[("a", 99.0)]).wait().unwrap();
    series.seal_all().unwrap();
    assert!(series.stats().bytes > found.iter().map(|file| file.bytes).sum());

    let restored = restored(&found);
    let series = open(restored.path());
    assert_eq!(all(&series, 1, "a"), expected);
    // New records of the same source and day are not taken for those in the blocks, also after a crash.
    for i in 0..45 {
        put(&series, 1, START + i, &[("a", -1.0)]).wait().unwrap();
    }
    let crashed = tempfile::tempdir().unwrap();
    copy(restored.path(), crashed.path());
    let series = open(crashed.path());
    assert_eq!(all(&series, 1, "a").len(), expected.len() + 45);
    assert!(series.verify(&mut |_| Ok(())).unwrap().is_sound());
}

#[test]
fn every_flipped_bit_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let series = open(folder.path());
    for i in 0..30 {
        put(&series, 1, START + i, &[("a", i as f64 / 3.0), ("b", 1.0)]).wait().unwrap();
        series.seal().unwrap();
    }
    series.seal_all().unwrap();
    // The journal has let go of all of them, for those of another source have pushed them out.
    for i in 0..30 {
        put(&series, 2, START - DAY + i, &[("a", 1.0)]).wait().unwrap();
    }
    series.seal().unwrap();
    put(&series, 2, START, &[("a", 1.0)]).wait().unwrap();
    let sound = series.verify(&mut |_| Ok(())).unwrap();
    assert!(sound.is_sound() && sound.blocks >= 4 && sound.records >= 1 && sound.files == 2, "{sound:?}");
    let file = files(&folder.path().join("blocks")).remove(1);
    let bytes = fs::read(&file).unwrap();
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&file, bad).unwrap();
        let found = series.verify(&mut |_| Ok(())).unwrap();
        let [damage] = &found.damaged[..] else { panic!("byte {at}: {found:?}") };
        assert!(damage.file == file && damage.byte <= at as u64, "byte {at}: {damage:?}");
        let _ = all(&series, 1, "a");
    }
    // A block at the end that a sync had completed is not taken for a torn one, and not cut off.
    let mut bad = bytes.clone();
    let last = bad.len() - 9;
    bad[last] ^= 1;
    fs::write(&file, bad).unwrap();
    drop(series);
    let series = open(folder.path());
    put(&series, 1, START + 100, &[("a", 1.0)]).wait().unwrap();
    series.seal_all().unwrap();
    assert_eq!(series.verify(&mut |_| Ok(())).unwrap().damaged_count, 1);
    assert!(series.verify(&mut |_| Err(Error::conflict("enough"))).is_err());
}

/// The bytes on disk are a promise to every later version.
#[test]
fn golden_block() {
    let columns = Columns {
        times: vec![START, START + 10_000, START + 20_007],
        names: vec!["cpu.used_percent".into(), "disk.used_percent{/var}".into()],
        values: vec![vec![12.5, 12.75, 11.0], vec![f64::NAN, 1.0 / 3.0, f64::NAN]],
    };
    let folder = tempfile::tempdir().unwrap();
    let days = Days::open(folder.path(), "blocks", recover::MAGIC, None, |_| true, |_, _, _| Ok(())).unwrap();
    let (header, body) = codec::encode(0x0123_4567_89ab_cdef, (5, 7), &columns).unwrap();
    days.append(days::day_of(at(START)), &header, &body).unwrap();
    days.sync().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine/series/golden/block-1.blocks");
    let written = fs::read(&files(folder.path())[0]).unwrap();
    if std::env::var_os("MUSTER_GOLDEN").is_some() {
        fs::write(&golden, &written).unwrap();
    }
    assert_eq!(written, fs::read(&golden).unwrap());

    let old = tempfile::tempdir().unwrap();
    fs::create_dir_all(old.path().join("blocks")).unwrap();
    fs::copy(&golden, old.path().join("blocks").join(format!("{}.blocks", at(START).day()))).unwrap();
    let series = open(old.path());
    let source = 0x0123_4567_89ab_cdef;
    assert_eq!(
        all(&series, source, "cpu.used_percent"),
        [(START, 12.5), (START + 10_000, 12.75), (START + 20_007, 11.0)]
    );
    assert_eq!(all(&series, source, "disk.used_percent{/var}"), [(START + 10_000, 1.0 / 3.0)]);
    let record = record::ticks([Batch { source, at: at(START), values: &[("a", 0.25), ("b", 1e-9)] }].iter());
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine/series/golden/record-1.bin");
    if std::env::var_os("MUSTER_GOLDEN").is_some() {
        fs::write(&golden, &record).unwrap();
    }
    assert_eq!(record, fs::read(&golden).unwrap());
}

#[test]
fn sealed_files_tell_nothing_and_keep_everything() {
    use crate::engine::crypto::DataSeal;
    let folder = tempfile::tempdir().unwrap();
    let sealed = || Options { seal: Some(DataSeal::of(1)), ..options() };
    {
        let series = Series::open(folder.path(), sealed()).unwrap();
        for tick in 0..20 {
            put(&series, 1, START + tick, &[("very.private", tick as f64)]).wait().unwrap();
        }
        series.seal().unwrap();
        put(&series, 1, START + 20, &[("very.private", 20.0)]).wait().unwrap();
    }
    for part in ["blocks", "journal"] {
        for path in files(&folder.path().join(part)) {
            let bytes = fs::read(&path).unwrap();
            assert!(!bytes.windows(12).any(|word| word == b"very.private"), "{}", path.display());
        }
    }
    let series = Series::open(folder.path(), sealed()).unwrap();
    assert_eq!(all(&series, 1, "very.private").len(), 21);
    assert!(series.stats().blocks > 0);
    drop(series);
    let error = Series::open(folder.path(), options()).err().unwrap();
    assert!(error.message().contains("sealing is switched off"), "{error}");
}
