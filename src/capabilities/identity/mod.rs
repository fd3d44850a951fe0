//! Who people and programs are: users, passwords, sessions, API keys, one-time links and set-up.
//!
//! Invariant: no password, cookie, key or link is kept; only hashes and digests are, and each text is shown once.
//! Invariant: the site always has an owner who can sign in, from the moment it is set up.
//! Invariant: a disabled person and a revoked session or key are out with the next request.

mod browser;
mod door;
mod events;
mod factors;
mod keys;
mod look;
mod memory;
mod model;
mod ops;
mod pages;
mod passwords;
mod people;
mod recovery;
mod roles;
mod sessions;
mod sso;
mod store;
#[cfg(test)]
pub(crate) mod tests;

pub use door::{login_link, needs_setup, setup_code};
pub use factors::{
    CodesMade, FactorsView, Lost, Means, PasskeyView, Policy, PolicyChanged, Recovered, TotpView,
};
pub use keys::{KeyChanged, KeyChosen, KeyMade, issue as issue_token, jwks, key_actor};
pub use model::{KeyView, OldTextView, SessionView, State, UserView};
pub use ops::check_person;
pub use ops::{UserChanged, UserChosen, UserMade};
pub use people::{Exported, ImportAsked, Imported, Profile};
pub use roles::{Granted, adopt};
pub use sessions::{COOKIE, SessionsEnded, session_actor, session_watcher};
pub use sso::allow_providers;

use std::sync::LazyLock;

use crate::base::{Error, KeyId, Result, SessionId, Span, TenantId, UserId};
use crate::engine::store::Read;
use crate::kit::{
    Actor, Capability, Change, Ctx, EventKind, Findings, Jobs, NavItem, Ops, Pages, Restored, Returnable,
    Rights, Role,
};

/// The capability.
pub struct Identity;

impl Capability for Identity {
    fn name(&self) -> &'static str {
        "identity"
    }

    fn events(&self) -> &'static [EventKind] {
        events::EVENTS
    }

    fn ops(&self, ops: &mut Ops) {
        ops.get("identity.users", "/identity/users", "Lists people.", ops::users);
        ops.post("identity.create", "/identity/users", "Adds a person.", ops::create);
        ops.gives("identity.created");
        ops.patch("identity.change", "/identity/users/{id}", "Changes a name or role.", ops::change);
        ops.post(
            "identity.disable",
            "/identity/users/{id}/disable",
            "Shuts a person out at once.",
            ops::disable,
        );
        ops.post("identity.enable", "/identity/users/{id}/enable", "Lets a person in again.", ops::enable);
        ops.post(
            "identity.reset",
            "/identity/users/{id}/reset",
            "Makes a one-time link that sets a new password.",
            ops::reset,
        );
        ops.gives("identity.link_made");
        roles::ops::routes(ops);
        sso::ops::routes(ops);
        ops.post(
            "identity.look_as",
            "/identity/users/{id}/look",
            "Looks at the console as another person; nothing can be changed meanwhile.",
            look::look_as,
        );
        ops.post("identity.look_back", "/identity/look-back", "Ends that.", look::look_back);
        ops.own();
        ops.post("identity.password", "/identity/password", "Changes one's own password.", ops::password);
        ops.own();
        ops.get("identity.sessions", "/identity/sessions", "Lists one's own sessions.", sessions::list);
        ops.own();
        ops.post(
            "identity.session_revoke",
            "/identity/sessions/{id}/revoke",
            "Ends one of one's own sessions.",
            sessions::revoke,
        );
        ops.own();
        ops.get(
            "identity.user_sessions",
            "/identity/users/{id}/sessions",
            "Lists the sessions of a person.",
            sessions::of_user,
        );
        ops.post(
            "identity.user_sessions_revoke",
            "/identity/users/{id}/sessions/revoke",
            "Ends one session of a person, or all of them.",
            sessions::revoke_of_user,
        );
        factors::ops::routes(ops);
        people::ops(ops);
        keys::ops::routes(ops);
    }

    fn pages(&self, pages: &mut Pages) {
        door::pages::routes(pages);
        door::pages::second::routes(pages);
        factors::pages::routes(pages);
        people::pages::routes(pages);
        pages::routes(pages);
        sso::pages::routes(pages);
        roles::pages::routes(pages);
        keys::pages::routes(pages);
    }

    fn jobs(&self, jobs: &mut Jobs) {
        jobs.every(Span::from_minutes(10), "identity.sweep", sessions::sweep);
        jobs.every(Span::from_minutes(1), "identity.grants", roles::ops::sweep);
        jobs.every(Span::from_minutes(10), "identity.provider_sessions", sso::sweep);
        jobs.every(Span::from_minutes(10), "identity.keys", keys::sweep);
    }

    fn navigation(&self) -> Vec<NavItem> {
        vec![
            NavItem {
                group: "Govern",
                title: "People",
                path: "/people",
                icon: "users",
                permission: "identity.read",
            },
            NavItem {
                group: "Help",
                title: "Signing in",
                path: "/help/signing-in",
                icon: "key-round",
                permission: "agents.read",
            },
            NavItem {
                group: "Help",
                title: "Single sign-on",
                path: "/help/sign-on",
                icon: "log-in",
                permission: "identity.read",
            },
        ]
    }

    fn tables(&self) -> &'static [&'static str] {
        static ALL: LazyLock<Vec<&'static str>> =
            LazyLock::new(|| store::NAMES.into_iter().chain(sso::store::NAMES).collect());
        &ALL
    }

    fn restored(&self, ctx: &Ctx<'_>, change: &mut Change<'_>, restored: &Restored) -> Result<()> {
        recovery::restored(ctx, change, restored)?;
        sso::recovery::restored(ctx, change, restored)
    }

    fn check(&self, ctx: &Ctx<'_>, findings: &mut Findings) -> Result<()> {
        recovery::check(ctx, findings)?;
        sso::recovery::check(ctx, findings)
    }

    fn returnable(&self) -> &'static [Returnable] {
        &recovery::RETURNABLE
    }
}

