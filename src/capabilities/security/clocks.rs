//! Checks of clocks: the server's own, and every agent's against it.

use super::facts::{AgentFact, Facts};
use super::model::{Found, State, Verdict};
use super::people::{count, known};
use crate::base::Span;

/// A clock that differs by more is spoken of; codes of an authenticator app still work.
pub(super) const OFF_MS: u64 = 1_000;
/// A clock that differs by more gives samples and lines a wrong time.
pub(super) const OFF_FAR_MS: u64 = 5_000;
/// Agents whose clocks together say something of the server's.
pub(super) const AGREE_COUNT: usize = 3;
/// A clock that was in step, and not for so long, is not kept in step any more.
pub(super) const IN_STEP_LASTS: Span = Span::from_days(1);

fn off(ms: i64) -> String {
    let way = if ms > 0 { "ahead" } else { "behind" };
    match ms.unsigned_abs() {
        ms @ 0..10_000 => format!("{}.{} s {way}", ms / 1_000, ms % 1_000 / 100),
        ms => format!("{} {way}", Span::from_milliseconds(ms).rough()),
    }
}

/// The middle of the offsets of agents that are here.
fn middle(agents: &[AgentFact]) -> Option<i64> {
    let mut offsets: Vec<i64> = agents.iter().filter(|a| a.here).filter_map(|a| a.offset_ms).collect();
    offsets.sort_unstable();
    (offsets.len() >= AGREE_COUNT).then(|| offsets[offsets.len() / 2])
}

/// Who sets the server's clock, and what the fleet's clocks say of it.
pub(super) fn server(facts: &Facts) -> Verdict {
    // Many clocks that agree against one are right, whatever that one says of itself.
    if let Some(ms) = facts.agents.as_ref().ok().and_then(|agents| middle(agents))
        && ms.unsigned_abs() > OFF_FAR_MS
    {
        let said =
            format!("The middle of the fleet's clocks is {}: the server's own is likely wrong.", off(ms));
        return Verdict::of(State::Bad, said);
    }
    let service = known!(facts.clock);
    let name = &service.name;
    match (name.as_str(), service.in_step, service.at) {
        ("", _, _) => {
            Verdict::of(State::Attention, "No service that is known here sets this server's clock.")
        }
        (_, Some(true), Some(at)) if facts.now.since(at) >= IN_STEP_LASTS => {
            let ago = facts.now.since(at).rough();
            Verdict::of(State::Attention, format!("{name} was last in step {ago} ago."))
        }
        (_, Some(true), at) => {
            let ago = at.map(|at| format!(", {} ago", facts.now.since(at).rough())).unwrap_or_default();
            Verdict::good(format!("{name} keeps the clock in step{ago}."))
        }
        (_, Some(false), _) => {
            Verdict::of(State::Attention, format!("{name} runs and has not brought the clock in step."))
        }
        (_, None, _) => {
            Verdict::unknown(format!("{name} runs; whether it is in step it tells to root alone"))
        }
    }
}

/// The difference of each agent's clock, and who sets it.
pub(super) fn agents(facts: &Facts) -> Verdict {
    let agents = known!(facts.agents);
    let here: Vec<&AgentFact> = agents.iter().filter(|agent| agent.here).collect();
    let told = here.iter().filter(|agent| agent.offset_ms.is_some()).count();
    let found: Vec<Found> = here
        .iter()
        .filter_map(|agent| {
            let page = format!("/agents/{}", agent.id);
            let service = agent.time.as_ref();
            let differs = agent.offset_ms.filter(|ms| ms.unsigned_abs() > OFF_MS);
            if let Some(ms) = differs {
                let state = if ms.unsigned_abs() > OFF_FAR_MS { State::Bad } else { State::Attention };
                let by = match service.map(|service| service.name.as_str()) {
                    Some("") => "; nobody sets it".to_owned(),
                    Some(name) => format!("; {name} sets it"),
                    None => String::new(),
                };
                return Some(Found::new(state, &agent.name, format!("its clock is {}{by}", off(ms)), page));
            }
            let service = service?;
            let text = match (service.name.as_str(), service.in_step) {
                ("", _) => "nothing sets its clock; it will drift".to_owned(),
                (name, Some(false)) => format!("{name} runs and has not brought its clock in step"),
                _ => return None,
            };
            Some(Found::new(State::Attention, &agent.name, text, page))
        })
        .collect();
    if told == 0 && found.is_empty() {
        return Verdict::unknown("no agent that is connected has told its clock");
    }
    let none = format!(
        "{told} of {} connected agents told their clocks; none is more than a second off.",
        here.len()
    );
    let some = format!(
        "Of {} the clocks of {} need a look.",
        count(here.len(), "connected agent", "connected agents"),
        found.len()
    );
    Verdict::worst(found, none, some)
}
