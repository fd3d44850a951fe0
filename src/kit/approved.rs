//! What needs a second person: the marks that an administrator set, an intent that is kept until somebody else has
//! looked at it, and its being carried out.
//!
//! Invariant: a marked permission gives no permit to a person or key, unless the context carries out an intent that was
//! approved for exactly this permission. The appliance itself is exempt: whoever holds the machine needs nobody.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Actor, Change, Ctx};
use crate::base::{ApprovalId, Error, Kind, Result, TenantId};

/// The marked permissions of every tenant, in memory; the capability that keeps them says what they are.
#[derive(Default)]
pub struct Marks(RwLock<HashMap<TenantId, Arc<BTreeSet<String>>>>);

impl Marks {
    /// From now on these are marked in the tenant, and no others.
    pub fn set(&self, tenant: TenantId, marked: BTreeSet<String>) {
        let mut all = self.0.write();
        match marked.is_empty() {
            true => all.remove(&tenant),
            false => all.insert(tenant, Arc::new(marked)),
        };
    }

    /// Whether this permission is.
    pub fn has(&self, tenant: TenantId, permission: &str) -> bool {
        self.0.read().get(&tenant).is_some_and(|marked| marked.contains(permission))
    }

    /// Whether any is.
    pub fn any(&self, tenant: TenantId) -> bool {
        self.0.read().contains_key(&tenant)
    }
}

/// What somebody wants done, as it is kept until it is approved. It holds secrets, and so it cannot be printed.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Intent {
    /// An operation with its input.
    Operation {
        /// Its name.
        name: String,
        /// Its input, as it is run with.
        input: Value,
    },
    /// A form of the console.
    Form {
        /// The page's route, with `{name}` parts.
        path: String,
        /// Those parts.
        params: BTreeMap<String, String>,
        /// The query string.
        query: BTreeMap<String, String>,
        /// What was typed, without the form's token.
        fields: BTreeMap<String, String>,
    },
}

/// An intent that is kept, as whoever asked is told.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Which.
    pub id: ApprovalId,
    /// What the API answers.
    pub answer: Value,
}

/// The approved intent that a context carries out.
pub struct Approved {
    /// Which.
    pub id: ApprovalId,
    /// The one permission that it was approved for.
    pub permission: String,
    /// Who approved it, as in the journal.
    pub by: String,
    /// Writes down, in each change that is made under the permission, that it was approved and by whom.
    pub note: fn(&Approved, TenantId, &mut Change<'_>) -> Result<()>,
}

/// The cause of an error of [`Kind::Approval`]: the permission that needs a second person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeedsSecond(pub &'static str);

impl fmt::Display for NeedsSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is marked", self.0)
    }
}

impl std::error::Error for NeedsSecond {}

/// Whether the actor may use the permission now, which they have.
pub(super) fn check(ctx: &Ctx<'_>, permission: &'static str) -> Result<()> {
    if !matches!(ctx.actor, Actor::Person { .. } | Actor::Key { .. }) {
        return Ok(());
    }
    let approved = ctx.approved.as_ref().is_some_and(|approved| approved.permission == permission);
    if approved || !ctx.site.marks.has(ctx.tenant, permission) {
        return Ok(());
    }
    Err(Error::new(Kind::Approval, format!("`{permission}` needs a second person"))
        .hint("as a form or over the API it is kept at /approvals until somebody else has decided")
        .because(NeedsSecond(permission)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_of_one_tenant_and_go_together() {
        let (marks, one, two) = (Marks::default(), TenantId::from_bits(1), TenantId::from_bits(2));
        marks.set(one, BTreeSet::from(["agents.retire".to_owned()]));
        assert!(marks.has(one, "agents.retire") && marks.any(one));
        assert!(!marks.has(one, "agents.read") && !marks.has(two, "agents.retire") && !marks.any(two));
        marks.set(one, BTreeSet::new());
        assert!(!marks.any(one));
    }

    #[test]
    fn the_permission_is_found_through_the_error() {
        let error = Error::new(Kind::Approval, "x").because(NeedsSecond("agents.retire"));
        assert_eq!(error.cause::<NeedsSecond>(), Some(&NeedsSecond("agents.retire")));
        assert_eq!(Error::invalid("x").cause::<NeedsSecond>(), None);
    }
}
