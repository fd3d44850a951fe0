//! Bounds as guides name them, from the constants that hold them.

use crate::base::{Span, limits as l};
use crate::engine::{logs, series};
use crate::kit::{PROOF_LASTS, ROLE_NAME_CHARACTERS_MAX};

/// What stands for `{{name}}` in a guide.
pub(super) fn fact(name: &str) -> Option<String> {
    FACTS.iter().find(|(known, _)| *known == name).map(|(_, say)| say())
}

/// A number as people read it: in groups of three.
fn count(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().unwrap_or_default().to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

fn bytes(number: impl TryInto<u64>) -> String {
    let number = number.try_into().unwrap_or_default();
    let of = |unit: u64| number >= unit && number.is_multiple_of(unit);
    match number {
        _ if of(1 << 30) => format!("{} GiB", number >> 30),
        _ if of(1 << 20) => format!("{} MiB", number >> 20),
        _ if of(1 << 10) => format!("{} KiB", number >> 10),
        _ => format!("{} bytes", count(number)),
    }
}

fn minutes(span: Span) -> String {
    count(span.seconds() / 60)
}

type Say = fn() -> String;

pub(super) const FACTS: &[(&str, Say)] = &[
    ("version", || env!("CARGO_PKG_VERSION").to_owned()),
    ("proof-minutes", || minutes(PROOF_LASTS)),
    ("role-name", || count(ROLE_NAME_CHARACTERS_MAX)),
    ("labels", || count(l::LABELS_COUNT_MAX)),
    ("label-key", || bytes(l::LABEL_KEY_BYTES_MAX)),
    ("label-value", || bytes(l::LABEL_VALUE_BYTES_MAX)),
    ("name", || bytes(l::NAME_BYTES_MAX)),
    ("selector", || bytes(l::SELECTOR_BYTES_MAX)),
    ("selector-terms", || count(l::SELECTOR_TERMS_MAX)),
    ("page-rows", || count(l::PAGE_ROWS_MAX)),
    ("page-rows-default", || count(l::PAGE_ROWS_DEFAULT)),
    ("mqtt-packet", || bytes(l::MQTT_PACKET_BYTES_MAX)),
    ("mqtt-connect", || bytes(l::MQTT_CONNECT_BYTES_MAX)),
    ("metrics-samples", || count(l::METRICS_SAMPLES_MAX)),
    ("metric-name", || bytes(l::METRIC_NAME_BYTES_MAX)),
    ("series-per-agent", || count(l::SERIES_PER_AGENT_MAX)),
    ("log-lines", || count(l::LOG_LINES_MAX)),
    ("log-line", || bytes(l::LOG_LINE_BYTES_MAX)),
    ("task-output", || bytes(l::TASK_OUTPUT_BYTES_MAX)),
    ("task-arguments", || count(l::TASK_ARGUMENTS_MAX)),
    ("task-hours", || count(l::TASK_SECONDS_MAX / 3600)),
    ("tasks-queued", || count(l::TASKS_QUEUED_PER_AGENT_MAX)),
    ("http-body", || bytes(l::HTTP_BODY_BYTES_MAX)),
    ("http-body-seconds", || count(l::HTTP_BODY_SECONDS_MAX)),
    ("http-connections", || count(l::HTTP_CONNECTIONS_MAX)),
    ("http-connections-per-address", || count(l::HTTP_CONNECTIONS_PER_ADDRESS_MAX)),
    ("http-handshake-seconds", || count(l::HTTP_HANDSHAKE_SECONDS_MAX)),
    ("http-head-seconds", || count(l::HTTP_HEAD_SECONDS_MAX)),
    ("http-idle-seconds", || count(l::HTTP_IDLE_SECONDS_MAX)),
    ("http-write-seconds", || count(l::HTTP_WRITE_SECONDS_MAX)),
    ("requests-per-address", || count(l::REQUESTS_PER_ADDRESS_PER_SECOND_MAX)),
    ("requests-per-person", || count(l::REQUESTS_PER_ACTOR_PER_SECOND_MAX)),
    ("requests-per-tenant", || count(l::REQUESTS_PER_TENANT_PER_SECOND_MAX)),
    ("requests-burst-seconds", || count(l::REQUESTS_BURST_SECONDS)),
    ("door-forms", || count(l::DOOR_FORMS_BURST)),
    ("door-form-seconds", || count(l::DOOR_FORM_SECONDS)),
    ("networks", || count(l::NETWORKS_MAX)),
    ("clients", || count(l::CLIENTS_MAX)),
    ("live-streams", || count(l::LIVE_STREAMS_MAX)),
    ("sessions-per-user", || count(l::SESSIONS_PER_USER_MAX)),
    ("password-characters", || count(l::PASSWORD_CHARACTERS_MIN)),
    ("password-bytes", || bytes(l::PASSWORD_BYTES_MAX)),
    ("refresh-tokens", || count(l::REFRESH_TOKENS_PER_KEY_MAX)),
    ("refresh-days", || count(l::REFRESH_TOKEN_DAYS_MAX)),
    ("refresh-idle-days", || count(l::REFRESH_TOKEN_IDLE_DAYS_MAX)),
    ("own-overlap-hours", || count(l::OWN_OVERLAP_HOURS_MAX)),
    ("own-rotations", || count(l::OWN_ROTATIONS_PER_DAY_MAX)),
    ("logs-reserve", || bytes(logs::RESERVE_BYTES)),
    ("series-reserve", || bytes(series::RESERVE_BYTES)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_said_for_readers() {
        let said = [
            count(7_u64),
            count(1_024_u64),
            count(1_000_000_u64),
            bytes(1_u64 << 20),
            bytes(4_096_u64),
            bytes(120_u64),
        ];
        assert_eq!(said, ["7", "1 024", "1 000 000", "1 MiB", "4 KiB", "120 bytes"]);
        assert_eq!(fact("http-body").as_deref(), Some("1 MiB"));
        assert_eq!(fact("no-such"), None);
    }

    #[test]
    fn no_bound_has_two_names() {
        let mut names: Vec<&str> = FACTS.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FACTS.len());
        assert!(FACTS.iter().all(|(_, say)| !say().is_empty()));
    }
}
