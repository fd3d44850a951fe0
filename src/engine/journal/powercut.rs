//! A disk for tests that loses power, fills up and breaks, sector by sector and from a seed.
//!
//! What is not synced is a wish: at a power cut every sector of every write since the last sync is kept or lost by
//! itself, so that writes are torn, dropped and reordered; so are lengths and names. A sync that fails loses the same
//! way, keeps showing what it lost, and is never good again.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::disk::{Disk, DiskFile, FileIdentity};
use super::folder::FolderLock;
use crate::base::Result;

const SECTOR: u64 = 512;
const ENOSPC: i32 = 28;
const EIO: i32 = 5;

/// Numbers that follow from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66_D1CE_4E5B)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// From 0 up to `end`, which is left out.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.roll() % end.max(1)
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What goes wrong, and at which operation since the disk was made; reads are counted by themselves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// The power goes in the middle of this operation.
    pub(crate) cut_at: Option<u64>,
    /// This sync fails, of files and folders alike.
    pub(crate) sync_at: Option<u64>,
    /// From this operation on nothing more fits, until there is room again.
    pub(crate) full_at: Option<u64>,
    /// This read fails.
    pub(crate) read_at: Option<u64>,
}

/// Holds the syncs of one file up until it is opened; the disk goes on meanwhile. Cloning gives the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<(Mutex<Passage>, Condvar)>);

#[derive(Debug, Default)]
struct Passage {
    open: bool,
    /// Syncs that wait.
    waiting: u64,
}

impl Gate {
    /// Blocks until a sync waits here.
    pub(crate) fn reached(&self) {
        let mut passage = self.0.0.lock();
        while passage.waiting == 0 {
            self.0.1.wait(&mut passage);
        }
    }

    pub(crate) fn open(&self) {
        self.0.0.lock().open = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let mut passage = self.0.0.lock();
        passage.waiting += 1;
        self.0.1.notify_all();
        while !passage.open {
            self.0.1.wait(&mut passage);
        }
        passage.waiting -= 1;
    }
}

/// The disk. Cloning gives the same one.
#[derive(Clone, Debug)]
pub(crate) struct SimDisk(Arc<Mutex<World>>);

#[derive(Debug)]
struct World {
    dice: Dice,
    faults: Faults,
    files: HashMap<u64, Inode>,
    next: u64,
    names: BTreeMap<PathBuf, u64>,
    durable: BTreeMap<PathBuf, u64>,
    moves: Vec<Move>,
    operations: u64,
    syncs: u64,
    reads: u64,
    dead: bool,
    full: bool,
    free: u64,
    /// Writes and syncs of a file whose sync had failed: there must be none.
    retried: u64,
    sync_failed: bool,
    /// The file whose syncs are held up.
    held: Option<(u64, Gate)>,
}

#[derive(Clone, Debug)]
enum Move {
    Link(PathBuf, u64),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, u64),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    now: Vec<u8>,
    pending: Vec<Wish>,
    broken: bool,
}

#[derive(Clone, Debug)]
enum Wish {
    Write(u64, Vec<u8>),
    Length(u64),
}

impl SimDisk {
    pub(crate) fn new(seed: u64) -> SimDisk {
        SimDisk::holding(seed, BTreeMap::new(), HashMap::new())
    }

