//! Backup files: what they are made of, the keys that open them, and the proof that they are whole. It knows files, keys
//! and hashes, and not what is in them.
//!
//! One file is `age` version 1 (X25519 recipients) around one `zstd` frame around `tar`. With the tools of any Linux it
//! opens without this program; the key file is the line `AGE-SECRET-KEY-1…` of the recovery kit:
//!
//! ```text
//! age -d -i key.txt FILE.muster | zstd -d | tar -x -C folder
//! ```
//!
//! The entries are `manifest.json`, then what the writer was given, then `end.json`, then `sums.json` with the length and
//! the BLAKE3 of every entry before it (`b3sum` shows the same). The header of the file has one more stanza than age needs,
//! `muster-recipients`, which lists in the clear for whom it was made; other programs pass over it.
//!
//! The key exists as text with a checksum (see [`RecoveryKey`]) and, if the owner wants, in three shares of which any two
//! give it back. A lost key cannot be made again: without it a backup stays shut.
//!
//! Encryption keeps a file secret and finds every change that was made without the file's key. It does not prove who wrote
//! the file: whoever knows a recipient can make one. So names, lengths and limits are checked as if they were hostile.
//!
//! Invariant: a reader that returned `Ok` from `each` has seen exactly the entries that the writer finished, no byte more
//! in the file and none less; every other file is refused by an error that names it and the place.
//! Invariant: memory does not grow with the file, but for name, length and hash of each entry.
//! Invariant: every limit has a name here. What is compressed well is no danger, since contents are handed on as they come.
//! Invariant: keys come from the clock's randomness. The file keys, nonces and shares are drawn by the libraries of age and
//! Shamir from the operating system, as nothing may depend on them.

mod bech32;
mod entry;
mod key;
mod pace;
mod reader;
mod remove;
mod shares;
mod source;
mod steady;
#[cfg(test)]
mod tests;
mod writer;
mod zip;

pub use key::{Recipient, RecoveryKey};
pub use pace::{Pace, Paced, Progress, Stopped};
pub use reader::{Reader, Verified, inspect};
pub use remove::remove_in_steps;
pub use steady::Steady;
pub use writer::{Summary, Writer};
pub use zip::{ZIP_BYTES_MAX, ZIP_FILES_MAX, ZipReader, ZipWriter};

/// Longest name of an entry, in bytes; its parts are shorter yet.
pub const ENTRY_NAME_BYTES_MAX: usize = 155;
/// Longest part of a name, in bytes.
pub const NAME_PART_BYTES_MAX: usize = 100;
/// Most entries that a writer can add, with the manifest and without end and sums.
pub const ENTRIES_MAX: usize = 100_000;
/// Longest manifest, in bytes of JSON.
pub const MANIFEST_BYTES_MAX: usize = 1024 * 1024;
/// Longest end, in bytes of JSON.
pub const END_BYTES_MAX: usize = 1024 * 1024;
/// Longest list of sums, in bytes of JSON: more than `ENTRIES_MAX` of the longest names make.
pub const SUMS_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most recipients of one file.
pub const RECIPIENTS_MAX: usize = 16;
/// Longest header of a file, in bytes; `RECIPIENTS_MAX` make a tenth of it.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Largest window that decompression keeps in memory: 2 to this power, in bytes. The writer uses 2^19.
pub const WINDOW_LOG_MAX: u32 = 23;
/// Bytes read or written at once.
const BUFFER_BYTES: usize = 256 * 1024;
/// How every file begins.
const BEGINNING: &[u8] = b"age-encryption.org/v1\n";

/// Whether a file that begins with these bytes may be a backup: it is an `age` file. 32 bytes suffice.
pub fn is_backup(beginning: &[u8]) -> bool {
    beginning.starts_with(BEGINNING)
}
