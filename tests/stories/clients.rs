//! Programs of the site that use the broker for themselves: among themselves, within their filters.

use std::time::Duration;

use muster::engine::clock::Clock;
use muster::engine::crypto::{Pin, client_config};
use muster::engine::outbound::mqtt::{Options, Quality, connect};
use muster::wire::UpKind;
use serde_json::json;

use crate::devices::{Device, runtime};
use crate::harness::Muster;

const WITHIN: Duration = Duration::from_secs(10);

pub(crate) fn options(muster: &Muster, id: &str, secret: &str) -> Options {
    let mut options = Options::new("127.0.0.1", muster.server().gate_address().port(), id);
    let authority = muster.server().site().authority.certificate_pem();
    options.tls = Some(client_config(&Pin::Authority(authority), None, &Clock::system()).unwrap());
    options.user = Some(id.to_owned());
    options.password = Some(muster::base::Secret::new(secret.to_owned()));
    options
}

#[test]
fn clients_talk_under_their_filters_and_observers_hear_agents() {
    let muster = Muster::start();
    let api = muster.api("owner");
    let observe = format!("muster/v1/{}/+/up/#", muster.server().site().home);
    let (status, scada) = api.post(
        "/api/v1/clients",
        json!({ "id": "scada", "publish": ["site/line-7/#"], "subscribe": ["site/line-7/#", observe] }),
    );
    assert_eq!(status, 200, "{scada}");
    let (_, panel) =
        api.post("/api/v1/clients", json!({ "id": "panel", "subscribe": ["site/line-7/state"] }));
    let (status, problem) = api.post("/api/v1/clients", json!({ "id": "evil", "publish": ["muster/#"] }));
    assert_eq!(status, 422, "{problem}");
    let secret = |made: &serde_json::Value| made["secret"].as_str().unwrap().to_owned();
    let device = Device::new(&muster, "press-07");
    runtime().block_on(async {
        let (speaker, mut observed) = connect(&options(&muster, "scada", &secret(&scada))).await.unwrap();
        let (listener, mut heard) = connect(&options(&muster, "panel", &secret(&panel))).await.unwrap();
        listener.subscribe(&[("site/line-7/state", Quality::AtLeastOnce)]).await.unwrap();
        assert!(
            listener.subscribe(&[("site/#", Quality::AtMostOnce)]).await.is_err(),
            "more than its filter"
        );
        speaker.subscribe(&[(&observe, Quality::AtMostOnce)]).await.unwrap();
        speaker
            .publish("site/line-7/state", "running", Quality::AtLeastOnce)
            .await
            .unwrap()
            .acknowledged()
            .await
            .unwrap();
        let message = tokio::time::timeout(WITHIN, heard.next()).await.unwrap().unwrap().unwrap();
        assert_eq!((message.topic.as_str(), &message.payload[..]), ("site/line-7/state", &b"running"[..]));
        let (agent, _incoming) = device.connect(&muster).await;
        let metrics = json!({ "values": { "x": 1 } }).to_string();
        agent
            .publish(&device.up(UpKind::Metrics), metrics, Quality::AtLeastOnce)
            .await
            .unwrap()
            .acknowledged()
            .await
            .unwrap();
        let message = tokio::time::timeout(WITHIN, observed.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(message.topic, device.up(UpKind::Metrics));
        // It may not speak for an agent, nor outside its filter.
        for topic in [device.up(UpKind::Metrics), "site/line-8/state".into()] {
            let (client, _incoming) = connect(&options(&muster, "scada", &secret(&scada))).await.unwrap();
            if let Ok(delivery) = client.publish(&topic, "forged", Quality::AtLeastOnce).await {
                assert!(delivery.acknowledged().await.is_err(), "{topic}");
            }
        }
        muster.call("clients.remove", json!({ "id": "panel" }));
        let cut = tokio::time::timeout(WITHIN, async { while let Some(Ok(_)) = heard.next().await {} });
        assert!(cut.await.is_ok(), "cut off");
        assert!(connect(&options(&muster, "panel", &secret(&panel))).await.is_err());
    });
}
