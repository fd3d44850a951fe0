//! Every bound that protects the appliance, with its unit and the bound last. Each has a test that reaches it.

/// Tenants of one site, its own among them.
pub const TENANTS_MAX: usize = 64;
/// Labels on one thing.
pub const LABELS_COUNT_MAX: usize = 64;
/// Bytes of a label's key.
pub const LABEL_KEY_BYTES_MAX: usize = 63;
/// Bytes of a label's value.
pub const LABEL_VALUE_BYTES_MAX: usize = 255;
/// Bytes of a human name.
pub const NAME_BYTES_MAX: usize = 120;
/// Bytes of a selector's text.
pub const SELECTOR_BYTES_MAX: usize = 1_024;
/// Terms in a selector.
pub const SELECTOR_TERMS_MAX: usize = 32;
/// Rows of one page of a list.
pub const PAGE_ROWS_MAX: usize = 500;
/// Rows of one page when the caller names no number.
pub const PAGE_ROWS_DEFAULT: usize = 50;

/// Bytes of one MQTT packet.
pub const MQTT_PACKET_BYTES_MAX: usize = 256 * 1024;
/// Bytes of an MQTT CONNECT packet, which is read before anybody is known.
pub const MQTT_CONNECT_BYTES_MAX: usize = 4 * 1024;
/// Samples in one metrics message.
pub const METRICS_SAMPLES_MAX: usize = 20_000;
/// Bytes of a metric's name with its instance.
pub const METRIC_NAME_BYTES_MAX: usize = 200;
/// Different series of one agent; further ones are refused with an event.
pub const SERIES_PER_AGENT_MAX: usize = 2_000;
/// Lines in one logs message.
pub const LOG_LINES_MAX: usize = 2_000;
/// Bytes of one log line; longer ones are cut with a mark.
pub const LOG_LINE_BYTES_MAX: usize = 8 * 1024;
/// Bytes of a task's output that are kept; the rest is dropped with a mark.
pub const TASK_OUTPUT_BYTES_MAX: usize = 256 * 1024;
/// Arguments of a command.
pub const TASK_ARGUMENTS_MAX: usize = 64;
/// Seconds that a task may run.
pub const TASK_SECONDS_MAX: u64 = 24 * 3600;
/// Tasks that wait for one agent.
pub const TASKS_QUEUED_PER_AGENT_MAX: usize = 1_000;

/// Checkpoints of the audit log that an agent keeps and tells: the newest of each of so many generations.
pub const CHECKPOINTS_KEPT_MAX: usize = 8;

/// Bytes of an HTTP request's body.
pub const HTTP_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Seconds until a request's body must be there.
pub const HTTP_BODY_SECONDS_MAX: u64 = 15;
/// Connections over HTTP at once, unless the configuration says otherwise.
pub const HTTP_CONNECTIONS_MAX: usize = 1_024;
/// Connections over HTTP at once from one address, unless the configuration says otherwise.
pub const HTTP_CONNECTIONS_PER_ADDRESS_MAX: usize = 256;
/// Seconds that a TLS handshake over HTTP may take.
pub const HTTP_HANDSHAKE_SECONDS_MAX: u64 = 5;
/// Seconds from the first byte of a request's head to its last.
pub const HTTP_HEAD_SECONDS_MAX: u64 = 5;
/// Seconds that a connection may idle between two requests.
pub const HTTP_IDLE_SECONDS_MAX: u64 = 75;
/// Seconds in which the other side must take something of an answer.
pub const HTTP_WRITE_SECONDS_MAX: u64 = 30;
/// Requests of one address in a second, over some time, unless the configuration says otherwise.
pub const REQUESTS_PER_ADDRESS_PER_SECOND_MAX: u32 = 100;
/// Requests of one person or key in a second, over some time, unless the configuration says otherwise.
pub const REQUESTS_PER_ACTOR_PER_SECOND_MAX: u32 = 50;
/// Requests of all of a tenant in a second, over some time, unless the configuration says otherwise.
pub const REQUESTS_PER_TENANT_PER_SECOND_MAX: u32 = 500;
/// Seconds of requests that may come at once.
pub const REQUESTS_BURST_SECONDS: u32 = 10;
/// Forms of one address at once that anybody may send: sign-in, set-up, links.
pub const DOOR_FORMS_BURST: u32 = 30;
/// Seconds until one more of them may come.
pub const DOOR_FORM_SECONDS: u64 = 2;
/// Keys that one rate limit remembers.
pub const RATE_BUCKETS_MAX: usize = 10_000;
/// Refresh tokens of one API key that are open at once.
pub const REFRESH_TOKENS_PER_KEY_MAX: usize = 20;
/// Days after which a refresh token ends with all that followed it, whatever happens.
pub const REFRESH_TOKEN_DAYS_MAX: u64 = 30;
/// Days without use after which a refresh token ends.
pub const REFRESH_TOKEN_IDLE_DAYS_MAX: u64 = 7;
/// Hours that the text of an API key goes on, at most, which its program itself replaced.
pub const OWN_OVERLAP_HOURS_MAX: u64 = 24;
/// Times that a program replaces the text of its API key in a day.
pub const OWN_ROTATIONS_PER_DAY_MAX: usize = 6;
/// Networks in one list of those that may or may not connect.
pub const NETWORKS_MAX: usize = 256;
/// MQTT clients of the site.
pub const CLIENTS_MAX: usize = 200;
/// Live streams open at once.
pub const LIVE_STREAMS_MAX: usize = 256;
/// Topics of one live stream.
pub const LIVE_TOPICS_MAX: usize = 16;
/// Sessions of one user; the oldest ends when one more begins.
pub const SESSIONS_PER_USER_MAX: usize = 20;
/// Bytes of a password.
pub const PASSWORD_BYTES_MAX: usize = 1_024;
/// Characters that a password must have.
pub const PASSWORD_CHARACTERS_MIN: usize = 15;
