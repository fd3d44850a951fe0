//! `muster backup`: a full backup as a stream, of a running server through its control socket, or of a stopped folder.

use std::io::Write;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::command::{Access, Stopped};
use super::control::Stream;
use crate::base::{Error, Result, Timestamp};
use crate::capabilities::backups;
use crate::kit::Ctx;

/// Name of the stream.
pub(super) const STREAM: &str = "backup";

/// What is asked.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Whether metrics and logs are in it; as the plan says when that is left open.
    telemetry: Option<bool>,
}

/// What a backup turned out to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The standard name of its file.
    pub name: String,
    /// The last change in it.
    pub last: u64,
    /// The instant of that change.
    pub at: Timestamp,
    /// Bytes of the file.
    pub bytes: u64,
    /// Whether metrics and logs are in it.
    pub telemetry: bool,
    /// Who can open it, `age1…`.
    pub recipients: Vec<String>,
}

impl Access {
    /// Writes a full backup to `out`. `progress` hears how many bytes there are, and about how many there will be.
    pub fn backup(
        self,
        telemetry: Option<bool>,
        out: &mut dyn Write,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<Taken> {
        match self {
            Access::Running(client) => {
                let asked = serde_json::to_value(Asked { telemetry })?;
                let mut heard = |head: &Value, bytes| progress(bytes, head["bytes"].as_u64());
                Ok(serde_json::from_value(client.stream(STREAM, asked, out, &mut heard)?)?)
            }
            Access::Stopped(stopped) => stopped.backup(telemetry, out, progress),
        }
    }
}

impl Stopped {
    fn backup(
        &self,
        telemetry: Option<bool>,
        out: &mut dyn Write,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<Taken> {
        let ctx = self.ctx();
        let prepared = Prepared::new(&ctx, telemetry)?;
        let of = Some(prepared.expected);
        let mut counted = Counted { out, bytes: 0, heard: &mut |bytes| progress(bytes, of) };
        prepared.write(&ctx, &mut counted)
    }
}

/// Answers the stream of a running server.
pub(super) fn stream(ctx: &Ctx<'_>, input: Value, out: &mut Stream<'_>) -> Result<Value> {
    let asked: Asked = match input {
        Value::Null => Asked::default(),
        input => serde_json::from_value(input)
            .map_err(|e| Error::invalid(format!("the stream's input is not understood: {e}")))?,
    };
    let prepared = Prepared::new(ctx, asked.telemetry)?;
    out.begin(&json!({ "bytes": prepared.expected }))?;
    Ok(serde_json::to_value(prepared.write(ctx, out)?)?)
}

/// A backup of which everything is known but its content.
struct Prepared {
    options: backups::Options,
    meter: backups::Meter,
    expected: u64,
}

impl Prepared {
    fn new(ctx: &Ctx<'_>, telemetry: Option<bool>) -> Result<Prepared> {
        // Whoever gets a backup and the recovery key has the whole site.
        ctx.require("backups.write")?;
        let options = backups::Options::of(ctx, telemetry)?;
        let expected = backups::expected(ctx, options.telemetry)?;
        Ok(Prepared { options, meter: backups::Meter::new(&ctx.site.clock, 0), expected })
    }

    fn write(self, ctx: &Ctx<'_>, out: &mut dyn Write) -> Result<Taken> {
        // Before the first byte: whoever breaks it off has a part of it all the same.
        ctx.require("backups.write")?.before_giving(|change| {
            let recipients: Vec<String> = self.options.recipients.iter().map(ToString::to_string).collect();
            let detail = json!({ "telemetry": self.options.telemetry, "recipients": recipients });
            change.tell("backups.taken_out", "site", detail);
            Ok(())
        })?;
        let (_, written) = backups::write_full(ctx, out, &self.options, &self.meter)?;
        let store = &written.end.store;
        let taken = Taken {
            name: name(ctx, store.last).to_string(),
            last: store.last,
            at: store.at,
            bytes: written.summary.bytes_out,
            telemetry: self.options.telemetry,
            recipients: self.options.recipients.iter().map(ToString::to_string).collect(),
        };
        ctx.require("backups.write")?.write(|change| {
            let detail = json!({ "bytes": taken.bytes, "last": taken.last, "telemetry": taken.telemetry });
            change.tell("backups.written", &taken.name, detail);
            Ok(())
        })?;
        Ok(taken)
    }
}

/// The standard name. Its instant is rounded up to a second: nothing in the backup is younger.
fn name(ctx: &Ctx<'_>, last: u64) -> backups::FileName {
    let second = ctx.site.clock.now().milliseconds().div_euclid(1_000) + 1;
    backups::FileName {
        site: backups::slug(&ctx.site.settings.name()),
        at: Timestamp::from_milliseconds(second * 1_000),
        holds: backups::Holds::Full { last },
    }
}

/// Tells how many bytes have passed.
struct Counted<'a> {
    out: &'a mut dyn Write,
    bytes: u64,
    heard: &'a mut dyn FnMut(u64),
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        (self.heard)(self.bytes);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
