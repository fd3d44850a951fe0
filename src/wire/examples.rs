//! One example of every message, as a client that prints text would send or receive it. The reference page shows them
//! and a test decodes them, so that what is read there works.

use super::{DownKind, UpKind};

/// A message with its meaning.
pub struct Example {
    /// The last parts of the topic: `up/metrics`.
    pub topic: &'static str,
    /// What it says.
    pub doc: &'static str,
    /// The payload.
    pub json: &'static str,
}

/// What an agent says.
pub fn up(kind: UpKind) -> Example {
    let (topic, doc, json) = match kind {
        UpKind::Hello => (
            "up/hello",
            "First message of a session: who it is, what it runs, what it allows. Tasks that wait are sent after it. `checkpoints` may hold what came on `down/checkpoint`.",
            r#"{"version":"1.4.2","hostname":"press-07","boot":"a41f","clock":"2026-11-25T09:41:22.118Z","labels":{"site":"lyon"},"commands":{"uptime":"How long the host has been up"}}"#,
        ),
        UpKind::Heartbeat => (
            "up/heartbeat",
            "A sign of life, every ten seconds. Without any message for 60 s an agent counts as offline.",
            r#"{"clock":"2026-11-25T09:41:32.118Z","spooled":0,"boot":"a41f","time":{"name":"systemd-timesyncd","in_step":true,"at":"2026-11-25T09:38:02Z"}}"#,
        ),
        UpKind::Metrics => (
            "up/metrics",
            "Samples of one instant, or of several in `ticks`. Without `at` the server's clock counts. The same instant sent twice is kept once.",
            r#"{"at":"2026-11-25T09:41:32Z","values":{"cpu.usage_percent":12.5,"disk.used_percent{/var}":61}}"#,
        ),
        UpKind::Logs => (
            "up/logs",
            "Lines of text, oldest first. A `sequence` that only grows makes a message that is sent twice kept once.",
            r#"{"sequence":17,"lines":[{"at":"2026-11-25T09:41:31Z","severity":"warn","source":"spoold","text":"job 88213 requeued"}]}"#,
        ),
        UpKind::Spans => (
            "up/spans",
            "Spans of traces, named as OpenTelemetry names them.",
            r#"{"spans":[{"trace":"4bf92f3577b34da6a3ce929d0e0e4736","span":"00f067aa0ba902b7","name":"render","start":"2026-11-25T09:41:31Z","duration_us":1840}]}"#,
        ),
        UpKind::Events => (
            "up/events",
            "Things that happened. An event's `id` makes it the same event when it is sent twice.",
            r#"{"events":[{"id":"door-4711","at":"2026-11-25T09:41:30Z","severity":"error","name":"door.open","text":"cabinet door open for 10 min"}]}"#,
        ),
        UpKind::Task => (
            "up/task",
            "How far a task is: accepted, running, succeeded, failed, refused, cancelled, exceeded or unknown. `output` is what is new, from the byte `offset` on.",
            r#"{"task":"tsk_01m89dhsb2sd784mb7mn0gqd2v","state":"succeeded","output":"up 41 days\n","offset":0,"exit":0}"#,
        ),
        UpKind::Certificate => (
            "up/certificate",
            "A signing request (PKCS #10, PEM) for a new certificate; the answer comes on `down/certificate`.",
            r#"{"pem":"-----BEGIN CERTIFICATE REQUEST-----\n…\n-----END CERTIFICATE REQUEST-----\n"}"#,
        ),
    };
    Example { topic, doc, json }
}

/// What an agent is told.
pub fn down(kind: DownKind) -> Example {
    let (topic, doc, json) = match kind {
        DownKind::Task => (
            "down/task",
            "Do this, at most once however often it comes. It is sent again until it is reported as accepted or ended.",
            r#"{"task":"tsk_01m89dhsb2sd784mb7mn0gqd2v","work":{"kind":"command","name":"uptime","arguments":[]},"seconds_max":60,"output_bytes_max":262144,"memory_bytes_max":0}"#,
        ),
        DownKind::Cancel => {
            ("down/cancel", "Stop that task, gracefully.", r#"{"task":"tsk_01m89dhsb2sd784mb7mn0gqd2v"}"#)
        }
        DownKind::Ask => (
            "down/ask",
            "What became of that task? Asked after the server was restored from a backup. Report its state on `up/task`, or `unknown` when it never came; do not run it. A device that keeps no record need not answer.",
            r#"{"task":"tsk_01m89dhsb2sd784mb7mn0gqd2v"}"#,
        ),
        DownKind::Configuration => (
            "down/configuration",
            "How to behave from now on: seconds between samples and heartbeats, and whether log lines are wanted.",
            r#"{"metrics_seconds":10,"heartbeat_seconds":10,"logs":true}"#,
        ),
        DownKind::Acknowledgement => (
            "down/acknowledgement",
            "Everything up to this sequence is on the server's disk. A PUBACK says the same of one message.",
            r#"{"sequence":17}"#,
        ),
        DownKind::Checkpoint => (
            "down/checkpoint",
            "How far the audit log is, signed. An agent keeps the newest of each generation and tells them in its hello, so that a log that was cut off is found out; a device may pass it over.",
            r#"{"site":"Plant 03","generation":1,"number":4711,"chain":"995fcf84d83f8aec6ac5f2579a53cc0d1bf7fd155471eef6420d5273845a05f6","change":90210,"at":"2026-11-25T09:00:00.000Z","previous":"c1afb4b8c0d5d91d9ca5ef8f178fdf734d1c704b0788104514d08f9186ad89f8","key":"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c","signature":"92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"}"#,
        ),
        DownKind::Certificate => (
            "down/certificate",
            "The new certificate, and the site's authority.",
            r#"{"pem":"-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n","authority":"-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n"}"#,
        ),
    };
    Example { topic, doc, json }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Down, Up};

    #[test]
    fn every_example_is_a_message_and_stands_under_its_topic() {
        for kind in UpKind::ALL {
            let example = up(*kind);
            assert_eq!(example.topic, format!("up/{}", kind.word()));
            let message = Up::decode(*kind, example.json.as_bytes()).unwrap();
            assert_eq!(Up::decode(*kind, &message.compact()).unwrap(), message);
            // Nothing in it may be skipped as unknown.
            let given: serde_json::Value = serde_json::from_str(example.json).unwrap();
            let kept: serde_json::Value = serde_json::from_slice(&message.json()).unwrap();
            for key in given.as_object().unwrap().keys() {
                assert!(kept.get(key).is_some(), "{key} of {}", example.topic);
            }
        }
        for kind in DownKind::ALL {
            let example = down(*kind);
            assert_eq!(example.topic, format!("down/{}", kind.word()));
            let message = Down::decode(*kind, example.json.as_bytes()).unwrap();
            let given: serde_json::Value = serde_json::from_str(example.json).unwrap();
            assert_eq!(serde_json::from_slice::<serde_json::Value>(&message.json()).unwrap(), given);
        }
    }
}
