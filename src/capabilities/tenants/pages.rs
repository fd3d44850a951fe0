//! Pages of tenants: all of them, one, and how it is done.

use askama::Template;

use super::erase::{self, Erase};
use super::export;
use super::ops::{self, TenantChanged, TenantChosen, TenantMade, TenantView};
use crate::base::{Error, Kind, Result, TenantId};
use crate::kit::{
    ById, Ctx, Markup, Nothing, PageRequest, Pages, Quota, Quotas, Reply, Shell, chart, html, qr, told,
};

/// Declares them.
pub(super) fn register(pages: &mut Pages) {
    pages.get("/tenants", list);
    pages.post("/tenants", create);
    pages.get("/tenants/{id}", one);
    pages.post("/tenants/{id}", change);
    pages.post("/tenants/{id}/suspend", suspend);
    pages.post("/tenants/{id}/resume", resume);
    pages.post("/tenants/{id}/export", take_out);
    pages.post("/tenants/{id}/erase", take_away);
}

/// What was typed into the form of a new one.
#[derive(Default)]
struct Typed {
    name: String,
    owner: String,
    login: String,
    error: String,
}

/// A link that is shown once.
struct Once {
    name: String,
    link: String,
    picture: Markup,
}

#[derive(Template)]
#[template(path = "tenants/list.html")]
struct TenantListPage {
    shell: Shell,
    tenants: Vec<TenantView>,
    typed: Typed,
    once: Option<Once>,
    may_create: bool,
}

/// One thing that is counted, as a row of the page.
struct Row {
    field: &'static str,
    what: &'static str,
    used: String,
    most: String,
    meter: Markup,
    /// Whether nothing can be added.
    is_full: bool,
}

#[derive(Template)]
#[template(path = "tenants/one.html")]
struct TenantViewPage {
    shell: Shell,
    tenant: TenantView,
    created: Markup,
    rows: Vec<Row>,
    may_change: bool,
    may_suspend: bool,
    may_resume: bool,
    may_export: bool,
    may_erase: bool,
}

fn list_page(ctx: &Ctx<'_>, request: &PageRequest, typed: Typed, once: Option<Once>) -> Result<Reply> {
    html(&TenantListPage {
        tenants: ops::list(ctx, Nothing {})?.items,
        shell: Shell::new(ctx, request, "Tenants", "/tenants"),
        typed,
        once,
        may_create: ctx.actor.may("tenants.create"),
    })
}

fn list(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    list_page(ctx, request, Typed::default(), None)
}

fn create(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let make = || {
        let (name, owner) = (request.field("name").parse()?, request.field("owner").parse()?);
        let login = request.field("login").to_owned();
        ops::create(ctx, TenantChosen { name, login, owner, quotas: Quotas::default() })
    };
    match make() {
        Ok(TenantMade { tenant, link }) => {
            let picture = qr(&link).ok().unwrap_or_default();
            list_page(ctx, request, Typed::default(), Some(Once { name: tenant.name, link, picture }))
        }
        Err(error) if matches!(error.kind(), Kind::Invalid | Kind::Conflict | Kind::TooMany) => {
            let typed = Typed {
                name: request.field("name").to_owned(),
                owner: request.field("owner").to_owned(),
                login: request.field("login").to_owned(),
                error: explain(&error),
            };
            let page = list_page(ctx, request, typed, None)?;
            Ok(match page {
                Reply::Html(_, text) => Reply::Html(error.kind().status(), text),
                other => other,
            })
        }
        Err(error) => Err(error),
    }
}

fn explain(error: &Error) -> String {
    match error.hint_text() {
        Some(hint) => format!("{}; {hint}", error.message()),
        None => error.message().to_owned(),
    }
}

fn id(request: &PageRequest) -> Result<TenantId> {
    request.param("id")
}

fn row(usage: &ops::Usage) -> Row {
    let share = usage.used.zip(usage.most).map(|(used, most)| used as f64 * 100.0 / f64::from(most.max(1)));
    let is_full = usage.used.zip(usage.most).is_some_and(|(used, most)| used >= most as usize);
    let tone = match share {
        _ if is_full => "crit",
        Some(share) if share >= 80.0 => "warn",
        _ => "",
    };
    Row {
        field: usage.quota,
        what: usage.what,
        used: usage.used.map(|used| used.to_string()).unwrap_or_default(),
        most: usage.most.map(|most| most.to_string()).unwrap_or_default(),
        meter: Markup(share.map(|share| chart::meter(Some(share), tone)).unwrap_or_default()),
        is_full,
    }
}

