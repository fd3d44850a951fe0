//! Running one program within limits of time, output and memory.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bytes::BytesMut;
use rustix::process::{Pid, Resource, Rlimit, Signal};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, ChildStdout};
use tokio::time::Instant;

use crate::base::{Error, Result, Span};

/// How long pipes that a descendant holds open are read after the program itself has ended.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes that are read and handed on at once.
const CHUNK_BYTES_MAX: usize = 16 * 1024;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What to run.
#[derive(Clone, Debug)]
pub struct Command {
    /// Program and arguments. No shell reads them.
    pub argv: Vec<String>,
    /// Working directory; the root when absent.
    pub folder: Option<PathBuf>,
    /// Variables besides `PATH` and `LANG`, the only ones that are there.
    pub environment: Vec<(String, String)>,
    /// How long it may run.
    pub within: Span,
    /// How long it may take to end after TERM.
    pub grace: Span,
    /// Bytes of output.
    pub output_bytes_max: u64,
    /// Bytes of address space; 0 for no limit. It holds from just after the start.
    pub memory_bytes_max: u64,
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// It ran too long.
    Time,
    /// It said too much.
    Output,
}

/// How it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status, when it ended by itself.
    pub exit: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The limit that it reached.
    pub exceeded: Option<Exceeded>,
    /// Whether it was stopped on request.
    pub cancelled: bool,
}

/// What comes from a running program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More output; standard output and standard error in the order of arrival.
    Output(Vec<u8>),
    /// The end; there is no more.
    Ended(Ended),
}

/// A running program. Dropping it kills its group.
pub struct Running {
    child: Child,
    group: Option<Pid>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    buffers: (BytesMut, BytesMut),
    output_bytes_left: u64,
    grace: Duration,
    deadline: Instant,
    ended: Ended,
    status: Option<std::process::ExitStatus>,
}

/// Starts the program.
pub fn run(command: &Command) -> Result<Running> {
    let (program, arguments) =
        command.argv.split_first().ok_or_else(|| Error::invalid("the command has no program"))?;
    let mut builder = tokio::process::Command::new(program);
    builder
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("LANG", "C.UTF-8")
        .envs(command.environment.iter().map(|(k, v)| (k, v)))
        .current_dir(command.folder.clone().unwrap_or_else(|| PathBuf::from("/")))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = builder
        .spawn()
        .map_err(|e| Error::invalid(format!("`{program}` cannot be started: {e}")).because(e))?;
    let group = child.id().and_then(|id| Pid::from_raw(id as i32));
    if command.memory_bytes_max > 0 {
        let most = Some(command.memory_bytes_max);
        // The program may be gone already; then there is nothing to limit.
        let _ = rustix::process::prlimit(group, Resource::As, Rlimit { current: most, maximum: most });
    }
    Ok(Running {
        stdout: child.stdout.take(),
        stderr: child.stderr.take(),
        child,
        group,
        buffers: Default::default(),
        output_bytes_left: command.output_bytes_max,
        grace: command.grace.duration(),
        deadline: Instant::now() + command.within.duration(),
        ended: Ended::default(),
        status: None,
    })
}

impl Running {
    /// Asks it to end: TERM to its group, KILL after the grace.
    pub fn cancel(&mut self) {
        if self.status.is_none() && !self.stopping() {
            self.ended.cancelled = true;
            self.stop();
        }
    }

