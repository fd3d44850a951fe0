//! The door: set-up, sign-in by password, one-time links. What is done here is done before anybody is known.
//!
//! Invariant: there is no default password; the first owner is made with a code that only the server's console showed.
//! Invariant: an unknown login name costs the same time and gives the same answer as a wrong password.
//! Invariant: of codes and tokens only digests are kept, and each works once.

pub(super) mod attempts;
pub(super) mod pages;
mod second;

#[cfg(test)]
pub(super) use second::attempt_of;
pub(super) use second::{clear_factor, take_factor};

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::factors::{self, Means, Step};
use super::model::{
    Digest, LOGIN_LINK_LIFETIME, Link, Purpose, RESET_LINK_LIFETIME, State, User, login_name,
};
use super::passwords::check_password;
use super::roles::Granted;
use super::store::{self, LINKS, LOGINS, SETUP, USERS};
use super::{memory, sessions, sso};
use crate::base::buckets::Buckets;
use crate::base::{Error, Name, Result, SessionId, UserId, machine};
use crate::engine::crypto::{hash_password, verify_password, well_formed};
use crate::engine::store::Read;
use crate::kit::{Actor, Change, Ctx, Rights, Role, Site};

/// Signs of a setup code: no letter that looks like a digit.
pub(super) const CODE_SIGNS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Signs in a setup code: 100 bits.
const CODE_CHARACTERS: usize = 20;

/// Whether the site has nobody yet. Cheap: once somebody exists the answer is a flag in memory.
pub fn needs_setup(site: &Site) -> bool {
    let memory = memory::of(site);
    if memory.set_up.load(Ordering::Relaxed) {
        return false;
    }
    let somebody = site
        .store
        .read()
        .and_then(|read| read.prefix(&USERS, &site.home, 1))
        .is_ok_and(|users| !users.is_empty());
    if somebody {
        memory.set_up.store(true, Ordering::Relaxed);
    }
    !somebody
}

/// A fresh setup code, as long as the site has nobody; earlier codes stop working. Only its digest is kept, and it is
/// good until the first owner exists.
pub fn setup_code(site: &Site) -> Result<Option<String>> {
    if !needs_setup(site) {
        return Ok(None);
    }
    let mut code = String::new();
    for (n, byte) in site.clock.random::<CODE_CHARACTERS>().into_iter().enumerate() {
        if n > 0 && n % 5 == 0 {
            code.push('-');
        }
        code.push(char::from(CODE_SIGNS[usize::from(byte & 31)]));
    }
    let ctx = Ctx::system(site, site.home, "identity.setup_code");
    ctx.require("identity.setup_code")?
        .write(|change| change.tx.put(&SETUP, &ctx.tenant, &Digest::of(&plain_code(&code))))?;
    Ok(Some(code))
}

/// The code without what people add or leave out when they copy it.
pub(super) fn plain_code(text: &str) -> String {
    text.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            c => c,
        })
        .collect()
}

/// What makes the first owner.
pub(super) struct SetUp<'a> {
    /// The setup code.
    pub(super) code: &'a str,
    /// What people call them.
    pub(super) name: &'a str,
    /// What they sign in with.
    pub(super) login: &'a str,
    /// Their password.
    pub(super) password: &'a str,
}

/// Makes the first owner and signs them in; gives the cookie's value.
pub(super) fn set_up(ctx: &Ctx<'_>, input: &SetUp<'_>) -> Result<String> {
    if !needs_setup(ctx.site) {
        return Err(Error::conflict("the site is already set up").hint("sign in"));
    }
    let memory = memory::of(ctx.site);
    let address = address(&ctx.request.from);
    take(&memory.addresses, &address, ctx)?;
    let given = Digest::of(&plain_code(input.code));
    let wrong = || {
        Error::forbidden("the setup code is wrong")
            .hint("it stands in the server's output; a restart shows a new one")
    };
    if ctx.read()?.get(&SETUP, &ctx.tenant)? != Some(given) {
        return Err(wrong());
    }
    memory.addresses.lock().give_back(&address);
    let name: Name = input.name.parse()?;
    let login = login_name(input.login)?;
    check_password(input.password, &login)?;
    let hash = memory.hashing(|| hash_password(input.password, &ctx.site.clock))??;
    let user = User {
        id: ctx.site.clock.id(),
        login,
        name,
        password: Some(hash),
        grants: vec![Granted::lasting(Role::Owner.into())],
        state: State::Active,
        created: ctx.now,
        last_login: Some(ctx.now),
    };
    let (raised, session) = raised(ctx, &user);
    let cookie = raised.require("identity.set_up")?.write(|change| {
        // Asked again inside the write: of two at once, one wins.
        if change.tx.get(&SETUP, &ctx.tenant)? != Some(given)
            || !store::users(&*change.tx, ctx.tenant)?.is_empty()
        {
            return Err(wrong());
        }
        change.tx.delete(&SETUP, &ctx.tenant)?;
        change.tx.put(&USERS, &(ctx.tenant, user.id), &user)?;
        change.tx.put(&LOGINS, &(ctx.tenant, user.login.clone()), &user.id)?;
        change.tell("identity.set_up", user.id, json!({ "login": user.login, "roles": user.roles() }));
        sessions::begin(ctx, change, &user, session, vec![Means::Password])
    })?;
    memory.set_up.store(true, Ordering::Relaxed);
    Ok(cookie)
}

