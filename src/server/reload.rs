//! `muster reload`: a running server reads its configuration's file again, and takes over what it can without a restart:
//! limits of requests and messages, who may connect, and the files of its HTTPS certificate.
//!
//! Invariant: a file with a mistake changes nothing.
//! Invariant: no connection ends by it; who may connect is asked of new ones.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::certificate::Certificates;
use super::config::{Config, Difference, RELOADED, differences};
use crate::base::Result;
use crate::engine::{broker, http};
use crate::kit::Ctx;
use crate::surface::Surface;

/// The name under which a running server is asked for its configuration.
pub const CONFIG: &str = "server.config";

/// What can change under a running server.
pub(super) struct Reload {
    certificates: Arc<Certificates>,
    surface: Arc<Surface>,
    http: http::Control,
    broker: broker::Control,
    config: Mutex<Config>,
}

impl Reload {
    pub(super) fn new(
        config: Config,
        certificates: Arc<Certificates>,
        surface: Arc<Surface>,
        http: http::Control,
        broker: broker::Control,
    ) -> Arc<Reload> {
        Arc::new(Reload { certificates, surface, http, broker, config: Mutex::new(config) })
    }

    /// What is in force, without secrets.
    pub(super) fn told(&self) -> Value {
        let config = self.config.lock();
        json!({ "file": config.file(), "entries": config.entries() })
    }

    /// Reads everything again. Gives what HTTPS serves now, which settings changed, and which wait for a restart.
    pub(super) fn run(&self, ctx: &Ctx<'_>) -> Result<Value> {
        let permit = ctx.require("settings.reload")?;
        // Held to the end: of two at once, the second finds what the first has done.
        let mut config = self.config.lock();
        let fresh = config.again()?;
        let found = differences(&config.entries(), &fresh.entries());
        let (taken, waiting): (Vec<&Difference>, Vec<&Difference>) =
            found.iter().filter(|one| one.key != "keys.passphrase").partition(|one| one.is_reloaded());
        let mut told = self.certificates.reload(ctx)?;
        let keys: Vec<&str> = taken.iter().map(|one| one.key.as_str()).collect();
        if !keys.is_empty() {
            permit.write(|change| {
                change.tell("settings.reloaded", "configuration", json!({ "keys": keys }));
                Ok(())
            })?;
            tracing::info!("the configuration was read again; new is {}", keys.join(", "));
        }
        // Not before its entry is written.
        self.take_over(&fresh);
        told["settings"] = taken.iter().map(|one| one.to_string()).collect();
        told["restart"] = waiting.iter().map(|one| one.to_string()).collect();
        config.http.networks = fresh.http.networks.clone();
        config.mqtt.networks = fresh.mqtt.networks.clone();
        config.http.requests_per_address_per_second_max = fresh.http.requests_per_address_per_second_max;
        config.http.requests_per_person_per_second_max = fresh.http.requests_per_person_per_second_max;
        config.http.requests_per_tenant_per_second_max = fresh.http.requests_per_tenant_per_second_max;
        config.mqtt.messages_per_second_max = fresh.mqtt.messages_per_second_max;
        debug_assert!(
            differences(&config.entries(), &fresh.entries())
                .iter()
                .all(|d| !RELOADED.contains(&d.key.as_str()))
        );
        Ok(told)
    }

    fn take_over(&self, config: &Config) {
        let Config { http, mqtt, .. } = config;
        self.http.change(http.networks.clone(), http.requests_per_address_per_second_max);
        self.surface
            .change_rates(http.requests_per_person_per_second_max, http.requests_per_tenant_per_second_max);
        self.broker.change(mqtt.networks.clone(), mqtt.messages_per_second_max);
    }
}
