//! A whole server in a process: samples over MQTT, memory per connection, pages and API with many agents, start.
//!
//! `cargo bench --bench ingest`, or with the names of sections: `cargo bench --bench ingest -- pages`. Every section
//! runs in a process of its own; the clients of `memory` run in yet another.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on stops")]

#[expect(dead_code, reason = "stories use more of it")]
#[path = "../tests/stories/harness.rs"]
mod harness;

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use harness::{Muster, config};
use muster::base::{AgentId, Labels, Secret, Span, Timestamp};
use muster::capabilities::{agents, identity};
use muster::engine::clock::Clock;
use muster::engine::crypto::{Pin, client_config};
use muster::engine::outbound::mqtt::{self, Quality};
use muster::engine::series::Batch;
use muster::kit::Ctx;
use muster::wire::{Disk, Interface, Inventory, Metrics, Tick, Topic, Up, UpKind};

const SERIES: usize = 20;
const SECTIONS: [(&str, fn()); 4] =
    [("start", start), ("pages", pages), ("samples", samples), ("memory", memory)];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if let [one, rest @ ..] = &words[..]
        && one == "in-process"
    {
        match rest {
            [section] => SECTIONS.iter().find(|(name, _)| name == section).unwrap().1(),
            [_, file, port] => connections(Path::new(file), port.parse().unwrap()),
            _ => panic!("no section"),
        }
        return;
    }
    for (name, _) in SECTIONS {
        if words.is_empty() || words.iter().any(|word| word == name) {
            let mut child = itself(&["in-process", name]).spawn().unwrap();
            assert!(child.wait().unwrap().success(), "section `{name}`");
        }
    }
}

fn itself(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments);
    command
}

#[expect(clippy::print_stdout, reason = "a bench speaks to its reader")]
fn say(line: &str) {
    println!("{line}");
}

fn names() -> Vec<String> {
    let fixed = ["cpu.usage_percent", "memory.used_percent", "disk.used_percent{/}", "load.1", "load.5"];
    let more = (fixed.len()..SERIES).map(|n| format!("network.received_bytes_per_second{{eth{n}}}"));
    fixed.iter().map(|name| (*name).to_owned()).chain(more).collect()
}

fn value(agent: usize, tick: usize, series: usize) -> f64 {
    20.0 + (agent % 40) as f64 + ((tick * 7 + series * 13) % 100) as f64 / 10.0
}

fn open(folder: &Path, change: impl FnOnce(&mut muster::server::config::Config)) -> Muster {
    let mut config = config();
    config.mqtt.connections_max = 20_000;
    config.mqtt.connections_per_address_max = 20_000;
    config.mqtt.messages_per_second_max = 100_000;
    change(&mut config);
    Muster::open(folder.join("data"), config)
}

