//! Everybody, as a file.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::csv;
use crate::base::{Error, Result, Timestamp};
use crate::capabilities::identity::model::UserView;
use crate::kit::{Ctx, Download, Nothing};

/// Everybody.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Exported {
    /// In the order in which they were added.
    pub people: Vec<ExportedPerson>,
}

/// A person, without hash and secrets.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ExportedPerson {
    /// The person.
    #[serde(flatten)]
    pub user: UserView,
    /// What they have besides a password.
    pub second_factor: &'static str,
}

/// Gives everybody out; the audit trail says who took them.
pub(super) fn export(ctx: &Ctx<'_>, _: Nothing) -> Result<Exported> {
    let permit = ctx.require("identity.export")?;
    let people = super::found(ctx, "")?;
    permit.before_giving(|change| {
        change.tell("identity.exported", "people", json!({ "count": people.len() }));
        Ok(())
    })?;
    let people = people.into_iter().map(|(user, second_factor)| ExportedPerson { user, second_factor });
    Ok(Exported { people: people.collect() })
}

/// The same as a file, CSV or JSON.
pub(super) fn file(ctx: &Ctx<'_>, format: &str) -> Result<Download> {
    let (kind, text): (_, fn(&Exported) -> Result<String>) = match format {
        "csv" => ("text/csv; charset=utf-8", |all| Ok(table(all))),
        "json" => ("application/json", |all| Ok(serde_json::to_string_pretty(all)?)),
        _ => return Err(Error::invalid("the format is not known").hint("use `csv` or `json`")),
    };
    let mut text = Some(text(&export(ctx, Nothing {})?)?.into_bytes());
    let name = format!("people-{}.{format}", ctx.now.day());
    Ok(Download { name, kind, next: Box::new(move || Ok(text.take())) })
}

fn table(all: &Exported) -> String {
    let mut text = csv::line(&["login", "name", "role", "state", "created", "last_login", "second_factor"]);
    for ExportedPerson { user, second_factor } in &all.people {
        let at = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
        text.push_str(&csv::line(&[
            &user.login,
            user.name.as_str(),
            &user.roles,
            user.state.word(),
            &at(Some(user.created)),
            &at(user.last_login),
            second_factor,
        ]));
    }
    text
}
