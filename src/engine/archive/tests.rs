//! Whole files: what is written comes back, and what was changed is refused by name.

use std::fs;
use std::io::{self, Cursor, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::entry::{self, Sum};
use super::*;
use crate::base::{Error, Kind, Result, Timestamp};
use crate::engine::clock::Clock;

type Entries = Vec<(String, Vec<u8>)>;
type Entry<'a> = (&'a str, &'a [u8]);

fn key(seed: u64) -> RecoveryKey {
    RecoveryKey::generate(&Clock::manual(Timestamp::default(), seed)).unwrap()
}

/// Contents that do not compress.
fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    Clock::manual(Timestamp::default(), 99).fill(&mut noise);
    noise
}

fn write(recipients: &[Recipient], entries: &[Entry]) -> Vec<u8> {
    let mut writer = Writer::begin(Vec::new(), recipients, &json!({"kind": "full"})).unwrap();
    for (name, content) in entries {
        writer.entry(name, content).unwrap();
    }
    writer.finish(&json!({"last": 12})).unwrap().0
}

fn read(file: &[u8], keys: &[RecoveryKey]) -> Result<(Entries, Verified)> {
    let mut reader = Reader::open(file, "plant.muster", keys)?;
    let mut entries = Vec::new();
    let verified = reader.each(&mut |name, bytes, from| {
        let mut content = Vec::new();
        from.read_to_end(&mut content)?;
        assert_eq!(content.len() as u64, bytes);
        entries.push((name.to_owned(), content));
        Ok(())
    })?;
    assert_eq!(reader.end::<Value>()?["last"], 12);
    Ok((entries, verified))
}

/// The error of a file that must be refused, in words that name it and say how to go on.
fn refused(file: &[u8], keys: &[RecoveryKey]) -> Error {
    let error = read(file, keys).err().unwrap();
    assert!(error.message().contains("`plant.muster`") && error.hint_text().is_some(), "{error}");
    error
}

fn small() -> Vec<u8> {
    write(&[key(1).recipient()], &[("store/rows/000001", &noise(2_500)), ("keys/ca.key", b"secret")])
}

