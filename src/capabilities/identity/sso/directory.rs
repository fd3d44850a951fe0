//! Sign-in with the password of a directory, at the same page as local people.

use super::arrive::{Arrival, Proof, settle};
use super::memory::{self, secret_of};
use super::model::{Provider, Settings};
use super::{links, store};
use crate::base::{Error, Result, SessionId, UserId};
use crate::capabilities::identity::door;
use crate::capabilities::identity::model::User;
use crate::engine::outbound::ldap;
use crate::kit::Ctx;

/// Every directory, and whether it may know this login name: all of them do for who is not known here or has no password,
/// and those that a person is linked to. The others are asked for nothing but the time that it takes.
fn candidates(ctx: &Ctx<'_>, user: Option<&User>) -> Result<Vec<(Provider, bool)>> {
    let read = ctx.read()?;
    let linked = match user.filter(|user| user.password.is_some()) {
        Some(user) => Some(store::links_to(&read, ctx.tenant, user.id)?),
        None => None,
    };
    let all = store::providers(&read, ctx.tenant)?.into_iter();
    let open = all.filter(|one| one.on && one.settings.word() == "ldap").map(|one| {
        let known = linked.as_ref().is_none_or(|all| all.iter().any(|(provider, _, _)| *provider == one.id));
        (one, known)
    });
    Ok(open.collect())
}

fn client(ctx: &Ctx<'_>, provider: &Provider) -> Result<ldap::Directory> {
    let Settings::Ldap(settings) = &provider.settings else {
        return Err(Error::invalid(format!("`{}` is no directory", provider.name)));
    };
    ldap::Directory::new(settings, secret_of(ctx, &provider.id)?, &ctx.site.egress, &ctx.site.clock)
}

/// Who a directory says it is, when the password is right there.
fn prove(ctx: &Ctx<'_>, provider: &Provider, login: &str, password: &str) -> Result<Option<Arrival>> {
    let directory = client(ctx, provider)?;
    let found = memory::of(ctx.site).asking(|| directory.prove(login, password))?;
    Ok(found.map(|found| Arrival {
        proof: Proof {
            provider: provider.id.clone(),
            called: provider.name.to_string(),
            directory: true,
            subject: found.id,
            session: None,
            several_factors: false,
        },
        login: login.to_owned(),
        name: found.name,
        groups: found.groups,
    }))
}

/// The same steps for who is not looked for there; no password leaves.
fn pretend(ctx: &Ctx<'_>, provider: &Provider, login: &str, password: &str) -> Result<Option<Arrival>> {
    let directory = client(ctx, provider)?;
    memory::of(ctx.site).asking(|| directory.pretend(login, password))?;
    Ok(None)
}

/// Signs in by the first directory that knows the password; nothing when none does. The throttles and the hash that
/// every try costs are the door's, which comes here last. Whoever comes here has the same steps before them: nobody learns
/// by the time or the answer who has a password here.
pub(in crate::capabilities::identity) fn sign_in(
    ctx: &Ctx<'_>,
    user: Option<&User>,
    login: &str,
    password: &str,
    next: &str,
) -> Result<Option<door::Entered>> {
    let mut failed = None;
    for (provider, known) in candidates(ctx, user)? {
        let asked = match known {
            true => prove(ctx, &provider, login, password),
            false => pretend(ctx, &provider, login, password),
        };
        match asked {
            Ok(Some(arrival)) => {
                let user = settle(ctx, &provider, &arrival)?;
                return door::enter_proven(ctx, user, &arrival.proof, next).map(Some);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!("the directory `{}` cannot be asked: {}", provider.name, error.detail());
                failed = Some(provider.name);
            }
        }
    }
    match failed {
        Some(name) => Err(Error::unavailable(format!("`{name}` cannot be asked at this moment"))
            .hint("try again later; local accounts work as always")),
        None => Ok(None),
    }
}

/// Links an entry of a directory to who is signed in, by its password.
pub(super) fn link_own(
    ctx: &Ctx<'_>,
    provider: &Provider,
    user: (UserId, SessionId),
    login: &str,
    password: &str,
) -> Result<String> {
    let arrival = door::throttled(ctx, login, || {
        prove(ctx, provider, &login.trim().to_lowercase(), password)?.ok_or_else(|| {
            Error::invalid("the login name or the password is wrong")
                .hint(format!("type those of {}", provider.name))
        })
    })?;
    links::link_own(ctx, provider, &arrival, user.0, user.1)
}
