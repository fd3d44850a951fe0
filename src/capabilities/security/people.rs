//! Checks of people and of programs' keys.

use super::facts::Facts;
use super::model::{Found, State, Verdict};
use crate::base::{Span, Timestamp, UserId};
use crate::capabilities::identity::{KeyStanding, PersonStanding};
use crate::kit::Role;

/// More owners than this are more than break glass needs.
pub(super) const OWNERS_MAX: usize = 4;
/// Who has not signed in for so long is asked about (CIS safeguard 5.3), and then is a weakness.
pub(super) const DORMANT: Span = Span::from_days(45);
/// See [`DORMANT`].
pub(super) const DORMANT_LONG: Span = Span::from_days(90);
/// A key that was not used for so long is not needed.
pub(super) const UNUSED: Span = Span::from_days(90);
/// Sessions may idle and last so long as they are delivered; beyond, somebody should have a reason.
pub(super) const IDLE_MINUTES: u64 = 8 * 60;
/// See [`IDLE_MINUTES`].
pub(super) const ABSOLUTE_MINUTES: u64 = 24 * 60;
/// A session of more than this is a weakness.
pub(super) const ABSOLUTE_MINUTES_LONG: u64 = 7 * 24 * 60;

fn page(id: UserId) -> String {
    format!("/people/{id}")
}

pub(super) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

macro_rules! known {
    ($fact:expr) => {
        match &$fact {
            Ok(known) => known,
            Err(why) => return Verdict::unknown(why.as_str()),
        }
    };
}
pub(super) use known;

/// People without a second factor.
pub(super) fn factor(facts: &Facts) -> Verdict {
    let standings = known!(facts.standings);
    let lacks = standings.people.iter().filter(|person| !person.has_factor);
    let found: Vec<Found> = lacks
        .map(|person| {
            let state = if person.privileged && !person.linked { State::Bad } else { State::Attention };
            let text = match (person.privileged, person.linked) {
                (_, true) => "none here; a provider signs them in and may ask for one",
                (true, false) => "none, with a role that runs the site",
                (false, false) => "none",
            };
            Found::new(state, &person.name, text, page(person.id))
        })
        .collect();
    let some = count(found.len(), "person has", "people have");
    Verdict::worst(found, "Everybody who may sign in has one.", format!("{some} no second factor here."))
}

/// Whether the rules ask those who run the site for a second factor.
pub(super) fn factor_rule(facts: &Facts) -> Verdict {
    let standings = known!(facts.standings);
    let asked = &standings.policy.second_factor_for;
    let not_asked: Vec<&str> = [Role::Owner, Role::Administrator]
        .into_iter()
        .map(Role::word)
        .filter(|role| !asked.iter().any(|one| one == role))
        .collect();
    let waiting =
        standings.people.iter().filter(|person| person.asked && !person.has_factor && !person.linked);
    let found: Vec<Found> = waiting
        .map(|person| {
            let text = "the rules ask for one, and it is added at the next sign-in";
            Found::new(State::Attention, &person.name, text, page(person.id))
        })
        .collect();
    let some = match not_asked.as_slice() {
        [] => format!("{} asked for one and lack it.", count(found.len(), "person is", "people are")),
        roles => format!("The rules do not ask for one of: {}.", roles.join(", ")),
    };
    let verdict = Verdict::worst(found, "Owners and administrators are asked for one.", &some);
    if not_asked.is_empty() {
        return verdict;
    }
    Verdict { state: State::Attention, said: some, ..verdict }
}

/// Owners who can put things right when all else fails.
pub(super) fn owners(facts: &Facts) -> Verdict {
    let standings = known!(facts.standings);
    let owners: Vec<&PersonStanding> = standings.people.iter().filter(|person| person.owner).collect();
    let local = owners.iter().filter(|person| person.password).count();
    let listed = |state: State| {
        let one = |person: &&PersonStanding| {
            let text = if person.password {
                "owner, with a password here"
            } else {
                "owner, without a password here"
            };
            Found::new(state, &person.name, text, page(person.id))
        };
        owners.iter().map(one).collect()
    };
    let (state, said) = match (local, owners.len()) {
        (0, _) => {
            (State::Bad, "No owner can sign in with a password of this site when providers are down.".into())
        }
        (1, _) => {
            (State::Attention, "One owner alone can break the glass; nobody stands in for them.".into())
        }
        (_, all) if all > OWNERS_MAX => {
            (State::Attention, format!("{all} people may do everything; two or three are enough."))
        }
        (_, all) => {
            return Verdict::good(format!("{all} owners, of whom {local} need no provider to sign in."));
        }
    };
    Verdict { state, said, found: listed(state) }
}

fn unused_for(since: Timestamp, now: Timestamp) -> Option<(State, Span)> {
    let silent = now.since(since);
    (silent >= DORMANT)
        .then_some((if silent >= DORMANT_LONG { State::Bad } else { State::Attention }, silent))
}

