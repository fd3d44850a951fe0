//! Devices that speak plain MQTT and JSON with a key and a secret; and that none of them gets at another's topics.

use std::time::Duration;

use muster::base::{AgentId, Span, TenantId, kind};
use muster::capabilities::{agents, tasks, telemetry};
use muster::engine::clock::Clock;
use muster::engine::crypto::{Pin, client_config};
use muster::engine::outbound::mqtt::{Client, Incoming, Options, Quality, Will, connect};
use muster::kit::ById;
use muster::wire::{DownKind, Topic, UpKind, Work};
use serde_json::json;

use crate::harness::{Muster, until};

pub(crate) struct Device {
    pub(crate) id: AgentId,
    pub(crate) secret: String,
    pub(crate) tenant: TenantId,
}

impl Device {
    pub(crate) fn new(muster: &Muster, name: &str) -> Device {
        let input = agents::ops::CreateDevice { name: name.parse().unwrap(), labels: Default::default() };
        let made = agents::ops::device_create(&muster.ctx(), input).unwrap();
        Device { id: made.id, secret: made.secret, tenant: muster.server().site().home }
    }

    pub(crate) fn up(&self, kind: UpKind) -> String {
        Topic::Up(self.tenant, self.id, kind).to_string()
    }

    pub(crate) fn options(&self, muster: &Muster) -> Options {
        let address = muster.server().gate_address();
        let mut options = Options::new("127.0.0.1", address.port(), &self.id.to_string());
        let authority = muster.server().site().authority.certificate_pem();
        options.tls = Some(client_config(&Pin::Authority(authority), None, &Clock::system()).unwrap());
        options.user = Some(self.id.to_string());
        options.password = Some(muster::base::Secret::new(self.secret.clone()));
        options
    }

