//! A folder of an SSH server, through the system's OpenSSH.
//!
//! `ssh` carries the conversation and decides whom it speaks with; the file transfer protocol is spoken here, so that a
//! copy goes on at a byte, keeps its pace and is synced where the server can. The `sftp` program can do none of these.
//!
//! Invariant: only the server with the pinned host key is spoken with, only with the key that was handed in. No file of
//! a user's or of the system's `ssh` configuration is read.
//! Invariant: the private key lies in a folder of its own, in memory where there is `/dev/shm`, until the server let us
//! in and no longer.

mod packet;
mod session;

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::packet::how;
use self::session::{SYNC_BYTES, Session};
use super::pace::Pace;
use super::place::{check_from, probe_name};
use super::source::{CHUNK_BYTES, Source};
use super::{PART, Probe, Put, Stored, Target, checked_name, program, size};
use crate::base::{Error, Result, Secret};
use crate::engine::clock::Clock;
use crate::engine::outbound::egress::{Egress, Permitted, checked_host};

/// Bytes of the path of a folder on a server.
const FOLDER_BYTES_MAX: usize = 1_024;
/// Bytes of a user's name.
const USER_BYTES_MAX: usize = 64;
/// Bytes of a host key's text.
const HOST_KEY_BYTES_MAX: usize = 4_096;
/// Bytes of a private key's text.
const PRIVATE_KEY_BYTES_MAX: usize = 16_384;
/// Seconds in which a connection must stand.
const CONNECT_SECONDS_MAX: u64 = 20;
/// Seconds that a scan for host keys, or the making of a key, may take.
const SCAN_SECONDS_MAX: u64 = 20;
/// Host keys that a server may show.
const HOST_KEYS_COUNT_MAX: usize = 16;
/// Bytes at the end of a part that are compared before it is gone on from. What lies before was synced.
const COMPARED_BYTES: u64 = 2 * SYNC_BYTES;
/// Bytes that a probe writes.
const PROBE_BYTES: usize = 16 * 1024;
/// What is to be installed when a program is missing.
const PACKAGE: &str = "openssh-client";

/// Settings of a folder on an SSH server. The secret is the private key, as OpenSSH writes it, without a passphrase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SftpSettings {
    /// Host name or address.
    pub host: String,
    /// Port; 22 without it.
    #[serde(default = "port")]
    pub port: u16,
    /// The user that logs in.
    pub user: String,
    /// The folder; a path that does not begin with `/` begins at the user's own folder. It must be there.
    pub folder: String,
    /// The pinned host key: algorithm and key, as `ssh-keyscan` and the server's `/etc/ssh/*.pub` show it.
    pub host_key: String,
    /// Bytes of the server's disk that a copy leaves free, where the server tells.
    #[serde(default)]
    pub keep_free_bytes: u64,
}

fn port() -> u16 {
    22
}

/// A host key that a server shows. Whether it is the server's, a person compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKey {
    /// Algorithm and key, as the settings take it.
    pub key: String,
    /// `SHA256:…`, as `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` shows it on the server.
    pub fingerprint: String,
}

pub(super) struct Sftp {
    settings: SftpSettings,
    key: Secret<String>,
    egress: Egress,
    clock: Clock,
}

