//! How people and programs stand, for who looks at how the site is guarded: no secret, and one reading of each table.

use std::collections::HashSet;

use super::factors::{self, Policy};
use super::model::{KEYS_MAX, KeyView, USERS_MAX, User};
use super::roles::{self, ROLES_MAX};
use super::sso;
use super::store::{KEYS, ROLES, USERS};
use crate::base::{Name, Result, Timestamp, UserId};
use crate::engine::store::Read;
use crate::kit::{Ctx, Permissions, Role};

/// A person as the rules see them.
#[derive(Clone, Debug, PartialEq)]
pub struct PersonStanding {
    /// Who.
    pub id: UserId,
    /// What people call them.
    pub name: Name,
    /// Whether they have an authenticator app or a passkey here.
    pub has_factor: bool,
    /// Whether a provider signs them in, which may ask for a factor of its own.
    pub linked: bool,
    /// Whether the rules ask them for a second factor.
    pub asked: bool,
    /// Whether they are an owner who stays one whatever a provider says.
    pub owner: bool,
    /// Whether they have set a password here.
    pub password: bool,
    /// Whether they hold, or may take up, a role that runs the site.
    pub privileged: bool,
    /// A role that is not the owner's and gives everything.
    pub everything: Option<String>,
    /// Roles that they have taken up, and until when.
    pub taken: Vec<(String, Timestamp)>,
    /// When they were added.
    pub created: Timestamp,
    /// When they last signed in.
    pub last_login: Option<Timestamp>,
}

/// An API key that works.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyStanding {
    /// As lists show it.
    pub key: KeyView,
    /// Whether it may do everything with everything.
    pub everything: bool,
}

/// How all of them stand.
#[derive(Clone, Debug, PartialEq)]
pub struct Standings {
    /// People who may sign in, in the order in which they were added.
    pub people: Vec<PersonStanding>,
    /// Keys that work, in the order in which they were made.
    pub keys: Vec<KeyStanding>,
    /// Roles that were made here and include everything.
    pub roles: Vec<String>,
    /// The rules about signing in.
    pub policy: Policy,
}

/// How all of them stand at this moment.
pub fn standings(ctx: &Ctx<'_>) -> Result<Standings> {
    ctx.require("identity.read")?;
    let read = ctx.read()?;
    let (tenant, all) = (ctx.tenant, Role::Owner.permissions());
    let policy = factors::policy(&read, tenant)?;
    let (with_factor, linked) = (factors::holders(&read, tenant)?, sso::linked(&read, tenant)?);
    let made = read.prefix(&ROLES, &tenant, ROLES_MAX)?;
    let wide: HashSet<String> = made
        .iter()
        .filter(|(_, role)| role.permissions.include(&all))
        .map(|(_, role)| role.name.to_string())
        .collect();
    let people = read.prefix(&USERS, &tenant, USERS_MAX)?.into_iter().map(|(_, user)| user);
    let people = people
        .filter(User::is_active)
        .map(|user| PersonStanding {
            has_factor: with_factor.contains(&user.id),
            linked: linked.contains(&user.id),
            asked: policy.asks(&user),
            owner: user.is_active_owner(),
            password: user.password.is_some(),
            privileged: user.grants.iter().any(|one| {
                one.lasts(ctx.now)
                    && (one.role == Role::Owner
                        || one.role == Role::Administrator
                        || wide.contains(one.role.as_str()))
            }),
            everything: user
                .grants
                .iter()
                .find(|one| one.holds(ctx.now) && wide.contains(one.role.as_str()))
                .map(|one| one.role.to_string()),
            taken: user
                .grants
                .iter()
                .filter(|one| one.holds(ctx.now))
                .filter_map(|one| Some((one.role.to_string(), one.until?)))
                .collect(),
            id: user.id,
            name: user.name,
            created: user.created,
            last_login: user.last_login,
        })
        .collect();
    let mut keys = Vec::new();
    for (_, key) in read.prefix(&KEYS, &tenant, KEYS_MAX)? {
        if key.works(ctx.now) {
            let rights = roles::rights(&read, tenant, &key.grants, ctx.now)?;
            let narrowed = key.only.as_ref().is_some_and(|only: &Permissions| !only.include(&all));
            let everything = !narrowed && rights.include(&all, &Default::default());
            keys.push(KeyStanding { key: key.view(ctx.now), everything });
        }
    }
    let mut roles: Vec<String> = wide.into_iter().collect();
    roles.sort();
    Ok(Standings { people, keys, roles, policy })
}
