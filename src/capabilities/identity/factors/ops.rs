//! Operations on factors, one's own and others', and on the rules about them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::model::{Codes, Passkey, Totp};
use super::store::{self, CODES, PASSKEYS, TOTPS};
use super::{codes, policy};
use crate::base::{Error, Name, PasskeyId, Result, Timestamp, UserId, kind};
use crate::capabilities::identity::model::{Purpose, State, User};
use crate::capabilities::identity::store::{USERS, anywhere, by_login, users};
use crate::capabilities::identity::{door, own, roles, sessions};
use crate::engine::store::Read;
use crate::kit::{Actor, ById, Change, Ctx, Nothing, Ops};

/// Declares them.
pub(in crate::capabilities::identity) fn routes(ops: &mut Ops) {
    ops.get("identity.factors", "/identity/factors", "Lists one's own second factors.", mine);
    ops.own();
    ops.post(
        "identity.totp_remove",
        "/identity/totp/remove",
        "Removes one's own authenticator app.",
        remove_totp,
    );
    ops.own();
    ops.patch(
        "identity.passkey_rename",
        "/identity/passkeys/{id}",
        "Renames one of one's own passkeys.",
        rename_passkey,
    );
    ops.own();
    ops.post(
        "identity.passkey_remove",
        "/identity/passkeys/{id}/remove",
        "Removes one of one's own passkeys.",
        remove_passkey,
    );
    ops.own();
    ops.post(
        "identity.codes_make",
        "/identity/codes",
        "Makes new recovery codes; they are in this answer and nowhere else, and earlier ones stop working.",
        make_codes,
    );
    ops.own();
    ops.get(
        "identity.user_factors",
        "/identity/users/{id}/factors",
        "Lists the second factors of a person.",
        theirs,
    );
    ops.post(
        "identity.factors_remove",
        "/identity/users/{id}/factors/remove",
        "Removes every second factor of a person and ends their sessions.",
        remove_all,
    );
    ops.get("identity.policy", "/identity/policy", "Shows the rules about signing in.", policy::find);
    ops.patch(
        "identity.policy_change",
        "/identity/policy",
        "Changes the rules about signing in.",
        policy::change,
    );
    ops.post(
        "identity.recover",
        "/identity/recover",
        "Makes a one-time link for somebody who cannot come in any more.",
        recover,
    );
    ops.gives("identity.recovered");
}

/// What somebody has besides a password.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FactorsView {
    /// An authenticator app.
    pub totp: Option<TotpView>,
    /// Passkeys, oldest first.
    pub passkeys: Vec<PasskeyView>,
    /// Recovery codes that are left.
    pub codes_left: usize,
    /// When these codes were made.
    pub codes_made: Option<Timestamp>,
    /// Whether the rules of the site ask this person for a second factor.
    pub required: bool,
}

/// An authenticator app.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TotpView {
    /// When it was added.
    pub added: Timestamp,
    /// When it was last used.
    pub last_used: Timestamp,
    /// How far its clock is off, in words; absent when it is not.
    pub clock: Option<String>,
}

/// A passkey.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PasskeyView {
    /// The identifier.
    pub id: PasskeyId,
    /// What its owner calls it.
    pub name: Name,
    /// The host name under which it works.
    pub host: String,
    /// Whether it lives in more than one place.
    pub backed_up: bool,
    /// When it was added.
    pub added: Timestamp,
    /// When it was last used.
    pub last_used: Option<Timestamp>,
}

impl FactorsView {
    /// Whether there is a factor.
    pub fn any(&self) -> bool {
        self.totp.is_some() || !self.passkeys.is_empty()
    }
}

pub(super) fn view(ctx: &Ctx<'_>, id: UserId) -> Result<FactorsView> {
    let read = ctx.read()?;
    let user = read.get(&USERS, &(ctx.tenant, id))?.ok_or_else(|| Error::not_found("user", id))?;
    let totp = read.get(&TOTPS, &(ctx.tenant, id))?.map(|totp: Totp| TotpView {
        added: totp.added,
        last_used: totp.last_used,
        clock: super::model::clock_differs(totp.offset),
    });
    let passkeys = store::passkeys(&read, ctx.tenant, id)?.into_iter().map(|passkey: Passkey| PasskeyView {
        id: passkey.id,
        name: passkey.name,
        host: passkey.host,
        backed_up: passkey.backed_up,
        added: passkey.added,
        last_used: passkey.last_used,
    });
    let codes: Option<Codes> = read.get(&CODES, &(ctx.tenant, id))?;
    Ok(FactorsView {
        totp,
        passkeys: passkeys.collect(),
        codes_left: codes.as_ref().map_or(0, Codes::left),
        codes_made: codes.map(|codes| codes.made),
        required: policy(&read, ctx.tenant)?.asks(&user),
    })
}