/// People who may sign in and have not done so for long.
pub(super) fn dormant(facts: &Facts) -> Verdict {
    let standings = known!(facts.standings);
    let found: Vec<Found> = standings
        .people
        .iter()
        .filter_map(|person| {
            let (state, silent) = unused_for(person.last_login.unwrap_or(person.created), facts.now)?;
            let text = match person.last_login {
                Some(_) => format!("last signed in {} ago", silent.rough()),
                None => format!("added {} ago, has never signed in", silent.rough()),
            };
            Some(Found::new(state, &person.name, text, page(person.id)))
        })
        .collect();
    let some = format!(
        "{} not signed in for {} or longer.",
        count(found.len(), "person has", "people have"),
        DORMANT.rough()
    );
    Verdict::worst(found, format!("Everybody has signed in within {}.", DORMANT.rough()), some)
}

/// How long sessions last.
pub(super) fn sessions(facts: &Facts) -> Verdict {
    let policy = &known!(facts.standings).policy;
    let said = format!(
        "A session ends after {} without use, and after {} in any case.",
        Span::from_minutes(policy.idle_minutes).rough(),
        Span::from_minutes(policy.absolute_minutes).rough()
    );
    let state = match (policy.idle_minutes, policy.absolute_minutes) {
        (_, absolute) if absolute > ABSOLUTE_MINUTES_LONG => State::Bad,
        (idle, absolute) if idle > IDLE_MINUTES || absolute > ABSOLUTE_MINUTES => State::Attention,
        _ => State::Good,
    };
    Verdict::of(state, said)
}

/// Roles that give everything, beside the owner's, and who has them.
pub(super) fn everything(facts: &Facts) -> Verdict {
    let standings = known!(facts.standings);
    let roles = standings.roles.iter().map(|role| {
        Found::new(State::Attention, role, "a role made here that includes everything", "/people/roles")
    });
    let people = standings.people.iter().filter_map(|person| {
        let role = person.everything.as_ref()?;
        Some(Found::new(
            State::Attention,
            &person.name,
            format!("has it by the role {role}"),
            page(person.id),
        ))
    });
    let keys =
        standings.keys.iter().filter(|one| one.everything).map(|one| {
            Found::new(State::Bad, &one.key.name, "an API key that may do everything", key_page(one))
        });
    let found: Vec<Found> = keys.chain(people).chain(roles).collect();
    let some = format!(
        "{} everything beside the owners.",
        count(found.len(), "role, person or key gives or has", "roles, people and keys give or have")
    );
    Verdict::worst(found, "Nobody may do everything but the owners.", some)
}

/// Roles that somebody has taken up for a while.
pub(super) fn taken_up(facts: &Facts) -> Verdict {
    let standings = known!(facts.standings);
    let taken = standings.people.iter().flat_map(|person| person.taken.iter().map(move |one| (person, one)));
    let found: Vec<Found> = taken
        .map(|(person, (role, until))| {
            let left = until.since(facts.now).rough();
            Found::new(State::Attention, &person.name, format!("has {role} for {left} more"), page(person.id))
        })
        .collect();
    let some = format!("{} for a while only.", count(found.len(), "role is held", "roles are held"));
    Verdict::worst(found, "Nobody holds a role for a while only.", some)
}

fn key_page(one: &KeyStanding) -> String {
    format!("/people/keys/{}", one.key.id)
}

fn keys(
    facts: &Facts,
    none: &str,
    some: impl FnOnce(usize) -> String,
    look: impl Fn(&KeyStanding) -> Option<(State, String)>,
) -> Verdict {
    let standings = known!(facts.standings);
    let found: Vec<Found> = standings
        .keys
        .iter()
        .filter_map(|one| {
            let (state, text) = look(one)?;
            Some(Found::new(state, &one.key.name, text, key_page(one)))
        })
        .collect();
    let said = if standings.keys.is_empty() { "There is no API key that works." } else { none };
    let some = some(found.len());
    Verdict::worst(found, said, some)
}

/// Keys that nobody has used for long.
pub(super) fn keys_unused(facts: &Facts) -> Verdict {
    let some = |number| {
        format!("{} not used for {} or longer.", count(number, "key was", "keys were"), UNUSED.rough())
    };
    keys(facts, "Every key was used of late.", some, |one| {
        let silent = facts.now.since(one.key.last_used.unwrap_or(one.key.created));
        (silent >= UNUSED).then(|| match one.key.last_used {
            Some(_) => (State::Bad, format!("last used {} ago", silent.rough())),
            None => (State::Bad, format!("made {} ago, never used", silent.rough())),
        })
    })
}

/// Keys without an end.
pub(super) fn keys_expiry(facts: &Facts) -> Verdict {
    let some = |number| format!("{} no end.", count(number, "key has", "keys have"));
    keys(facts, "Every key ends by itself.", some, |one| {
        one.key.expires.is_none().then(|| (State::Attention, "works until somebody revokes it".to_owned()))
    })
}

/// Keys that work from everywhere.
pub(super) fn keys_network(facts: &Facts) -> Verdict {
    let some = |number| format!("{} from any address.", count(number, "key works", "keys work"));
    keys(facts, "Every key is bound to networks.", some, |one| {
        one.key.networks.is_empty().then(|| (State::Attention, "may be used from any address".to_owned()))
    })
}
