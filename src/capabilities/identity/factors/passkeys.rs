//! Passkeys: what the browser is asked, and what is made of its answer.

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::{Value, json};

use super::challenge::{self, Asks, Ours};
use super::model::{PASSKEYS_MAX, Passkey, PasskeyPlace};
use super::store::{self, BY_CREDENTIAL, PASSKEYS};
use crate::base::{Error, Name, PasskeyId, Result, TenantId, UserId};
use crate::capabilities::identity::memory;
use crate::capabilities::identity::model::User;
use crate::engine::crypto::{
    Asserted, CREDENTIAL_BYTES_MAX, Ceremony, PASSKEY_KINDS, passkey_assert, passkey_register,
};
use crate::engine::store::Read;
use crate::kit::{Change, Ctx};

/// Bytes of an answer that are read at all.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The host's name, and the origin as browsers write it. A passkey is bound to a name: an address will not do.
pub(in crate::capabilities::identity) fn under_a_name(ctx: &Ctx<'_>) -> Result<(String, String)> {
    let host = ctx.request.host.to_ascii_lowercase();
    let name = match host.strip_prefix('[') {
        Some(_) => host.as_str(),
        None => host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name),
    };
    let is_name = |name: &str| !name.is_empty() && !name.starts_with('[') && name.parse::<IpAddr>().is_err();
    let hosts = &ctx.site.settings.hosts;
    if is_name(name) && hosts.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return Ok((name.to_owned(), format!("https://{host}")));
    }
    let port = ctx.site.settings.https_port();
    let hint = match hosts.iter().find(|known| is_name(known) && *known != "localhost") {
        Some(known) => format!("open https://{known}:{port} instead"),
        None => "give the site a host name in its configuration and open it by that".to_owned(),
    };
    Err(Error::invalid("passkeys work only where the console is opened by a host name, not by an address")
        .hint(hint))
}

fn text(bytes: &[u8]) -> String {
    data_encoding::BASE64URL_NOPAD.encode(bytes)
}

/// What the browser is asked in order to make a passkey for this person.
pub(in crate::capabilities::identity) fn creation(ctx: &Ctx<'_>, user: &User, asks: Asks) -> Result<Value> {
    let (name, _) = under_a_name(ctx)?;
    let there = store::passkeys(&ctx.read()?, ctx.tenant, user.id)?;
    let exclude: Vec<Value> = there.iter().map(listed).collect();
    let kinds: Vec<Value> =
        PASSKEY_KINDS.iter().map(|kind| json!({ "type": "public-key", "alg": kind })).collect();
    Ok(json!({
        "challenge": text(&challenge::make(ctx.site, asks)),
        "rp": { "id": name, "name": ctx.site.settings.name() },
        // The identifier has nothing of the person in it.
        "user": { "id": text(&user.id.bits().to_be_bytes()), "name": user.login, "displayName": user.name },
        "pubKeyCredParams": kinds,
        "excludeCredentials": exclude,
        "authenticatorSelection": { "residentKey": "preferred", "userVerification": "preferred" },
        "attestation": "none",
        "timeout": challenge::LASTS.as_millis() as u64,
    }))
}

/// What the browser is asked in order to show a passkey: one of this person's, or any where nobody is known yet. Alone
/// it must have asked who is there.
pub(in crate::capabilities::identity) fn request(
    ctx: &Ctx<'_>,
    user: Option<UserId>,
    asks: Asks,
) -> Result<Value> {
    let (name, _) = under_a_name(ctx)?;
    let mut allowed: Vec<Value> = Vec::new();
    if let Some(user) = user {
        let there = store::passkeys(&ctx.read()?, ctx.tenant, user)?;
        allowed.extend(there.iter().filter(|passkey| passkey.host == name).map(listed));
        if let (Some(other), true) = (there.first(), allowed.is_empty()) {
            return Err(Error::invalid(format!("your passkeys do not work under the name `{name}`"))
                .hint(format!("open the console as `{}`, or show something else", other.host)));
        }
    }
    Ok(json!({
        "challenge": text(&challenge::make(ctx.site, asks)),
        "rpId": name,
        "allowCredentials": allowed,
        "userVerification": if stands_alone(asks) { "required" } else { "preferred" },
        "timeout": challenge::LASTS.as_millis() as u64,
    }))
}

