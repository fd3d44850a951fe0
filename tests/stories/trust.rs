//! Who is trusted, and how trust ends and comes back: digests stay inside, a copied key is shut out, a machine that was
//! installed anew can be let in again, a retired agent leaves no work behind.

use std::time::Duration;

use muster::base::{Span, kind};
use muster::capabilities::agents::{self, ops as agent_ops};
use muster::capabilities::{tasks, telemetry};
use muster::engine::outbound::mqtt::{Client, Quality};
use muster::kit::ById;
use muster::wire::{UpKind, Work};
use serde_json::{Value, json};

use crate::devices::{Device, runtime};
use crate::harness::{Muster, until};

fn state(muster: &Muster, device: &Device) -> agents::State {
    agent_ops::find_view(&muster.ctx(), ById::<kind::Agent> { id: device.id }).unwrap().agent.state.clone()
}

async fn say(client: &Client, topic: &str, payload: &Value) -> bool {
    let Ok(sent) = client.publish(topic, payload.to_string(), Quality::AtLeastOnce).await else {
        return false;
    };
    matches!(tokio::time::timeout(Duration::from_secs(5), sent.acknowledged()).await, Ok(Ok(())))
}

#[test]
fn no_answer_of_the_api_holds_a_digest() {
    let muster = Muster::start();
    let device = Device::new(&muster, "press-07");
    let api = muster.api("owner");
    let path = format!("/api/v1/agents/{}", device.id);
    let answers = [
        api.get(&path).1,
        api.get("/api/v1/agents").1["items"][0].clone(),
        api.post(&format!("{path}/quarantine"), json!({})).1,
        api.post(&format!("{path}/approve"), json!({})).1,
        api.post(&format!("{path}/retire"), json!({})).1,
    ];
    for answer in answers {
        assert_eq!(answer["id"], json!(device.id), "{answer}");
        for name in ["secret", "key", "digest"] {
            assert!(answer.get(name).is_none(), "{name} in {answer}");
        }
    }
    let beyond = format!("/api/v1/agents?after={}", usize::MAX);
    assert_eq!(api.get(&beyond).1["items"], json!([]), "a cursor beyond the end is an empty page");
}

#[test]
fn a_machine_that_was_installed_anew_is_let_in_again() {
    let muster = Muster::start();
    let device = Device::new(&muster, "press-07");
    let hello = |machine: &str| json!({ "hostname": "press", "inventory": { "machine": machine } });
    runtime().block_on(async {
        let (client, _incoming) = device.connect(&muster).await;
        assert!(say(&client, &device.up(UpKind::Hello), &hello("one")).await);
        say(&client, &device.up(UpKind::Hello), &hello("two")).await;
    });
    until(Span::from_seconds(5), "the quarantine", || {
        matches!(state(&muster, &device), agents::State::Quarantined { .. }).then_some(())
    });
    agent_ops::approve(&muster.ctx(), ById { id: device.id }).unwrap();
    runtime().block_on(async {
        let (client, _incoming) = device.connect(&muster).await;
        assert!(say(&client, &device.up(UpKind::Hello), &hello("two")).await);
        assert!(say(&client, &device.up(UpKind::Heartbeat), &json!({})).await);
    });
    assert!(matches!(state(&muster, &device), agents::State::Active { .. }), "it is taken as it is now");
}

#[test]
fn a_program_that_starts_again_is_not_a_copy() {
    let muster = Muster::start();
    let device = Device::new(&muster, "press-07");
    runtime().block_on(async {
        for boot in ["first", "second"] {
            let (client, _incoming) = device.connect(&muster).await;
            // A beat before the hello, as a simple device may send it.
            assert!(say(&client, &device.up(UpKind::Heartbeat), &json!({ "boot": boot })).await);
            assert!(say(&client, &device.up(UpKind::Hello), &json!({ "boot": boot })).await);
            assert!(say(&client, &device.up(UpKind::Heartbeat), &json!({ "boot": boot })).await);
        }
    });
    assert!(matches!(state(&muster, &device), agents::State::Active { .. }));
}

#[test]
fn a_retired_agent_leaves_no_open_task() {
    let muster = Muster::start();
    let device = Device::new(&muster, "press-07");
    let input = json!({ "agent": device.id, "work": Work::Ping });
    let id = muster.call("tasks.create", input)["id"].as_str().unwrap().parse().unwrap();
    agent_ops::retire(&muster.ctx(), ById { id: device.id }).unwrap();
    let state = until(Span::from_seconds(5), "its end", || {
        let task = tasks::ops::find(&muster.ctx(), ById { id }).unwrap().task;
        task.state.is_final().then_some(task.state)
    });
    assert_eq!(state, tasks::State::Cancelled);
}

#[test]
fn an_event_of_the_future_does_not_stand_on_top_for_ever() {
    let muster = Muster::start();
    let device = Device::new(&muster, "press-07");
    runtime().block_on(async {
        let (client, _incoming) = device.connect(&muster).await;
        let event = json!({ "at": "9000-01-01T00:00:00Z", "name": "far", "text": "far" });
        assert!(say(&client, &device.up(UpKind::Events), &json!({ "events": [event, event] })).await);
    });
    let events = telemetry::ops::events(&muster.ctx(), Default::default()).unwrap().items;
    let now = muster.server().site().clock.now();
    let far: Vec<_> = events.iter().filter(|event| event.name == "far").collect();
    assert_eq!(far.len(), 2, "each is kept");
    assert!(far.iter().all(|event| event.at <= now));
}
