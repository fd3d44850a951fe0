//! The page of the site's settings.

use askama::Template;

use super::ops::{self, SettingsChanged, SettingsView};
use crate::base::{Kind, Result};
use crate::kit::{Ctx, Nothing, PageRequest, Reply, Shell};

#[derive(Template)]
#[template(path = "settings/view.html")]
struct SettingsViewPage {
    shell: Shell,
    settings: SettingsView,
    /// The authority's certificate as the target of a link.
    certificate: String,
    /// What stands in the name field.
    name: String,
    error: String,
    may_change: bool,
    /// Whether they may add organisations to the site.
    may_add: bool,
}

fn page(ctx: &Ctx<'_>, request: &PageRequest, name: Option<String>, error: String) -> Result<String> {
    let settings = ops::find(ctx, Nothing {})?;
    let page = SettingsViewPage {
        shell: Shell::new(ctx, request, "Settings", "/settings"),
        certificate: data_link(&settings.authority_certificate),
        name: name.unwrap_or_else(|| settings.name.clone()),
        error,
        may_change: ctx.actor.may("settings.change"),
        may_add: ctx.actor.may("tenants.create"),
        settings,
    };
    Ok(page.render()?)
}

/// Shows the site.
pub(super) fn view(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    Ok(Reply::Html(200, page(ctx, request, None, String::new())?))
}

/// Takes the form.
pub(super) fn change(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let name = request.field("name");
    let changed = name.parse().and_then(|name| ops::change(ctx, SettingsChanged { name }));
    match changed {
        Ok(_) => Ok(Reply::Redirect("/settings?flash=ok:The+site+is+renamed".into(), Vec::new())),
        Err(e) if e.kind() == Kind::Invalid => {
            let error = format!("{}; {}", e.message(), e.hint_text().unwrap_or_default());
            Ok(Reply::Html(422, page(ctx, request, Some(name.to_owned()), error)?))
        }
        Err(e) => Err(e),
    }
}

/// PEM as a `data:` link that a browser saves.
fn data_link(pem: &str) -> String {
    let mut link = String::from("data:application/x-pem-file,");
    for c in pem.chars() {
        match c {
            '\n' => link.push_str("%0A"),
            '+' => link.push_str("%2B"),
            ' ' => link.push_str("%20"),
            '\r' => {}
            c => link.push(c),
        }
    }
    link
}

#[cfg(test)]
mod tests {
    #[test]
    fn pem_survives_a_link() {
        assert_eq!(super::data_link("-A B\n+/=\n"), "data:application/x-pem-file,-A%20B%0A%2B/=%0A");
    }
}