impl Sftp {
    pub(super) fn new(
        settings: &SftpSettings,
        key: Option<Secret<String>>,
        egress: &Egress,
        clock: &Clock,
    ) -> Result<Sftp> {
        let key = key.ok_or_else(|| Error::invalid("an SFTP target needs a private key"))?;
        let text = key.expose();
        if text.len() > PRIVATE_KEY_BYTES_MAX || !text.trim_start().starts_with("-----BEGIN ") {
            return Err(Error::invalid("the private key is not one that OpenSSH reads")
                .hint("it begins with `-----BEGIN OPENSSH PRIVATE KEY-----` and has no passphrase"));
        }
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
        let user = &settings.user;
        if user.is_empty() || user.len() > USER_BYTES_MAX || user.starts_with('-') || !user.bytes().all(plain)
        {
            return Err(Error::invalid("the user is not a user's name"));
        }
        let folder = &settings.folder;
        if folder.is_empty() || folder.len() > FOLDER_BYTES_MAX || folder.chars().any(char::is_control) {
            return Err(Error::invalid("the folder is not a path").hint("`.` is the user's own folder"));
        }
        checked_host_key(&settings.host_key)?;
        checked_host(&settings.host)?;
        Ok(Sftp { settings: settings.clone(), key, egress: egress.clone(), clock: clock.clone() })
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.settings.folder.trim_end_matches('/'))
    }

    /// Runs `work` on a new conversation.
    fn on<T>(&self, work: impl AsyncFnOnce(&mut Session) -> Result<T>) -> Result<T> {
        let permitted = self.egress.permit(&self.settings.host, self.settings.port)?;
        program::blocking(async {
            let mut session = self.connect(&permitted).await?;
            let done = work(&mut session).await;
            session.close().await;
            done
        })
    }

    async fn connect(&self, permitted: &Permitted) -> Result<Session> {
        let private = Private::new(&self.clock)?;
        let known = private.file("known_hosts", &format!("pinned {}\n", self.settings.host_key.trim()))?;
        let identity = private.file("identity", &format!("{}\n", self.key.expose().trim()))?;
        let port = permitted.port().to_string();
        let options = [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            "HostKeyAlias=pinned",
            "GlobalKnownHostsFile=none",
            "UpdateHostKeys=no",
            "VerifyHostKeyDNS=no",
            "CheckHostIP=no",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "PreferredAuthentications=publickey",
            "PasswordAuthentication=no",
            "KbdInteractiveAuthentication=no",
            "ProxyCommand=none",
            "ProxyJump=none",
            "ControlMaster=no",
            "ControlPath=none",
            "PermitLocalCommand=no",
            "ClearAllForwardings=yes",
            "ForwardAgent=no",
            "ForwardX11=no",
            "CanonicalizeHostname=no",
            "ServerAliveInterval=15",
            "ServerAliveCountMax=3",
            "LogLevel=ERROR",
        ];
        let known = format!("UserKnownHostsFile={known}");
        let connect = format!("ConnectTimeout={CONNECT_SECONDS_MAX}");
        let mut words =
            vec!["-F", "none", "-T", "-x", "-a", "-p", &port, "-l", &self.settings.user, "-i", &identity];
        for option in options.iter().copied().chain([known.as_str(), connect.as_str()]) {
            words.extend(["-o", option]);
        }
        words.extend(["-s", "--", permitted.host(), "sftp"]);
        let child = program::start("ssh", &words, PACKAGE)?;
        // The files go when the server has let us in, which is when it answers.
        Session::with(child, &self.describe_place()).await
    }

    fn describe_place(&self) -> String {
        let SftpSettings { host, port, user, folder, .. } = &self.settings;
        match port {
            22 => format!("{user}@{host}:{folder}"),
            _ => format!("{user}@{host}:{port}:{folder}"),
        }
    }

    /// How much of a part can be kept. Without a server that syncs, all of it is compared.
    async fn keep(
        session: &mut Session,
        handle: &session::Handle,
        source: &Source,
        pace: &Pace,
    ) -> Result<(u64, u64)> {
        let length = session.bytes(handle).await?;
        let there = length.min(source.bytes);
        let tail = match session.syncs() {
            true => there.saturating_sub(COMPARED_BYTES),
            false => 0,
        };
        let head = tail.min(CHUNK_BYTES as u64);
        // Another file differs at its beginning; what a crash of the server lost is at the end.
        if session.same(handle, 0, head, source, pace).await? < head {
            return Ok((length, 0));
        }
        Ok((length, session.same(handle, tail, there, source, pace).await?))
    }

    async fn compare(&self, session: &mut Session, name: &str, source: &Source, pace: &Pace) -> Result<Put> {
        let handle = session.open(&self.path(name), how::READ).await?;
        let length = session.bytes(&handle).await?;
        let same = length == source.bytes && session.same(&handle, 0, length, source, pace).await? == length;
        session.shut(handle).await?;
        if !same {
            return Err(self.taken(name));
        }
        pace.found(length);
        Ok(Put { bytes: length, resumed: length })
    }

    fn taken(&self, name: &str) -> Error {
        Error::conflict(format!("`{}` has another file `{name}` already", self.describe_place()))
            .hint("remove it there, or give the new one another name")
    }
}