fn listed(passkey: &Passkey) -> Value {
    json!({ "type": "public-key", "id": text(&passkey.credential) })
}

/// Whether nothing else was shown before it.
fn stands_alone(asks: Asks) -> bool {
    matches!(asks, Asks::SignIn | Asks::Again(_))
}

/// A browser's answer, as our script sends it: every part in base 64.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    id: Bytes,
    client_data: Bytes,
    #[serde(default)]
    attestation: Bytes,
    #[serde(default)]
    authenticator_data: Bytes,
    #[serde(default)]
    signature: Bytes,
    #[serde(default)]
    user_handle: Bytes,
}

#[derive(Default)]
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = data_encoding::BASE64URL_NOPAD.decode(text.as_bytes());
        bytes.map(Bytes).map_err(serde::de::Error::custom)
    }
}

impl Answer {
    fn read(text: &str) -> Result<Answer> {
        let wrong = || Error::invalid("the browser's answer is not understood").hint("load the page again");
        if text.len() > ANSWER_BYTES_MAX {
            return Err(wrong());
        }
        serde_json::from_str(text).map_err(|e| wrong().because(e))
    }

    /// The challenge that it says it answers; whether that is true, the signature tells.
    fn challenge(&self) -> Result<Vec<u8>> {
        #[derive(Deserialize)]
        struct Client {
            challenge: Bytes,
        }
        let client: Client = serde_json::from_slice(&self.client_data.0)
            .map_err(|e| Error::invalid("the browser's answer is not understood").because(e))?;
        Ok(client.challenge.0)
    }
}

/// Adds a passkey, in an open change.
pub(in crate::capabilities::identity) fn add(
    ctx: &Ctx<'_>,
    change: &mut Change<'_>,
    user: UserId,
    asks: Asks,
    name: &str,
    answer: &str,
) -> Result<()> {
    let (host, origin) = under_a_name(ctx)?;
    let answer = Answer::read(answer)?;
    let challenge = answer.challenge()?;
    let ours = challenge::check(ctx.site, &memory::of(ctx.site).challenges, asks, &challenge)?;
    let ceremony = Ceremony { challenge: &challenge, origin: &origin, relying_party: &host, verified: false };
    let made = passkey_register(&ceremony, &answer.client_data.0, &answer.attestation.0)?;
    let there = store::passkeys(&*change.tx, ctx.tenant, user)?;
    if there.len() >= PASSKEYS_MAX {
        return Err(
            Error::too_many(format!("{PASSKEYS_MAX} passkeys are there already")).hint("remove one first")
        );
    }
    let name: Name = match name.trim() {
        "" => format!("Passkey {}", there.len() + 1).parse()?,
        name => name.parse()?,
    };
    let place = (ctx.tenant, store::credential(&made.credential));
    if change.tx.has(&BY_CREDENTIAL, &place)? {
        return Err(Error::conflict("this passkey is here already").hint("use another authenticator"));
    }
    ours.spend(&memory::of(ctx.site).challenges, ctx.site)?;
    let passkey = Passkey {
        id: ctx.site.clock.id(),
        user,
        name,
        credential: made.credential,
        key: made.key,
        host,
        counter: made.counter,
        backed_up: made.backed_up,
        added: ctx.now,
        last_used: None,
    };
    change.tx.put(&PASSKEYS, &(ctx.tenant, user, passkey.id), &passkey)?;
    change.tx.put(&BY_CREDENTIAL, &place, &PasskeyPlace { user, passkey: passkey.id })?;
    change.tell(
        "identity.passkey_added",
        passkey.id,
        json!({ "user": user, "name": passkey.name, "host": passkey.host, "verified": made.verified }),
    );
    Ok(())
}