/// How far somebody has come in.
#[derive(Debug)]
pub(super) enum Entered {
    /// Signed in; the cookie's value.
    In(String),
    /// Half: what is left to do, and what names this attempt. It holds no rights.
    Half(String),
}

/// Signs in with a password; who has a second factor, or needs one, is half in.
pub(super) fn sign_in(ctx: &Ctx<'_>, login: &str, password: &str, next: &str) -> Result<Entered> {
    let memory = memory::of(ctx.site);
    let login: String =
        login.trim().to_lowercase().chars().take(super::model::LOGIN_CHARACTERS_MAX).collect();
    let address = address(&ctx.request.from);
    let pair = (address.clone(), login.clone());
    take(&memory.pairs, &pair, ctx)?;
    take(&memory.addresses, &address, ctx)?;
    let found = store::anywhere(ctx.site, &ctx.read()?, &login)?;
    let ctx = &ctx.within(found.as_ref().map_or(ctx.site.home, |(tenant, _)| *tenant));
    let user = found.map(|(_, user)| user);
    let kept = user.as_ref().filter(|user| user.is_active()).and_then(|user| user.password.as_deref());
    let fits = match memory.hashing(|| verify_password(password, kept)) {
        Ok(fits) => fits,
        Err(busy) => {
            memory.pairs.lock().give_back(&pair);
            memory.addresses.lock().give_back(&address);
            return Err(busy);
        }
    };
    let wrong = || {
        Error::unauthenticated("the login name or the password is wrong")
            .hint("an owner can give you a link that sets a new password")
    };
    let Some(user) = user.as_ref().filter(|_| fits) else {
        // The hash above was paid for whoever it is; a directory comes after it.
        // What it cannot answer counts as a try: for some it was a wrong password of this site.
        let entered = sso::directory::sign_in(ctx, user.as_ref(), &login, password, next)?;
        let entered = entered.ok_or_else(wrong)?;
        match entered {
            Entered::In(_) => memory.pairs.lock().clear(&pair),
            Entered::Half(_) => memory.pairs.lock().give_back(&pair),
        }
        memory.addresses.lock().give_back(&address);
        return Ok(entered);
    };
    memory.addresses.lock().give_back(&address);
    ctx.site.tenants.admit(ctx.tenant)?;
    if factors::step(&ctx.read()?, ctx.tenant, user)? != Step::None {
        // The bucket is not cleared: whoever has but the password must not get fresh tries by it.
        memory.pairs.lock().give_back(&pair);
        return Ok(Entered::Half(attempts::begin(ctx, user, Means::Password, next, None)));
    }
    let cookie = enter(ctx, user.id, "identity.sign_in", &[Means::Password], None, |_, now| {
        if now.password != user.password {
            return Err(wrong());
        }
        Ok(json!({}))
    })?;
    memory.pairs.lock().clear(&pair);
    Ok(Entered::In(cookie))
}

/// Notes a failed sign-in for the audit log.
pub(super) fn tell_failure(ctx: &Ctx<'_>, login: &str) -> Result<()> {
    // Only a name that exists is written down: people type passwords into the wrong field.
    let known = store::anywhere(ctx.site, &ctx.read()?, &login.trim().to_lowercase())?;
    match known {
        Some((tenant, user)) => tell_failed(&ctx.within(tenant), &user.id.to_string(), json!({})),
        None => tell_failed(ctx, "unknown", json!({})),
    }
}

