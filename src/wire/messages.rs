//! The messages. Every field that a small device may leave out has a default.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{UpKind, codec, metrics};
use crate::base::{Error, Labels, Result, TaskId, Timestamp, limits};

/// How an agent numbers what it sends, so that the server can acknowledge and recognise repetition.
/// A client that sends none is acknowledged by MQTT's PUBACK alone.
pub type Sequence = u64;

/// First message of a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hello {
    /// Version of the agent program.
    pub version: String,
    /// Name of the host or device.
    pub hostname: String,
    /// Operating system, kernel, architecture and the like; empty on a repeated hello that changes nothing.
    pub inventory: Inventory,
    /// Random per start of the agent program: two live starts with one key are two machines.
    pub boot: String,
    /// The agent's clock when it sent this.
    pub clock: Option<Timestamp>,
    /// Labels that the agent's own configuration proposes.
    pub labels: Labels,
    /// Commands that the agent's own configuration allows, by name, with their description.
    pub commands: BTreeMap<String, String>,
}

/// What a host is made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Inventory {
    /// For example `Debian GNU/Linux 12`.
    pub os: String,
    /// Kernel release.
    pub kernel: String,
    /// For example `x86_64`.
    pub architecture: String,
    /// Model of the processor.
    pub cpu: String,
    /// Logical processors.
    pub cpu_count: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Identifier of the machine itself, stable over reinstalls of the agent.
    pub machine: String,
    /// When the host started.
    pub booted: Option<Timestamp>,
    /// Network interfaces with their addresses.
    pub interfaces: Vec<Interface>,
    /// Mounted disks.
    pub disks: Vec<Disk>,
    /// Installed packages, name to version. Sent only when inventory is asked for.
    pub packages: BTreeMap<String, String>,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Interface {
    /// For example `eth0`.
    pub name: String,
    /// Hardware address.
    pub mac: String,
    /// Addresses with prefix length.
    pub addresses: Vec<String>,
}

/// A mounted disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Disk {
    /// Where it is mounted.
    pub mount: String,
    /// File system type.
    pub kind: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// I am alive.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Heartbeat {
    /// The agent's clock when it sent this.
    pub clock: Option<Timestamp>,
    /// Messages that wait in the agent's spool.
    pub spooled: u64,
    /// As in [`Hello::boot`].
    pub boot: String,
}

/// Samples of one or more instants. JSON: `{"at":"…","values":{"cpu.usage_percent":12.5}}`, or `ticks` with several.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metrics {
    /// Number of this message in the agent's spool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<Sequence>,
    /// Instant of `values`; the server's clock when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Metric name, with its instance in braces where there are several (`disk.used_percent{/var}`), to value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, f64>,
    /// Several instants in one message.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ticks: Vec<Tick>,
}

/// Samples of one instant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tick {
    /// When they were taken.
    pub at: Timestamp,
    /// Metric to value.
    pub values: BTreeMap<String, f64>,
}

/// Severity of a log line or event (OpenTelemetry's short names).
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Finest.
    Trace,
    /// For developers.
    Debug,
    /// Normal.
    #[default]
    Info,
    /// Worth a look.
    Warn,
    /// Something failed.
    Error,
    /// The program or host is going down.
    Fatal,
}

/// Lines of text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Logs {
    /// Number of this message in the agent's spool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<Sequence>,
    /// The lines, oldest first.
    pub lines: Vec<LogLine>,
}

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct LogLine {
    /// When it was written; the server's clock when absent.
    pub at: Option<Timestamp>,
    /// How grave.
    pub severity: Severity,
    /// Unit, file or component.
    pub source: String,
    /// The text.
    pub text: String,
}

/// Spans of traces, as OpenTelemetry names them. Kept as events of their trace until traces have their own store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spans {
    /// Number of this message in the agent's spool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<Sequence>,
    /// The spans.
    pub spans: Vec<Span>,
}

/// One span.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Span {
    /// 32 hexadecimal digits (W3C trace context).
    pub trace: String,
    /// 16 hexadecimal digits.
    pub span: String,
    /// The parent's 16 digits; empty for a root.
    pub parent: String,
    /// What was done.
    pub name: String,
    /// When it began.
    pub start: Timestamp,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// Whether it failed.
    pub failed: bool,
}

/// Things that happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Events {
    /// Number of this message in the agent's spool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<Sequence>,
    /// The events, oldest first.
    pub events: Vec<Event>,
}

/// One event. `id` makes it the same event when it is sent twice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Event {
    /// Unique per agent; at most 64 bytes. Without one every sending is a new event.
    pub id: String,
    /// When; the server's clock when absent.
    pub at: Option<Timestamp>,
    /// How grave.
    pub severity: Severity,
    /// Short name, for example `disk.full`.
    pub name: String,
    /// What a person reads.
    pub text: String,
}

