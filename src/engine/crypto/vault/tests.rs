use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/engine/crypto/golden");

fn passphrase(text: &str) -> Kek {
    Kek::Passphrase(Secret::new(text.to_owned()))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let there = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &there);
        } else {
            fs::copy(entry.path(), there).unwrap();
        }
    }
}

/// A folder with `kek` and `keys`, and a value in the vault.
fn one(clock: &Clock) -> (tempfile::TempDir, Vault) {
    let folder = tempfile::tempdir().unwrap();
    let vault = open(folder.path(), clock).unwrap();
    vault.put("site.key", b"very private").unwrap();
    (folder, vault)
}

fn open(folder: &Path, clock: &Clock) -> Result<Vault> {
    Vault::open(&folder.join("keys"), &Kek::File(folder.join("kek")), clock)
}

fn value(vault: &Vault, name: &str) -> Vec<u8> {
    vault.get(name).unwrap().unwrap().expose().clone()
}

#[test]
fn sealed_values_come_back_and_the_disk_tells_nothing() {
    let clock = Clock::system();
    let (folder, vault) = one(&clock);
    let keys = folder.path().join("keys");
    assert!(vault.get("absent").unwrap().is_none());
    assert!(vault.put("../x", b"").is_err() && vault.put("@ring", b"").is_err());
    let vault = open(folder.path(), &clock).unwrap();
    assert_eq!(value(&vault, "site.key"), b"very private");
    let ring = vault.0.state.read().ring.encode();
    for entry in fs::read_dir(&keys).unwrap().chain(fs::read_dir(folder.path()).unwrap()) {
        let path = entry.unwrap().path();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
        if path.is_file() {
            let bytes = fs::read(&path).unwrap();
            assert!(!bytes.windows(12).any(|w| w == b"very private"));
            assert!(!bytes.windows(32).any(|w| w == &ring[8..40]));
        }
    }
    vault.put("a", b"1").unwrap();
    assert_eq!(vault.names().unwrap(), ["a", "site.key"]);
    vault.remove("a").unwrap();
    vault.remove("a").unwrap();
    assert_eq!(vault.names().unwrap(), ["site.key"]);
    // A renamed file is another purpose.
    fs::copy(keys.join("site.key.sealed"), keys.join("other.sealed")).unwrap();
    assert!(vault.get("other").is_err());
    for wrong in [&[][..], &[9; 60], &[2; 20], &[2; 60], &[1; 60]] {
        assert!(vault.open_sealed("webhook", wrong).is_err());
    }
}

#[test]
fn a_wrong_key_is_told_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let vault = Vault::open(folder.path(), &passphrase("right"), &clock).unwrap();
    let sealed = vault.seal("webhook", b"s").unwrap();
    assert_eq!(vault.open_sealed("webhook", &sealed).unwrap().expose(), b"s");
    assert!(vault.open_sealed("mail", &sealed).is_err());
    assert!(Vault::open(folder.path(), &passphrase("right"), &clock).is_ok());
    let error = Vault::open(folder.path(), &passphrase("wrong"), &clock).err().unwrap();
    assert!(error.message().contains("does not open the vault"), "{error}");
    // A lost key file is never replaced by a new key.
    assert!(Vault::open(folder.path(), &Kek::File(folder.path().join("none")), &clock).is_err());
    let (folder, _) = one(&clock);
    fs::remove_file(folder.path().join("kek")).unwrap();
    assert!(open(folder.path(), &clock).is_err() && !folder.path().join("kek").exists());
    fs::write(folder.path().join("kek"), [0; 31]).unwrap();
    assert!(open(folder.path(), &clock).err().unwrap().message().contains("not 32 bytes"));
    fs::write(folder.path().join("keys/ring"), b"muster ring 1\n").unwrap();
    assert!(open(folder.path(), &clock).err().unwrap().message().contains("is damaged"));
}

/// The golden folders were written by the version before the ring.
#[test]
fn a_vault_from_before_the_ring_opens() {
    let clock = Clock::system();
    let folder = tempfile::tempdir().unwrap();
    copy(&Path::new(GOLDEN).join("vault-1"), folder.path());
    let webhook = fs::read(folder.path().join("webhook.bin")).unwrap();
    let right = fs::read(folder.path().join("kek")).unwrap();
    fs::write(folder.path().join("kek"), [0; 32]).unwrap();
    assert!(open(folder.path(), &clock).err().unwrap().message().contains("does not open the vault"));
    assert!(!folder.path().join("keys/ring").exists());
    fs::write(folder.path().join("kek"), right).unwrap();
    for _ in 0..2 {
        let vault = open(folder.path(), &clock).unwrap();
        assert_eq!(value(&vault, "site.key"), b"very private");
        assert_eq!(value(&vault, "authority.key"), [7; 40]);
        assert_eq!(vault.open_sealed("webhook", &webhook).unwrap().expose(), b"shared secret");
        assert_eq!(vault.names().unwrap(), ["authority.key", "site.key"]);
        assert_eq!(vault.seal("webhook", b"new").unwrap()[..5], [2, 1, 0, 0, 0]);
    }
    let vault = open(folder.path(), &clock).unwrap();
    vault.rotate_kek(&passphrase("new")).unwrap();
    vault.rotate_data_key().unwrap();
    let vault = Vault::open(&folder.path().join("keys"), &passphrase("new"), &clock).unwrap();
    assert_eq!(vault.open_sealed("webhook", &webhook).unwrap().expose(), b"shared secret");
    assert_eq!(value(&vault, "site.key"), b"very private");

    let keys = folder.path().join("passphrase");
    assert!(Vault::open(&keys, &passphrase("battery"), &clock).is_err());
    let vault = Vault::open(&keys, &passphrase("correct horse"), &clock).unwrap();
    assert_eq!(value(&vault, "site.key"), b"very private");
    assert!(!keys.join("salt").exists());
    assert!(Vault::open(&keys, &passphrase("correct horse"), &clock).is_ok());
}