/// The same for a subject. Floods are counted, not written: the log stays readable, the disk free.
pub(super) fn tell_failed(ctx: &Ctx<'_>, subject: &str, mut detail: Value) -> Result<()> {
    let memory = memory::of(ctx.site);
    let skipped = {
        let mut told = memory.told.lock();
        if told.0.take(&(), ctx.site.clock.monotonic()).is_err() {
            told.1 += 1;
            return Ok(());
        }
        std::mem::take(&mut told.1)
    };
    detail["failures_not_listed"] = json!(skipped);
    let system = Ctx { actor: Actor::System, ..ctx.clone() };
    system.require("identity.sign_in")?.write(|change| {
        change.tell("identity.sign_in_failed", subject, detail);
        Ok(())
    })
}

/// A one-time link that signs the first owner in. A site that nobody has set up, such as a demonstration, gets an owner
/// without a password first; whoever may call this holds the data folder anyway.
pub fn login_link(site: &Site) -> Result<String> {
    let ctx = Ctx::system(site, site.home, "identity.login_link");
    let fresh = User {
        id: site.clock.id(),
        login: login_name("owner")?,
        name: "Owner".parse()?,
        password: None,
        grants: vec![Granted::lasting(Role::Owner.into())],
        state: State::Active,
        created: ctx.now,
        last_login: None,
    };
    let link = ctx.require("identity.login_link")?.write(|change| {
        let users = store::users(&*change.tx, ctx.tenant)?;
        if users.is_empty() {
            change.tx.delete(&SETUP, &ctx.tenant)?;
            change.tx.put(&USERS, &(ctx.tenant, fresh.id), &fresh)?;
            change.tx.put(&LOGINS, &(ctx.tenant, fresh.login.clone()), &fresh.id)?;
            change.tell("identity.set_up", fresh.id, json!({ "login": fresh.login, "roles": fresh.roles() }));
        }
        let first = users.is_empty().then_some(fresh.id);
        let owner = users.iter().find(|user| user.is_active_owner()).map(|user| user.id).or(first);
        let owner = owner.ok_or_else(|| Error::conflict("the site has no active owner"))?;
        let link = make_link(&ctx, change, owner, Purpose::Login)?;
        change.tell("identity.link_made", owner, json!({ "purpose": Purpose::Login }));
        Ok(link)
    })?;
    memory::of(site).set_up.store(true, Ordering::Relaxed);
    Ok(link)
}

/// Makes a one-time link in an open change. Earlier links of the same person stop working.
pub(super) fn make_link(
    ctx: &Ctx<'_>,
    change: &mut Change<'_>,
    user: UserId,
    purpose: Purpose,
) -> Result<String> {
    remove_links(ctx, change, user)?;
    let (text, digest) = Digest::token("msl", &ctx.site.clock);
    let lifetime = match purpose {
        Purpose::Login => LOGIN_LINK_LIFETIME,
        Purpose::Reset => RESET_LINK_LIFETIME,
    };
    change.tx.put(&LINKS, &(ctx.tenant, digest), &Link { user, purpose, until: ctx.now + lifetime })?;
    Ok(format!("{}/login/link?token={text}", ctx.site.settings.console()))
}

/// Takes every link of a person away, in an open change.
pub(super) fn remove_links(ctx: &Ctx<'_>, change: &mut Change<'_>, user: UserId) -> Result<()> {
    let there = change.tx.prefix(&LINKS, &ctx.tenant, 2 * super::model::USERS_MAX)?;
    for (key, _) in there.into_iter().filter(|(_, link)| link.user == user) {
        change.tx.delete(&LINKS, &key)?;
    }
    Ok(())
}

/// The tenant in which a link is; the home when there is no such link.
fn of_link<'a>(ctx: &Ctx<'a>, text: &str) -> Result<Ctx<'a>> {
    let (read, digest) = (ctx.read()?, Digest::of(text));
    let found = ctx.site.tenants.search(|tenant| Ok(read.has(&LINKS, &(tenant, digest))?.then_some(())))?;
    Ok(ctx.within(found.map_or(ctx.site.home, |(tenant, ())| tenant)))
}

