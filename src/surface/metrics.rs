//! The engines' numbers as Prometheus text 0.0.4.

use std::fmt::{Display, Write};
use std::sync::atomic::Ordering;

use super::Surface;
use crate::engine::http::Turned;

/// Everything there is.
pub(super) fn text(surface: &Surface) -> String {
    let mut out = Text(String::with_capacity(8 * 1024));
    http(surface, &mut out);
    store(surface, &mut out);
    telemetry(surface, &mut out);
    broker(surface, &mut out);
    parts(surface, &mut out);
    out.0
}

fn http(surface: &Surface, out: &mut Text) {
    let count = surface.traffic.count();
    let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
    out.family("muster_http_requests_total", "counter", "Answers by class of status");
    for (class, requests) in classes.iter().zip(count.requests) {
        out.sample("muster_http_requests_total", &[("class", class)], requests);
    }
    out.one(
        "muster_http_requests_seconds_total",
        "counter",
        "Time spent on requests",
        count.elapsed.as_secs_f64(),
    );
    out.family("muster_http_turned_away_total", "counter", "Connections and requests turned away, by why");
    for (why, turned) in Turned::ALL.iter().zip(count.turned_away) {
        out.sample("muster_http_turned_away_total", &[("why", why.word())], turned);
    }
    out.one("muster_http_requests_running", "gauge", "Requests being worked on", count.running);
    out.one("muster_http_streams", "gauge", "Live pages open", count.streams);
    let ready = surface.checks().iter().all(|(_, good)| *good);
    out.one("muster_ready", "gauge", "Whether the site can do its work", u8::from(ready));
}

fn store(surface: &Surface, out: &mut Text) {
    let stats = surface.site.store.stats();
    out.one("muster_store_changes_total", "counter", "Changes acknowledged", stats.changes);
    out.one("muster_store_syncs_total", "counter", "Syncs of the journal", stats.syncs);
    out.one("muster_store_checkpoints_total", "counter", "Checkpoints made", stats.checkpoints);
    out.one(
        "muster_store_written_bytes_total",
        "counter",
        "Bytes written to the journal",
        stats.bytes_written,
    );
    out.one("muster_store_journal_bytes", "gauge", "Bytes of the journal on the disk", stats.journal_bytes);
    out.one(
        "muster_store_failed",
        "gauge",
        "Whether the store refuses writes",
        u8::from(stats.last_error.is_some()),
    );
    out.one("muster_store_change", "gauge", "Number of the newest change", surface.site.store.last_change());
}

fn telemetry(surface: &Surface, out: &mut Text) {
    let stats = surface.site.series.stats();
    out.one("muster_series_sources", "gauge", "Sources of samples", stats.sources);
    out.one("muster_series_count", "gauge", "Series of all sources", stats.series);
    out.one("muster_series_memory_samples", "gauge", "Samples not yet in day files", stats.samples_in_memory);
    out.one("muster_series_bytes", "gauge", "Bytes of all day files", stats.bytes);
    out.one("muster_series_journal_bytes", "gauge", "Bytes of the samples' journal", stats.journal_bytes);
    out.one("muster_series_damaged_total", "counter", "Damaged places met in day files", stats.damaged);
}

fn broker(surface: &Surface, out: &mut Text) {
    let Some(bus) = surface.site.bus() else { return };
    let stats = bus.stats();
    out.one("muster_broker_connections", "gauge", "Open connections", stats.connections);
    out.one("muster_broker_agents", "gauge", "Sessions of agents", stats.agents);
    out.one("muster_broker_clients", "gauge", "Sessions of clients", stats.clients);
    out.one("muster_broker_joining", "gauge", "Sessions of joining agents", stats.joining);
    out.one("muster_broker_outbox_bytes", "gauge", "Bytes in front of the router", stats.outbox_bytes);
    for (name, help, value) in [
        ("accepted", "Connections accepted", stats.accepted_total),
        ("refused", "Connections refused", stats.refused_total),
        ("faults", "Sessions that broke the protocol or their rights", stats.faults_total),
        ("denied", "Publishes and subscriptions denied", stats.denied_total),
        ("uplinks", "Messages of agents taken in", stats.uplinks_total),
        ("downlinks", "Messages written to agents", stats.downlinks_total),
        ("dropped", "Messages to agents that nobody heard", stats.dropped_total),
        ("takeovers", "Sessions that a newer one replaced", stats.takeovers_total),
        ("router_restarts", "Routers started anew", stats.router_restarts_total),
    ] {
        out.one(&format!("muster_broker_{name}_total"), "counter", help, value);
    }
}

fn parts(surface: &Surface, out: &mut Text) {
    let Some(parts) = surface.parts.get() else { return };
    let load = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
    let ingest = &parts.ingest;
    for (name, help, value) in [
        ("messages", "Messages of agents taken", load(&ingest.messages)),
        ("done", "Messages acknowledged after the sync", load(&ingest.done)),
        ("refused", "Messages that will never be stored", load(&ingest.refused)),
        ("failed", "Messages that could not be stored then", load(&ingest.failed)),
        ("batches", "Batches of messages", load(&ingest.batches)),
        ("joins", "Requests to join", load(&ingest.joins)),
    ] {
        out.one(&format!("muster_ingest_{name}_total"), "counter", help, value);
    }
    let jobs = parts.jobs.stats();
    out.family("muster_jobs_runs_total", "counter", "Runs of a job");
    jobs.iter().for_each(|j| out.sample("muster_jobs_runs_total", &[("job", &j.name)], j.runs));
    out.family("muster_jobs_failures_total", "counter", "Runs of a job that failed");
    jobs.iter().for_each(|j| out.sample("muster_jobs_failures_total", &[("job", &j.name)], j.failures));
    out.family("muster_jobs_last_seconds", "gauge", "How long the last run of a job took");
    jobs.iter().for_each(|j| {
        out.sample("muster_jobs_last_seconds", &[("job", &j.name)], j.last_duration.as_secs_f64());
    });
    let (following, newest) = (parts.following.stats(), surface.site.store.last_change());
    out.family("muster_follow_behind_changes", "gauge", "Changes that a follower has not seen");
    for follower in &following {
        let behind = newest.saturating_sub(follower.position);
        out.sample("muster_follow_behind_changes", &[("follower", follower.name)], behind);
    }
    out.family("muster_follow_attempts", "gauge", "Failures of a follower in a row");
    for follower in &following {
        out.sample("muster_follow_attempts", &[("follower", follower.name)], follower.attempts);
    }
}

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> =
            labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escape(value))).collect();
        let _ = writeln!(self.0, "{name}{{{}}} {value}", labels.join(","));
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        let _ = writeln!(self.0, "{name} {value}");
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let mut out = Text(String::new());
        out.one("muster_a", "gauge", "An a", 1.5);
        out.family("muster_b_total", "counter", "Some b");
        out.sample("muster_b_total", &[("job", "a\"b\\c\nd")], 3);
        assert_eq!(
            out.0,
            "# HELP muster_a An a\n# TYPE muster_a gauge\nmuster_a 1.5\n# HELP muster_b_total Some b\n\
             # TYPE muster_b_total counter\nmuster_b_total{job=\"a\\\"b\\\\c\\nd\"} 3\n"
        );
    }
}
