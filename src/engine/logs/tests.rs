//! What the face promises: nothing lost, nothing twice, order, limits, and the bytes on disk.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;

const START: i64 = 1_790_000_000_000;
const DAY: i64 = 86_400_000;

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_milliseconds(milliseconds)
}

fn options() -> Options {
    Options { block_bytes: 200, segment_bytes_max: 1024, ..Options::new(Clock::manual(at(START), 1)) }
}

fn open(folder: &Path) -> Logs {
    Logs::open(folder, options()).unwrap()
}

fn put(logs: &Logs, source: u128, sequence: Option<u64>, lines: &[(i64, u8, &str)]) -> Pending {
    let lines: Vec<_> = lines
        .iter()
        .map(|(time, severity, text)| Line { at: at(*time), severity: *severity, origin: "sshd", text })
        .collect();
    logs.append(source, sequence, &lines).unwrap()
}

fn texts(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.text.as_str()).collect()
}

fn all(logs: &Logs, source: u128) -> Vec<Entry> {
    logs.tail(source, None, None, 0, "", LINES_MAX).unwrap()
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

fn block_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(folder.join("blocks")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[derive(Clone, Debug)]
enum Step {
    Append(u8, Option<u8>, Vec<(i64, u8, u8)>),
    Seal(bool),
    Reopen,
    Forget(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let lines = prop::collection::vec((-30i64..30, 0u8..6, any::<u8>()), 0..6);
    prop_oneof![
        20 => (0u8..3, prop::option::of(any::<u8>()), lines).prop_map(|(s, n, l)| Step::Append(s, n, l)),
        3 => any::<bool>().prop_map(Step::Seal),
        2 => Just(Step::Reopen),
        1 => (0u8..3).prop_map(Step::Forget),
    ]
}

#[derive(Default, Clone)]
struct Model {
    mark: Option<u64>,
    lines: Vec<(i64, u8, String)>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn logs_are_a_list(steps in prop::collection::vec(step(), 1..100)) {
        let folder = tempfile::tempdir().unwrap();
        let mut logs = Some(open(folder.path()));
        let mut model = vec![Model::default(); 3];
        let midnight = START - START % DAY;
        for step in steps {
            let now = logs.clone().unwrap();
            match step {
                Step::Append(source, sequence, lines) => {
                    let sequence = sequence.map(u64::from);
                    let lines: Vec<_> = lines.into_iter().map(|(h, s, n)| (midnight + h * 1_800_000, s, format!("line {n} {}", "x".repeat(n.into())))).collect();
                    let given: Vec<_> = lines.iter().map(|(t, s, text)| (*t, *s, text.as_str())).collect();
                    let model = &mut model[usize::from(source)];
                    put(&now, source.into(), sequence, &given).wait().unwrap();
                    if sequence.is_none() || model.mark < sequence {
                        model.mark = model.mark.max(sequence);
                        model.lines.extend(lines);
                    }
                }
                Step::Seal(every) => now.0.seal(every).unwrap(),
                Step::Reopen => {
                    drop(now);
                    drop(logs.take());
                    logs = Some(open(folder.path()));
                }
                Step::Forget(source) => {
                    now.forget(source.into()).unwrap();
                    model[usize::from(source)] = Model::default();
                }
            }
            let now = logs.as_ref().unwrap();
            for (source, model) in model.iter().enumerate() {
                let source = source as u128;
                prop_assert_eq!(now.watermark(source), model.mark);
                let arrived = now.since(source, 0, LINES_MAX).unwrap();
                let found: Vec<_> = arrived.iter().map(|e| (e.at.milliseconds(), e.severity, e.text.clone())).collect();
                prop_assert_eq!(&found, &model.lines);
                if let Some(third) = arrived.get(2) {
                    prop_assert_eq!(&now.since(source, third.position, 4).unwrap()[..], &arrived[3..arrived.len().min(7)]);
                }
                let (from, to) = (midnight - 7_200_000, midnight + 36_000_000);
                let mut expected: Vec<_> = arrived.into_iter().filter(|e| e.severity >= 3 && e.text.contains('7') && (from..=to).contains(&e.at.milliseconds())).collect();
                expected.sort_by_key(|e| (e.at, e.position));
                let found = now.tail(source, Some(at(from)), Some(at(to)), 3, "LINE 7", 3).unwrap();
                prop_assert_eq!(&found[..], &expected[expected.len().saturating_sub(3)..]);
                let counts = now.histogram(source, at(from), at(to), 5).unwrap();
                let mut expected = vec![[0; 3]; 5];
                for (time, severity, _) in model.lines.iter().filter(|(t, ..)| (from..=to).contains(t)) {
                    let class = match severity { 0..=2 => 0, 3 => 1, _ => 2 };
                    expected[((time - from) * 5 / (to - from + 1)) as usize][class] += 1;
                }
                prop_assert_eq!(counts, expected);
            }
        }
    }

    /// A crash after the blocks were written and before the journal let go, with the block file cut anywhere.
    #[test]
    fn a_torn_block_file_loses_nothing_and_doubles_nothing(cut in 0.0f64..=1.0) {
        let folder = tempfile::tempdir().unwrap();
        let logs = open(folder.path());
        let lines: Vec<String> = (0..30).map(|i| format!("line {i:03} {}", "y".repeat(i))).collect();
        for (i, text) in lines.iter().enumerate() {
            put(&logs, 1, Some(i as u64), &[(START + i as i64, 2, text)]).wait().unwrap();
        }
        let crashed = tempfile::tempdir().unwrap();
        copy(folder.path(), crashed.path());
        logs.seal_all().unwrap();
        drop(logs);
        fs::remove_dir_all(crashed.path().join("blocks")).unwrap();
        copy(&folder.path().join("blocks"), &crashed.path().join("blocks"));
        let file = block_files(crashed.path()).pop().unwrap();
        let length = fs::metadata(&file).unwrap().len();
        fs::OpenOptions::new().write(true).open(&file).unwrap().set_len((length as f64 * cut) as u64).unwrap();
        for _ in 0..2 {
            let logs = open(crashed.path());
            let found = all(&logs, 1);
            prop_assert_eq!(texts(&found), lines.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert_eq!(logs.watermark(1), Some(29));
            logs.seal_all().unwrap();
        }
    }

    #[test]
    fn damaged_bytes_are_errors_and_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = codec::read(1, &bytes).map(|_| ());
        let _ = codec::read_marks(&bytes);
        if let Ok(header) = codec::header(&bytes) {
            let _ = codec::decompress(&header, &bytes);
            let _ = codec::each_line(&header, &bytes, |_| ());
        }
    }
}

#[test]
fn nothing_is_kept_twice() {
    let folder = tempfile::tempdir().unwrap();
    let logs = open(folder.path());
    put(&logs, 1, Some(5), &[(START, 2, "five")]).wait().unwrap();
    let again = put(&logs, 1, Some(5), &[(START, 2, "five")]);
    assert_eq!(again.dropped(), 1);
    again.wait().unwrap();
    assert_eq!(put(&logs, 1, Some(4), &[(START, 2, "four")]).dropped(), 1);
    assert_eq!(put(&logs, 2, Some(4), &[(START, 2, "four of another")]).dropped(), 0);
    logs.seal_all().unwrap();
    // Push the first records out of the journal: the watermark must not have gone with them.
    for i in 0..40 {
        put(&logs, 3, None, &[(START, 2, &"z".repeat(100 + i))]).wait().unwrap();
    }
    logs.seal_all().unwrap();
    logs.0.options.clock.advance(Span::from_days(40));
    assert_eq!(logs.expire().unwrap(), 1);
    drop(logs);
    let logs = open(folder.path());
    assert_eq!(logs.stats().blocks, 0);
    assert_eq!(put(&logs, 1, Some(5), &[(START, 2, "five")]).dropped(), 1);
    assert_eq!(put(&logs, 1, Some(6), &[(START, 2, "six")]).dropped(), 0);
    assert_eq!(texts(&all(&logs, 1)), ["six"]);
    assert!(logs.stats().dropped_again == 1);
}

/// A sealing that failed half way leaves copies behind, which the next one writes again.
#[test]
fn copies_after_a_failed_sealing_count_once() {
    let folder = tempfile::tempdir().unwrap();
    let logs = open(folder.path());
    for i in 0..10 {
        put(&logs, 1, None, &[(START + i, 2, &format!("line {i} {}", "q".repeat(40)))]).wait().unwrap();
    }
    let taken = logs.0.shard(1).write().get_mut(&1).unwrap().take();
    logs.0.write(1, &taken).unwrap();
    logs.0.shard(1).write().get_mut(&1).unwrap().put_back();
    put(&logs, 1, None, &[(START + 10, 2, "the last")]).wait().unwrap();
    let before = all(&logs, 1);
    assert_eq!(before.len(), 11);
    logs.seal_all().unwrap();
    assert_eq!(all(&logs, 1), before);
    for i in 0..40 {
        put(&logs, 3, None, &[(START, 2, &"z".repeat(100 + i))]).wait().unwrap();
    }
    logs.seal_all().unwrap();
    drop(logs);
    assert_eq!(all(&open(folder.path()), 1), before);
}

#[test]
fn appends_seals_and_questions_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let logs = open(folder.path());
    std::thread::scope(|scope| {
        for source in 0..4 {
            let logs = logs.clone();
            scope.spawn(move || {
                for i in 0..100 {
                    // Every message comes twice, and the second promise is as good as the first.
                    let text = format!("line {i}");
                    let first = put(&logs, source, Some(i), &[(START + i as i64, 2, &text)]);
                    let second = put(&logs, source, Some(i), &[(START + i as i64, 2, &text)]);
                    second.wait().unwrap();
                    first.wait().unwrap();
                    assert_eq!(all(&logs, source).len() as u64, i + 1);
                }
            });
        }
        for _ in 0..40 {
            logs.seal_all().unwrap();
        }
    });
    drop(logs);
    let logs = open(folder.path());
    for source in 0..4 {
        assert_eq!(logs.since(source, 0, LINES_MAX).unwrap().len(), 100);
        assert_eq!(logs.watermark(source), Some(99));
    }
}

#[test]
fn the_journal_lets_go_and_memory_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::open(folder.path(), Options { bytes_in_memory_max: 1_000, ..options() }).unwrap();
    let text = "w".repeat(80);
    for source in 0..20 {
        put(&logs, source, None, &[(START, 2, &text)]).wait().unwrap();
    }
    let refused = logs.append(1, None, &[Line { at: at(START), severity: 2, origin: "a", text: "b" }]);
    assert_eq!(refused.err().unwrap().kind(), crate::base::Kind::TooMany);
    logs.seal().unwrap();
    assert!(logs.stats().bytes_in_memory <= 1_000);
    logs.0.options.clock.advance(Span::from_hours(2));
    logs.seal().unwrap();
    assert_eq!(logs.stats().bytes_in_memory, 0);
    assert!(logs.stats().journal_bytes < 2_048);
    assert_eq!(all(&logs, 7).len(), 1);
}

#[test]
fn limits_are_reached() {
    let folder = tempfile::tempdir().unwrap();
    let logs = open(folder.path());
    let long = "ä".repeat(limits::LOG_LINE_BYTES_MAX);
    let origin = "o".repeat(ORIGIN_BYTES_MAX + 1);
    let lines = [
        Line { at: at(START), severity: 4, origin: &origin, text: &long },
        Line { at: at(START + DAY + 1), severity: 4, origin: "", text: "ahead" },
        Line { at: at(START - 30 * DAY - 1), severity: 4, origin: "", text: "old" },
    ];
    let pending = logs.append(1, Some(1), &lines).unwrap();
    assert_eq!(pending.dropped(), 2);
    let kept = all(&logs, 1).remove(0);
    assert!(kept.text.len() <= limits::LOG_LINE_BYTES_MAX && kept.text.ends_with(CUT_MARK));
    assert_eq!(kept.origin.len(), ORIGIN_BYTES_MAX);
    assert_eq!((logs.stats().cut, logs.stats().dropped_time), (1, 2));
    let many = vec![lines[0]; limits::LOG_LINES_MAX + 1];
    assert!(logs.append(1, None, &many).err().unwrap().message().contains("2001"));
    assert!(logs.tail(1, None, None, 0, "", 0).is_err());
    assert!(logs.tail(1, None, None, 0, "", LINES_MAX + 1).is_err());
    assert!(logs.histogram(1, at(0), at(1), BUCKETS_MAX + 1).is_err());
    assert!(logs.histogram(1, at(1), at(0), 1).is_err());
    assert_eq!(logs.histogram(9, at(i64::MIN), at(i64::MAX), 2).unwrap(), [[0; 3]; 2]);
}

#[test]
fn retention_unlinks_whole_days() {
    let folder = tempfile::tempdir().unwrap();
    let logs = open(folder.path());
    for day in 0..5 {
        put(&logs, 1, None, &[(START - day * DAY, 2, "text")]).wait().unwrap();
    }
    logs.seal_all().unwrap();
    assert_eq!(block_files(folder.path()).len(), 5);
    logs.0.options.clock.advance(Span::from_days(28));
    assert_eq!(logs.expire().unwrap(), 2);
    assert_eq!((block_files(folder.path()).len(), all(&logs, 1).len()), (3, 3));
}

#[test]
fn shedding_takes_the_oldest_day_down_to_a_floor() {
    let folder = tempfile::tempdir().unwrap();
    let logs = open(folder.path());
    for day in 0..4 {
        put(&logs, 1, None, &[(START - day * DAY, 2, "text")]).wait().unwrap();
    }
    logs.seal_all().unwrap();
    let days = logs.days();
    assert!(days.len() == 4 && days.is_sorted_by(|a, b| a.day < b.day));
    for oldest in days.iter().take(2) {
        assert_eq!(logs.shed(Span::from_days(1)).unwrap().as_ref(), Some(oldest));
    }
    // Yesterday and today stay: less than a day back from now lies in both.
    assert_eq!(logs.shed(Span::from_days(1)).unwrap(), None);
    assert_eq!(all(&logs, 1).len(), 2);
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
    let logs = open(folder.path());
    for i in 0..40 {
        put(&logs, 1, Some(i), &[(START - DAY + i as i64 * 4_000_000, 2, &format!("line {i}"))])
            .wait()
            .unwrap();
    }
    let expected = all(&logs, 1);
    let found = logs.files().unwrap();
    assert!(found.len() >= 2 && logs.stats().bytes_in_memory == 0);
    put(&logs, 1, Some(40), &[(START, 2, "later")]).wait().unwrap();
    logs.seal_all().unwrap();

    let restored = restored(&found);
    let logs = open(restored.path());
    assert_eq!(all(&logs, 1), expected);
    // New lines come after the old ones and are not taken for them, also after a crash.
    let last = expected.iter().map(|entry| entry.position).max().unwrap();
    for i in 0..45 {
        put(&logs, 1, Some(100 + i), &[(START, 2, "new")]).wait().unwrap();
    }
    let crashed = tempfile::tempdir().unwrap();
    copy(restored.path(), crashed.path());
    let logs = open(crashed.path());
    assert_eq!(logs.since(1, last, LINES_MAX).unwrap().len(), 45);
    assert_eq!(all(&logs, 1).len(), expected.len() + 45);
    assert!(logs.verify(&mut |_| Ok(())).unwrap().is_sound());
}

#[test]
fn every_flipped_bit_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let logs = open(folder.path());
    for i in 0..12 {
        put(&logs, 1, Some(i), &[(START + i as i64, 2, &format!("line {i} {}", "v".repeat(60)))])
            .wait()
            .unwrap();
    }
    logs.seal_all().unwrap();
    put(&logs, 2, None, &[(START, 2, "text")]).wait().unwrap();
    let sound = logs.verify(&mut |_| Ok(())).unwrap();
    assert!(sound.is_sound() && sound.blocks >= 3 && sound.records >= 1 && sound.files == 1, "{sound:?}");
    let file = block_files(folder.path()).remove(0);
    let bytes = fs::read(&file).unwrap();
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&file, bad).unwrap();
        let found = logs.verify(&mut |_| Ok(())).unwrap();
        let [damage] = &found.damaged[..] else { panic!("byte {at}: {found:?}") };
        assert!(damage.file == file && damage.byte <= at as u64, "byte {at}: {damage:?}");
        let _ = all(&logs, 1);
    }
}