/// What a link is good for and for whom, without using it.
pub(super) fn look_at_link(ctx: &Ctx<'_>, text: &str) -> Result<(Link, User)> {
    let ctx = &of_link(ctx, text)?;
    let dead =
        || Error::not_found("link", "token").hint("it works once and for a short time; ask for a new one");
    if !well_formed(text) {
        return Err(dead());
    }
    let read = ctx.read()?;
    let link = read.get(&LINKS, &(ctx.tenant, Digest::of(text)))?.ok_or_else(dead)?;
    let user = read.get(&USERS, &(ctx.tenant, link.user))?.ok_or_else(dead)?;
    if link.until <= ctx.now || !user.is_active() {
        return Err(dead());
    }
    Ok((link, user))
}

/// Uses a link up and signs in; a link that resets needs the new password. A link stands for the password, not for the
/// second factor.
pub(super) fn use_link(ctx: &Ctx<'_>, text: &str, password: &str) -> Result<Entered> {
    let memory = memory::of(ctx.site);
    let address = address(&ctx.request.from);
    take(&memory.addresses, &address, ctx)?;
    let ctx = &of_link(ctx, text)?;
    let (link, user) = look_at_link(ctx, text)?;
    ctx.site.tenants.admit(ctx.tenant)?;
    let hash = match link.purpose {
        Purpose::Login => None,
        Purpose::Reset => {
            check_password(password, &user.login)?;
            Some(memory.hashing(|| hash_password(password, &ctx.site.clock))??)
        }
    };
    let used = |change: &mut Change<'_>, now: &mut User| {
        // Asked again inside the write: a link works once.
        if change.tx.get(&LINKS, &(ctx.tenant, Digest::of(text)))?.as_ref() != Some(&link) {
            return Err(Error::conflict("the link is used up").hint("ask for a new one"));
        }
        change.tx.delete(&LINKS, &(ctx.tenant, Digest::of(text)))?;
        if let Some(hash) = hash {
            now.password = Some(hash);
            sessions::end_all(ctx, change, now.id, None)?;
            change.tell("identity.password_changed", now.id, json!({ "by": "link" }));
        }
        Ok(json!({}))
    };
    let entered = if factors::step(&ctx.read()?, ctx.tenant, &user)? == Step::None {
        Entered::In(enter(ctx, user.id, "identity.use_link", &[Means::Link], None, used)?)
    } else {
        let (raised, _) = raised(ctx, &user);
        let now = raised.require("identity.use_link")?.write(|change| {
            let mut now = still_active(ctx, change, user.id)?;
            used(change, &mut now)?;
            change.tx.put(&USERS, &(ctx.tenant, now.id), &now)?;
            change.tell("identity.link_used", now.id, json!({ "purpose": link.purpose }));
            Ok(now)
        })?;
        Entered::Half(attempts::begin(ctx, &now, Means::Link, "/", None))
    };
    memory.addresses.lock().give_back(&address);
    Ok(entered)
}

/// Checks the password of who is signed in, as slowly as at the door: an open screen is no way to guess it.
pub(super) fn check_own_password(
    ctx: &Ctx<'_>,
    user: &User,
    fits: impl FnOnce(Option<&str>) -> bool,
) -> Result<()> {
    let memory = memory::of(ctx.site);
    let pair = (address(&ctx.request.from), user.login.clone());
    take(&memory.pairs, &pair, ctx)?;
    if !memory.hashing(|| fits(user.password.as_deref()))? {
        return Err(Error::invalid("the present password is wrong").hint("type the one you signed in with"));
    }
    memory.pairs.lock().clear(&pair);
    Ok(())
}

/// Lets in somebody whom a provider has proved. A second factor is asked for as after a password, unless the provider has
/// seen one and is trusted for that.
pub(super) fn enter_proven(ctx: &Ctx<'_>, user: UserId, proof: &sso::Proof, next: &str) -> Result<Entered> {
    let read = ctx.read()?;
    let user = read.get(&USERS, &(ctx.tenant, user))?.ok_or_else(|| Error::not_found("user", user))?;
    let means = proof.means();
    if !proof.several_factors && factors::step(&read, ctx.tenant, &user)? != Step::None {
        return Ok(Entered::Half(attempts::begin(ctx, &user, means, next, Some(proof.clone()))));
    }
    drop(read);
    let cookie = enter(ctx, user.id, "identity.sign_in", &[means], Some(proof), |_, _| Ok(json!({})))?;
    Ok(Entered::In(cookie))
}