impl Target for Sftp {
    fn describe(&self) -> String {
        format!("SFTP `{}`", self.describe_place())
    }

    fn put(&self, name: &str, file: &Path, pace: &Pace) -> Result<Put> {
        let name = checked_name(name)?;
        let source = Source::open(file)?;
        self.on(async |session| {
            if session.look(&self.path(name)).await?.is_some() {
                return self.compare(session, name, &source, pace).await;
            }
            let part = self.path(&format!("{name}{PART}"));
            if session.look(&part).await?.is_some_and(|found| !found.is_file()) {
                return Err(Error::conflict(format!("`{part}` on the server is not a plain file")));
            }
            let handle = session.open(&part, how::READ | how::WRITE | how::CREATE).await?;
            let (length, resumed) = Self::keep(session, &handle, &source, pace).await?;
            if length != resumed {
                session.cut(&handle, resumed).await?;
            }
            let room = (source.bytes - resumed, self.settings.keep_free_bytes);
            session.has_room(&self.settings.folder, room.0, room.1).await?;
            pace.found(resumed);
            session.write_file(&handle, resumed, &source, pace).await?;
            let written = session.bytes(&handle).await?;
            if written != source.bytes {
                return Err(Error::unavailable(format!(
                    "the server has {written} bytes of `{name}` instead of {}",
                    source.bytes
                )));
            }
            session.shut(handle).await?;
            match session.rename(&part, &self.path(name)).await {
                // The server's refusal does not tell why; that a file has the name now does.
                Err(_) if session.look(&self.path(name)).await?.is_some() => Err(self.taken(name)),
                renamed => renamed.map(|()| Put { bytes: source.bytes, resumed }),
            }
        })
    }

    fn list(&self) -> Result<Vec<Stored>> {
        self.on(async |session| session.list(&self.settings.folder).await)
    }

    fn get(&self, name: &str, from: u64, out: &mut dyn Write) -> Result<u64> {
        let name = checked_name(name)?;
        self.on(async |session| {
            if !session.look(&self.path(name)).await?.is_some_and(|found| found.is_file()) {
                return Err(Error::not_found("file", name));
            }
            let handle = session.open(&self.path(name), how::READ).await?;
            let length = session.bytes(&handle).await?;
            check_from(name, from, length)?;
            let given = session.give(&handle, from, length, out).await?;
            session.shut(handle).await?;
            Ok(given)
        })
    }

    fn remove(&self, name: &str) -> Result<()> {
        let name = checked_name(name)?;
        self.on(async |session| {
            let file = session.remove(&self.path(name)).await?;
            let part = session.remove(&self.path(&format!("{name}{PART}"))).await?;
            if file || part { Ok(()) } else { Err(Error::not_found("file", name)) }
        })
    }

    fn probe(&self) -> Result<Probe> {
        let path = self.path(&probe_name(&self.clock));
        let written: [u8; PROBE_BYTES] = self.clock.random();
        self.on(async |session| {
            let handle = session.open(&path, how::READ | how::WRITE | how::CREATE | how::EXCLUSIVE).await?;
            let tried = session.write_and_read(&handle, &written).await;
            let shut = session.shut(handle).await;
            session.remove(&path).await?;
            tried?;
            shut?;
            let free = session.free_bytes(&self.settings.folder).await?;
            let mut found = "a file was written, read back and removed".to_owned();
            if let Some(free) = free {
                found.push_str(&format!("; {} are free", size(free)));
            }
            if !session.syncs() {
                found.push_str("; the server does not tell whether files are on its disk");
            }
            Ok(Probe { found, free_bytes: free })
        })
    }
}

/// A folder for this user alone, with files that go when it goes.
struct Private(PathBuf);

