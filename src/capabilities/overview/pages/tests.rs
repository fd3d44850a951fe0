//! Every page is rendered from samples and checked.

use std::collections::BTreeMap;

use super::agent::*;
use super::views::*;
use crate::base::{AgentId, Labels, Span, TaskId, Timestamp};
use crate::capabilities::agents::{Agent, AgentView, Health, State};
use crate::capabilities::tasks::{self, Task, TaskRow};
use crate::capabilities::telemetry::{EventRow, LogEntry};
use crate::kit::chart::{self, Cell, Chart, Line, Reading, Unit};
use crate::kit::{Markup, proof};
use crate::wire::{Disk, Interface, Inventory, Severity, Work};

fn now() -> Timestamp {
    Timestamp::from_milliseconds(1_790_000_300_000)
}

/// Noise that is the same each time.
fn wave(n: usize, seed: usize) -> f64 {
    let x = (n * 7919 + seed * 104_729) % 1000;
    (n as f64 / 9.0 + seed as f64).sin() * 14.0 + x as f64 / 90.0
}

const NAMES: [&str; 8] =
    ["lyon-press", "gdansk-hmi", "sfax-line", "oita-cam", "mobile-van", "lyon-cell", "sfax-gw", "oita-robot"];
const SITES: [&str; 4] = ["Lyon", "Gdańsk", "Sfax", "Ōita"];

fn agent(n: usize) -> AgentView {
    let labels = [("site", SITES[n % 4]), ("edge", "true"), ("line", "press")];
    let health = match n {
        0 | 57 => Health::Critical,
        1 | 9 | 44 => Health::Warning,
        2 | 23 | 71 => Health::Offline,
        3 => Health::Inactive,
        _ => Health::Healthy,
    };
    let silent = health == Health::Offline;
    let reading = |value: f64| (!silent).then_some(value);
    AgentView {
        agent: Agent {
            id: AgentId::from_bits(n as u128 + 1),
            name: format!("{}-{:02}", NAMES[n % 8], n % 90 + 1).parse().unwrap(),
            state: State::Active { since: now() },
            labels: Labels(labels.map(|(k, v)| (k.into(), v.into())).into_iter().collect()),
            proposed: Labels::default(),
            hostname: "press".into(),
            version: "0.1.0".into(),
            inventory: Inventory {
                os: "Debian GNU/Linux 12".into(),
                kernel: "6.1.0-28-amd64".into(),
                architecture: "x86_64".into(),
                cpu: "Intel Core i5-1340P".into(),
                cpu_count: 8,
                memory_bytes: 16 << 30,
                machine: "9f3c".into(),
                booted: Some(now() - Span::from_days(41)),
                interfaces: vec![Interface {
                    name: "eth0".into(),
                    mac: "52:54:00:12:34:56".into(),
                    addresses: vec!["10.30.7.41/24".into()],
                }],
                disks: vec![Disk { mount: "/".into(), kind: "ext4".into(), bytes: 40 << 30 }],
                packages: (0..40).map(|n| (format!("package-{n}"), "1.2.3-1".to_owned())).collect(),
            },
            commands: BTreeMap::from([("purge-spool".to_owned(), "Empties the print spool".to_owned())]),
            seen: None,
            certificate_until: Some(now() + Span::from_days(61)),
        }
        .into(),
        health,
        reason: match health {
            Health::Critical => "disk at 97 %".into(),
            Health::Warning => "memory at 93 %".into(),
            Health::Offline => "not heard for 6 min".into(),
            Health::Inactive => "pending".into(),
            Health::Healthy => String::new(),
        },
        connected: !silent,
        last_seen: Some(now() - Span::from_seconds(if silent { 360 } else { n as u64 % 9 })),
        silence_seconds: Some(2),
        address: (!silent).then(|| format!("10.30.7.{}", n + 10)),
        clock_offset_ms: Some(-38),
        cpu: reading(28.0 + wave(n, 3)),
        memory: reading(if health == Health::Warning { 93.0 } else { 48.0 + wave(n, 5) }),
        disk: reading(if health == Health::Critical { 97.0 } else { 41.0 + wave(n, 8) }),
        spooled: 0,
    }
}