#[test]
fn what_is_written_comes_back() {
    let large = noise(700_000);
    let entries: [(&str, &[u8]); 4] = [
        ("store/rows/000001", &large),
        ("empty", b""),
        ("keys/ca.key", b"k"),
        ("series/blocks/2026-11-25@512", &[7; 512]),
    ];
    let (first, second) = (key(1), key(2));
    let file = write(&[first.recipient(), second.recipient()], &entries);
    assert!(is_backup(&file) && is_backup(&file[..32]) && !is_backup(&file[1..]) && !is_backup(b""));
    assert!(!file.windows(8).any(|w| w == b"manifest"));
    for keys in [vec![first.clone()], vec![second.clone()], vec![key(7), key(8), second]] {
        let (found, verified) = read(&file, &keys).unwrap();
        assert_eq!(found, entries.map(|(n, c)| (n.to_owned(), c.to_vec())));
        assert_eq!((verified.entries, verified.bytes_out), (6, file.len() as u64));
        assert_eq!(inspect::<Value>(file.as_slice(), "x", &keys).unwrap()["kind"], "full");
    }
    // What the receiver leaves is proved all the same.
    let mut reader = Reader::open(file.as_slice(), "plant.muster", std::slice::from_ref(&first)).unwrap();
    assert!(reader.end::<Value>().is_err());
    assert_eq!(reader.recipients().len(), 2);
    let verified = reader.each(&mut |_, _, from| Ok(from.read_exact(&mut [])?)).unwrap();
    assert_eq!(verified.bytes_in, 700_513 + br#"{"kind":"full"}{"last":12}"#.len() as u64);
    assert!(reader.each(&mut |_, _, _| Ok(())).unwrap_err().message().contains("read already"));
    // An error of the receiver is his.
    let mut reader = Reader::open(file.as_slice(), "plant.muster", &[first]).unwrap();
    let error = reader.each(&mut |_, _, _| Err(Error::conflict("enough"))).unwrap_err();
    assert_eq!(error.message(), "enough");
    assert!(reader.end::<Value>().is_err());
}

#[test]
fn every_flipped_bit_is_refused_by_name() {
    let file = small();
    let keys = [key(1)];
    let header = 22 + file[..1_000].windows(4).position(|w| w == b"\n---").unwrap() + 60;
    for at in 0..file.len() {
        // All bits of the header, and of the body one bit that changes from byte to byte.
        let bits = if at < header { 0..8 } else { at % 8..at % 8 + 1 };
        for bit in bits {
            let mut wrong = file.clone();
            wrong[at] ^= 1 << bit;
            let error = refused(&wrong, &keys);
            assert!(error.message().contains("damaged") || at < header, "byte {at} bit {bit}: {error}");
            assert!(!error.message().contains("not open"), "byte {at} bit {bit}: {error}");
        }
    }
}

#[test]
fn a_damaged_block_is_named_by_its_place() {
    let file = write(&[key(1).recipient()], &[("a", &noise(300_000))]);
    let start = file.len() as u64 - (300_000 + 5 * 16) / 65_552 * 65_552;
    for place in [70_000, 150_000, 250_000] {
        let mut wrong = file.clone();
        wrong[place] ^= 4;
        let error = refused(&wrong, &[key(1)]);
        let numbers: Vec<u64> = error.message().split(' ').filter_map(|w| w.parse().ok()).collect();
        let [from, upto] = numbers[..] else { panic!("{error}") };
        assert!(from <= place as u64 && (place as u64) < upto && upto - from == 65_552, "{error} {start}");
    }
}

#[test]
fn a_file_that_is_cut_off_is_told_from_a_damaged_one() {
    let file = small();
    for length in 0..file.len() {
        let error = refused(&file[..length], &[key(1)]);
        let message = error.message();
        assert!(message.contains("cut off") || message.contains("perhaps"), "{length}: {error}");
        assert!(message.contains(&length.to_string()), "{length}: {error}");
    }
    // On the border of two blocks too, where the rest could pass for a whole file.
    let file = write(&[key(1).recipient()], &[("a", &noise(200_000))]);
    let start = file.len() - file.len() % 65_552;
    for length in (0..file.len()).rev().step_by(4_099).chain((start.saturating_sub(900)..start + 900).rev()) {
        let error = refused(&file[..length], &[key(1)]);
        assert!(error.message().contains("cut off"), "{length}: {error}");
    }
}

#[test]
fn bytes_after_the_end_are_refused_and_the_end_is_named() {
    let small = small();
    let large = write(&[key(1).recipient()], &[("a", &noise(130_000))]);
    for file in [small, large] {
        for more in [1, 2, 15, 16, 4_096, 65_552, 200_000] {
            for with in [0, 0xff] {
                let mut wrong = file.clone();
                wrong.resize(file.len() + more, with);
                let error = refused(&wrong, &[key(1)]);
                assert!(
                    error.message().contains(&format!("bytes after its end, from byte {}", file.len())),
                    "{error}"
                );
            }
        }
        let twice = [file.as_slice(), &file].concat();
        assert!(refused(&twice, &[key(1)]).message().contains("bytes after its end"));
    }
}

#[test]
fn a_wrong_key_is_told_with_whom_the_file_is_for() {
    let file = write(&[key(1).recipient(), key(2).recipient()], &[]);
    let error = refused(&file, &[key(3)]);
    let list = format!(
        "this key does not open `plant.muster`; it was made for {}, {}",
        key(1).recipient(),
        key(2).recipient()
    );
    assert_eq!(error.message(), list);
    assert!(refused(&file, &[key(3), key(4)]).message().starts_with("these keys do not open"));
    assert!(refused(&file, &[]).message().contains("no key was given"));
    // A damaged list is not shown as if it were true.
    let at = file.windows(STANZA.len()).position(|w| w == STANZA).unwrap();
    for place in [at, at + 20, at + 40, at + 60] {
        let mut wrong = file.clone();
        wrong[place] ^= 1;
        assert!(refused(&wrong, &[key(3)]).message().contains("missing or damaged"));
        assert!(refused(&wrong, &[key(1)]).message().contains("damaged header"));
    }
    // The list is right and the stanza of our key is not.
    let at = file.windows(9).position(|w| w == b"-> X25519").unwrap();
    let mut wrong = file.clone();
    wrong[at + 30] ^= 1;
    assert!(refused(&wrong, &[key(1)]).message().contains("damaged header"));
}

const STANZA: &[u8] = b"muster-recipients";

#[test]
fn other_files_are_not_taken_for_backups() {
    for other in
        [b"PK\x03\x04".to_vec(), vec![0; 100_000], b"age-encryption.org/v2\n".to_vec(), noise(200_000)]
    {
        let error = refused(&other, &[key(1)]);
        assert!(error.message().contains("does not begin like a backup"), "{error}");
    }
    let mut endless = BEGINNING.to_vec();
    endless.resize(HEADER_BYTES_MAX + BUFFER_BYTES + 2, b'x');
    assert!(refused(&endless, &[key(1)]).message().contains("header that does not end"));
    let stock = sealed(|out| out.write_all(b"a letter"), false);
    assert!(refused(&stock, &[key(1)]).message().contains("cannot be decompressed"));
}

/// A file for key 1 of any contents, as a hostile writer makes it: he needs only the recipient.
fn sealed(plain: impl FnOnce(&mut dyn Write) -> io::Result<()>, compress: bool) -> Vec<u8> {
    let recipient = key(1).recipient();
    let encryptor =
        age::Encryptor::with_recipients([&recipient.0 as &dyn age::Recipient].into_iter()).unwrap();
    let mut out = encryptor.wrap_output(Vec::new()).unwrap();
    if compress {
        let mut zstd = zstd::Encoder::new(&mut out, 1).unwrap();
        plain(&mut zstd).unwrap();
        zstd.finish().unwrap();
    } else {
        plain(&mut out).unwrap();
    }
    out.finish().unwrap()
}

fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, content) in entries {
        out.extend(entry::header(name, content.len() as u64).unwrap().as_bytes());
        out.extend(*content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out
}

fn sums(entries: &[Entry]) -> Vec<u8> {
    let sum = |(name, content): &Entry| Sum {
        name: (*name).to_owned(),
        bytes: content.len() as u64,
        blake3: blake3::hash(content).to_hex().to_string(),
    };
    serde_json::to_vec(&entries.iter().map(sum).collect::<Vec<_>>()).unwrap()
}

/// A file of these entries with these sums, and `after` behind them.
fn forged(entries: &[Entry], sums: &[u8], after: &[u8]) -> Vec<u8> {
    let mut plain = tar(entries);
    plain.extend(tar(&[("sums.json", sums)]));
    plain.extend(after);
    sealed(|out| out.write_all(&plain), true)
}

#[test]
fn what_a_hostile_writer_sends_is_refused() {
    let manifest: Entry = ("manifest.json", b"{}");
    let end: Entry = ("end.json", br#"{"last":12}"#);
    let zeros = [0; 1024];
    let good = [manifest, ("a", b"1"), ("b", b"2"), end];
    let keys = [key(1)];
    assert_eq!(read(&forged(&good, &sums(&good), &zeros), &keys).unwrap().0.len(), 2);
    let swapped = [manifest, ("a", b"2"), ("b", b"1"), end];
    let twice = [manifest, ("a", b"1"), ("a", b"1"), end];
    let late = [manifest, ("a", b"1"), end, ("b", b"2")];
    let two_sums = [tar(&[("sums.json", b"[]")]), zeros.to_vec()].concat();
    for (entries, sums, after, words) in [
        (&good[..], sums(&good[..3]), &zeros[..], "entry `end.json` that its sums do not name"),
        (&[manifest, ("a", b"1"), end], sums(&good), &zeros, "lacks the entry `b`"),
        (&swapped, sums(&good), &zeros, "other contents in entry `a`"),
        (&twice, sums(&good), &zeros, "has the entry `a` twice"),
        (&late, sums(&late), &zeros, "an entry `b` after its end"),
        (&[manifest, manifest, end], sums(&good), &zeros, "has the entry `manifest.json` twice"),
        (&[("a", b"1"), manifest, end], sums(&good), &zeros, "does not begin with its manifest"),
        (&[manifest, ("a", b"1")], sums(&good), &zeros, "has no end before its sums"),
        (&good, sums(&good), &[0; 1023], "ends in the middle"),
        (&good, sums(&good), &[0; 1025], "has bytes after its sums"),
        (&good, sums(&good), &two_sums, "has something between its entries"),
        (&good, [sums(&good), sums(&good)].concat(), &zeros, "`sums.json` of `plant.muster` cannot be read"),
        (
            &good,
            [b"[".to_vec(), sums(&good)].concat(),
            &zeros,
            "`sums.json` of `plant.muster` cannot be read",
        ),
    ] {
        let error = refused(&forged(entries, &sums, after), &keys);
        assert!(error.message().contains(words), "{words}: {error}");
    }
    let mut longer = sums(&good);
    longer.splice(1..1, sums(&good[..1])[1..].iter().copied().map(|b| if b == b']' { b',' } else { b }));
    let error = refused(&forged(&good, &longer, &zeros), &keys);
    assert!(error.message().contains("lacks the entry `manifest.json`"), "{error}");

    let link = {
        let mut header = entry::header("a", 0).unwrap();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_link_name("/etc/passwd").unwrap();
        header.set_cksum();
        [tar(&[manifest]), header.as_bytes().to_vec()].concat()
    };
    assert!(refused(&sealed(|o| o.write_all(&link), true), &keys).message().contains("no regular file"));
    let up = {
        let mut header = entry::header("aa/b", 0).unwrap();
        header.as_mut_bytes()[..4].copy_from_slice(b"../b");
        header.set_cksum();
        [tar(&[manifest]), header.as_bytes().to_vec()].concat()
    };
    assert!(refused(&sealed(|o| o.write_all(&up), true), &keys).message().contains("whose name has a part"));
    // No end of the frame, and a file that says it is larger than it is.
    let open = {
        let mut zstd = zstd::Encoder::new(Vec::new(), 1).unwrap();
        zstd.write_all(&tar(&good)).unwrap();
        zstd.flush().unwrap();
        zstd.get_ref().clone()
    };
    assert!(
        refused(&sealed(|o| o.write_all(&open), false), &keys).message().contains("cannot be decompressed")
    );
    let short =
        [tar(&[manifest]), entry::header("a", u64::MAX >> 4).unwrap().as_bytes().to_vec(), vec![1; 99]]
            .concat();
    assert!(refused(&sealed(|o| o.write_all(&short), true), &keys).message().contains("plant.muster"));
}

#[test]
fn limits_are_kept_on_both_sides() {
    let keys = [key(1)];
    let recipients = [key(1).recipient()];
    assert!(Writer::begin(Vec::new(), &[], &json!({})).is_err());
    let many = vec![key(1).recipient(); RECIPIENTS_MAX];
    let file = Writer::begin(Vec::new(), &many, &json!({})).unwrap().finish(&json!({"last": 12})).unwrap().0;
    assert!(read(&file, &keys).is_ok());
    assert!(Writer::begin(Vec::new(), &vec![key(1).recipient(); RECIPIENTS_MAX + 1], &json!({})).is_err());
    let long = json!("x".repeat(MANIFEST_BYTES_MAX - 1));
    assert_eq!(Writer::begin(Vec::new(), &recipients, &long).err().unwrap().kind(), Kind::TooMany);
    let writer = Writer::begin(Vec::new(), &recipients, &json!("x".repeat(MANIFEST_BYTES_MAX - 2))).unwrap();
    assert_eq!(writer.finish(&json!("x".repeat(END_BYTES_MAX - 1))).err().unwrap().kind(), Kind::TooMany);

    let large = vec![b' '; MANIFEST_BYTES_MAX + 1];
    let file = sealed(|out| out.write_all(&tar(&[("manifest.json", &large)])), true);
    assert!(refused(&file, &keys).message().contains("of more than 1048576 bytes"));
    let header = entry::header("sums.json", SUMS_BYTES_MAX as u64 + 1).unwrap();
    let plain = [tar(&[("manifest.json", b"{}"), ("end.json", b"{}")]), header.as_bytes().to_vec()].concat();
    let error = refused(&sealed(|out| out.write_all(&plain), true), &keys);
    assert!(error.message().contains("has a `sums.json` of more than"), "{error}");

    // A window that stock zstd would take and that is more than a backup needs.
    let wide = |log| {
        let mut zstd = zstd::Encoder::new(Vec::new(), 1).unwrap();
        zstd.window_log(log).unwrap();
        zstd.write_all(&tar(&[("manifest.json", b"{}")])).unwrap();
        let frame = zstd.finish().unwrap();
        sealed(|out| out.write_all(&frame), false)
    };
    assert!(refused(&wide(WINDOW_LOG_MAX + 1), &keys).message().contains("cannot be decompressed"));
    assert!(refused(&wide(WINDOW_LOG_MAX), &keys).message().contains("ends in the middle"));

    let mut writer = Writer::begin(io::sink(), &recipients, &json!({})).unwrap();
    for number in 1..ENTRIES_MAX {
        writer.entry(&format!("e/{number}"), b"").unwrap();
    }
    assert_eq!(writer.entry("e/last", b"").unwrap_err().kind(), Kind::TooMany);
    let (_, summary) = writer.finish(&json!({})).unwrap();
    assert_eq!(summary.entries, ENTRIES_MAX as u64 + 1);
    let many = |out: &mut dyn Write| {
        out.write_all(&tar(&[("manifest.json", b"{}")]))?;
        (0..ENTRIES_MAX + 1).try_for_each(|n| out.write_all(&tar(&[(&format!("e/{n}"), b"")])))
    };
    assert!(refused(&sealed(many, true), &keys).message().contains("more than 100000 entries"));
    // The longest list of sums that a writer can make fits.
    let name = format!("{}/{}", "n".repeat(54), "n".repeat(100));
    let sum = Sum { name, bytes: u64::MAX >> 4, blake3: "0".repeat(64) };
    assert!((serde_json::to_vec(&sum).unwrap().len() + 1) * (ENTRIES_MAX + 2) < SUMS_BYTES_MAX);
}

#[test]
fn a_writer_that_failed_does_not_go_on() {
    let recipients = [key(1).recipient()];
    let mut writer = Writer::begin(Vec::new(), &recipients, &json!({})).unwrap();
    writer.entry("a", b"1").unwrap();
    assert!(writer.entry("a", b"1").unwrap_err().message().contains("there already"));
    assert!(writer.entry("../a", b"1").is_err());
    writer.stream("b", 2, &mut &b"123"[..]).unwrap();
    assert!(writer.stream("c", 9, &mut &b"123"[..]).unwrap_err().message().contains("6 bytes before"));
    assert!(writer.entry("d", b"1").unwrap_err().message().contains("failed before"));
    assert!(writer.finish(&json!({})).is_err());

    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let noise = noise(600_000);
    for room in [0, 300_000, 599_000] {
        let outcome = Writer::begin(Full(room), &recipients, &json!({})).and_then(|mut writer| {
            writer.entry("a", &noise)?;
            writer.finish(&json!({}))
        });
        let error = outcome.err().unwrap();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.hint_text().unwrap().starts_with("free space"), "{error}");
    }
}

#[test]
fn stopping_and_failing_media_are_told_from_damage() {
    let clock = Clock::manual(Timestamp::default(), 1);
    let file = write(&[key(1).recipient()], &[("a", &noise(900_000))]);
    let pace = Pace::new(&clock);
    let mut reader = Reader::open(Paced::new(file.as_slice(), &pace), "plant.muster", &[key(1)]).unwrap();
    let error = reader.each(&mut |_, _, from| {
        from.read_exact(&mut [0; 100])?;
        pace.stop();
        io::copy(from, &mut io::sink())?;
        Ok(())
    });
    assert_eq!(error.unwrap_err().message(), "reading of `plant.muster` was stopped");
    let pace = Pace::new(&clock);
    let mut writer = Writer::begin(Paced::new(Vec::new(), &pace), &[key(1).recipient()], &json!({})).unwrap();
    pace.stop();
    assert_eq!(writer.entry("a", &noise(900_000)).unwrap_err().message(), "the backup was stopped");
    let mut writer = Writer::begin(Vec::new(), &[key(1).recipient()], &json!({})).unwrap();
    let error = writer.stream("a", 9, &mut Paced::new(io::repeat(0), &pace)).unwrap_err();
    assert_eq!(error.message(), "the backup was stopped");

    struct Failing(Cursor<Vec<u8>>);
    impl Read for Failing {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            let left = 300_000usize.saturating_sub(self.0.position() as usize).min(bytes.len());
            if left == 0 { Err(io::Error::from_raw_os_error(5)) } else { self.0.read(&mut bytes[..left]) }
        }
    }
    let mut reader = Reader::open(Failing(Cursor::new(file)), "plant.muster", &[key(1)]).unwrap();
    let error = reader.each(&mut |_, _, _| Ok(())).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.message().contains("`plant.muster` cannot be read after byte"), "{error}");
}