impl Private {
    fn new(clock: &Clock) -> Result<Private> {
        let memory = PathBuf::from("/dev/shm");
        let name = format!("muster-ssh-{:032x}", u128::from_le_bytes(clock.random()));
        let make = |folder: &Path| std::fs::DirBuilder::new().mode(0o700).create(folder);
        let (first, second) = (memory.join(&name), std::env::temp_dir().join(&name));
        if make(&first).is_ok() {
            return Ok(Private(first));
        }
        make(&second).map_err(|e| Error::unavailable("no private folder can be made").because(e))?;
        Ok(Private(second))
    }

    fn file(&self, name: &str, text: &str) -> Result<String> {
        let path = self.0.join(name);
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|e| Error::unavailable("a private file cannot be written").because(e))?;
        Ok(path.to_string_lossy().into_owned())
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The host keys that the server shows now, with their fingerprints, for a person to compare and pin one.
pub fn scan_host_key(permitted: &Permitted) -> Result<Vec<HostKey>> {
    let port = permitted.port().to_string();
    let within = Duration::from_secs(SCAN_SECONDS_MAX);
    let words = ["-T", "10", "-p", &port, "--", permitted.host()];
    let said = program::run("ssh-keyscan", &words, PACKAGE, b"", within)?;
    let text = String::from_utf8_lossy(&said.out);
    let mut keys = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((_, key)) = line.split_once(' ') else { continue };
        if checked_host_key(key).is_err() || keys.len() >= HOST_KEYS_COUNT_MAX {
            continue;
        }
        let line = format!("{key}\n");
        let shown = program::run("ssh-keygen", &["-l", "-f", "-"], PACKAGE, line.as_bytes(), within)?;
        // 256 SHA256:… comment (ED25519)
        let shown = String::from_utf8_lossy(&shown.out).into_owned();
        if let Some(fingerprint) = shown.split(' ').nth(1).filter(|f| f.starts_with("SHA256:")) {
            keys.push(HostKey { key: key.to_owned(), fingerprint: fingerprint.to_owned() });
        }
    }
    if keys.is_empty() {
        return Err(Error::unavailable(format!(
            "`{}:{port}` shows no host key {}",
            permitted.host(),
            said.complaint
        ))
        .hint("look whether an SSH server runs there and the way to it is open"));
    }
    keys.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(keys)
}

/// A new key pair to log in with: the private key for the vault, the public one for `authorized_keys`.
pub fn new_identity(clock: &Clock, comment: &str) -> Result<(Secret<String>, String)> {
    let private = Private::new(clock)?;
    let path = private.0.join("new");
    let path = path.to_string_lossy();
    let comment: String = comment.chars().filter(|c| c.is_ascii_graphic()).take(64).collect();
    let words = ["-q", "-t", "ed25519", "-N", "", "-C", &comment, "-f", &path];
    let said = program::run("ssh-keygen", &words, PACKAGE, b"", Duration::from_secs(SCAN_SECONDS_MAX))?;
    if !said.success {
        return Err(Error::unavailable(format!("no key could be made: {}", said.complaint)));
    }
    let key = Secret::new(std::fs::read_to_string(&*path)?);
    Ok((key, std::fs::read_to_string(format!("{path}.pub"))?.trim().to_owned()))
}

/// Algorithm and key, and nothing that could be another line or a mark in a file of known hosts.
fn checked_host_key(key: &str) -> Result<()> {
    let mut words = key.trim().split(' ');
    let algorithm = words.next().unwrap_or_default();
    let body = words.next().unwrap_or_default();
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"-@.".contains(&c);
    let base64 = |c: u8| c.is_ascii_alphanumeric() || b"+/=".contains(&c);
    let good = !algorithm.is_empty()
        && algorithm.bytes().all(plain)
        && (algorithm.starts_with("ssh-") || algorithm.starts_with("ecdsa-") || algorithm.starts_with("sk-"))
        && body.len() >= 40
        && key.len() <= HOST_KEY_BYTES_MAX
        && body.bytes().all(base64)
        && words.next().is_none();
    if !good {
        return Err(Error::invalid("the host key is not one that SSH servers have")
            .hint("algorithm and key, like `ssh-ed25519 AAAA…`, without a name in front or behind"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
