//! Programs of the system that a target needs. They get no shell, no environment of ours, and little time.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::base::{Error, Result};
use crate::engine::outbound;
pub(super) use crate::engine::outbound::blocking;

/// Bytes of a program's output that are read; it has no business to say more.
pub(super) const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Bytes of its complaint that are kept for the reader.
const COMPLAINT_BYTES_MAX: usize = 300;
/// Where programs are looked for.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// What a program said before it ended.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) success: bool,
    pub(super) out: Vec<u8>,
    pub(super) complaint: String,
}

/// A command with nothing of our environment. `package` is what is to be installed when there is no such program.
pub(super) fn start(name: &str, words: &[&str], package: &str) -> Result<Child> {
    let found = PATH
        .split(':')
        .map(|folder| format!("{folder}/{name}"))
        .find(|p| std::fs::exists(p).is_ok_and(|is| is));
    let Some(program) = found else {
        return Err(Error::unavailable(format!("the program `{name}` is not installed"))
            .hint(format!("install the package `{package}`")));
    };
    Command::new(program)
        .args(words)
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| Error::unavailable(format!("the program `{name}` cannot be started")).because(e))
}

/// Runs a program to its end, which must come `within`.
pub(super) fn run(name: &str, words: &[&str], package: &str, input: &[u8], within: Duration) -> Result<Said> {
    blocking(async {
        let mut child = start(name, words, package)?;
        let late = |_| Error::unavailable(format!("`{name}` did not end within {} s", within.as_secs()));
        tokio::time::timeout(within, async {
            if let Some(mut stdin) = child.stdin.take() {
                // A program that does not read its input closes it.
                let _ = stdin.write_all(input).await;
            }
            let (mut out, mut complaint) = (Vec::new(), Vec::new());
            let max = OUTPUT_BYTES_MAX as u64;
            let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
            let read_out = async {
                match stdout {
                    Some(stdout) => stdout.take(max).read_to_end(&mut out).await,
                    None => Ok(0),
                }
            };
            let read_complaint = async {
                match stderr {
                    Some(stderr) => stderr.take(max).read_to_end(&mut complaint).await,
                    None => Ok(0),
                }
            };
            let (read, complained) = tokio::join!(read_out, read_complaint);
            read?;
            complained?;
            let success = child.wait().await?.success();
            Ok(Said { success, out, complaint: readable(&complaint) })
        })
        .await
        .map_err(late)?
    })
}

/// Foreign text made fit for a message: one line, printable, short.
pub(super) fn readable(text: &[u8]) -> String {
    outbound::readable(text, COMPLAINT_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, input: &[u8], within: Duration) -> Result<Said> {
        run("sh", &["-c", script], "dash", input, within)
    }

    #[test]
    fn a_program_says_what_it_says_and_no_more() {
        let minute = Duration::from_secs(60);
        let said = sh("cat; echo no >&2; exit 3", b"in", minute).unwrap();
        assert_eq!((said.success, &said.out[..], said.complaint.as_str()), (false, &b"in"[..], "no"));
        assert!(sh("test -z \"$HOME$CARGO\"", b"", minute).unwrap().success, "nothing of our environment");
        let said = sh("yes", b"", minute).unwrap();
        assert_eq!((said.success, said.out.len()), (false, OUTPUT_BYTES_MAX));
        let late = sh("exec sleep 600", b"", Duration::from_millis(50)).unwrap_err();
        assert!(late.message().contains("did not end"), "{late}");
        let absent = run("no-such-program", &[], "some-package", b"", minute).err().unwrap();
        assert!(absent.hint_text().unwrap().contains("some-package"));
    }

    #[test]
    fn foreign_text_is_one_short_line() {
        assert_eq!(readable(b" a\r\n\n\x1b[31mb `c`\xff \n"), "a;  [31mb  c \u{fffd}");
        assert!(readable("é".repeat(1_000).as_bytes()).len() < COMPLAINT_BYTES_MAX + 5);
    }
}