fn events(count: usize) -> Vec<EventRow> {
    let kinds = [
        (Severity::Error, "spool.full", "Spool disk is full in about 3 h"),
        (Severity::Warn, "memory.high", "Memory above 90 % for 12 min"),
        (Severity::Info, "service.restarted", "spoold restarted <b>after</b> an update"),
    ];
    (0..count)
        .map(|n| {
            let (severity, name, text) = kinds[n % 3];
            let who = (AgentId::from_bits(1).to_string(), "lyon-press-07".to_owned());
            EventRow::new(who, severity, name, text, now() - Span::from_minutes(n as u64 * 7), now())
        })
        .collect()
}

fn task_rows(count: usize) -> Vec<TaskRow> {
    let states = [tasks::State::Running, tasks::State::Succeeded, tasks::State::Failed, tasks::State::Queued];
    (0..count)
        .map(|n| {
            let task = Task {
                id: TaskId::from_bits(n as u128),
                agent: AgentId::from_bits(1),
                work: Work::Command { name: "purge-spool".into(), arguments: vec![format!("q{n}")] },
                state: states[n % 4],
                by: "Inès".into(),
                created: now() - Span::from_minutes(n as u64 * 3),
                sent: None,
                started: Some(now() - Span::from_minutes(n as u64 * 3)),
                ended: None,
                exit: None,
                reason: String::new(),
                cancelling: false,
                asking: false,
                output_bytes: 0,
                seconds_max: 60,
                output_bytes_max: 0,
                memory_bytes_max: 0,
            };
            TaskRow::new(&task, "lyon-press-07", now())
        })
        .collect()
}

fn home() -> Home {
    let tile = |href, title, number: &str, unit: &str, note: &str, tone| Tile {
        href,
        title,
        number: number.into(),
        unit: unit.into(),
        note: note.into(),
        tone,
        drawing: Markup::default(),
    };
    let bar = chart::segments(&[("ok", 88), ("warn", 3), ("crit", 2), ("maint", 1), ("off", 3)]);
    Home {
        tiles: vec![
            Tile {
                drawing: Markup(bar),
                ..tile("/agents", "Agents reporting", "93", "/ 97", "of those enrolled", "")
            },
            tile("/agents", "Critical", "2", "", "act now", "bad"),
            tile("/agents", "Warning", "3", "", "look today", ""),
            tile("/agents", "Offline", "3", "", "not heard for a minute", ""),
            tile("/tasks", "Open tasks", "12", "", "waiting or running", ""),
        ],
        saved: vec![Saved {
            glyph: Markup::glyph("warn", "warn"),
            title: "Last copy that left the building",
            text: "it is some <b>days old".into(),
            when: Markup::ago(Some(now()), now()),
        }],
        attention: [0, 57, 1, 9, 44, 2]
            .into_iter()
            .map(agent)
            .map(|view| Attention {
                id: view.agent.id.to_string(),
                name: view.agent.name.to_string(),
                site: view.site().to_owned(),
                glyph: Markup::glyph(tone(view.health), view.health.word()),
                reason: view.reason.clone(),
                seen: Markup::ago(view.last_seen, now()),
            })
            .collect(),
        more: 2,
        events: events(6),
        tasks: task_rows(6),
    }
}

fn fleet(count: usize) -> Fleet {
    let views: Vec<AgentView> = (0..count).map(agent).collect();
    let size = chart::cell_rows(&[count]);
    let site = |name: &&str| {
        let of: Vec<&AgentView> = views.iter().filter(|v| v.site() == *name).collect();
        let cells: Vec<Cell> = of
            .iter()
            .map(|v| Cell {
                href: format!("/agents/{}", v.agent.id),
                title: v.agent.name.to_string(),
                tone: tone(v.health),
            })
            .collect();
        SiteMap {
            name: (*name).into(),
            href: "/agents".into(),
            heard: of.len(),
            total: of.len(),
            map: Markup(chart::health_map(name, &cells, size)),
        }
    };
    Fleet {
        sites: SITES.iter().map(site).filter(|s| s.total > 0).collect(),
        legend: vec![
            ("ok", 88, "healthy"),
            ("warn", 3, "warning"),
            ("crit", 2, "critical"),
            ("off", 3, "offline"),
            ("maint", 1, "inactive"),
        ],
        hidden: 0,
    }
}