    fn holding(seed: u64, names: BTreeMap<PathBuf, u64>, files: HashMap<u64, Inode>) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(World {
            dice: Dice::new(seed),
            faults: Faults::default(),
            next: files.keys().max().map_or(1, |last| last + 1),
            files,
            durable: names.clone(),
            names,
            moves: Vec::new(),
            operations: 0,
            syncs: 0,
            reads: 0,
            dead: false,
            full: false,
            free: u64::MAX,
            retried: 0,
            sync_failed: false,
            held: None,
        })))
    }

    pub(crate) fn fail(&self, faults: Faults) {
        self.0.lock().faults = faults;
    }

    /// The next sync of a file or a folder fails.
    pub(crate) fn fail_next_sync(&self) {
        let mut world = self.0.lock();
        world.faults.sync_at = Some(world.syncs + 1);
    }

    /// Holds up the syncs of a file until the gate is opened.
    pub(crate) fn hold_syncs(&self, path: &Path) -> Gate {
        let mut world = self.0.lock();
        let gate = Gate::default();
        world.held = Some((world.names[path], gate.clone()));
        gate
    }

    /// What a statvfs says; writes do not look at it.
    pub(crate) fn set_free(&self, bytes: u64) {
        self.0.lock().free = bytes;
    }

    /// Operations so far: what `Faults` counts by.
    pub(crate) fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.0.lock().dead
    }

    pub(crate) fn sync_failed(&self) -> bool {
        self.0.lock().sync_failed
    }

    /// Writes and syncs of a file after its sync had failed.
    pub(crate) fn retried(&self) -> u64 {
        self.0.lock().retried
    }

    /// The bytes of every file as programs see them.
    pub(crate) fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let world = self.0.lock();
        world.names.iter().map(|(path, id)| (path.clone(), world.files[id].now.clone())).collect()
    }

    /// Turns one bit of a file, as a bad disk does.
    pub(crate) fn flip(&self, path: &Path, at: usize, bit: u8) {
        let mut world = self.0.lock();
        let id = world.names[path];
        if let Some(file) = world.files.get_mut(&id) {
            file.now[at] ^= 1 << bit;
            file.durable = file.now.clone();
        }
    }

    /// The same disk for the next process, when the power stayed on: what was not synced still can be, and what a
    /// failed sync lost is shown all the same.
    pub(crate) fn restarted(&self, seed: u64) -> SimDisk {
        let world = self.0.lock();
        let mut files = world.files.clone();
        files.values_mut().for_each(|file| file.broken = false);
        let next = SimDisk::holding(seed, world.names.clone(), files);
        {
            let mut fresh = next.0.lock();
            fresh.durable = world.durable.clone();
            fresh.moves = world.moves.clone();
            fresh.next = world.next;
        }
        next
    }

    /// What is there when the power comes back: one of the many possible outcomes.
    pub(crate) fn after_cut(&self, seed: u64) -> SimDisk {
        let world = self.0.lock();
        let mut dice = Dice::new(seed);
        let mut names = world.durable.clone();
        let keep = [0, 20, 50, 80, 100][dice.below(5) as usize];
        // File systems with a journal keep the order of names; others need not.
        let ordered = dice.chance(50);
        let upto = dice.below(world.moves.len() as u64 + 1) as usize;
        for (at, step) in world.moves.iter().enumerate() {
            let kept = if ordered { at < upto } else { dice.chance(keep) };
            if kept {
                step.apply(&mut names);
            }
        }
        let mut files = HashMap::new();
        for id in names.values() {
            let file = &world.files[id];
            let bytes = file.survive(&mut dice, keep);
            files.insert(*id, Inode { durable: bytes.clone(), now: bytes, ..Inode::default() });
        }
        SimDisk::holding(seed, names, files)
    }
}

impl Move {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Move::Link(path, id) => drop(names.insert(path.clone(), *id)),
            Move::Unlink(path) => drop(names.remove(path)),
            Move::Rename(from, to, id) => {
                names.remove(from);
                names.insert(to.clone(), *id);
            }
        }
    }
}

impl Inode {
    /// The durable bytes with some sectors of what was pending.
    fn survive(&self, dice: &mut Dice, keep: u64) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for wish in &self.pending {
            match wish {
                Wish::Length(length) if dice.chance(keep) => bytes.resize(*length as usize, 0),
                Wish::Length(_) => {}
                Wish::Write(offset, data) => {
                    let end = offset + data.len() as u64;
                    if end > bytes.len() as u64 && dice.chance(keep) {
                        bytes.resize(end as usize, 0);
                    }
                    let mut at = *offset;
                    while at < end {
                        let next = (at / SECTOR + 1) * SECTOR;
                        let next = next.min(end);
                        if dice.chance(keep) {
                            place(&mut bytes, at, &data[(at - offset) as usize..(next - offset) as usize]);
                        }
                        at = next;
                    }
                }
            }
        }
        bytes
    }
}