/// Vaults of this version open for ever. To make another golden folder, remove this one.
#[test]
fn golden_ring() {
    let golden = Path::new(GOLDEN).join("vault-2");
    let clock = Clock::system();
    if !golden.exists() {
        let vault = open(&golden, &clock).unwrap();
        vault.rotate_data_key().unwrap();
        vault.put("site.key", b"very private").unwrap();
        fs::write(golden.join("webhook.bin"), vault.seal("webhook", b"shared secret").unwrap()).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    copy(&golden, folder.path());
    let vault = open(folder.path(), &clock).unwrap();
    assert_eq!(value(&vault, "site.key"), b"very private");
    let webhook = fs::read(golden.join("webhook.bin")).unwrap();
    assert_eq!(webhook[..5], [2, 2, 0, 0, 0]);
    assert_eq!(vault.open_sealed("webhook", &webhook).unwrap().expose(), b"shared secret");
}

#[test]
fn after_a_crash_at_any_step_the_key_in_place_opens() {
    let clock = Clock::system();
    let (folder, vault) = one(&clock);
    let states = tempfile::tempdir().unwrap();
    let mut steps = 0;
    let mut keep = || {
        copy(folder.path(), &states.path().join(steps.to_string()));
        steps += 1;
    };
    keep();
    // The key file is replaced in its place.
    let first = fs::read(folder.path().join("kek")).unwrap();
    vault.rotate_kek_watched(&Kek::File(folder.path().join("kek")), &mut keep).unwrap();
    assert_ne!(fs::read(folder.path().join("kek")).unwrap(), first);
    assert_eq!(steps, 4);
    for step in 0..steps {
        let state = states.path().join(step.to_string());
        // What a write that was cut off leaves.
        fs::write(state.join("keys/ring.new"), b"muster ri").unwrap();
        fs::write(state.join("kek.new"), b"half a key").unwrap();
        for _ in 0..2 {
            let vault = open(&state, &clock).unwrap();
            assert_eq!(value(&vault, "site.key"), b"very private");
        }
        // The old key is taken away also when the crash came just before that.
        let wraps = data_keys::read(&state.join("keys/ring")).unwrap().unwrap().len();
        assert_eq!(wraps, if step == 1 { 2 } else { 1 }, "after step {step}");
        // Whichever way it went, it can be done again.
        open(&state, &clock).unwrap().rotate_kek(&Kek::File(state.join("kek"))).unwrap();
        assert_eq!(value(&open(&state, &clock).unwrap(), "site.key"), b"very private");
        fs::write(state.join("kek"), &first).unwrap();
        assert!(open(&state, &clock).is_err(), "the old key opens after step {step}");
    }

    let keys = folder.path().join("keys");
    let mut opens = Vec::new();
    let old = Kek::File(folder.path().join("kek"));
    vault
        .rotate_kek_watched(&passphrase("new"), &mut || {
            let copied = tempfile::tempdir().unwrap();
            copy(&keys, copied.path());
            let with = |kek: &Kek| {
                let own = tempfile::tempdir().unwrap();
                copy(copied.path(), own.path());
                Vault::open(own.path(), kek, &clock).is_ok()
            };
            opens.push((with(&old), with(&passphrase("new")), with(&passphrase("none"))));
        })
        .unwrap();
    assert_eq!(opens, [(true, true, false), (false, true, false)]);
    // From a passphrase to a passphrase, and to a file that is there, and to one that is not.
    vault.rotate_kek(&passphrase("newer")).unwrap();
    assert!(Vault::open(&keys, &passphrase("new"), &clock).is_err());
    fs::write(folder.path().join("given"), [5; 32]).unwrap();
    vault.rotate_kek(&Kek::File(folder.path().join("given"))).unwrap();
    assert_eq!(fs::read(folder.path().join("given")).unwrap(), [5; 32]);
    vault.rotate_kek(&Kek::File(folder.path().join("safe/made"))).unwrap();
    let vault = Vault::open(&keys, &Kek::File(folder.path().join("safe/made")), &clock).unwrap();
    fs::copy(folder.path().join("safe/made"), folder.path().join("same")).unwrap();
    let error = vault.rotate_kek(&Kek::File(folder.path().join("same"))).unwrap_err();
    assert!(error.message().contains("is the one in use"), "{error}");
    assert_eq!(value(&vault, "site.key"), b"very private");
}

#[test]
fn a_change_of_keys_that_failed_locks_nobody_out() {
    let clock = Clock::system();
    let (folder, vault) = one(&clock);
    // A folder in the way of the key file: the ring is wrapped by both, the file is not written.
    let kek = Kek::File(folder.path().join("kek"));
    fs::create_dir(folder.path().join("kek.new")).unwrap();
    for _ in 0..BEGUN_MAX {
        assert!(vault.rotate_kek(&kek).is_err());
    }
    assert!(vault.rotate_kek(&kek).unwrap_err().message().contains("too often"));
    vault.rotate_data_key().unwrap();
    vault.put("later", b"1").unwrap();
    assert_eq!(data_keys::read(&folder.path().join("keys/ring")).unwrap().unwrap().len(), 1 + BEGUN_MAX);
    fs::remove_dir(folder.path().join("kek.new")).unwrap();
    let vault = open(folder.path(), &clock).unwrap();
    assert_eq!(
        (value(&vault, "later"), value(&vault, "site.key")),
        (b"1".to_vec(), b"very private".to_vec())
    );
    vault.rotate_kek(&kek).unwrap();
    assert_eq!(data_keys::read(&folder.path().join("keys/ring")).unwrap().unwrap().len(), 1);
    assert!(open(folder.path(), &clock).is_ok());
}

#[test]
fn a_new_data_key_seals_and_old_ones_still_open() {
    let clock = Clock::system();
    let (folder, vault) = one(&clock);
    let file = || fs::read(folder.path().join("keys/site.key.sealed")).unwrap();
    let outside = vault.seal("webhook", b"s").unwrap();
    assert_eq!((outside[1], file()[1]), (1, 1));
    assert_eq!(vault.rotate_data_key().unwrap(), 2);
    assert_eq!(vault.rotate_data_key().unwrap(), 3);
    assert_eq!((vault.seal("webhook", b"s").unwrap()[1], file()[1]), (3, 3));
    for vault in [vault, open(folder.path(), &clock).unwrap()] {
        assert_eq!(vault.open_sealed("webhook", &outside).unwrap().expose(), b"s");
        assert_eq!(value(&vault, "site.key"), b"very private");
    }
}

#[test]
fn an_exported_vault_opens_what_the_first_one_sealed() {
    let clock = Clock::system();
    let (folder, vault) = one(&clock);
    let first = vault.seal("webhook", b"1").unwrap();
    vault.rotate_data_key().unwrap();
    let second = vault.seal("webhook", b"2").unwrap();
    let exported = vault.export().unwrap();
    let names: Vec<&str> = exported.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(names, ["@ring", "site.key"]);
    let other = tempfile::tempdir().unwrap();
    let kek = Kek::File(other.path().join("kek"));
    let keys = other.path().join("keys");
    let without = exported.iter().skip(1).cloned();
    assert!(Vault::import(&keys, &kek, &clock, without).err().unwrap().message().contains("lack their ring"));
    let imported = Vault::import(&keys, &kek, &clock, exported.clone()).unwrap();
    for vault in [imported, open(other.path(), &clock).unwrap()] {
        assert_eq!(value(&vault, "site.key"), b"very private");
        assert_eq!(vault.open_sealed("webhook", &first).unwrap().expose(), b"1");
        assert_eq!(vault.open_sealed("webhook", &second).unwrap().expose(), b"2");
    }
    assert_ne!(fs::read(other.path().join("kek")).unwrap(), fs::read(folder.path().join("kek")).unwrap());
    let error = Vault::import(&keys, &kek, &clock, exported).err().unwrap();
    assert!(error.message().contains("already"), "{error}");
}

#[test]
fn keys_change_while_the_vault_is_in_use() {
    let clock = Clock::system();
    let (folder, vault) = one(&clock);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let mut round = 0u64;
            while !done.load(Ordering::Relaxed) || round == 0 {
                round += 1;
                let sealed = vault.seal("webhook", &round.to_le_bytes()).unwrap();
                vault.put("counter", &round.to_le_bytes()).unwrap();
                assert_eq!(vault.open_sealed("webhook", &sealed).unwrap().expose(), &round.to_le_bytes());
                assert_eq!(value(&vault, "counter"), round.to_le_bytes());
                assert_eq!(value(&vault, "site.key"), b"very private");
            }
        });
        for _ in 0..20 {
            vault.rotate_kek(&Kek::File(folder.path().join("kek"))).unwrap();
            vault.rotate_data_key().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        worker.join().unwrap();
    });
    assert_eq!(value(&open(folder.path(), &clock).unwrap(), "site.key"), b"very private");
}