fn one(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let tenant = ops::find(ctx, ById { id: id(request)? })?;
    let (may, state) = (|permission: &str| ctx.actor.may(permission), tenant.state);
    html(&TenantViewPage {
        shell: Shell::new(ctx, request, tenant.name.clone(), "/tenants"),
        created: Markup::at(tenant.created),
        rows: tenant.usage.iter().map(row).collect(),
        may_change: matches!(state, "active" | "suspended") && may("tenants.change"),
        may_suspend: state == "active" && may("tenants.suspend"),
        may_resume: state == "suspended" && may("tenants.resume"),
        may_export: state != "home" && may("tenants.export"),
        may_erase: state == "suspended" && may("tenants.erase"),
        tenant,
    })
}

/// The quotas of the form: an empty field is no bound.
fn quotas(request: &PageRequest) -> Result<Quotas> {
    let number = |quota: Quota| match request.field(quota.field()) {
        "" => Ok(None),
        text => text.parse::<u32>().map(Some).map_err(|_| {
            let shown: String = text.chars().take(20).collect();
            Error::invalid(format!("`{shown}` is not a number of {}", quota.words()))
                .hint("digits alone; leave the field empty for no bound")
        }),
    };
    Ok(Quotas {
        agents: number(Quota::Agents)?,
        people: number(Quota::People)?,
        keys: number(Quota::Keys)?,
        secrets: number(Quota::Secrets)?,
        tasks: number(Quota::Tasks)?,
        series: number(Quota::Series)?,
        requests: number(Quota::Requests)?,
    })
}

fn change(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id = id(request)?;
    let change = || {
        let name = Some(request.field("name").parse()?);
        ops::change(ctx, TenantChanged { id, name, quotas: Some(quotas(request)?) })
    };
    told(&format!("/tenants/{id}"), change().map(|tenant| format!("`{}` is changed", tenant.name)))
}

fn suspend(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id = id(request)?;
    let done = ops::suspend(ctx, ById { id });
    told(
        &format!("/tenants/{id}"),
        done.map(|tenant| format!("`{}` is shut out; nothing is lost", tenant.name)),
    )
}

fn resume(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id = id(request)?;
    let done = ops::resume(ctx, ById { id });
    told(&format!("/tenants/{id}"), done.map(|tenant| format!("`{}` is let in again", tenant.name)))
}

fn take_out(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    Ok(Reply::File(export::export(ctx, ById { id: id(request)? })?))
}

fn take_away(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id = id(request)?;
    match erase::erase(ctx, Erase { id, name: request.field("name").to_owned() }) {
        Ok(tenant) => told("/tenants", Ok(format!("`{}` is being taken away", tenant.name))),
        Err(error) => told(&format!("/tenants/{id}"), Err(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Timestamp;
    use crate::kit::proof;

    fn sample(state: &'static str) -> TenantView {
        let quotas = Quotas { agents: Some(20), people: Some(5), requests: Some(50), ..Quotas::default() };
        let usage = |(n, quota): (usize, Quota)| ops::Usage {
            quota: quota.field(),
            what: quota.words(),
            used: (quota != Quota::Requests).then_some(n * 4 + 1),
            most: quotas.of(quota),
        };
        TenantView {
            id: TenantId::from_bits(7),
            name: "Harbour Tugs".into(),
            state,
            quotas,
            created: (state != "home").then_some(Timestamp::from_milliseconds(1_790_000_000_000)),
            usage: Quota::ALL.into_iter().enumerate().map(usage).collect(),
        }
    }

    #[test]
    fn the_pages_in_their_states_and_both_themes() {
        for theme in ["light", "dark"] {
            let shell = || Shell { theme, ..proof::shell("Tenants", "/tenants") };
            let page = TenantListPage {
                shell: shell(),
                tenants: vec![sample("home"), sample("active"), sample("suspended"), sample("going")],
                typed: Typed {
                    error: "there is a tenant `x` already; take another name".into(),
                    ..Typed::default()
                },
                once: Some(Once {
                    name: "Harbour Tugs".into(),
                    link: "/login/link?token=msl_x".into(),
                    picture: Markup::default(),
                }),
                may_create: true,
            };
            let text = proof::page(&format!("tenants-{theme}"), &page);
            assert!(
                text.contains("Harbour Tugs") && text.contains("msl_x") && text.contains("take another name")
            );
            for state in ["home", "active", "suspended", "going"] {
                let tenant = sample(state);
                let page = TenantViewPage {
                    shell: shell(),
                    created: Markup::at(tenant.created),
                    rows: tenant.usage.iter().map(row).collect(),
                    may_change: matches!(state, "active" | "suspended"),
                    may_suspend: state == "active",
                    may_resume: state == "suspended",
                    may_export: state != "home",
                    may_erase: state == "suspended",
                    tenant,
                };
                let text = proof::page(&format!("tenant-{state}-{theme}"), &page);
                assert_eq!(text.contains("/erase"), state == "suspended");
                assert_eq!(text.contains("/suspend"), state == "active");
            }
        }
    }
}