#[test]
fn the_first_screen() {
    let page = OverviewPage {
        shell: proof::shell("Overview", "/"),
        home: home(),
        fleet: fleet(97),
        first: false,
        may_enrol: true,
    };
    assert!(!proof::page("overview", &page).contains("<b>after"));
    proof::page("overview-large", &OverviewPage { fleet: fleet(420), ..page.clone() });
    let quiet = Home { attention: Vec::new(), more: 0, events: Vec::new(), tasks: Vec::new(), ..home() };
    proof::page("overview-first", &OverviewPage { first: true, fleet: fleet(1), home: quiet, ..page });
    proof::page("overview-tiles", &TilesPart { home: &home() });
    proof::page("overview-attention", &AttentionPart { home: &home() });
    assert!(!proof::page("overview-saved", &SavedPart { home: &home() }).contains("<b>days"));
    proof::page("overview-recent", &RecentPart { home: &home() });
    proof::page("overview-fleet", &FleetPart { fleet: &fleet(9) });
}

#[test]
fn the_list() {
    let row = |n: usize| {
        let cpu: Vec<f64> = (0..40).map(|i| 28.0 + wave(i, n)).collect();
        AgentRow::new(&agent(n), &cpu, now())
    };
    let rows: Vec<AgentRow> = (0..18).map(row).collect();
    let tab = |title, count, hot, current| ListTab { title, href: "/agents".into(), count, hot, current };
    let column = |title, sorted, class| Column { title, href: "/agents?sort=x".into(), sorted, class };
    let mut shell = proof::shell("Agents", "/agents");
    shell.flash = Some(crate::kit::Flash { failed: false, text: "3 tasks are queued".into() });
    let page = AgentListPage {
        shell,
        tabs: vec![
            tab("All", 97, false, true),
            tab("Needs attention", 5, true, false),
            tab("Offline", 3, false, false),
            tab("Waiting", 1, true, false),
        ],
        columns: vec![
            column("Agent", true, ""),
            column("Site", false, "opt"),
            column("Labels", false, "opt2"),
            column("CPU, 1 h", false, ""),
            column("Memory", false, ""),
            column("Disk", false, "opt"),
            column("Version", false, "opt2"),
            column("Address", false, "opt2"),
            column("Heard", false, "r"),
        ],
        filter: String::new(),
        sort: "health".into(),
        error: String::new(),
        rows: rows.clone(),
        next: "/agents?after=50".into(),
        first: true,
        may_enrol: true,
        may_run: true,
    };
    proof::page("agents-list", &page);
    let wrong = AgentListPage {
        rows: Vec::new(),
        filter: "\"<x".into(),
        error: "a quote is not closed; add `\"`".into(),
        ..page
    };
    proof::page("agents-wrong", &wrong);
    proof::page("agents-rows", &AgentRowsPart { rows, may_run: false });
    let hit = |title: &str| Hit {
        href: "/agents/x".into(),
        icon: "server",
        title: title.into(),
        note: "healthy · Lyon".into(),
    };
    proof::page(
        "palette",
        &PalettePart { assets: "/static/test".into(), groups: vec![("Agents", vec![hit("a"), hit("<b>")])] },
    );
    proof::page("palette-empty", &PalettePart { assets: String::new(), groups: Vec::new() });
}

fn card(title: &str, unit: Unit, lines: &[&str], scale: f64, threshold: Option<f64>) -> ChartCard {
    let from = now() - Span::from_minutes(60);
    let data: Vec<Vec<Reading>> = (0..lines.len())
        .map(|line| {
            let value = |n: usize| (38.0 + wave(n, line + title.len()) - line as f64 * 15.0).max(0.0) * scale;
            let reading = |n: usize| Reading {
                at: from + Span::from_seconds(n as u64 * 20),
                value: value(n),
                low: value(n) * 0.86,
                high: value(n) * 1.12,
            };
            (0..180).filter(|n| !(70..82).contains(n)).map(reading).collect()
        })
        .collect();
    let lines = lines.iter().zip(&data).map(|(name, readings)| Line { name, readings }).collect();
    let chart = Chart { label: title, from, to: now(), unit, lines, threshold, gap: Span::from_seconds(60) };
    ChartCard::new(title, "", &chart)
}