/// How far an agent is with a task. `output` carries new text only; the server appends by `offset`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    /// Which task.
    pub task: TaskId,
    /// What happened.
    pub state: TaskPhase,
    /// Number of this message in the agent's spool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<Sequence>,
    /// When, by the agent's clock.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// New output, as text.
    #[serde(default)]
    pub output: String,
    /// Where in the whole output `output` begins, in bytes.
    #[serde(default)]
    pub offset: u64,
    /// Exit status of a command that ended by itself.
    #[serde(default)]
    pub exit: Option<i32>,
    /// Why it was refused or failed, for a reader.
    #[serde(default)]
    pub reason: String,
    /// Inventory, when that was asked for.
    #[serde(default)]
    pub inventory: Option<Inventory>,
}

/// What happened to a task at the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TaskPhase {
    /// It stands in the agent's journal and will run once.
    Accepted,
    /// It runs; output so far.
    Running,
    /// It ended well.
    Succeeded,
    /// It ended badly; see `exit` and `reason`.
    Failed,
    /// The agent's own configuration forbids it.
    Refused,
    /// It was stopped on request.
    Cancelled,
    /// It ran into a limit of time, output or memory.
    Exceeded,
    /// The agent died while it ran; nobody knows how far it came.
    Unknown,
}

/// One unit of work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its identifier; an agent runs each at most once.
    pub task: TaskId,
    /// What to do.
    pub work: Work,
    /// Seconds that it may run.
    pub seconds_max: u64,
    /// Bytes of output that are kept.
    pub output_bytes_max: u64,
    /// Bytes of memory it may use, where the operating system allows to say so; 0 for no limit.
    #[serde(default)]
    pub memory_bytes_max: u64,
}

/// What there is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Work {
    /// Answer.
    Ping,
    /// Send the whole inventory, packages included.
    Inventory,
    /// Run a command that the agent's own configuration allows by this name.
    Command {
        /// Name in the agent's configuration.
        name: String,
        /// Arguments that are added; the agent's configuration says whether it takes any.
        #[serde(default)]
        arguments: Vec<String>,
    },
}

/// Stop doing that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cancel {
    /// Which task.
    pub task: TaskId,
}

/// How to behave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Configuration {
    /// Seconds between samples: 10 at rest, 1 while somebody looks.
    pub metrics_seconds: u64,
    /// Seconds between heartbeats.
    pub heartbeat_seconds: u64,
    /// Whether log lines are wanted.
    pub logs: bool,
}

/// These are on the server's disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Acknowledgement {
    /// The highest sequence up to which everything is synced.
    pub sequence: Sequence,
}

/// A signing request, or the answer to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Certificate {
    /// Up: the request (PEM, PKCS #10). Down: the certificate (PEM).
    pub pem: String,
    /// Down: the authority's certificate (PEM).
    pub authority: String,
}

/// What a program that has a join code asks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JoinRequest {
    /// Signing request for the key that it made (PEM, PKCS #10).
    pub request: String,
    /// Its first hello.
    pub hello: Hello,
}

/// What it is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "lowercase")]
pub enum JoinAnswer {
    /// An administrator must approve; ask again after so many seconds with the same key.
    Pending {
        /// Who the agent will be.
        agent: crate::base::AgentId,
        /// When to ask again.
        seconds: u64,
    },
    /// Welcome.
    Joined {
        /// The tenant.
        tenant: crate::base::TenantId,
        /// Who the agent is from now on.
        agent: crate::base::AgentId,
        /// Certificate (PEM).
        certificate: String,
        /// The authority's certificate (PEM).
        authority: String,
    },
    /// No, and why.
    Refused {
        /// For a reader.
        reason: String,
    },
}

/// Any message of an agent, checked.
#[derive(Clone, Debug, PartialEq)]
pub enum Up {
    /// See [`Hello`].
    Hello(Hello),
    /// See [`Heartbeat`].
    Heartbeat(Heartbeat),
    /// See [`Metrics`].
    Metrics(Metrics),
    /// See [`Logs`].
    Logs(Logs),
    /// See [`Spans`].
    Spans(Spans),
    /// See [`Events`].
    Events(Events),
    /// See [`TaskReport`].
    Task(TaskReport),
    /// See [`Certificate`].
    Certificate(Certificate),
}