    /// Waits for the next thing that it says, or its end. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Progress {
        loop {
            if self.stdout.is_none() && self.stderr.is_none() && self.status.is_some() {
                return self.end();
            }
            tokio::select! {
                chunk = read(&mut self.stdout, &mut self.buffers.0), if self.stdout.is_some() => {
                    if let Some(output) = chunk.and_then(|c| self.keep(c)) {
                        return Progress::Output(output);
                    }
                }
                chunk = read(&mut self.stderr, &mut self.buffers.1), if self.stderr.is_some() => {
                    if let Some(output) = chunk.and_then(|c| self.keep(c)) {
                        return Progress::Output(output);
                    }
                }
                status = self.child.wait(), if self.status.is_none() => {
                    self.status = Some(status.unwrap_or_default());
                    self.deadline = Instant::now() + LINGER;
                }
                () = tokio::time::sleep_until(self.deadline) => {
                    if self.status.is_some() {
                        // A descendant holds the pipes; it belongs to the group that nobody waits for any more.
                        self.signal(Signal::KILL);
                        return self.end();
                    }
                    if self.stopping() {
                        self.signal(Signal::KILL);
                        self.deadline = Instant::now() + self.grace.max(LINGER);
                    } else {
                        self.ended.exceeded = Some(Exceeded::Time);
                        self.stop();
                    }
                }
            }
        }
    }

    fn stopping(&self) -> bool {
        self.ended.cancelled || self.ended.exceeded.is_some()
    }

    fn stop(&mut self) {
        self.signal(Signal::TERM);
        self.deadline = Instant::now() + self.grace;
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // It may have gone in this very moment.
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }

    /// What of a chunk is within the limit; what is over it stops the program.
    fn keep(&mut self, mut chunk: Vec<u8>) -> Option<Vec<u8>> {
        if chunk.len() as u64 > self.output_bytes_left {
            chunk.truncate(self.output_bytes_left as usize);
            if !self.stopping() {
                self.ended.exceeded = Some(Exceeded::Output);
                if self.status.is_none() {
                    self.stop();
                }
            }
        }
        self.output_bytes_left -= chunk.len() as u64;
        (!chunk.is_empty()).then_some(chunk)
    }

    fn end(&mut self) -> Progress {
        self.group = None;
        (self.stdout, self.stderr) = (None, None);
        let status = self.status.unwrap_or_default();
        (self.ended.exit, self.ended.signal) = (status.code(), status.signal());
        Progress::Ended(self.ended.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Reads what is there; closes the pipe at its end.
async fn read<R: tokio::io::AsyncRead + Unpin>(
    pipe: &mut Option<R>,
    buffer: &mut BytesMut,
) -> Option<Vec<u8>> {
    let reader = pipe.as_mut()?;
    buffer.reserve(CHUNK_BYTES_MAX);
    match reader.read_buf(buffer).await {
        Ok(count) if count > 0 => Some(buffer.split().to_vec()),
        _ => {
            *pipe = None;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        Command {
            argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            folder: None,
            environment: Vec::new(),
            within: Span::from_seconds(30),
            grace: Span::from_milliseconds(300),
            output_bytes_max: 10_000,
            memory_bytes_max: 0,
        }
    }

    async fn finish(mut running: Running) -> (String, Ended) {
        let mut output = Vec::new();
        loop {
            match running.next().await {
                Progress::Output(more) => output.extend(more),
                Progress::Ended(ended) => return (String::from_utf8_lossy(&output).into_owned(), ended),
            }
        }
    }

    #[tokio::test]
    async fn output_and_exit_come_back_from_a_clean_room() {
        let command = shell("echo out; echo err >&2; env | sort; cat; exit 3");
        let (output, ended) = finish(run(&command).unwrap()).await;
        assert_eq!(ended, Ended { exit: Some(3), ..Ended::default() });
        assert!(output.contains("out\n") && output.contains("err\n") && output.contains("PATH="), "{output}");
        assert!(!output.contains("HOME=") && !output.contains("CARGO"), "{output}");
        assert!(run(&Command { argv: vec!["/no/such".into()], ..shell("") }).is_err());
    }

    #[tokio::test]
    async fn limits_end_a_program() {
        let command = Command { within: Span::from_milliseconds(100), ..shell("trap '' TERM; sleep 60") };
        let (_, ended) = finish(run(&command).unwrap()).await;
        assert_eq!((ended.exceeded, ended.exit), (Some(Exceeded::Time), None));
        let (output, ended) = finish(run(&shell("yes")).unwrap()).await;
        assert_eq!((ended.exceeded, output.len()), (Some(Exceeded::Output), 10_000));
        let (output, _) =
            finish(run(&Command { memory_bytes_max: 64 << 20, ..shell("sleep 0.1; ulimit -v") }).unwrap())
                .await;
        assert_eq!(output.trim(), "65536");
    }

    #[tokio::test]
    async fn cancelling_is_gentle_first_and_takes_the_whole_group() {
        let mut running = run(&shell("trap 'echo bye; exit 0' TERM; echo up; sleep 60 & wait")).unwrap();
        assert_eq!(running.next().await, Progress::Output(b"up\n".to_vec()));
        running.cancel();
        let (output, ended) = finish(running).await;
        assert_eq!(output, "bye\n");
        assert_eq!(ended, Ended { exit: Some(0), cancelled: true, ..Ended::default() });
    }
}
