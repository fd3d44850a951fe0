//! People from a file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::csv;
use crate::base::{Error, Kind, Name, Result};
use crate::capabilities::identity::model::{State, User, login_name};
use crate::capabilities::identity::ops::{UserMade, add};
use crate::capabilities::identity::roles::{self, Granted};
use crate::capabilities::identity::store::is_taken;
use crate::kit::{Ctx, RoleName, Scope};

/// Rows of one import.
pub(super) const ROWS_MAX: usize = 200;

/// What is taken in.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ImportAsked {
    /// CSV with a first line that names its columns: `login`, `name`, `role`, and perhaps `scope`.
    pub csv: String,
    /// Only says what would come of it.
    #[serde(default)]
    pub preview: bool,
}

/// What came of it, or would.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Imported {
    /// One for each line.
    pub rows: Vec<ImportedRow>,
    /// Lines that are wrong. While there are any, nobody is added.
    pub wrong: usize,
    /// Whether they were added.
    pub added: bool,
}

/// One line.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct ImportedRow {
    /// Its number in the file.
    pub line: usize,
    /// What they sign in with.
    pub login: String,
    /// What people call them.
    pub name: String,
    /// What they may do.
    pub role: String,
    /// What is wrong with it; empty when nothing is.
    pub error: String,
    /// Their one-time link, good for 24 hours, when they were added. It is nowhere else.
    pub link: Option<String>,
}

struct Columns {
    login: usize,
    name: usize,
    role: usize,
    scope: Option<usize>,
}

fn columns(first: &[String]) -> Result<Columns> {
    let find = |name: &str| first.iter().position(|column| column.eq_ignore_ascii_case(name));
    let need = |name: &str| {
        find(name).ok_or_else(|| {
            Error::invalid(format!("the first line has no column `{name}`"))
                .hint("begin with `login,name,role`; `scope` may follow")
        })
    };
    Ok(Columns { login: need("login")?, name: need("name")?, role: need("role")?, scope: find("scope") })
}

/// Takes people in, all of them or nobody.
pub(super) fn import(ctx: &Ctx<'_>, input: ImportAsked) -> Result<Imported> {
    // Whoever only wants to know what would come of it changes nothing.
    let permit = match input.preview {
        true => ctx.demand("identity.import").map(|()| None)?,
        false => Some(ctx.require("identity.import")?),
    };
    let rows = csv::rows(&input.csv)?;
    let Some(((_, first), rows)) = rows.split_first() else {
        return Err(Error::invalid("there is nothing to import").hint("begin with `login,name,role`"));
    };
    let columns = columns(first)?;
    if rows.is_empty() || rows.len() > ROWS_MAX {
        return Err(Error::invalid(format!("{} people at once", rows.len()))
            .hint(format!("1 to {ROWS_MAX}; split a longer list")));
    }
    let (mut told, mut users) = (Vec::new(), Vec::new());
    for (line, row) in rows {
        let at = |column: usize| row.get(column).cloned().unwrap_or_default();
        let mut one = ImportedRow {
            line: *line,
            login: at(columns.login).to_lowercase(),
            name: at(columns.name),
            role: at(columns.role),
            ..ImportedRow::default()
        };
        let scope = columns.scope.map(at).unwrap_or_default();
        match user(ctx, &one, &scope, &users) {
            Ok(user) => users.push(user),
            Err(error) if error.kind() == Kind::Internal => return Err(error),
            Err(error) => one.error = crate::capabilities::identity::door::pages::explain(&error),
        }
        told.push(one);
    }
    let wrong = told.iter().filter(|one| !one.error.is_empty()).count();
    let Some(permit) = permit.filter(|_| wrong == 0) else {
        return Ok(Imported { rows: told, wrong, added: false });
    };
    permit.write(|change| {
        for (one, user) in told.iter_mut().zip(&users) {
            let UserMade { link, .. } = add(ctx, change, user)?;
            one.link = link;
        }
        change.tell("identity.imported", "people", json!({ "count": users.len() }));
        Ok(())
    })?;
    Ok(Imported { rows: told, wrong: 0, added: true })
}

/// The person of one line, or what is wrong with it.
fn user(ctx: &Ctx<'_>, row: &ImportedRow, scope: &str, before: &[User]) -> Result<User> {
    let login = login_name(&row.login)?;
    let name: Name = row.name.parse()?;
    let role: RoleName = row.role.parse()?;
    let scope: Scope = scope.parse()?;
    let read = ctx.read()?;
    roles::may_give(ctx, &read, &role, &scope)?;
    if before.iter().any(|other| other.login == login) {
        return Err(Error::conflict(format!("the login name `{login}` stands twice in the list")));
    }
    if is_taken(ctx.site, &read, &login)? {
        return Err(Error::conflict(format!("the login name `{login}` is taken")));
    }
    Ok(User {
        id: ctx.site.clock.id(),
        login,
        name,
        password: None,
        grants: vec![Granted { scope, ..Granted::lasting(role) }],
        state: State::Active,
        created: ctx.now,
        last_login: None,
    })
}