/// Lists one's own.
pub(super) fn mine(ctx: &Ctx<'_>, _: Nothing) -> Result<FactorsView> {
    view(ctx, own(ctx)?.0)
}

/// Lists somebody's.
pub(in crate::capabilities::identity) fn theirs(
    ctx: &Ctx<'_>,
    input: ById<kind::User>,
) -> Result<FactorsView> {
    ctx.require("identity.read")?;
    view(ctx, input.id)
}

/// After a factor is gone: the rules may ask for one, and recovery codes alone are none.
fn after_removal(ctx: &Ctx<'_>, change: &mut Change<'_>, id: UserId) -> Result<()> {
    if super::have(&*change.tx, ctx.tenant, id)?.any() {
        return Ok(());
    }
    let user: User = change.tx.get(&USERS, &(ctx.tenant, id))?.ok_or_else(|| Error::not_found("user", id))?;
    if policy(&*change.tx, ctx.tenant)?.asks(&user) {
        return Err(Error::conflict("your role needs a second factor, and this is the last one")
            .hint("add another one first"));
    }
    change.tx.delete(&CODES, &(ctx.tenant, id))
}

/// Removes one's own app.
pub(super) fn remove_totp(ctx: &Ctx<'_>, _: Nothing) -> Result<FactorsView> {
    let (id, _, raised) = own(ctx)?;
    raised.require("identity.totp_remove")?.write(|change| {
        if !change.tx.has(&TOTPS, &(ctx.tenant, id))? {
            return Err(Error::conflict("there is no authenticator app"));
        }
        change.tx.delete(&TOTPS, &(ctx.tenant, id))?;
        change.tell("identity.totp_removed", id, json!({}));
        after_removal(ctx, change, id)
    })?;
    view(ctx, id)
}

/// A passkey's new name.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct PasskeyRenamed {
    /// Which.
    pub id: PasskeyId,
    /// What its owner calls it from now on.
    pub name: Name,
}

/// Renames one of one's own passkeys. Nothing is told of a name that stays.
pub(super) fn rename_passkey(ctx: &Ctx<'_>, input: PasskeyRenamed) -> Result<FactorsView> {
    let (id, _, raised) = own(ctx)?;
    raised.require("identity.passkey_rename")?.write(|change| {
        let key = (ctx.tenant, id, input.id);
        let before = change.tx.get(&PASSKEYS, &key)?.ok_or_else(|| Error::not_found("passkey", input.id))?;
        if before.name != input.name {
            let detail = json!({ "user": id, "name": { "before": before.name, "after": input.name } });
            change.tx.put(&PASSKEYS, &key, &Passkey { name: input.name, ..before })?;
            change.tell("identity.passkey_renamed", input.id, detail);
        }
        Ok(())
    })?;
    view(ctx, id)
}

/// Removes one of one's own passkeys.
pub(super) fn remove_passkey(ctx: &Ctx<'_>, input: ById<kind::Passkey>) -> Result<FactorsView> {
    let (id, _, raised) = own(ctx)?;
    raised.require("identity.passkey_remove")?.write(|change| {
        let passkey = change
            .tx
            .get(&PASSKEYS, &(ctx.tenant, id, input.id))?
            .ok_or_else(|| Error::not_found("passkey", input.id))?;
        store::remove_passkey(change.tx, ctx.tenant, &passkey)?;
        let detail = json!({ "user": id, "name": passkey.name });
        change.tell("identity.passkey_removed", passkey.id, detail);
        after_removal(ctx, change, id)
    })?;
    view(ctx, id)
}

/// Recovery codes.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CodesMade {
    /// The codes. They are shown here and never again; each works once.
    pub codes: Vec<String>,
}

/// Makes one's own anew.
pub(super) fn make_codes(ctx: &Ctx<'_>, _: Nothing) -> Result<CodesMade> {
    let (id, _, raised) = own(ctx)?;
    raised.require("identity.codes_make")?.write(|change| {
        if !super::have(&*change.tx, ctx.tenant, id)?.any() {
            return Err(Error::conflict("there is no second factor that they could stand for")
                .hint("add an authenticator app or a passkey first"));
        }
        let (texts, codes) = codes::fresh(ctx);
        change.tx.put(&CODES, &(ctx.tenant, id), &codes)?;
        change.tell("identity.recovery_codes_made", id, json!({ "made": codes.made }));
        Ok(CodesMade { codes: texts })
    })
}

