//! Operations on clients.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::model::{Client, check_filters, check_id};
use super::store::CLIENTS;
use crate::base::{Error, Page, Result, Timestamp, limits};
use crate::engine::crypto;
use crate::engine::store::Read;
use crate::kit::{Ctx, Nothing, Ops};
use crate::wire::VERSION;

/// Declares them.
pub(super) fn register(ops: &mut Ops) {
    ops.get("clients.list", "/clients", "Lists the site's own MQTT clients.", list);
    ops.post(
        "clients.create",
        "/clients",
        "Adds an MQTT client with its filters; its secret is shown once.",
        create,
    );
    ops.gives("clients.created");
    ops.delete("clients.remove", "/clients/{id}", "Removes an MQTT client and cuts it off.", remove);
}

/// A client as shown.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct ClientView {
    /// Client identifier and user name.
    pub id: String,
    /// Filters of topics that it may publish to.
    pub publish: Vec<String>,
    /// Filters that its subscriptions must lie within.
    pub subscribe: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
}

/// Lists clients by identifier.
pub fn list(ctx: &Ctx<'_>, _: Nothing) -> Result<Page<ClientView>> {
    ctx.require("clients.read")?;
    let rows = ctx.read()?.prefix(&CLIENTS, &ctx.tenant, limits::CLIENTS_MAX)?;
    let view = |client: Client| ClientView {
        id: client.id,
        publish: client.publish,
        subscribe: client.subscribe,
        created: client.created,
    };
    Ok(Page { items: rows.into_iter().map(|(_, client)| view(client)).collect(), next: None })
}

/// A new client.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
pub struct CreateClient {
    /// Client identifier and user name.
    pub id: String,
    /// Filters of topics that it may publish to: under `site/`.
    #[serde(default)]
    pub publish: Vec<String>,
    /// Filters that its subscriptions must lie within: under `site/`, or `muster/v1/{tenant}/+/up/#` to observe agents.
    #[serde(default)]
    pub subscribe: Vec<String>,
}

/// What to put into the client. The secret is shown this once.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct ClientCreated {
    /// Client identifier and user name.
    pub id: String,
    /// Password.
    pub secret: String,
    /// `host:port` of the gate.
    pub gate: String,
}

/// Where the topics of a tenant's own programs begin: nobody of another hears them.
fn root(ctx: &Ctx<'_>) -> String {
    if ctx.tenant == ctx.site.home { "site/".to_owned() } else { format!("tenant/{}/", ctx.tenant) }
}

/// Adds a client.
pub fn create(ctx: &Ctx<'_>, input: CreateClient) -> Result<ClientCreated> {
    let permit = ctx.require("clients.create")?;
    check_id(&input.id)?;
    let own = root(ctx);
    check_filters("publish", &input.publish, &[&own])?;
    check_filters("subscribe", &input.subscribe, &[&own, &format!("muster/{VERSION}/{}/", ctx.tenant)])?;
    let (secret, digest) = crypto::token("mqc", &ctx.site.clock);
    permit.write(|change| {
        let key = (ctx.tenant, input.id.clone());
        let taken = |tenant| Ok(change.tx.has(&CLIENTS, &(tenant, input.id.clone()))?.then_some(()));
        if ctx.site.tenants.search(taken)?.is_some() {
            return Err(
                Error::conflict(format!("client `{}` is there already", input.id)).hint("remove it first")
            );
        }
        if change.tx.prefix(&CLIENTS, &ctx.tenant, limits::CLIENTS_MAX)?.len() >= limits::CLIENTS_MAX {
            return Err(Error::too_many(format!("{} clients", limits::CLIENTS_MAX)).hint("remove one first"));
        }
        let client = Client {
            id: input.id.clone(),
            publish: input.publish.clone(),
            subscribe: input.subscribe.clone(),
            created: ctx.now,
            secret: digest.to_vec(),
        };
        change.tx.put(&CLIENTS, &key, &client)?;
        change.tell(
            "clients.created",
            &input.id,
            json!({ "publish": input.publish, "subscribe": input.subscribe }),
        );
        Ok(())
    })?;
    Ok(ClientCreated { id: input.id, secret, gate: ctx.site.settings.gate() })
}

/// Which client.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
pub struct ClientById {
    /// Its identifier.
    pub id: String,
}

/// Removes a client and cuts it off.
pub fn remove(ctx: &Ctx<'_>, input: ClientById) -> Result<()> {
    ctx.require("clients.remove")?.write(|change| {
        let key = (ctx.tenant, input.id.clone());
        if change.tx.get(&CLIENTS, &key)?.is_none() {
            let shown: String = input.id.chars().take(80).collect();
            return Err(Error::not_found("client", shown));
        }
        change.tx.delete(&CLIENTS, &key)?;
        change.tell("clients.removed", &input.id, json!({}));
        Ok(())
    })?;
    if let Some(bus) = ctx.site.bus() {
        bus.close_client(&input.id);
    }
    Ok(())
}
