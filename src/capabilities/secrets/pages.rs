//! The page of secrets: names, and forms into which values go. No page shows a value, not even the one just typed.

use askama::Template;

use super::ops::{self, ByName, Describe, Put, Rotate, SecretView};
use crate::base::{Result, Secret};
use crate::kit::{Ctx, Markup, Nothing, PageRequest, Pages, Reply, Shell, html, told};

/// Declares them.
pub(super) fn register(pages: &mut Pages) {
    pages.get("/secrets", list);
    pages.post("/secrets", put);
    pages.post("/secrets/rotate", rotate);
    pages.post("/secrets/revert", revert);
    pages.post("/secrets/describe", describe);
    pages.post("/secrets/delete", delete);
}

struct Line {
    secret: SecretView,
    changed: Markup,
    used: Markup,
}

#[derive(Template)]
#[template(path = "secrets/list.html")]
struct SecretListPage {
    shell: Shell,
    lines: Vec<Line>,
    may_put: bool,
    may_rotate: bool,
    may_delete: bool,
    audited: bool,
}

fn list(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let line = |secret: SecretView| Line {
        changed: Markup::ago(Some(secret.changed), ctx.now),
        used: Markup::ago(secret.used, ctx.now),
        secret,
    };
    html(&SecretListPage {
        shell: Shell::new(ctx, request, "Secrets", "/secrets"),
        lines: ops::list(ctx, Nothing {})?.items.into_iter().map(line).collect(),
        may_put: ctx.actor.may("secrets.put"),
        may_rotate: ctx.actor.may("secrets.rotate"),
        may_delete: ctx.actor.may("secrets.delete"),
        audited: ctx.actor.may("audit.read"),
    })
}

/// The value as it was typed: spaces at its ends may belong to it. A form sends line ends of its own.
fn value(request: &PageRequest) -> Secret<String> {
    Secret::new(request.form.get("value").map(|text| text.replace("\r\n", "\n")).unwrap_or_default())
}

fn put(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let put = || {
        let name = request.field("name").parse()?;
        ops::put(ctx, Put { name, value: value(request), about: request.field("about").to_owned() })
    };
    told(
        "/secrets",
        put().map(|made| format!("Secret `{}` is kept; refer to it as {}", made.name, made.reference)),
    )
}

fn rotate(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let rotate = || ops::rotate(ctx, Rotate { name: request.field("name").parse()?, value: value(request) });
    told("/secrets", rotate().map(|made| format!("Secret `{}` has version {}", made.name, made.version)))
}

fn revert(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let revert = || ops::revert(ctx, ByName { name: request.field("name").parse()? });
    told("/secrets", revert().map(|made| format!("Secret `{}` has its value from before again", made.name)))
}

fn describe(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let describe = || {
        let (name, about) = (request.field("name").parse()?, request.field("about").to_owned());
        ops::describe(ctx, Describe { name, about })
    };
    told("/secrets", describe().map(|made| format!("Secret `{}` is described", made.name)))
}

fn delete(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let delete = || ops::delete(ctx, ByName { name: request.field("name").parse()? });
    told("/secrets", delete().map(|()| "The secret is deleted".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Timestamp;
    use crate::kit::proof;

    fn sample(name: &str, held: bool) -> Line {
        let now = Timestamp::from_milliseconds(1_790_000_000_000);
        let secret = SecretView {
            name: name.parse().unwrap(),
            reference: format!("secret://{name}"),
            about: "The password of the PLC at line 7".into(),
            made: now,
            version: 3,
            changed: now,
            by: "usr_00000000000000000000000001".into(),
            can_revert: held,
            held_by: if held { vec!["the backup target `NAS`".into()] } else { Vec::new() },
            used: held.then_some(now),
        };
        Line { changed: Markup::ago(Some(now), now), used: Markup::ago(secret.used, now), secret }
    }

    #[test]
    fn the_page_in_its_states_and_both_themes() {
        for theme in ["light", "dark"] {
            let page = |lines, may| SecretListPage {
                shell: Shell { theme, ..proof::shell("Secrets", "/secrets") },
                lines,
                may_put: may,
                may_rotate: may,
                may_delete: may,
                audited: may,
            };
            let lines = vec![sample("line7/plc-password", true), sample("nas", false)];
            let html = proof::page(&format!("secrets-{theme}"), &page(lines, true));
            for part in [
                "secret://line7/plc-password",
                "the backup target `NAS`",
                "/secrets/rotate",
                "/secrets/delete",
            ] {
                assert!(html.contains(part), "{part}");
            }
            let html = proof::page(&format!("secrets-empty-{theme}"), &page(Vec::new(), false));
            assert!(html.contains("No secrets") && !html.contains("action=\"/secrets"));
        }
    }
}