fn agent_page(tab: &str, body: Body) -> AgentPage {
    let choice = |title, current| Choice { title, href: "/agents/x?tab=y".into(), current };
    AgentPage {
        shell: proof::shell("lyon-press-07", "/agents"),
        head: Head::new(&agent(0), now()),
        tabs: TABS.map(|(word, title)| choice(title, word == tab)).into(),
        ranges: ["15m", "1h", "6h", "24h", "7d"].map(|r| choice(r, r == "1h")).into(),
        body,
        may_run: true,
        may_approve: true,
    }
}

#[test]
fn one_agent() {
    let charts = vec![
        card("CPU", Unit::Percent, &["used", "waiting"], 1.4, Some(95.0)),
        card("Memory", Unit::Percent, &["used"], 1.6, Some(90.0)),
        card("Disks", Unit::Percent, &["/", "/var", "/srv"], 1.1, Some(95.0)),
        card("Network", Unit::BytesPerSecond, &["eth0 in", "eth0 out"], 30_000.0, None),
        card("Load", Unit::Plain, &["1 min", "5 min", "15 min"], 0.04, None),
    ];
    let overview = Body::Overview { charts: charts.clone(), events: events(4), tasks: task_rows(3) };
    proof::page("agent", &agent_page("overview", overview.clone()));
    proof::page("agent-metrics", &agent_page("metrics", Body::Metrics { charts }));
    proof::page("agent-metrics-none", &agent_page("metrics", Body::Metrics { charts: Vec::new() }));
    let entry = |n: usize| LogEntry {
        at: now() - Span::from_seconds(200 - n as u64),
        severity: [Severity::Info, Severity::Info, Severity::Warn, Severity::Debug, Severity::Error]
            [n * 7 % 5],
        source: "spoold.service".into(),
        text: format!("write failed: No space left on device path=/var/spool/press/q{n} errno=28 <i>"),
        position: n as u64,
    };
    let rows: Vec<LogRow> = (0..40).map(|n| LogRow::new(&entry(n))).collect();
    let counts: Vec<(u32, u32, u32)> = (0..80).map(|n| (4 + n % 5, n % 3, u32::from(n % 9 == 0))).collect();
    let level = |title, current| Choice { title, href: "/agents/x?tab=logs".into(), current };
    let tail = LogTail {
        levels: vec![
            level("All", true),
            level("Info +", false),
            level("Warn +", false),
            level("Error", false),
        ],
        words: String::new(),
        severity: String::new(),
        histogram: Markup(chart::histogram(&counts)),
        span: ("21 Sep 14:13".into(), "21 Sep 14:18".into()),
        rows,
    };
    proof::page("agent-logs", &agent_page("logs", Body::Logs(tail.clone())));
    proof::page("agent-logs-none", &agent_page("logs", Body::Logs(LogTail { rows: Vec::new(), ..tail })));
    proof::page("agent-events", &agent_page("events", Body::Events(events(9))));
    proof::page("agent-tasks", &agent_page("tasks", Body::Tasks(task_rows(9))));
    let view = agent(0);
    proof::page(
        "agent-inventory",
        &agent_page("inventory", Body::Inventory(Parts::new(&view.agent.inventory, "press"))),
    );
    let mut access = agent_page("access", Body::Access(AccessForm::new(&view, true)));
    proof::page("agent-access", &access);
    access.head.state = "pending";
    proof::page("agent-pending", &access);
    let head = Head::new(&view, now());
    proof::page("agent-head-part", &HeadPart { head: &head });
    proof::page("agent-body-part", &BodyPart { body: &overview, head: &head, assets: "/static/test" });
}