/// Removes every factor of somebody, in an open change; gives how many there were.
fn remove_factors(ctx: &Ctx<'_>, change: &mut Change<'_>, id: UserId) -> Result<usize> {
    let mut removed = 0;
    if change.tx.has(&TOTPS, &(ctx.tenant, id))? {
        change.tx.delete(&TOTPS, &(ctx.tenant, id))?;
        change.tell("identity.totp_removed", id, json!({}));
        removed += 1;
    }
    for passkey in store::passkeys(&*change.tx, ctx.tenant, id)? {
        store::remove_passkey(change.tx, ctx.tenant, &passkey)?;
        let detail = json!({ "user": id, "name": passkey.name });
        change.tell("identity.passkey_removed", passkey.id, detail);
        removed += 1;
    }
    change.tx.delete(&CODES, &(ctx.tenant, id))?;
    if removed > 0 {
        sessions::end_all(ctx, change, id, None)?;
    }
    Ok(removed)
}

/// Removes every factor of somebody who has lost them.
pub(in crate::capabilities::identity) fn remove_all(
    ctx: &Ctx<'_>,
    input: ById<kind::User>,
) -> Result<FactorsView> {
    ctx.require("identity.factors_remove")?.write(|change| {
        let user = change
            .tx
            .get(&USERS, &(ctx.tenant, input.id))?
            .ok_or_else(|| Error::not_found("user", input.id))?;
        roles::may_act_on(ctx, &*change.tx, &user)?;
        if remove_factors(ctx, change, user.id)? == 0 {
            return Err(Error::conflict(format!("`{}` has no second factor", user.login)));
        }
        Ok(())
    })?;
    view(ctx, input.id)
}

/// Who cannot come in any more.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Lost {
    /// What they sign in with; the first active owner when it is left out.
    #[serde(default)]
    pub login: Option<String>,
    /// Whether their second factors are lost too and go. Without it the link asks for one.
    #[serde(default)]
    pub remove_factors: bool,
}

/// A way back in.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Recovered {
    /// Whose.
    pub login: String,
    /// A one-time link that sets a new password, good for 24 hours.
    pub link: String,
    /// Second factors that were removed.
    pub removed: usize,
    /// Whether the link will still ask for a second factor.
    pub asks_factor: bool,
}

/// Makes a way back in.
fn recover(ctx: &Ctx<'_>, input: Lost) -> Result<Recovered> {
    let login = input.login.as_deref().map(str::trim).filter(|login| !login.is_empty());
    // The host's administrator may lose their way in any tenant.
    let ctx = &match (login, &ctx.actor) {
        (Some(login), Actor::System) => {
            let found = anywhere(ctx.site, &ctx.read()?, &login.to_lowercase())?;
            ctx.within(found.map_or(ctx.tenant, |(tenant, _)| tenant))
        }
        _ => ctx.clone(),
    };
    ctx.require("identity.recover")?.write(|change| {
        let found = match login {
            Some(login) => by_login(&*change.tx, ctx.tenant, &login.to_lowercase())?
                .ok_or_else(|| Error::not_found("user", login))?,
            None => users(&*change.tx, ctx.tenant)?
                .into_iter()
                .find(User::is_active_owner)
                .ok_or_else(|| Error::conflict("nobody is an owner yet").hint("set the site up"))?,
        };
        roles::may_act_on(ctx, &*change.tx, &found)?;
        match (found.is_active(), &ctx.actor) {
            (true, _) => {}
            // Whoever holds the machine gets out also when nobody is left who may enable somebody.
            (false, Actor::System) => {
                let enabled = User { state: State::Active, ..found.clone() };
                change.tx.put(&USERS, &(ctx.tenant, found.id), &enabled)?;
                change.tell("identity.enabled", found.id, json!({ "login": found.login }));
            }
            (false, _) => {
                return Err(
                    Error::conflict(format!("`{}` is disabled", found.login)).hint("enable them first")
                );
            }
        }
        let removed = if input.remove_factors { remove_factors(ctx, change, found.id)? } else { 0 };
        let link = door::make_link(ctx, change, found.id, Purpose::Reset)?;
        change.tell(
            "identity.recovered",
            found.id,
            json!({ "login": found.login, "factors_removed": removed }),
        );
        let asks_factor = super::have(&*change.tx, ctx.tenant, found.id)?.any();
        Ok(Recovered { login: found.login, link, removed, asks_factor })
    })
}
