//! The command line's end of the control socket.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

use super::place::Place;
use super::{ANSWER_BYTES_MAX, BLOCK_BYTES_MAX, SOCKET, told};
use crate::base::{Error, Result};

/// A connection to a running server, good for one request.
pub struct Client(UnixStream);

impl Client {
    /// Connects to the server that runs in this folder; `None` when none does.
    pub fn connect(folder: &Path) -> Result<Option<Client>> {
        let path = folder.join(SOCKET);
        if !path.exists() {
            return Ok(None);
        }
        match UnixStream::connect(Place::of(&path)?.path()) {
            Ok(stream) => Ok(Some(Client(stream))),
            Err(e) if matches!(e.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => Ok(None),
            Err(e) if e.kind() == ErrorKind::PermissionDenied => {
                Err(Error::forbidden(format!("this user may not use `{}`", path.display()))
                    .hint("run the command as root or as the user that the server runs as"))
            }
            Err(e) => Err(Error::unavailable(format!("`{}` cannot be reached", path.display())).because(e)),
        }
    }

    /// Runs an operation, which takes as long as it takes.
    pub fn call(mut self, op: &str, input: Value) -> Result<Value> {
        self.ask(&json!({ "op": op, "input": input }))?;
        outcome(&mut BufReader::new(self.0))
    }

    /// Asks for a stream and copies it to `out`; `progress` hears what was announced and how many bytes have come.
    pub fn stream(
        mut self,
        name: &str,
        input: Value,
        out: &mut dyn Write,
        progress: &mut dyn FnMut(&Value, u64),
    ) -> Result<Value> {
        self.ask(&json!({ "stream": name, "input": input }))?;
        let mut reader = BufReader::with_capacity(BLOCK_BYTES_MAX, self.0);
        let first = line(&mut reader)?;
        let Some(head) = first.get("stream") else { return decide(first) };
        let (mut bytes, mut block) = (0, Vec::new());
        loop {
            let mut length = [0; 4];
            reader.read_exact(&mut length).map_err(broken)?;
            let length = u32::from_be_bytes(length) as usize;
            if length == 0 {
                return outcome(&mut reader);
            }
            if length > BLOCK_BYTES_MAX {
                return Err(Error::unavailable("the server's stream is not understood"));
            }
            block.resize(length, 0);
            reader.read_exact(&mut block).map_err(broken)?;
            out.write_all(&block).map_err(|e| Error::unavailable("the copy cannot be written").because(e))?;
            bytes += length as u64;
            progress(head, bytes);
        }
    }

    fn ask(&mut self, request: &Value) -> Result<()> {
        let mut line = request.to_string();
        line.push('\n');
        // A server that refuses at once closes while this is written; its answer can be read all the same.
        match self.0.write_all(line.as_bytes()) {
            Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(broken(e)),
            _ => Ok(()),
        }
    }
}

fn outcome(reader: &mut BufReader<UnixStream>) -> Result<Value> {
    decide(line(reader)?)
}

fn decide(mut answer: Value) -> Result<Value> {
    match answer.get("problem") {
        Some(problem) => Err(told(problem)),
        None => Ok(answer["ok"].take()),
    }
}

fn line(reader: &mut BufReader<UnixStream>) -> Result<Value> {
    let mut line = Vec::new();
    reader.by_ref().take(ANSWER_BYTES_MAX).read_until(b'\n', &mut line).map_err(broken)?;
    if !line.ends_with(b"\n") {
        return Err(Error::unavailable("the server ended before it had answered")
            .hint("its log says why; try again when it runs"));
    }
    serde_json::from_slice(&line)
        .map_err(|e| Error::unavailable("the server's answer is not understood").because(e))
}

fn broken(e: std::io::Error) -> Error {
    Error::unavailable("the connection to the server broke off").because(e).hint("its log says why")
}