fn place(bytes: &mut Vec<u8>, at: u64, data: &[u8]) {
    let (at, end) = (at as usize, at as usize + data.len());
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[at..end].copy_from_slice(data);
}

fn eio(what: &str) -> io::Error {
    io::Error::other(format!("{what} (os error {EIO})"))
}

fn absent() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl World {
    /// Counts an operation. Err when the power is gone; Ok(true) when it goes now, in the middle of this one.
    fn step(&mut self) -> io::Result<bool> {
        if self.dead {
            return Err(eio("no power"));
        }
        self.operations += 1;
        if self.faults.full_at.is_some_and(|at| self.operations >= at) {
            self.full = true;
        }
        if self.faults.cut_at.is_some_and(|at| self.operations >= at) {
            self.dead = true;
        }
        Ok(self.dead)
    }

    fn done(&self) -> io::Result<()> {
        if self.dead { Err(eio("power cut")) } else { Ok(()) }
    }

    fn fails_sync(&mut self) -> bool {
        self.syncs += 1;
        let fails = self.faults.sync_at == Some(self.syncs);
        self.sync_failed |= fails;
        fails
    }
}

impl Disk for SimDisk {
    fn create_folder(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _folder: &Path) -> Result<FolderLock> {
        Ok(FolderLock::none())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut world = self.0.lock();
        world.step()?;
        if world.full {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        if world.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = world.next;
        world.next += 1;
        world.files.insert(id, Inode::default());
        world.names.insert(path.to_owned(), id);
        world.moves.push(Move::Link(path.to_owned(), id));
        world.done()?;
        Ok(Box::new(SimFile { disk: self.clone(), id }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let world = self.0.lock();
        world.done()?;
        let id = *world.names.get(path).ok_or_else(absent)?;
        Ok(Box::new(SimFile { disk: self.clone(), id }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        world.step()?;
        let id = *world.names.get(from).ok_or_else(absent)?;
        let step = Move::Rename(from.to_owned(), to.to_owned(), id);
        step.apply(&mut world.names);
        world.moves.push(step);
        world.done()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        world.step()?;
        world.names.remove(path).ok_or_else(absent)?;
        world.moves.push(Move::Unlink(path.to_owned()));
        world.done()
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let world = self.0.lock();
        world.done()?;
        Ok(world.names.keys().filter(|path| path.parent() == Some(folder)).cloned().collect())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        if world.step()? {
            return world.done();
        }
        if world.fails_sync() {
            return Err(eio("sync of a folder failed"));
        }
        let of = |path: &Path| path.parent() == Some(folder);
        let (now, later): (Vec<Move>, Vec<Move>) =
            std::mem::take(&mut world.moves).into_iter().partition(|step| match step {
                Move::Link(path, _) | Move::Unlink(path) | Move::Rename(path, ..) => of(path),
            });
        world.moves = later;
        now.iter().for_each(|step| step.apply(&mut world.durable));
        Ok(())
    }

    fn free_bytes(&self, _folder: &Path) -> io::Result<u64> {
        let world = self.0.lock();
        world.done()?;
        Ok(world.free)
    }

    fn identity(&self, _path: &Path) -> io::Result<Option<FileIdentity>> {
        Ok(None)
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    id: u64,
}

impl SimFile {
    fn with<T>(&self, f: impl FnOnce(&mut World, &mut Inode) -> io::Result<T>) -> io::Result<T> {
        let mut world = self.disk.0.lock();
        let mut file = world.files.remove(&self.id).ok_or_else(absent)?;
        let result = f(&mut world, &mut file);
        world.files.insert(self.id, file);
        result
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|world, file| {
            world.done()?;
            world.reads += 1;
            if world.faults.read_at == Some(world.reads) {
                return Err(eio("read failed"));
            }
            let (from, to) = (offset as usize, offset as usize + bytes.len());
            bytes.copy_from_slice(file.now.get(from..to).ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.with(|world, file| {
            world.step()?;
            world.retried += u64::from(file.broken);
            let mut bytes = bytes;
            if world.full {
                // What fits is written, as write(2) does before it says that the rest does not.
                bytes = &bytes[..world.dice.below(bytes.len() as u64) as usize];
            }
            place(&mut file.now, offset, bytes);
            file.pending.push(Wish::Write(offset, bytes.to_vec()));
            world.done()?;
            if world.full { Err(io::Error::from_raw_os_error(ENOSPC)) } else { Ok(()) }
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|world, file| world.done().map(|()| file.now.len() as u64))
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.with(|world, file| {
            world.step()?;
            world.retried += u64::from(file.broken);
            if world.full && bytes > file.now.len() as u64 {
                return Err(io::Error::from_raw_os_error(ENOSPC));
            }
            file.now.resize(bytes as usize, 0);
            file.pending.push(Wish::Length(bytes));
            world.done()
        })
    }

    fn sync(&self) -> io::Result<()> {
        let held = self.disk.0.lock().held.clone();
        if let Some((_, gate)) = held.filter(|(id, _)| *id == self.id) {
            gate.pass();
        }
        self.with(|world, file| {
            if world.step()? {
                return world.done();
            }
            world.retried += u64::from(file.broken);
            if world.fails_sync() {
                let keep = world.dice.below(101);
                file.durable = file.survive(&mut world.dice, keep);
                file.pending.clear();
                file.broken = true;
                return Err(eio("sync failed"));
            }
            for wish in file.pending.drain(..) {
                match wish {
                    Wish::Length(length) => file.durable.resize(length as usize, 0),
                    Wish::Write(offset, data) => place(&mut file.durable, offset, &data),
                }
            }
            Ok(())
        })
    }

    fn settle(&self) -> io::Result<()> {
        self.sync()?;
        self.with(|_, file| {
            file.now = file.durable.clone();
            Ok(())
        })
    }

    fn into_host(self: Box<Self>) -> std::result::Result<std::fs::File, Box<dyn DiskFile>> {
        Err(self)
    }
}

/// How many runs a test makes: `usual`, or as many as the environment says.
pub(crate) fn runs(usual: u64) -> u64 {
    std::env::var("POWERCUT_RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Makes each of the runs on its own thread, two at a time; a run that hangs or panics fails the test with its seed.
/// `POWERCUT_SEED` makes one run only.
pub(crate) fn each_seed(usual: u64, run: impl Fn(u64) + Copy + Send + 'static) {
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
    if let Some(seed) = std::env::var("POWERCUT_SEED").ok().and_then(|text| text.parse().ok()) {
        return run(seed);
    }
    let count = runs(usual);
    let next = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let (tell, told) = std::sync::mpsc::channel();
    for _ in 0..2 {
        let (next, tell) = (next.clone(), tell.clone());
        std::thread::spawn(move || {
            loop {
                let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if seed >= count {
                    return;
                }
                let _ = tell.send((seed, None));
                let run = std::panic::AssertUnwindSafe(|| run(seed));
                let sound = std::panic::catch_unwind(run).is_ok();
                let _ = tell.send((seed, Some(sound)));
            }
        });
    }
    drop(tell);
    let mut under_way = std::collections::BTreeSet::new();
    let mut broken = Vec::new();
    loop {
        match told.recv_timeout(PATIENCE) {
            Ok((seed, None)) => drop(under_way.insert(seed)),
            Ok((seed, Some(sound))) => {
                under_way.remove(&seed);
                if !sound {
                    broken.push(seed);
                }
            }
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("seeds {under_way:?} hang"),
        }
    }
    assert!(broken.is_empty(), "{} of {count} runs failed: seeds {broken:?}", broken.len());
}
