//! Who, when and where: the first argument of everything.

use std::sync::Arc;

use crate::base::{Error, Kind, Result, Subject, TenantId, Timestamp};
use crate::engine::store::{Event, Origin, Pending, Snapshot, Tx};

use super::{Actor, Approved, HOME, Sight, Site, Theme, Unwritable, is_sites};

/// Where a call came from.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Identifier of the request, in every log line and error page.
    pub id: String,
    /// Address of the caller, or the name of the job.
    pub from: String,
    /// Host and port by which the caller reaches the console, as a browser says them; empty otherwise.
    pub host: String,
    /// What the caller calls itself; empty where nobody does.
    pub browser: String,
}

/// Who acts, when, and on what.
#[derive(Clone)]
pub struct Ctx<'a> {
    /// The appliance's engines.
    pub site: &'a Site,
    /// Who.
    pub actor: Actor,
    /// In which tenant.
    pub tenant: TenantId,
    /// When: one instant per operation.
    pub now: Timestamp,
    /// From where.
    pub request: Request,
    /// The look that the person chose.
    pub theme: Theme,
    /// The approved intent that is carried out, if it is one.
    pub approved: Option<Arc<Approved>>,
}

impl<'a> Ctx<'a> {
    /// The appliance acting by itself; `name` is the job or follower.
    pub fn system(site: &'a Site, tenant: TenantId, name: &str) -> Ctx<'a> {
        Ctx::new(site, tenant, Actor::System, Request { from: name.to_owned(), ..Request::default() })
    }

    /// A context of this moment. The tenant is that of who acts.
    pub fn new(site: &'a Site, tenant: TenantId, actor: Actor, request: Request) -> Ctx<'a> {
        let now = site.clock.now();
        Ctx { site, actor, tenant, now, request, theme: Theme::System, approved: None }
    }

    /// The permit to act under `permission` with everything, or why not.
    pub fn require(&self, permission: &'static str) -> Result<Permit<'_>> {
        match self.actor.sight(permission) {
            Sight::Everything => self.permit(permission),
            Sight::Within(scopes) => Err(self.refused(permission, !scopes.is_empty())),
        }
    }

    /// The permit to act under `permission` with one thing, or why not. Whoever may not see the thing is told so too:
    /// callers look at its `.read` first, and answer that it is not there.
    pub fn require_on(&self, permission: &'static str, thing: &dyn Subject) -> Result<Permit<'_>> {
        match self.actor.sight(permission) {
            sight if sight.sees(thing) => self.permit(permission),
            Sight::Within(scopes) => Err(self.refused(permission, !scopes.is_empty())),
            Sight::Everything => Err(self.refused(permission, false)),
        }
    }

    /// With what the actor has `permission`, for lists; an error when it is with nothing.
    pub fn sight(&self, permission: &'static str) -> Result<Sight> {
        match self.actor.sight(permission) {
            Sight::Within(scopes) if scopes.is_empty() => Err(self.refused(permission, false)),
            sight => Ok(sight),
        }
    }

    /// The permit together with what its holder has to keep to: for what is done with many things at once.
    pub fn require_within(&self, permission: &'static str) -> Result<(Permit<'_>, Sight)> {
        let sight = self.sight(permission)?;
        Ok((self.permit(permission)?, sight))
    }

    /// An error unless the actor has `permission` with everything. It opens no write, so that it asks for no fresh proof
    /// and for no second person: for pages with a form, which ask when it is sent.
    pub fn demand(&self, permission: &'static str) -> Result<()> {
        match self.actor.sight(permission) {
            Sight::Everything => Ok(()),
            Sight::Within(scopes) => Err(self.refused(permission, !scopes.is_empty())),
        }
    }

    /// An error unless the actor has shown who they are freshly enough for `permission`.
    pub fn proved_for(&self, permission: &str) -> Result<()> {
        super::step_up::check(self, permission)
    }

    /// Who may, may now if what is dangerous is asked of who has just shown who they are, and if what is marked was
    /// approved by somebody else.
    fn permit(&self, permission: &'static str) -> Result<Permit<'_>> {
        if self.tenant != HOME {
            if is_sites(permission) {
                return Err(self.refused(permission, false));
            }
            if !self.site.tenants.lives(self.tenant) {
                return Err(Error::forbidden("the organisation that this belongs to is being taken away"));
            }
        }
        super::step_up::check(self, permission)?;
        super::approved::check(self, permission)?;
        Ok(Permit { ctx: self, permission })
    }

    /// Why the actor has not this permission, in words; `elsewhere` says that they have it with other things.
    pub fn refused(&self, permission: &str, elsewhere: bool) -> Error {
        let label = self.actor.label();
        match self.actor {
            Actor::Anonymous => {
                Error::unauthenticated("nobody is signed in").hint("sign in, or send an API key")
            }
            _ if self.tenant != HOME && is_sites(permission) => {
                let name = self.site.tenant_name(self.tenant);
                Error::forbidden(format!(
                    "`{permission}` is about the whole site, and `{label}` is of `{name}`"
                ))
                .hint("ask who runs the site")
            }
            _ if elsewhere => {
                Error::forbidden(format!("`{label}` may `{permission}` with other things only"))
                    .hint("a role that is given for everything, or for this too, is needed")
            }
            _ => Error::forbidden(format!("`{label}` may not `{permission}`"))
                .hint("who manages people can give a role that may"),
        }
    }

    /// The acknowledged state. Short-lived: never keep it over a wait.
    pub fn read(&self) -> Result<Snapshot> {
        self.site.store.read()
    }

    /// The token that forms of this session carry: keyed by the session, worthless in any other (OWASP's signed
    /// double submit without the cookie). Empty for who has no session.
    pub fn csrf(&self) -> String {
        match &self.actor {
            Actor::Person { session, .. } => {
                blake3::keyed_hash(&self.site.csrf_key, &session.bits().to_be_bytes()).to_hex()[..32]
                    .to_owned()
            }
            _ => String::new(),
        }
    }

    fn origin(&self, action: &str) -> Origin {
        Origin {
            at: self.now,
            actor: self.actor.text(),
            action: action.to_owned(),
            from: self.request.from.clone(),
            request: self.request.id.clone(),
            tenant: self.tenant.bits(),
        }
    }
}

/// The right to write under one permission. Only [`Ctx::require`] gives it.
pub struct Permit<'a> {
    ctx: &'a Ctx<'a>,
    permission: &'static str,
}

impl Permit<'_> {
    /// Writes; returns when the change is on the disk. An error undoes the whole change.
    pub fn write<T>(&self, f: impl FnOnce(&mut Change<'_>) -> Result<T>) -> Result<T> {
        self.ctx.site.store.write(self.ctx.origin(self.permission), |tx| self.noted(f, &mut Change { tx }))
    }

    /// Writes down that something is about to be given away: a secret, or a file. What it is must be told in `f`, and
    /// nothing may leave before this returns. While it cannot be written, the site's choice decides: `Err` where nothing
    /// leaves without an entry, `None` where it may.
    pub fn before_giving<T>(&self, f: impl FnOnce(&mut Change<'_>) -> Result<T>) -> Result<Option<T>> {
        let error = match self.write(f) {
            Ok(value) => return Ok(Some(value)),
            Err(error) if matches!(error.kind(), Kind::Unavailable | Kind::Internal) => error,
            Err(error) => return Err(error),
        };
        if self.ctx.site.settings.unwritable == Unwritable::Open {
            tracing::error!(
                actor.id = %self.ctx.actor.text(),
                "`{}` gives something away without an entry of the audit log, as `[audit] when_unwritable` allows: {}",
                self.permission, error.detail()
            );
            return Ok(None);
        }
        let hint = error
            .hint_text()
            .unwrap_or("see the server's log; `[audit] when_unwritable` is the choice")
            .to_owned();
        Err(Error::unavailable(format!(
            "the audit log cannot be written, and nothing is given away without it: {}",
            error.message()
        ))
        .hint(hint)
        .because(error.detail()))
    }

    /// Writes, and returns before the change is on the disk: whoever acknowledges must wait for it.
    pub fn submit<T>(&self, f: impl FnOnce(&mut Change<'_>) -> Result<T>) -> Result<(T, Pending)> {
        self.ctx.site.store.submit(self.ctx.origin(self.permission), |tx| self.noted(f, &mut Change { tx }))
    }

    /// What is done under an approved permission says so in the same change.
    fn noted<T>(&self, f: impl FnOnce(&mut Change<'_>) -> Result<T>, change: &mut Change<'_>) -> Result<T> {
        let value = f(change)?;
        match &self.ctx.approved {
            Some(approved) if approved.permission == self.permission => {
                (approved.note)(approved, self.ctx.tenant, change)?;
            }
            _ => {}
        }
        Ok(value)
    }
}

/// An open write.
pub struct Change<'a> {
    /// Tables are put and read through it.
    pub tx: &'a mut Tx,
}

impl Change<'_> {
    /// Tells, in the same change, that something happened to `subject`: `agents.retired`.
    pub fn tell(&mut self, name: &str, subject: impl ToString, detail: serde_json::Value) {
        if cfg!(debug_assertions)
            && let Some(complaint) = super::event::complaint(name, &detail)
        {
            // A defect of this program, which its tests must meet; names and fields of events stand in its sources.
            panic!("{complaint}");
        }
        self.tx.tell(Event { name: name.to_owned(), subject: subject.to_string(), detail });
    }
}