/// What people call the actor that the journal names, if it is a person or key of this tenant.
pub fn label(read: &impl Read, tenant: TenantId, actor: &str) -> Result<Option<String>> {
    if let Ok(id) = actor.parse::<UserId>() {
        return Ok(read.get(&store::USERS, &(tenant, id))?.map(|user| user.name.to_string()));
    }
    if let Ok(id) = actor.parse::<KeyId>() {
        return Ok(read.get(&store::KEYS, &(tenant, id))?.map(|key| key.name.to_string()));
    }
    Ok((actor == "system").then(|| Actor::System.label()))
}

/// Who asks, when it is a person, and a context that may change what is their own: one's own password and sessions need
/// no role. The raised context stays in this capability.
fn own<'a>(ctx: &Ctx<'a>) -> Result<(UserId, SessionId, Ctx<'a>)> {
    if ctx.actor.rights().is_some_and(|rights| rights.looks_as.is_some()) {
        return Err(Error::forbidden("you look at the console as somebody else, so nothing can be changed")
            .hint("go back to yourself first"));
    }
    own_session(ctx)
}

/// The same also for who looks at the console as somebody else: to go back, and to sign out.
fn own_session<'a>(ctx: &Ctx<'a>) -> Result<(UserId, SessionId, Ctx<'a>)> {
    match &ctx.actor {
        Actor::Person { user, session, name, proved, .. } => {
            let actor = Actor::Person {
                user: *user,
                session: *session,
                name: name.clone(),
                rights: Rights::of(Role::Owner),
                proved: *proved,
            };
            Ok((*user, *session, Ctx { actor, ..ctx.clone() }))
        }
        Actor::Anonymous => Err(Error::unauthenticated("nobody is signed in").hint("sign in")),
        _ => Err(Error::forbidden("only a person has a password and sessions")
            .hint("sign in to the console instead of sending an API key")),
    }
}