impl Up {
    /// Decodes and checks a payload that came on a topic of this kind.
    pub fn decode(kind: UpKind, payload: &[u8]) -> Result<Up> {
        let what = kind.word();
        let message = match kind {
            UpKind::Hello => Up::Hello(codec::decode(what, payload)?),
            UpKind::Heartbeat => Up::Heartbeat(codec::decode(what, payload)?),
            UpKind::Metrics => Up::Metrics(metrics::decode(payload)?),
            UpKind::Logs => Up::Logs(codec::decode(what, payload)?),
            UpKind::Spans => Up::Spans(codec::decode(what, payload)?),
            UpKind::Events => Up::Events(codec::decode(what, payload)?),
            UpKind::Task => Up::Task(codec::decode(what, payload)?),
            UpKind::Certificate => Up::Certificate(codec::decode(what, payload)?),
        };
        message.check()?;
        Ok(message)
    }

    /// The kind, hence the topic.
    pub fn kind(&self) -> UpKind {
        match self {
            Up::Hello(_) => UpKind::Hello,
            Up::Heartbeat(_) => UpKind::Heartbeat,
            Up::Metrics(_) => UpKind::Metrics,
            Up::Logs(_) => UpKind::Logs,
            Up::Spans(_) => UpKind::Spans,
            Up::Events(_) => UpKind::Events,
            Up::Task(_) => UpKind::Task,
            Up::Certificate(_) => UpKind::Certificate,
        }
    }

    /// The number in the agent's spool, where the message has one.
    pub fn sequence(&self) -> Option<Sequence> {
        match self {
            Up::Metrics(m) => m.sequence,
            Up::Logs(m) => m.sequence,
            Up::Spans(m) => m.sequence,
            Up::Events(m) => m.sequence,
            Up::Task(m) => m.sequence,
            Up::Hello(_) | Up::Heartbeat(_) | Up::Certificate(_) => None,
        }
    }

    /// The compact form.
    pub fn compact(&self) -> Vec<u8> {
        match self {
            Up::Hello(m) => codec::compact(m),
            Up::Heartbeat(m) => codec::compact(m),
            Up::Metrics(m) => metrics::compact(m),
            Up::Logs(m) => codec::compact(m),
            Up::Spans(m) => codec::compact(m),
            Up::Events(m) => codec::compact(m),
            Up::Task(m) => codec::compact(m),
            Up::Certificate(m) => codec::compact(m),
        }
    }

    /// The JSON form.
    pub fn json(&self) -> Vec<u8> {
        match self {
            Up::Hello(m) => codec::json(m),
            Up::Heartbeat(m) => codec::json(m),
            Up::Metrics(m) => codec::json(m),
            Up::Logs(m) => codec::json(m),
            Up::Spans(m) => codec::json(m),
            Up::Events(m) => codec::json(m),
            Up::Task(m) => codec::json(m),
            Up::Certificate(m) => codec::json(m),
        }
    }

    fn check(&self) -> Result<()> {
        let bound = |what: &str, have: usize, most: usize| {
            if have <= most {
                return Ok(());
            }
            Err(Error::invalid(format!("{have} {what} in one message"))
                .hint(format!("at most {most}; send several messages")))
        };
        match self {
            Up::Hello(m) => {
                m.labels.check()?;
                bound("commands", m.commands.len(), 256)?;
                bound("bytes of version", m.version.len(), 64)?;
                bound("bytes of host name", m.hostname.len(), 255)?;
                bound("bytes of boot", m.boot.len(), 64)
            }
            Up::Heartbeat(m) => bound("bytes of boot", m.boot.len(), 64),
            Up::Metrics(m) => metrics::check(m),
            Up::Logs(m) => bound("lines", m.lines.len(), limits::LOG_LINES_MAX),
            Up::Spans(m) => bound("spans", m.spans.len(), limits::LOG_LINES_MAX),
            Up::Events(m) => {
                bound("events", m.events.len(), limits::LOG_LINES_MAX)?;
                m.events.iter().try_for_each(|e| {
                    bound("bytes of event id", e.id.len(), 64)?;
                    bound("bytes of event name", e.name.len(), 120)?;
                    bound("bytes of event text", e.text.len(), limits::LOG_LINE_BYTES_MAX)
                })
            }
            Up::Task(m) => bound("bytes of output", m.output.len(), limits::TASK_OUTPUT_BYTES_MAX),
            Up::Certificate(m) => bound("bytes of request", m.pem.len(), 8 * 1024),
        }
    }
}

/// Any message to an agent.
#[derive(Clone, Debug, PartialEq)]
pub enum Down {
    /// See [`Task`].
    Task(Task),
    /// See [`Cancel`].
    Cancel(Cancel),
    /// See [`Configuration`].
    Configuration(Configuration),
    /// See [`Acknowledgement`].
    Acknowledgement(Acknowledgement),
    /// See [`Certificate`].
    Certificate(Certificate),
}

impl Down {
    /// The kind, hence the topic.
    pub fn kind(&self) -> super::DownKind {
        use super::DownKind as K;
        match self {
            Down::Task(_) => K::Task,
            Down::Cancel(_) => K::Cancel,
            Down::Configuration(_) => K::Configuration,
            Down::Acknowledgement(_) => K::Acknowledgement,
            Down::Certificate(_) => K::Certificate,
        }
    }

