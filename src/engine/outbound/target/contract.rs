//! What every kind of target must keep; the stories run it against servers that nobody here wrote.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::Kind;
use crate::engine::clock::Clock;
use crate::engine::outbound::target::{Pace, Put, State, Stored, Target};

/// In what kinds of targets differ from each other.
pub(crate) struct Sort {
    /// Bytes of the file that is copied.
    pub(crate) bytes: usize,
    /// Bytes that are a part worth going on from.
    pub(crate) step: u64,
    /// Whether it can be read.
    pub(crate) readable: bool,
}

impl Sort {
    /// Can everything, in small steps.
    pub(crate) fn plain() -> Sort {
        Sort { bytes: 3_000_000, step: 65_536, readable: true }
    }
}

/// A file of so many bytes that do not repeat.
pub(crate) fn local(bytes: usize) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut content = vec![0; bytes];
    blake3::Hasher::new().update(&bytes.to_le_bytes()).finalize_xof().fill(&mut content);
    file.write_all(&content).unwrap();
    file
}

/// Begins a copy and stops it when about `bytes` have gone; gives the pace as it stood then.
pub(crate) fn interrupted(target: &dyn Target, name: &str, file: &std::path::Path, bytes: u64) -> Pace {
    let pace = Pace::limited(&Clock::system(), Some(1));
    let (done, stop) = (Arc::clone(&pace.done), Arc::clone(&pace.stop));
    let clock = Clock::manual(crate::base::Timestamp::default(), 1);
    let moved = clock.clone();
    let mut pace = pace.waiting_by(move |_| {
        if done.load(Ordering::Relaxed) >= bytes {
            stop.store(true, Ordering::Relaxed);
        } else {
            moved.advance(crate::base::Span::from_days(100_000));
        }
    });
    pace.clock = clock;
    let error = target.put(name, file, &pace).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.message().contains("stopped"), "{error}");
    pace
}

/// Runs through everything that a target promises. It is empty before and after.
pub(crate) fn keeps(target: &dyn Target, sort: Sort) {
    let clock = Clock::system();
    let pace = || Pace::new(&clock);
    let file = local(sort.bytes);
    let bytes = std::fs::read(file.path()).unwrap();
    let length = bytes.len() as u64;
    assert_eq!(target.state().unwrap(), State::Ready);
    assert!(!target.describe().is_empty());
    let probe = target.probe().unwrap();
    assert!(!probe.found.is_empty());

    for bad in ["", ".", "..", "../a", "a/b", "-rf", "a b", "a\n", "a.part", "a.b3", "ä"] {
        assert_eq!(target.put(bad, file.path(), &pace()).unwrap_err().kind(), Kind::Invalid, "{bad:?}");
        if sort.readable {
            assert_eq!(target.get(bad, 0, &mut Vec::new()).unwrap_err().kind(), Kind::Invalid, "{bad:?}");
            assert_eq!(target.remove(bad).unwrap_err().kind(), Kind::Invalid, "{bad:?}");
        }
    }
    assert!(target.put("a", std::path::Path::new("/nowhere/a"), &pace()).is_err());

    if !sort.readable {
        assert_eq!(target.put("a", file.path(), &pace()).unwrap(), Put { bytes: length, resumed: 0 });
        for error in [
            target.list().unwrap_err(),
            target.get("a", 0, &mut Vec::new()).unwrap_err(),
            target.remove("a").unwrap_err(),
        ] {
            assert_eq!(error.kind(), Kind::Conflict, "{error}");
        }
        return;
    }

    assert_eq!(target.list().unwrap(), []);
    for missing in [target.get("a", 0, &mut Vec::new()).unwrap_err(), target.remove("a").unwrap_err()] {
        assert_eq!(missing.kind(), Kind::NotFound, "{missing}");
    }

    // A copy that was stopped has no final name, and the next one goes on from it.
    let stopped = interrupted(target, "a", file.path(), sort.step * 2);
    assert!(stopped.done.load(Ordering::Relaxed) < length);
    assert_eq!(target.list().unwrap(), []);
    assert_eq!(target.get("a", 0, &mut Vec::new()).unwrap_err().kind(), Kind::NotFound);
    let on = pace();
    let put = target.put("a", file.path(), &on).unwrap();
    assert_eq!(put.bytes, length);
    assert!(put.resumed >= sort.step && put.resumed < length, "{put:?}");
    assert_eq!(on.done.load(Ordering::Relaxed), length);
    assert_eq!(target.list().unwrap(), [Stored { name: "a".into(), bytes: length }]);

    for from in [0, 1, length / 2, length - 1, length] {
        let mut got = Vec::new();
        assert_eq!(target.get("a", from, &mut got).unwrap(), length - from);
        assert!(got == bytes[from as usize..], "from {from}");
    }
    assert_eq!(target.get("a", length + 1, &mut Vec::new()).unwrap_err().kind(), Kind::Invalid);
    assert!(target.get("a", 0, &mut Full).is_err(), "whoever takes it may end it");

    // The same once more is fine, another one is refused.
    assert_eq!(target.put("a", file.path(), &pace()).unwrap(), Put { bytes: length, resumed: length });
    let mut other = bytes.clone();
    other[bytes.len() / 2] ^= 1;
    let mut changed = tempfile::NamedTempFile::new().unwrap();
    changed.write_all(&other).unwrap();
    for another in [changed, local(10)] {
        let error = target.put("a", another.path(), &pace()).unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict, "{error}");
    }
    let mut got = Vec::new();
    target.get("a", 0, &mut got).unwrap();
    assert!(got == bytes);

    // A part of another file is not built upon, wherever they differ.
    for at in [0, sort.step as usize, bytes.len() - 1] {
        interrupted(target, "b", file.path(), sort.step * 2);
        let mut other = bytes.clone();
        other[at] ^= 1;
        std::fs::write(file.path(), &other).unwrap();
        target.put("b", file.path(), &pace()).unwrap();
        let mut got = Vec::new();
        target.get("b", 0, &mut got).unwrap();
        assert!(got == other, "{at}");
        target.remove("b").unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
    }

    // Nothing at all is a file, too.
    let empty = local(0);
    assert_eq!(target.put("empty", empty.path(), &pace()).unwrap(), Put { bytes: 0, resumed: 0 });
    assert_eq!(target.get("empty", 0, &mut Vec::new()).unwrap(), 0);
    let names: Vec<String> = target.list().unwrap().into_iter().map(|s| s.name).collect();
    assert_eq!(names, ["a", "empty"]);

    // What was begun and given up can be removed by its name.
    interrupted(target, "given-up", file.path(), sort.step);
    target.remove("given-up").unwrap();
    assert_eq!(target.put("given-up", file.path(), &pace()).unwrap().resumed, 0);
    for name in ["a", "empty", "given-up"] {
        target.remove(name).unwrap();
    }
    assert_eq!(target.list().unwrap(), []);
    assert_eq!(target.remove("a").unwrap_err().kind(), Kind::NotFound);
    target.release().unwrap();
}

/// Takes nothing.
struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