    pub(crate) async fn connect(&self, muster: &Muster) -> (Client, Incoming) {
        connect(&self.options(muster)).await.unwrap()
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn acknowledged(client: &Client, topic: &str, payload: String) -> bool {
    match client.publish(topic, payload.clone(), Quality::AtLeastOnce).await {
        Ok(delivery) => {
            matches!(tokio::time::timeout(Duration::from_secs(5), delivery.acknowledged()).await, Ok(Ok(())))
        }
        Err(_) => false,
    }
}

#[test]
fn a_stock_client_reports_by_json_and_takes_a_task_by_hand() {
    let muster = Muster::start();
    let device = Device::new(&muster, "press-07");
    let task = tasks::ops::create(
        &muster.ctx(),
        tasks::ops::CreateTask {
            agent: device.id,
            work: Work::Ping,
            seconds_max: None,
            output_bytes_max: None,
            memory_bytes_max: None,
        },
    )
    .unwrap();
    assert_eq!(task.state, tasks::State::Queued, "it waits while the device is away");
    runtime().block_on(async {
        let (client, mut incoming) = device.connect(&muster).await;
        let filter = Topic::down_filter(device.tenant, device.id);
        client.subscribe(&[(&filter, Quality::AtLeastOnce)]).await.unwrap();
        assert!(
            acknowledged(&client, &device.up(UpKind::Hello), json!({ "hostname": "press" }).to_string())
                .await
        );
        let metrics = json!({ "values": { "cpu.usage_percent": 12.5, "memory.used_percent": 40 } });
        assert!(acknowledged(&client, &device.up(UpKind::Metrics), metrics.to_string()).await);
        let message = loop {
            let message = incoming.next().await.unwrap().unwrap();
            if message.topic == Topic::Down(device.tenant, device.id, DownKind::Task).to_string() {
                break message;
            }
        };
        let got: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(got["task"], json!(task.id));
        let report = json!({ "task": task.id, "state": "succeeded", "output": "pong" });
        for _ in 0..2 {
            assert!(
                acknowledged(&client, &device.up(UpKind::Task), report.to_string()).await,
                "twice changes nothing"
            );
        }
    });
    let view = tasks::ops::find(&muster.ctx(), ById { id: task.id }).unwrap();
    assert_eq!((view.task.state, view.output.as_str()), (tasks::State::Succeeded, "pong"));
    let agent = agents::ops::find_view(&muster.ctx(), ById::<kind::Agent> { id: device.id }).unwrap();
    assert_eq!((agent.cpu, agent.memory, agent.agent.hostname.as_str()), (Some(12.5), Some(40.0), "press"));
}

#[test]
fn nobody_reads_or_writes_what_is_anothers() {
    let muster = Muster::start();
    let (mallory, victim) = (Device::new(&muster, "mallory"), Device::new(&muster, "victim"));
    runtime().block_on(async {
        let theirs = victim.up(UpKind::Events);
        let event = json!({ "events": [{ "id": "forged", "name": "forged", "text": "forged" }] }).to_string();
        for topic in [
            theirs.as_str(),
            "site/x",
            "$SYS/x",
            "muster/v1/#",
            "é/x",
            &mallory.up(UpKind::Events).replace("/up/", "/down/"),
        ] {
            let (client, _incoming) = mallory.connect(&muster).await;
            assert!(!acknowledged(&client, topic, event.clone()).await, "published to {topic}");
        }
        let down = Topic::Down(victim.tenant, victim.id, DownKind::Task).to_string();
        let share = format!("$share/g/{down}");
        for filter in [
            "#",
            "+/#",
            "muster/#",
            "muster/v1/+/+/down/+",
            "$SYS/#",
            "site/#",
            down.as_str(),
            theirs.as_str(),
            &share,
        ] {
            let (client, _incoming) = mallory.connect(&muster).await;
            assert!(
                client.subscribe(&[(filter, Quality::AtMostOnce)]).await.is_err(),
                "subscribed to {filter}"
            );
        }
        // Another's client id, another's topic as will, another's name with the own secret.
        let mut forged = mallory.options(&muster);
        forged.client_id = victim.id.to_string();
        assert!(connect(&forged).await.is_err());
        let mut will = mallory.options(&muster);
        will.will = Some(Will {
            topic: theirs.clone(),
            payload: event.clone().into(),
            quality: Quality::AtLeastOnce,
        });
        assert!(connect(&will).await.is_err());
        let mut wrong = victim.options(&muster);
        wrong.password = Some(muster::base::Secret::new(mallory.secret.clone()));
        assert!(connect(&wrong).await.is_err());
        let (client, _incoming) = mallory.connect(&muster).await;
        let retained =
            client.publish_retained(&mallory.up(UpKind::Events), event.clone(), Quality::AtLeastOnce).await;
        if let Ok(delivery) = retained {
            assert!(!matches!(
                tokio::time::timeout(Duration::from_secs(5), delivery.acknowledged()).await,
                Ok(Ok(()))
            ));
        }
    });
    let events = telemetry::ops::events(&muster.ctx(), telemetry::ops::QueryEvents::default()).unwrap();
    assert!(
        events.items.iter().all(|e| e.agent == mallory.id || e.id != "forged"),
        "nothing stands under another's name"
    );
    assert!(!events.items.iter().any(|e| e.agent == victim.id));
}

#[test]
fn a_revoked_identity_is_cut_off_at_once_and_stays_out() {
    let muster = Muster::start();
    let device = Device::new(&muster, "press-07");
    runtime().block_on(async {
        let (client, mut incoming) = device.connect(&muster).await;
        client
            .subscribe(&[(&Topic::down_filter(device.tenant, device.id), Quality::AtLeastOnce)])
            .await
            .unwrap();
        agents::ops::retire(&muster.ctx(), ById { id: device.id }).unwrap();
        let cut = tokio::time::timeout(Duration::from_secs(2), async {
            while let Some(Ok(_)) = incoming.next().await {}
        });
        assert!(cut.await.is_ok(), "the session ends in under 2 s");
        assert!(connect(&device.options(&muster)).await.is_err(), "and does not come back");
    });
}

#[test]
fn what_a_device_sends_twice_is_kept_once_also_over_a_restart() {
    let muster = Muster::start();
    let device = Device::new(&muster, "press-07");
    let at = muster.server().site().clock.now();
    let send = |muster: &Muster| {
        runtime().block_on(async {
            let (client, _incoming) = device.connect(muster).await;
            let events =
                json!({ "events": [{ "id": "e-1", "at": at, "name": "door.open", "text": "door" }] });
            assert!(acknowledged(&client, &device.up(UpKind::Events), events.to_string()).await);
            let metrics = json!({ "at": at, "values": { "x": 1 } });
            assert!(acknowledged(&client, &device.up(UpKind::Metrics), metrics.to_string()).await);
            let logs = json!({ "sequence": 7, "lines": [{ "at": at, "text": "a line" }] });
            assert!(acknowledged(&client, &device.up(UpKind::Logs), logs.to_string()).await);
        });
    };
    send(&muster);
    send(&muster);
    let muster = muster.reopen();
    send(&muster);
    let ctx = muster.ctx();
    let events = telemetry::ops::events(&ctx, telemetry::ops::QueryEvents::default()).unwrap();
    assert_eq!(events.items.iter().filter(|e| e.id == "e-1").count(), 1);
    let query = telemetry::ops::QuerySeries {
        agent: device.id,
        name: "x".into(),
        from: None,
        to: Some(at + Span::from_seconds(1)),
        points: None,
    };
    assert_eq!(telemetry::ops::query(&ctx, query).unwrap().len(), 1);
    let logs = telemetry::ops::QueryLogs {
        agent: device.id,
        from: None,
        to: None,
        severity: None,
        words: String::new(),
        limit: None,
    };
    let lines = until(Span::from_seconds(5), "the line", || {
        Some(telemetry::ops::logs(&ctx, logs.clone()).unwrap()).filter(|l| !l.is_empty())
    });
    assert_eq!(lines.len(), 1);
}

#[test]
fn a_certificate_is_renewed_over_the_agents_own_topics() {
    let muster = Muster::start();
    let device = Device::new(&muster, "press-07");
    let request = muster::engine::crypto::signing_request().unwrap();
    let pem = runtime().block_on(async {
        let (client, mut incoming) = device.connect(&muster).await;
        let filter = Topic::down_filter(device.tenant, device.id);
        client.subscribe(&[(&filter, Quality::AtLeastOnce)]).await.unwrap();
        let asked = json!({ "pem": request.pem }).to_string();
        assert!(acknowledged(&client, &device.up(UpKind::Certificate), asked).await);
        let message =
            tokio::time::timeout(Duration::from_secs(10), incoming.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(message.topic, Topic::Down(device.tenant, device.id, DownKind::Certificate).to_string());
        let answer: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        answer["pem"].as_str().unwrap().to_owned()
    });
    // With the certificate alone it is let in, as itself.
    let mut options = device.options(&muster);
    let authority = muster.server().site().authority.certificate_pem();
    let own = Some((pem.as_str(), &request.key));
    options.tls = Some(client_config(&Pin::Authority(authority), own, &Clock::system()).unwrap());
    (options.user, options.password) = (None, None);
    assert!(runtime().block_on(connect(&options)).is_ok());
    let view = agents::ops::find_view(&muster.ctx(), ById { id: device.id }).unwrap();
    assert!(view.agent.certificate_until.is_some_and(|until| until > muster.ctx().now));
}