/// Devices with the inventory of an ordinary host.
fn enrol(muster: &Muster, from: usize, to: usize) -> Vec<(AgentId, String)> {
    let next = AtomicUsize::new(from);
    let sites = ["lyon", "gdansk", "sfax", "oita"];
    let mut made: Vec<(AgentId, String)> = std::thread::scope(|scope| {
        let one = |_| {
            let next = &next;
            scope.spawn(move || {
                let (ctx, mut made) = (muster.ctx(), Vec::new());
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= to {
                        return made;
                    }
                    let input = agents::ops::CreateDevice {
                        name: format!("press-{n:05}").parse().unwrap(),
                        labels: Labels::parse(&format!("site={},line=press", sites[n % 4])).unwrap(),
                    };
                    let device = agents::ops::device_create(&ctx, input).unwrap();
                    made.push((device.id, device.secret));
                }
            })
        };
        let threads: Vec<_> = (0..16).map(one).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    made.sort();
    let system = Ctx::system(muster.server().site(), muster.server().site().home, "bench");
    let inventory = Inventory {
        os: "Debian GNU/Linux 12".into(),
        kernel: "6.1.0-28-amd64".into(),
        architecture: "x86_64".into(),
        cpu: "Intel Core i5-1340P".into(),
        cpu_count: 8,
        memory_bytes: 16 << 30,
        machine: "9f3c".into(),
        booted: Some(system.now),
        interfaces: vec![Interface {
            name: "eth0".into(),
            mac: "52:54:00:12:34:56".into(),
            addresses: vec!["10.30.7.41/24".into()],
        }],
        disks: vec![Disk { mount: "/".into(), kind: "ext4".into(), bytes: 40 << 30 }],
        packages: BTreeMap::new(),
    };
    for part in made.chunks(500) {
        let permit = system.require("agents.report").unwrap();
        permit
            .write(|change| {
                part.iter()
                    .try_for_each(|(id, _)| agents::inventory(change, system.tenant, *id, inventory.clone()))
            })
            .unwrap();
    }
    made
}

/// An hour of every agent's samples, one a minute, and a sign of life.
fn report(muster: &Muster, agents: &[(AgentId, String)], minutes: usize) {
    let (site, names) = (muster.server().site(), names());
    let now = site.clock.now();
    let mut pending = Vec::new();
    for (place, (agent, _)) in agents.iter().enumerate() {
        let rows: Vec<Vec<(&str, f64)>> = (0..minutes)
            .map(|tick| names.iter().enumerate().map(|(s, n)| (n.as_str(), value(place, tick, s))).collect())
            .collect();
        let batch = |(tick, values)| {
            let at = now - Span::from_minutes((minutes - tick) as u64);
            Batch { source: agent.bits(), at, values }
        };
        let batches: Vec<_> = rows.iter().map(Vec::as_slice).enumerate().map(batch).collect();
        pending = vec![site.series.append(&batches).unwrap()];
    }
    pending.into_iter().for_each(|pending| pending.wait().unwrap());
}

fn heard(muster: &Muster, agents: &[(AgentId, String)]) {
    agents.iter().for_each(|(agent, _)| muster.server().site().presence.heard(*agent));
}

// --- start ---

/// From an empty folder, and from one with 10,000 agents, to listening.
fn start() {
    let clock = Clock::system();
    say("\nstart, identity\n| what | time |\n|---|---|");
    let mut times = Vec::new();
    for _ in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        let begun = clock.monotonic();
        let muster = open(folder.path(), |_| {});
        times.push(clock.monotonic() - begun);
        drop(muster);
    }
    times.sort();
    say(&format!("| ready with an empty folder, median of 5 | {:.0} ms |", ms(times[2])));

    let folder = tempfile::tempdir().unwrap();
    let muster = open(folder.path(), |_| {});
    let site = Arc::clone(muster.server().site());
    let key = muster.call("identity.key_create", serde_json::json!({ "name": "bench", "role": "viewer" }));
    let key = key["text"].as_str().unwrap().to_owned();
    let cookie = cookie(&muster);
    let loops = 20_000;
    let each = |what: &str, one: &dyn Fn()| {
        let begun = clock.monotonic();
        (0..loops).for_each(|_| one());
        let took = (clock.monotonic() - begun).as_secs_f64() * 1e6 / f64::from(loops);
        say(&format!("| {what} | {took:.2} µs |"));
    };
    each("session check (cookie to person)", &|| {
        assert!(identity::session_actor(&site, &cookie, site.clock.now()).unwrap().is_some());
    });
    each("API key check", &|| {
        assert!(identity::key_actor(&site, &key, "127.0.0.1").unwrap().is_some());
    });
    let ctx = muster.ctx();
    each("permission check", &|| {
        black_box(ctx.require("agents.read").map(|_| ())).unwrap();
    });
    drop(ctx);
    let agents = enrol(&muster, 0, 10_000);
    report(&muster, &agents, 60);
    drop(site);
    let (kept, _) = muster.release();
    let begun = clock.monotonic();
    let muster = Muster::open(kept, config());
    let took = ms(clock.monotonic() - begun);
    say(&format!("| ready with 10,000 agents and 12 million samples, after a clean stop | {took:.0} ms |"));
    drop(muster);
}

/// The cookie's value of a person who signed in.
fn cookie(muster: &Muster) -> String {
    let code = muster.server().setup_code().unwrap().unwrap();
    let pem = muster.server().site().authority.certificate_pem();
    let root = ureq::tls::Certificate::from_pem(pem.as_bytes()).unwrap();
    let roots = ureq::tls::RootCerts::Specific(Arc::new(vec![root]));
    let tls = ureq::tls::TlsConfig::builder().root_certs(roots).build();
    let agent = ureq::Agent::config_builder().tls_config(tls).max_redirects(0).build().new_agent();
    let form = [
        ("code", code.as_str()),
        ("name", "Bench"),
        ("login", "bench"),
        ("password", harness::PASSWORD),
        ("again", harness::PASSWORD),
    ];
    let answer = agent
        .post(format!("{}/setup", muster.base()))
        .header("origin", muster.base())
        .send_form(form)
        .unwrap();
    let cookies = answer.headers().get_all("set-cookie").iter().filter_map(|v| v.to_str().ok());
    let found = cookies.filter_map(|cookie| cookie.split(';').next()?.split_once('='));
    found.map(|(_, value)| value.to_owned()).find(|value| value.starts_with("mss")).unwrap()
}

