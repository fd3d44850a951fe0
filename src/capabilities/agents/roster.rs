//! Every agent, decoded once: lists, counts and the first screen look at all of them each time.
//!
//! Invariant: it shows every change that was acknowledged before it was asked, since it takes over what the store's feed
//! tells of the table; losing it costs one reading of the table.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Agent;
use super::store::AGENTS;
use crate::base::{AgentId, Result, TenantId};
use crate::engine::store::{Read, Store};
use crate::kit::{PerSite, Site};

/// Changes that are taken over one by one; when more have come, the table is read again.
const CHANGES_MAX: usize = 1_000;

/// All agents of the tenant, by name as people count: `press-2` before `press-10`.
pub(super) fn all(site: &Site, tenant: TenantId) -> Result<Arc<[Arc<Agent>]>> {
    let roster = SITES.of(site, Roster::default);
    let mut roster = roster.lock();
    let known = roster.entry(tenant).or_default();
    known.catch_up(&site.store, tenant)?;
    Ok(Arc::clone(&known.sorted))
}

#[derive(Default)]
struct Known {
    /// The newest change that is in it; none before the first reading.
    number: Option<u64>,
    by_id: HashMap<AgentId, Arc<Agent>>,
    sorted: Arc<[Arc<Agent>]>,
}

impl Known {
    fn catch_up(&mut self, store: &Store, tenant: TenantId) -> Result<()> {
        let last = store.last_change();
        let Some(number) = self.number else { return self.read(store, tenant) };
        if last <= number {
            return Ok(());
        }
        if last - number > CHANGES_MAX as u64 {
            return self.read(store, tenant);
        }
        let changes = store.changes(number, CHANGES_MAX)?;
        let whole = changes.first().is_some_and(|change| change.number == number + 1);
        if !whole {
            return self.read(store, tenant);
        }
        let mut touched = false;
        for change in &changes {
            for told in change.ops().iter().filter_map(|op| op.of(&AGENTS)) {
                let ((of, id), agent) = told?;
                if of != tenant {
                    continue;
                }
                touched = true;
                match agent {
                    Some(agent) => self.by_id.insert(id, Arc::new(agent)),
                    None => self.by_id.remove(&id),
                };
            }
            self.number = Some(change.number);
        }
        if touched {
            self.sort();
        }
        Ok(())
    }

    fn read(&mut self, store: &Store, tenant: TenantId) -> Result<()> {
        let read = store.read()?;
        let rows = read.prefix(&AGENTS, &tenant, usize::MAX)?;
        self.number = Some(read.number()?);
        self.by_id = rows.into_iter().map(|((_, id), agent)| (id, Arc::new(agent))).collect();
        self.sort();
        Ok(())
    }

    fn sort(&mut self) {
        let mut sorted: Vec<_> = self.by_id.values().map(|agent| (rank(agent), Arc::clone(agent))).collect();
        sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.sorted = sorted.into_iter().map(|(_, agent)| agent).collect();
    }
}

/// `press-2` before `press-10`; those of one name by their identifiers.
fn rank(agent: &Agent) -> impl Ord + use<> {
    let name = agent.name.as_str();
    let cut = name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    (name[..cut].to_lowercase(), name[cut..].parse::<u64>().unwrap_or(0), agent.id)
}

type Roster = Mutex<HashMap<TenantId, Known>>;

static SITES: PerSite<Roster> = PerSite::new();