/// Files of format 1 open for ever. The golden file was written once; to make another, remove it.
#[test]
fn golden_file() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine/archive/golden/full-1.muster");
    let entries: [(&str, &[u8]); 2] =
        [("store/rows/000001", b"rows"), ("configuration.toml", b"# nothing\n")];
    if !golden.exists() {
        fs::create_dir_all(golden.parent().unwrap()).unwrap();
        fs::write(&golden, write(&[key(1).recipient(), key(2).recipient()], &entries)).unwrap();
    }
    let (found, _) = read(&fs::read(&golden).unwrap(), &[key(2)]).unwrap();
    assert_eq!(found, entries.map(|(n, c)| (n.to_owned(), c.to_vec())));
}

/// In an emergency the tools of any Linux suffice.
#[test]
fn stock_tools_open_a_backup() {
    if ["age", "zstd", "tar"].iter().any(|tool| Command::new(tool).arg("--version").output().is_err()) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let noise = noise(500_000);
    let long = format!("keys/{}", "n".repeat(100));
    let entries: [(&str, &[u8]); 3] =
        [("store/rows/000001", &noise), (&long, b"secret"), ("configuration.toml", b"")];
    let keys = [key(1), key(2)];
    fs::write(at("x.muster"), write(&keys.each_ref().map(RecoveryKey::recipient), &entries)).unwrap();
    for key in &keys {
        fs::write(at("key.txt"), key.text().expose()).unwrap();
        fs::create_dir_all(at("out")).unwrap();
        let pipe = "set -o pipefail; age -d -i key.txt x.muster | zstd -d | tar -x -C out && zstd --version";
        let run = Command::new("bash")
            .args(["-c", pipe])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(run.status.success() && run.stderr.is_empty(), "{}", String::from_utf8_lossy(&run.stderr));
        for (name, content) in &entries {
            assert_eq!(fs::read(at("out").join(name)).unwrap(), *content);
        }
        let sums: Vec<Sum> = serde_json::from_slice(&fs::read(at("out/sums.json")).unwrap()).unwrap();
        assert_eq!(sums.len(), entries.len() + 2);
        fs::remove_dir_all(at("out")).unwrap();
    }
}