/// An answer that holds, before anything is made of it.
pub(in crate::capabilities::identity) struct Held {
    /// Whose passkey it is.
    pub(in crate::capabilities::identity) user: UserId,
    passkey: PasskeyId,
    ours: Ours,
    said: Asserted,
}

/// The tenant in which the answer's passkey is; the home for one that nobody has.
pub(in crate::capabilities::identity) fn tenant_of(ctx: &Ctx<'_>, answer: &str) -> Result<TenantId> {
    let (read, answer) = (ctx.read()?, Answer::read(answer)?);
    let credential = store::credential(&answer.id.0);
    let found = ctx.site.tenants.search(|tenant| read.get(&BY_CREDENTIAL, &(tenant, credential)))?;
    Ok(found.map_or(ctx.site.home, |(tenant, _)| tenant))
}

/// Checks an answer, outside of any change: a signature takes its time.
pub(in crate::capabilities::identity) fn held(
    ctx: &Ctx<'_>,
    only: Option<UserId>,
    asks: Asks,
    answer: &str,
) -> Result<Held> {
    let unknown = || {
        Error::invalid("this passkey is not known here")
            .hint("sign in with your password, and add it to your account")
    };
    let (host, origin) = under_a_name(ctx)?;
    let answer = Answer::read(answer)?;
    let challenge = answer.challenge()?;
    let ours = challenge::check(ctx.site, &memory::of(ctx.site).challenges, asks, &challenge)?;
    if answer.id.0.is_empty() || answer.id.0.len() > CREDENTIAL_BYTES_MAX {
        return Err(unknown());
    }
    let read = ctx.read()?;
    let place =
        read.get(&BY_CREDENTIAL, &(ctx.tenant, store::credential(&answer.id.0)))?.ok_or_else(unknown)?;
    let passkey = read.get(&PASSKEYS, &(ctx.tenant, place.user, place.passkey))?.ok_or_else(unknown)?;
    drop(read);
    let handle = &answer.user_handle.0;
    let theirs = handle.is_empty() || *handle == place.user.bits().to_be_bytes();
    // Where nobody is known yet the authenticator must say whose it is.
    let said_whose = only.is_some() || !handle.is_empty();
    if !theirs || !said_whose || only.is_some_and(|only| only != place.user) {
        return Err(unknown());
    }
    let ceremony = Ceremony {
        challenge: &challenge,
        origin: &origin,
        relying_party: &host,
        verified: stands_alone(asks),
    };
    let said = passkey_assert(
        &ceremony,
        &passkey.key,
        &answer.client_data.0,
        &answer.authenticator_data.0,
        &answer.signature.0,
    )?;
    // A copy is told of, and it lets nobody in; what the change does is undone with its error.
    if let Err(error) = passkey.counted(said.counter, said.backed_up, ctx.now) {
        let system = Ctx { actor: crate::kit::Actor::System, ..ctx.clone() };
        system.require("identity.sign_in")?.write(|change| {
            let detail = json!({ "user": place.user, "counter": said.counter });
            change.tell("identity.passkey_counted_back", place.passkey, detail);
            Ok(())
        })?;
        return Err(error);
    }
    Ok(Held { user: place.user, passkey: place.passkey, ours, said })
}

/// Uses an answer up, in an open change; gives what the event of it says.
pub(in crate::capabilities::identity) fn spend(
    ctx: &Ctx<'_>,
    change: &mut Change<'_>,
    held: &Held,
) -> Result<Value> {
    let key = (ctx.tenant, held.user, held.passkey);
    let gone = || Error::conflict("the passkey was removed at the same time");
    let passkey = change.tx.get(&PASSKEYS, &key)?.ok_or_else(gone)?;
    let passkey = passkey.counted(held.said.counter, held.said.backed_up, ctx.now)?;
    held.ours.spend(&memory::of(ctx.site).challenges, ctx.site)?;
    change.tx.put(&PASSKEYS, &key, &passkey)?;
    Ok(json!({ "passkey": passkey.id, "counter": passkey.counter }))
}