/// Tries something that may be guessed at, as slowly as at the door.
pub(super) fn throttled<T>(ctx: &Ctx<'_>, login: &str, f: impl FnOnce() -> Result<T>) -> Result<T> {
    let memory = memory::of(ctx.site);
    let login = login.trim().to_lowercase().chars().take(super::model::LOGIN_CHARACTERS_MAX).collect();
    let pair = (address(&ctx.request.from), login);
    take(&memory.pairs, &pair, ctx)?;
    let done = f()?;
    memory.pairs.lock().clear(&pair);
    Ok(done)
}

/// Begins a session of somebody who has proved who they are. What `check` gives goes into the event.
fn enter(
    ctx: &Ctx<'_>,
    user: UserId,
    action: &'static str,
    means: &[Means],
    proof: Option<&sso::Proof>,
    check: impl FnOnce(&mut Change<'_>, &mut User) -> Result<Value>,
) -> Result<String> {
    ctx.site.tenants.admit(ctx.tenant)?;
    let user = ctx.read()?.get(&USERS, &(ctx.tenant, user))?.ok_or_else(|| Error::not_found("user", user))?;
    let (raised, session) = raised(ctx, &user);
    raised.require(action)?.write(|change| {
        let mut now = still_active(ctx, change, user.id)?;
        let mut detail = check(change, &mut now)?;
        now.last_login = Some(ctx.now);
        change.tx.put(&USERS, &(ctx.tenant, now.id), &now)?;
        (detail["session"], detail["means"]) = (json!(session), json!(means));
        if let Some(proof) = proof {
            sso::note(ctx, change, session, now.id, proof)?;
            detail["provider"] = json!(proof.called);
        }
        change.tell("identity.signed_in", now.id, detail);
        sessions::begin(ctx, change, &now, session, means.to_vec())
    })
}

/// The person as they are at this moment, if they may sign in.
fn still_active(ctx: &Ctx<'_>, change: &Change<'_>, user: UserId) -> Result<User> {
    let now = change.tx.get(&USERS, &(ctx.tenant, user))?.filter(User::is_active);
    now.ok_or_else(|| Error::unauthenticated("the login name or the password is wrong"))
}

/// The person in the session that is about to begin, so that the journal names them. Raised for this one act only.
fn raised<'a>(ctx: &Ctx<'a>, user: &User) -> (Ctx<'a>, SessionId) {
    let session = ctx.site.clock.id();
    let actor = Actor::Person {
        user: user.id,
        session,
        name: user.name.to_string(),
        rights: Rights::of(Role::Owner),
        proved: ctx.now,
    };
    (Ctx { actor, ..ctx.clone() }, session)
}

/// Takes a try, or says how long to wait.
fn take<K: std::hash::Hash + Eq + Clone>(
    buckets: &parking_lot::Mutex<Buckets<K>>,
    key: &K,
    ctx: &Ctx<'_>,
) -> Result<()> {
    buckets.lock().take(key, ctx.site.clock.monotonic()).map_err(|wait: Duration| {
        let seconds = wait.as_millis().div_ceil(1_000);
        Error::too_many(format!("too many failed tries from this address; wait {seconds} s"))
            .hint("other people and other addresses are not held up")
    })
}

/// The part of an address that one machine cannot change at will, as text.
pub(super) fn address(from: &str) -> String {
    use std::net::{IpAddr, SocketAddr};
    let parsed = from.parse::<IpAddr>().ok().or_else(|| from.parse::<SocketAddr>().ok().map(|a| a.ip()));
    match parsed {
        Some(address) => machine(address).to_string(),
        None => from.chars().take(64).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_forgive_how_they_are_copied() {
        assert_eq!(plain_code(" 0abcd-efgh1 \n"), "0ABCDEFGH1");
        assert_eq!(plain_code("OIL"), "011");
    }

    #[test]
    fn one_machine_has_one_address() {
        for (from, expected) in [
            ("10.0.0.7", "10.0.0.7"),
            ("10.0.0.7:1234", "10.0.0.7"),
            ("::ffff:10.0.0.7", "10.0.0.7"),
            ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::"),
            ("2001:db8:1:2:bbbb::9", "2001:db8:1:2::"),
            ("job", "job"),
        ] {
            assert_eq!(address(from), expected);
        }
    }
}