    /// Decodes a payload that came on a topic of this kind.
    pub fn decode(kind: super::DownKind, payload: &[u8]) -> Result<Down> {
        use super::DownKind as K;
        let what = kind.word();
        Ok(match kind {
            K::Task => Down::Task(codec::decode(what, payload)?),
            K::Cancel => Down::Cancel(codec::decode(what, payload)?),
            K::Configuration => Down::Configuration(codec::decode(what, payload)?),
            K::Acknowledgement => Down::Acknowledgement(codec::decode(what, payload)?),
            K::Certificate => Down::Certificate(codec::decode(what, payload)?),
        })
    }

    /// The JSON form, in which the server speaks, so that a stock client can read its tasks.
    pub fn json(&self) -> Vec<u8> {
        match self {
            Down::Task(m) => codec::json(m),
            Down::Cancel(m) => codec::json(m),
            Down::Configuration(m) => codec::json(m),
            Down::Acknowledgement(m) => codec::json(m),
            Down::Certificate(m) => codec::json(m),
        }
    }
}

impl JoinRequest {
    /// Decodes and checks.
    pub fn decode(payload: &[u8]) -> Result<JoinRequest> {
        let request: JoinRequest = codec::decode("join", payload)?;
        if request.request.len() > 8 * 1024 {
            return Err(Error::invalid("the signing request is too long").hint("at most 8 KiB"));
        }
        Up::Hello(request.hello.clone()).check()?;
        Ok(request)
    }
    /// The JSON form.
    pub fn json(&self) -> Vec<u8> {
        codec::json(self)
    }
}

impl JoinAnswer {
    /// Decodes.
    pub fn decode(payload: &[u8]) -> Result<JoinAnswer> {
        codec::decode("join answer", payload)
    }
    /// The JSON form.
    pub fn json(&self) -> Vec<u8> {
        codec::json(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Up> {
        let at = Timestamp::from_milliseconds(1_790_000_000_000);
        vec![
            Up::Hello(Hello {
                hostname: "press-07".into(),
                boot: "b".into(),
                clock: Some(at),
                ..Hello::default()
            }),
            Up::Heartbeat(Heartbeat { clock: Some(at), spooled: 3, boot: "b".into() }),
            Up::Metrics(Metrics {
                sequence: Some(9),
                at: Some(at),
                values: [
                    ("cpu.usage_percent".into(), 12.5),
                    ("disk.used_percent{/var}".into(), 97.0),
                    ("x".into(), -0.1),
                ]
                .into(),
                ticks: Vec::new(),
            }),
            Up::Logs(Logs {
                sequence: Some(10),
                lines: vec![LogLine { text: "hello".into(), ..LogLine::default() }],
            }),
            Up::Spans(Spans { sequence: None, spans: vec![Span { name: "call".into(), ..Span::default() }] }),
            Up::Events(Events {
                sequence: None,
                events: vec![Event { id: "1".into(), name: "disk.full".into(), ..Event::default() }],
            }),
            Up::Task(TaskReport {
                task: TaskId::from_bits(7),
                state: TaskPhase::Succeeded,
                sequence: Some(11),
                at: Some(at),
                output: "ok\n".into(),
                offset: 0,
                exit: Some(0),
                reason: String::new(),
                inventory: None,
            }),
            Up::Certificate(Certificate { pem: "-----".into(), authority: String::new() }),
        ]
    }

    #[test]
    fn both_forms_say_the_same() {
        for message in samples() {
            assert_eq!(Up::decode(message.kind(), &message.json()).unwrap(), message);
            assert_eq!(Up::decode(message.kind(), &message.compact()).unwrap(), message);
        }
    }

    #[test]
    fn a_later_versions_fields_are_skipped() {
        let text = br#"{"clock":1790000000000,"spooled":1,"boot":"b","mood":"good"}"#;
        assert!(matches!(Up::decode(UpKind::Heartbeat, text).unwrap(), Up::Heartbeat(h) if h.spooled == 1));
    }

    #[test]
    fn counts_are_bounded() {
        let lines = vec![LogLine::default(); limits::LOG_LINES_MAX + 1];
        let payload = Up::Logs(Logs { sequence: None, lines }).compact();
        assert!(Up::decode(UpKind::Logs, &payload).unwrap_err().hint_text().unwrap().contains("several"));
        for payload in [&b""[..], b"{", b"\x01", b"\x01\xff\xff", b"[]", b"null"] {
            for kind in UpKind::ALL {
                assert!(Up::decode(*kind, payload).is_err(), "{kind:?} {payload:?}");
            }
        }
    }
}
