//! The messages. Every field that a small device may leave out has a default.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::{Labels, TaskId, Timestamp};

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
    /// The newest checkpoint of each generation of the site that it was told of; a device may leave them out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checkpoints: Vec<Checkpoint>,
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
    /// Who sets the host's clock, where the agent can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeService>,
}

/// Who sets a host's clock, and whether it is in step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct TimeService {
    /// For example `systemd-timesyncd` or `chrony`; empty when none runs that is known.
    pub name: String,
    /// Whether it has brought the clock in step since it started; absent where it does not say.
    pub in_step: Option<bool>,
    /// When it last did, by the host's own clock.
    pub at: Option<Timestamp>,
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

/// What became of that? Asked after a restore, when the server knows less than the agent. It asks only: nothing is run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ask {
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

/// A signed statement of how far the site's audit log is. Whoever keeps it can prove later that the log was longer, or
/// another one, than what is shown then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Checkpoint {
    /// What the site was called.
    pub site: String,
    /// Which history of the site: 1 for the first, and one more after each restore.
    pub generation: u64,
    /// Number of the last entry.
    pub number: u64,
    /// Chain of that entry, 64 hexadecimal digits.
    pub chain: String,
    /// Number of the change in which the statement was made.
    pub change: u64,
    /// When it was made.
    pub at: Timestamp,
    /// Hash of the statement before, 64 hexadecimal digits; zeros for the first.
    pub previous: String,
    /// The public key (Ed25519), 64 hexadecimal digits.
    pub key: String,
    /// The signature, 128 hexadecimal digits.
    pub signature: String,
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