/// The bytes on disk are a promise to every later version.
#[test]
fn golden_segment_record_and_watermarks() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine/logs/golden");
    let line = |at, position, severity, origin: &str, text: &str| Stored {
        at,
        position,
        severity,
        origin: origin.into(),
        text: text.into(),
    };
    let lines = [
        line(START, 65_536, 2, "sshd", "Accepted publickey for maria"),
        line(START + 1_500, 65_537, 3, "sshd", "Disk /var 91 % full"),
        line(START + 900, 131_072, 4, "kernel", "größer: I/O error"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let days = Days::open(folder.path(), "blocks", recover::MAGIC, None, |_| true, |_, _, _| Ok(())).unwrap();
    let (_, header, body) = codec::encode(77, &lines.iter().collect::<Vec<_>>()).unwrap();
    days.append(days::day_of(at(START)), &header, &body).unwrap();
    days.sync().unwrap();
    let name = format!("{}.blocks", at(START).day());
    let segment = fs::read(folder.path().join(&name)).unwrap();
    let given = [Line { at: at(START), severity: 3, origin: "sshd", text: "hello" }];
    let record = codec::lines_record(77, Some(9), &given);
    let marks = codec::marks(12, &HashMap::from([(77, 9), (3, 1_000)]));
    for (file, bytes) in
        [("segment-1.blocks", segment), ("record-1.bin", record), ("watermarks-1.bin", marks)]
    {
        if std::env::var_os("MUSTER_GOLDEN").is_some() {
            fs::write(golden.join(file), &bytes).unwrap();
        }
        assert_eq!(bytes, fs::read(golden.join(file)).unwrap(), "{file}");
    }
    let old = tempfile::tempdir().unwrap();
    fs::create_dir_all(old.path().join("blocks")).unwrap();
    fs::copy(golden.join("segment-1.blocks"), old.path().join("blocks").join(name)).unwrap();
    fs::copy(golden.join("watermarks-1.bin"), old.path().join("watermarks")).unwrap();
    let logs = open(old.path());
    assert_eq!(
        texts(&all(&logs, 77)),
        ["Accepted publickey for maria", "größer: I/O error", "Disk /var 91 % full"]
    );
    assert_eq!((logs.watermark(77), logs.watermark(3)), (Some(9), Some(1_000)));
}

#[test]
fn sealed_files_tell_nothing_and_say_what_they_are() {
    use crate::engine::crypto::DataSeal;
    let (folder, plain) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let with = |key: u8| Options { seal: Some(DataSeal::of(key)), ..options() };
    {
        let logs = Logs::open(folder.path(), with(1)).unwrap();
        put(&logs, 1, Some(1), &[(START, 2, "very private one"), (START - DAY, 2, "very private two")])
            .wait()
            .unwrap();
        logs.seal_all().unwrap();
        put(&logs, 1, Some(2), &[(START + 1, 2, "very private three")]).wait().unwrap();
        let open = open(plain.path());
        put(&open, 1, Some(1), &[(START, 2, "very private")]).wait().unwrap();
        open.seal_all().unwrap();
    }
    let found = block_files(folder.path()).into_iter();
    let journal = fs::read_dir(folder.path().join("journal")).unwrap().map(|entry| entry.unwrap().path());
    for path in found.chain(journal) {
        let bytes = fs::read(&path).unwrap();
        let told = |word: &[u8]| bytes.windows(word.len()).any(|part| part == word);
        assert!(!told(b"very private") && !told(b"sshd"), "{}", path.display());
    }
    let logs = Logs::open(folder.path(), with(1)).unwrap();
    assert_eq!(texts(&all(&logs, 1)), ["very private two", "very private one", "very private three"]);
    drop(logs);
    // A bit that is turned in a block costs that block, and is counted.
    let path = block_files(folder.path()).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let logs = Logs::open(folder.path(), with(1)).unwrap();
    let mut bad = whole.clone();
    let at = whole.len() - 12;
    bad[at] ^= 1;
    fs::write(&path, &bad).unwrap();
    assert_eq!(texts(&all(&logs, 1)), ["very private two", "very private three"]);
    assert_eq!(logs.stats().damaged, 1);
    drop(logs);
    fs::write(&path, whole).unwrap();
    let error = |folder: &Path, options| Logs::open(folder, options).err().unwrap().message().to_owned();
    assert!(error(folder.path(), options()).contains("sealing is switched off"));
    assert!(error(plain.path(), with(1)).contains("sealing is switched on"));
    assert!(error(folder.path(), with(2)).contains("another key"));
    // Day files alone, as a restore puts them there.
    fs::remove_dir_all(folder.path().join("journal")).unwrap();
    assert!(error(folder.path(), options()).contains("sealing is switched off"));
    let logs = Logs::open(folder.path(), with(1)).unwrap();
    assert_eq!(texts(&all(&logs, 1)), ["very private two", "very private one"]);
}
