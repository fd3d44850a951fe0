//! Any message of either way, decoded and checked in one place.

use super::messages::*;
use super::{UpKind, codec, metrics};
use crate::base::{Error, Result, limits};

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
                bound("checkpoints", m.checkpoints.len(), limits::CHECKPOINTS_KEPT_MAX)?;
                m.checkpoints.iter().try_for_each(|c| {
                    let texts = [&c.site, &c.chain, &c.previous, &c.key, &c.signature];
                    texts.iter().try_for_each(|text| bound("bytes of checkpoint", text.len(), 512))
                })?;
                bound("bytes of version", m.version.len(), 64)?;
                bound("bytes of host name", m.hostname.len(), 255)?;
                bound("bytes of boot", m.boot.len(), 64)
            }
            Up::Heartbeat(m) => {
                let service = m.time.as_ref().map_or(0, |time| time.name.len());
                bound("bytes of time service", service, 64)?;
                bound("bytes of boot", m.boot.len(), 64)
            }
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
    /// See [`Ask`].
    Ask(Ask),
    /// See [`Configuration`].
    Configuration(Configuration),
    /// See [`Acknowledgement`].
    Acknowledgement(Acknowledgement),
    /// See [`Certificate`].
    Certificate(Certificate),
    /// See [`Checkpoint`].
    Checkpoint(Checkpoint),
}

impl Down {
    /// The kind, hence the topic.
    pub fn kind(&self) -> super::DownKind {
        use super::DownKind as K;
        match self {
            Down::Task(_) => K::Task,
            Down::Cancel(_) => K::Cancel,
            Down::Ask(_) => K::Ask,
            Down::Configuration(_) => K::Configuration,
            Down::Acknowledgement(_) => K::Acknowledgement,
            Down::Certificate(_) => K::Certificate,
            Down::Checkpoint(_) => K::Checkpoint,
        }
    }

    /// Decodes a payload that came on a topic of this kind.
    pub fn decode(kind: super::DownKind, payload: &[u8]) -> Result<Down> {
        use super::DownKind as K;
        let what = kind.word();
        Ok(match kind {
            K::Task => Down::Task(codec::decode(what, payload)?),
            K::Cancel => Down::Cancel(codec::decode(what, payload)?),
            K::Ask => Down::Ask(codec::decode(what, payload)?),
            K::Configuration => Down::Configuration(codec::decode(what, payload)?),
            K::Acknowledgement => Down::Acknowledgement(codec::decode(what, payload)?),
            K::Certificate => Down::Certificate(codec::decode(what, payload)?),
            K::Checkpoint => Down::Checkpoint(codec::decode(what, payload)?),
        })
    }

    /// The JSON form, in which the server speaks, so that a stock client can read its tasks.
    pub fn json(&self) -> Vec<u8> {
        match self {
            Down::Task(m) => codec::json(m),
            Down::Cancel(m) => codec::json(m),
            Down::Ask(m) => codec::json(m),
            Down::Configuration(m) => codec::json(m),
            Down::Acknowledgement(m) => codec::json(m),
            Down::Certificate(m) => codec::json(m),
            Down::Checkpoint(m) => codec::json(m),
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
    use crate::base::{TaskId, Timestamp};

    fn samples() -> Vec<Up> {
        let at = Timestamp::from_milliseconds(1_790_000_000_000);
        vec![
            Up::Hello(Hello {
                hostname: "press-07".into(),
                boot: "b".into(),
                clock: Some(at),
                ..Hello::default()
            }),
            Up::Heartbeat(Heartbeat {
                clock: Some(at),
                spooled: 3,
                boot: "b".into(),
                time: Some(TimeService { name: "chrony".into(), in_step: None, at: None }),
            }),
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
        let named = |bytes: usize| {
            let time = Some(TimeService { name: "x".repeat(bytes), ..TimeService::default() });
            Up::decode(
                UpKind::Heartbeat,
                &Up::Heartbeat(Heartbeat { time, ..Heartbeat::default() }).compact(),
            )
        };
        assert!(named(64).is_ok() && named(65).is_err());
    }

    #[test]
    fn checkpoints_of_a_hello_are_bounded() {
        let hello = |count, site: &str| {
            let one = Checkpoint { site: site.into(), ..Checkpoint::default() };
            Up::Hello(Hello { checkpoints: vec![one; count], ..Hello::default() }).compact()
        };
        assert!(Up::decode(UpKind::Hello, &hello(limits::CHECKPOINTS_KEPT_MAX, "x")).is_ok());
        assert!(Up::decode(UpKind::Hello, &hello(limits::CHECKPOINTS_KEPT_MAX + 1, "x")).is_err());
        assert!(Up::decode(UpKind::Hello, &hello(1, &"x".repeat(513))).is_err());
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