// --- pages ---

/// Round trips over HTTPS on one connection, with 200 and with 10,000 agents that all report.
fn pages() {
    let clock = Clock::system();
    let folder = tempfile::tempdir().unwrap();
    let muster = open(folder.path(), |_| {});
    let (owner, api) = (muster.owner(), muster.api("viewer"));
    let mut agents = Vec::new();
    say("\npages\n| request | agents | median ms | p99 ms | bytes |\n|---|---|---|---|---|");
    for count in [200, 10_000] {
        let fresh = enrol(&muster, agents.len(), count);
        report(&muster, &fresh, 60);
        agents.extend(fresh);
        heard(&muster, &agents);
        let one = agents[count / 2].0;
        let requests = [
            "/".to_owned(),
            "/agents".into(),
            "/agents?sort=name&filter=site%3Alyon+cpu%3E50".into(),
            format!("/agents/{one}"),
            "/tasks".into(),
            "/api/v1/agents?limit=50".into(),
            "/api/v1/agents?limit=50&sort=cpu".into(),
            format!("/api/v1/agents/{one}"),
            "/api/v1/agents/counts".into(),
        ];
        for path in requests {
            let (mut times, mut bytes) = (Vec::new(), 0);
            for turn in 0..53 {
                let begun = clock.monotonic();
                let (status, length) = if path.starts_with("/api") {
                    let (status, value) = api.get(&path);
                    (status, if turn == 0 { value.to_string().len() } else { bytes })
                } else {
                    let (status, text) = owner.get(&path);
                    (status, text.len())
                };
                assert_eq!(status, 200, "{path}");
                bytes = length;
                // The first ones fill caches.
                if turn >= 3 {
                    times.push(ms(clock.monotonic() - begun));
                }
                heard(&muster, &agents);
            }
            times.sort_by(f64::total_cmp);
            let (median, worst) = (times[times.len() / 2], times[times.len() * 99 / 100]);
            let path = path.replace(&one.to_string(), "{id}");
            say(&format!("| `{path}` | {count} | {median:.1} | {worst:.1} | {bytes} |"));
        }
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

// --- samples ---

const AGENTS: usize = 50;

/// Samples per second from 50 agents over TLS, counted when PUBACK has come, thus after the sync.
fn samples() {
    say("\nsamples\n| message | messages/s | samples/s | bytes a sample on the wire |\n|---|---|---|---|");
    for (ticks, messages) in [(1, 2_000), (60, 200)] {
        let folder = tempfile::tempdir().unwrap();
        let muster = open(folder.path(), |_| {});
        let agents = enrol(&muster, 0, AGENTS);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let site = muster.server().site();
        let tls =
            client_config(&Pin::Authority(site.authority.certificate_pem()), None, &site.clock).unwrap();
        let (mut connected, mut bytes) = (Vec::new(), 0);
        for (place, (id, secret)) in agents.iter().enumerate() {
            let port = muster.server().gate_address().port();
            let mut options = device("127.0.0.1", port, *id, secret);
            options.tls = Some(tls.clone());
            let (client, incoming) = runtime.block_on(mqtt::connect(&options)).unwrap();
            let topic = Topic::Up(site.home, *id, UpKind::Metrics).to_string();
            let payloads: Vec<Vec<u8>> =
                (0..messages).map(|n| metrics(place, site.clock.now(), n * ticks, ticks)).collect();
            bytes = payloads[messages / 2].len();
            connected.push((client, incoming, topic, payloads));
        }
        let begun = site.clock.monotonic();
        runtime.block_on(async {
            let tasks: Vec<_> = connected
                .into_iter()
                .map(|(client, incoming, topic, payloads)| {
                    tokio::spawn(async move {
                        let mut sent = Vec::with_capacity(payloads.len());
                        for payload in payloads {
                            sent.push(client.publish(&topic, payload, Quality::AtLeastOnce).await.unwrap());
                        }
                        for delivery in sent {
                            delivery.acknowledged().await.unwrap();
                        }
                        drop(incoming);
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
        let took = (site.clock.monotonic() - begun).as_secs_f64();
        let rate = (messages * AGENTS) as f64 / took;
        let width = (ticks * SERIES) as f64;
        say(&format!(
            "| {ticks} x {SERIES} | {rate:.0} | {:.0} | {:.1} |",
            rate * width,
            bytes as f64 / width
        ));
    }
}

fn metrics(agent: usize, now: Timestamp, first: usize, ticks: usize) -> Vec<u8> {
    let names = names();
    let tick = |n: usize| Tick {
        at: now - Span::from_hours(6) + Span::from_seconds(n as u64),
        values: names.iter().enumerate().map(|(s, name)| (name.clone(), value(agent, n, s))).collect(),
    };
    Up::Metrics(Metrics { ticks: (first..first + ticks).map(tick).collect(), ..Metrics::default() }).compact()
}

fn device(host: &str, port: u16, id: AgentId, secret: &str) -> mqtt::Options {
    let mut options = mqtt::Options::new(host, port, &id.to_string());
    options.user = Some(id.to_string());
    options.password = Some(Secret::new(secret.to_owned()));
    options.keep_alive = Span::from_seconds(60);
    options
}

// --- memory ---

/// What the server's process grows by when agents connect without TLS. The clients are in a child.
fn memory() {
    let allowed = files();
    let folder = tempfile::tempdir().unwrap();
    let muster = open(folder.path(), |config| config.mqtt.plain = Some("127.0.0.1:0".parse().unwrap()));
    let most = 10_000.min((allowed as usize).saturating_sub(500));
    let agents = enrol(&muster, 0, most);
    let list: String = agents.iter().map(|(id, secret)| format!("{id} {secret}\n")).collect();
    let file = folder.path().join("devices");
    fs::write(&file, list).unwrap();
    muster.server().site().store.checkpoint().unwrap();
    let port = muster.server().plain_address().unwrap().port();
    let mut child = itself(&["in-process", "clients", file.to_str().unwrap(), &port.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut orders = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    say(&format!("\nmemory (files allowed: {allowed})"));
    say("| connections | RSS MiB | RssAnon MiB | KiB a connection | connects/s |\n|---|---|---|---|---|");
    let (before, anonymous) = (resident("VmRSS"), resident("RssAnon"));
    say(&format!("| 0 | {:.1} | {:.1} | | |", before / 1024.0, anonymous / 1024.0));
    for count in [1_000, most] {
        writeln!(orders, "{count}").unwrap();
        let rate = answers.next().unwrap().unwrap();
        let (now, anonymous) = (resident("VmRSS"), resident("RssAnon"));
        say(&format!(
            "| {count} | {:.1} | {:.1} | {:.1} | {rate} |",
            now / 1024.0,
            anonymous / 1024.0,
            (now - before) / count as f64
        ));
    }
    drop(orders);
    child.wait().unwrap();
}

/// A line of this process' status, in KiB.
fn resident(what: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// As many open files as the system lets this process have.
fn files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The child: connects as many of the devices as each line of the input says, and stays until the input ends.
fn connections(file: &Path, port: u16) {
    files();
    let devices: Vec<(AgentId, String)> = fs::read_to_string(file)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(id, secret)| (id.parse().unwrap(), secret.to_owned()))
        .collect();
    let clock = Clock::system();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut open = Vec::new();
    for line in std::io::stdin().lines() {
        let count: usize = line.unwrap().parse().unwrap();
        let (begun, had) = (clock.monotonic(), open.len());
        runtime.block_on(async {
            while open.len() < count {
                let part = &devices[open.len()..count.min(open.len() + 50)];
                let tasks: Vec<_> = part
                    .iter()
                    .map(|(id, secret)| {
                        let options = device("127.0.0.1", port, *id, secret);
                        tokio::spawn(async move { mqtt::connect(&options).await.unwrap() })
                    })
                    .collect();
                for task in tasks {
                    open.push(task.await.unwrap());
                }
            }
        });
        let took = (clock.monotonic() - begun).as_secs_f64();
        say(&format!("{:.0}", (open.len() - had) as f64 / took));
    }
}
